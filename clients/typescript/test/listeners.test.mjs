import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import test from "node:test";
import { Listeners } from "../dist/listeners.js";

const THROWS = `
  import { Listeners } from "./dist/listeners.js";
  process.on("unhandledRejection", ({ message }) => console.log(message));
  const listeners = new Listeners();
  listeners.on("it", () => { throw new Error("oh"); });
  listeners.on("it", console.log);
  listeners.emit("it", "heard");
`;

test("who listens is told, in order, until that ends", () => {
  const [listeners, heard] = [new Listeners(), []];
  const stop = listeners.on("it", (data) => heard.push(["first", data]) && stop());
  listeners.on("it", (data) => heard.push(["second", data]));
  listeners.emit("it", 1);
  listeners.emit("it", 2);
  listeners.emit("other", 3);
  assert.deepEqual(heard, [["first", 1], ["second", 1], ["second", 2]]);
});

test("a listener that throws is reported, and does not keep the others from being told", () => {
  const told = execFileSync(process.execPath, ["--input-type=module", "-e", THROWS], { encoding: "utf8" });
  assert.equal(told, "heard\noh\n");
});
