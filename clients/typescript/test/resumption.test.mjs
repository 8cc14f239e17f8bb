import assert from "node:assert/strict";
import test from "node:test";
import { Resumption } from "../dist/resumption.js";

const entered = (token, recovered) => ({ userId: "ann", displayName: "Ann", recovered, resume: { token, graceSeconds: 1 } });

test("a frame is new if it has no number, or one beyond the last that was handled", () => {
  const resumption = new Resumption();
  resumption.entered(entered("a", false));
  resumption.handled(7);
  resumption.handled(undefined);
  assert.deepEqual([6, 7, 8, undefined].map((offset) => resumption.isNew(offset)), [false, false, true, true]);
});

test("it goes on where it was, or starts over, as the server says", () => {
  const resumption = new Resumption();
  assert.deepEqual(resumption.hello(), {});
  resumption.entered(entered("a", false));
  resumption.handled(7);
  assert.deepEqual(resumption.hello(), { resume: { token: "a", offset: 7 } });
  resumption.entered(entered("b", true));
  assert.deepEqual(resumption.hello(), { resume: { token: "b", offset: 7 } });
  resumption.entered(entered("c", false));
  assert.deepEqual(resumption.hello(), { resume: { token: "c", offset: 0 } });
  resumption.left();
  assert.deepEqual(resumption.hello(), {});
});

test("the server is told how far events were handled, every hundred of them", () => {
  const resumption = new Resumption();
  resumption.entered(entered("a", false));
  const told = [];
  for (let offset = 1; offset <= 250; offset += 1) {
    if (resumption.handled(offset)) told.push(resumption.report().offset);
  }
  assert.deepEqual(told, [100, 200]);
});
