import assert from "node:assert/strict";
import test from "node:test";
import { after, pause } from "../dist/backoff.js";
import { DisconnectedError, Peer, RefusedError } from "../dist/index.js";
import { Pace } from "../dist/pace.js";

/** Time that stands still until it is told to go on, and a die that always falls alike. */
class Clock {
  time = 0;
  timers = new Map();
  #last = 0;
  constructor(die) {
    this.random = () => die;
  }
  now = () => this.time;
  setTimer = (run, ms) => {
    this.timers.set(++this.#last, { run, at: this.time + ms });
    return this.#last;
  };
  clearTimer = (timer) => this.timers.delete(timer);
  pass(ms) {
    this.time += ms;
    for (const [id, { run, at }] of [...this.timers]) {
      if (at <= this.time && this.timers.delete(id)) run();
    }
  }
}

/** A socket to a server that answers AUTH as it is told to, each connection in its turn, and closes. */
function sockets(...turns) {
  const made = [];
  return class Socket {
    static made = made;
    sent = [];
    constructor() {
      this.turn = turns[made.length] ?? {};
      made.push(this);
      queueMicrotask(() => (this.turn.isRefused ? this.onclose({ code: 1006, reason: "" }) : this.onopen()));
    }
    send(text) {
      const { event, data, ref } = JSON.parse(text);
      this.sent.push({ event, data });
      const { answers = {}, code } = this.turn;
      const usual = { AUTH: ["AUTH_SUCCESS", { userId: "ann" }], PEER_REGISTER: ["PEER_REGISTERED", {}] };
      const [answer, told] = answers[event] ?? usual[event] ?? [];
      if (answer) queueMicrotask(() => this.onmessage?.({ data: JSON.stringify({ event: answer, data: told, ref }) }));
      const isLast = event === "PING" || (answers[event] !== undefined && answer !== "AUTH_SUCCESS");
      if (isLast && code) setImmediate(() => this.onclose({ code, reason: "so" }));
    }
    close(code) {
      this.closedWith = code;
      setImmediate(() => this.onclose({ code, reason: "" }));
    }
  };
}

const settle = async () => {
  for (let turn = 0; turn < 5; turn += 1) await new Promise(setImmediate);
};

test("what each close code asks of a client", () => {
  const asked = [1000, 1001, 1002, 1005, 1006, 1007, 1009, 1012, 4001, 4002, 4003, 4008, 4029].map(after);
  const [stop, renew] = ["stop", "renew"];
  const come = "return";
  assert.deepEqual(asked, [stop, come, stop, come, come, stop, stop, come, renew, stop, renew, come, "rest"]);
});

test("pauses double up to a quarter of a minute, and chance halves them at most", () => {
  const most = [0, 1, 2, 3, 4, 50].map((failures) => pause(failures, "return", () => 1));
  assert.deepEqual(most, [1000, 2000, 4000, 8000, 15000, 15000]);
  assert.equal(pause(2, "return", () => 0), 2000);
  assert.equal(pause(0, "rest", () => 0), 15500);
});

for (const code of [1000, 1002, 1007, 1009, 4002]) {
  test(`closed with ${code}: it is over`, async () => {
    const [clock, Socket] = [new Clock(1), sockets({ code })];
    const peer = new Peer({ url: "ws://", token: async () => "t", WebSocket: Socket, platform: clock });
    const closed = new Promise((resolve) => peer.on("closed", resolve));
    await peer.connect();
    const { error } = await closed;
    assert.ok(error instanceof DisconnectedError);
    assert.deepEqual([error.code, error.message, Socket.made.length, clock.timers.size], [code, "so", 1, 0]);
    await assert.rejects(peer.request("PING"), DisconnectedError);
  });
}

for (const code of [1001, 1006, 1012, 4001, 4003, 4008, 4029]) {
  test(`closed with ${code}: it comes back after a pause that grows`, async () => {
    const [clock, Socket] = [new Clock(1), sockets({ code }, { isRefused: true }, { isRefused: true }, {})];
    const dropped = [];
    let tokens = 0;
    const token = async () => `t${++tokens}`;
    const peer = new Peer({ url: "ws://", token, WebSocket: Socket, platform: clock });
    peer.on("dropped", ({ code, retryInMs }) => dropped.push([code, retryInMs]));
    await peer.connect();
    const first = code === 4029 ? 16000 : 1000;
    for (const ms of [first, 2000, 4000]) {
      await settle();
      clock.pass(ms - 1);
      await settle();
      const before = Socket.made.length;
      clock.pass(1);
      await settle();
      assert.equal(Socket.made.length, before + 1);
    }
    assert.deepEqual(dropped, [[code, first], [1006, 2000], [1006, 4000]]);
    assert.equal((await peer.connect()).userId, "ann");
    assert.equal(tokens, [4001, 4003].includes(code) ? 2 : 1);
    assert.equal(Socket.made[3].sent[0].data.token, `t${tokens}`);
    await peer.close();
    assert.equal(Socket.made[3].closedWith, 1000);
    assert.equal(clock.timers.size, 0);
  });
}

test("a single token is not tried again once it has expired", async () => {
  const Socket = sockets({ code: 4003 });
  const peer = new Peer({ url: "ws://", token: "only", WebSocket: Socket, platform: new Clock(1) });
  await peer.connect();
  await assert.rejects(peer.once("PONG"), { code: 4003 });
  assert.equal(Socket.made.length, 1);
});

test("a new token that is refused as well makes an end", async () => {
  const refused = { code: 4001, answers: { AUTH: ["AUTH_FAILED", { code: "ERR_1002", message: "no" }] } };
  const [clock, Socket] = [new Clock(0), sockets({ code: 4003 }, refused)];
  let tokens = 0;
  const peer = new Peer({ url: "ws://", token: async () => `t${++tokens}`, WebSocket: Socket, platform: clock });
  await peer.connect();
  await settle();
  clock.pass(500);
  await assert.rejects(peer.connect(), (error) => error instanceof RefusedError && error.code === "ERR_1002");
  await peer.connect();
  assert.deepEqual(Socket.made.map(({ sent }) => sent[0].data.token), ["t1", "t2", "t3"]);
  await peer.close();
});

for (const event of ["AUTH", "PEER_REGISTER"]) {
  test(`what cannot be mended by trying ${event} again makes an end; what can does not`, async () => {
    const refusal = (code) => ({ answers: { [event]: ["ERROR", { code, message: code }] } });
    const [clock, Socket] = [new Clock(0), sockets({ code: 1006 }, refusal("ERR_9002"), refusal("ERR_9003"))];
    const peer = new Peer({ url: "ws://", token: "t", WebSocket: Socket, platform: clock });
    const dropped = [];
    peer.on("dropped", ({ reason }) => dropped.push(reason));
    await peer.connect();
    await settle();
    clock.pass(500);
    await settle();
    assert.equal(Socket.made[1].closedWith, 4000, "not as one who leaves");
    const closed = new Promise((resolve) => peer.on("closed", resolve));
    clock.pass(1000);
    assert.equal((await closed).error.code, "ERR_9003");
    assert.deepEqual(dropped, ["so", "ERR_9002"]);
  });
}

test("what it resumes from outlives a server that cannot let it in for now", async () => {
  const resume = { token: "res_1", graceSeconds: 30 };
  const entering = (more) => ({ answers: { AUTH: ["AUTH_SUCCESS", { userId: "ann", resume, ...more }] } });
  const refusing = { answers: { AUTH: ["ERROR", { code: "ERR_9002", message: "later" }] } };
  const turns = [{ ...entering({}), code: 1006 }, refusing, refusing, entering({ recovered: true })];
  const [clock, Socket] = [new Clock(1), sockets(...turns)];
  const peer = new Peer({ url: "ws://", token: "t", WebSocket: Socket, platform: clock });
  await peer.connect();
  for (const ms of [1000, 2000, 4000]) {
    await settle();
    clock.pass(ms);
  }
  assert.equal((await peer.connect()).recovered, true);
  const asked = Socket.made.map(({ sent }) => sent[0].data.resume);
  assert.deepEqual(asked, [undefined, ...Array(3).fill({ token: "res_1", offset: 0 })]);
  await peer.close();
});

test("a token that cannot be had is asked for again, and closing ends the wait", async () => {
  const [clock, Socket] = [new Clock(0), sockets({ code: 4003 })];
  const tokens = ["t", Promise.reject(new Error("no issuer")), new Promise(() => {})];
  tokens[1].catch(() => {});
  const peer = new Peer({ url: "ws://", token: () => tokens.shift(), WebSocket: Socket, platform: clock });
  const reasons = [];
  peer.on("dropped", ({ reason }) => reasons.push(reason));
  await peer.connect();
  await settle();
  clock.pass(500);
  await settle();
  clock.pass(1000);
  await settle();
  assert.deepEqual(reasons, ["so", "There is no access token: Error: no issuer"]);
  assert.equal(tokens.length, 0);
  await peer.close();
  assert.equal(clock.timers.size, 0);
});

test("closing during a pause ends it, and rejects what waits", async () => {
  const [clock, Socket] = [new Clock(0), sockets({ code: 1012 })];
  const peer = new Peer({ url: "ws://", token: "t", WebSocket: Socket, platform: clock });
  await peer.connect();
  await peer.once("dropped");
  const sent = peer.send({ sessionId: "s", content: 1 });
  const [, ...failed] = await Promise.allSettled([peer.close(), sent, peer.connect(), peer.once("PONG")]);
  assert.deepEqual(failed.map(({ reason }) => reason.code), [1000, 1000, 1000]);
  assert.equal(clock.timers.size, 0);
});

test("a request that is not answered fails in time", async () => {
  const clock = new Clock(0);
  const peer = new Peer({ url: "ws://", token: "t", WebSocket: sockets({}), platform: clock, requestTimeoutMs: 50 });
  await peer.connect();
  const asked = peer.request("SESSION_LIST");
  clock.pass(50);
  await assert.rejects(asked, { name: "TimeoutError" });
  await peer.close();
});

test("the built-in WebSocket is taken if none is given; where there is none, that is said", async (t) => {
  const { WebSocket } = globalThis;
  t.after(() => Object.assign(globalThis, { WebSocket }));
  const options = { url: "ws://", token: "t", platform: new Clock(0) };
  delete globalThis.WebSocket;
  await assert.rejects(new Peer(options).connect(), /give one as `WebSocket`/);
  globalThis.WebSocket = sockets({});
  const peer = new Peer(options);
  assert.equal((await peer.connect()).userId, "ann");
  await peer.close();
});

test("frames are passed on as fast as the server takes them, in order", () => {
  const [clock, sent] = [new Clock(0), []];
  const pace = new Pace(clock, { burst: 8, eventsPerSecond: 100 }, (text) => sent.push(text));
  for (let n = 1; n <= 7; n += 1) pace.push(n);
  assert.deepEqual(sent, [1, 2, 3, 4]);
  clock.pass(10);
  assert.deepEqual(sent, [1, 2, 3, 4, 5]);
  clock.pass(10);
  pace.push(8);
  assert.deepEqual(sent, [1, 2, 3, 4, 5, 6]);
  pace.stop();
  clock.pass(1000);
  assert.equal(sent.length, 6);
});
