import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { DisconnectedError, Peer, PeerSyncError, RefusedError } from "../dist/index.js";
import { heard, Network, pair, peer, Server, shortToken, SOCKETS, token, until, URL_OF_SERVER, user } from "./world.mjs";

const OFTEN = { heartbeatMs: 2000 };

describe("against a server", { concurrency: 6 }, () => {
  for (const [name, WebSocket] of Object.entries(SOCKETS)) {
    test(`two peers meet and talk, over ${name}`, async (t) => {
      const [ann, bob] = [await peer(t, user("ann"), { WebSocket }), await peer(t, user("bob"), { WebSocket })];
      const sessionId = await pair(ann, bob);
      const { peers } = await ann.request("DISCOVER_PEERS", { query: bob.id });
      assert.deepEqual(peers.map(({ id, profile }) => [id, profile.displayName]), [[bob.id, bob.id]]);

      const answered = bob.once("MESSAGE_RECEIVED").then(({ content, from, correlationId }) => {
        assert.deepEqual([content, from], [{ why: "ünd\ud83d" }, ann.id]);
        return bob.send({ sessionId, content: [null, 1.5], type: "answer", correlationId });
      });
      const received = ann.once("MESSAGE_RECEIVED", ({ type }) => type === "answer");
      const ack = await ann.send({ sessionId, content: { why: "ünd\ud83d" }, type: "question", correlationId: "c" });
      assert.deepEqual([ack.delivered, ack.queued], [[bob.id], []]);
      assert.deepEqual((await answered).delivered, [ann.id]);
      const { content, correlationId } = await received;
      assert.deepEqual([content, correlationId], [[null, 1.5], "c"]);

      const ended = bob.once("SESSION_ENDED");
      await ann.close();
      assert.deepEqual(await ended, { sessionId, reason: "left" });
      await assert.rejects(ann.request("PING"), DisconnectedError);
      await assert.rejects(ann.send({ sessionId, content: 1 }), DisconnectedError);
    });

    test(`a lost connection loses and doubles nothing, over ${name}`, async (t) => {
      const network = await Network.to(t, URL_OF_SERVER);
      const ann = await peer(t, user("ann"), { WebSocket });
      const bob = await peer(t, user("bob"), { WebSocket, url: network.url });
      const sessionId = await pair(ann, bob);
      const [toAnn, toBob, acks, ready] = [heard(ann), heard(bob), [], []];
      bob.on("ready", ({ recovered }) => ready.push(recovered));
      const talk = (from, to) => {
        for (let n = from; n < to; n += 1) {
          for (const each of [ann, bob]) acks.push(each.send({ sessionId, content: n }));
        }
      };
      talk(0, 20);
      await until(() => toBob.length > 5);
      network.cut();
      talk(20, 40);
      await bob.once("dropped");
      await assert.rejects(bob.request("PING"), DisconnectedError);
      network.mend();
      await bob.connect();
      talk(40, 60);
      await Promise.all(acks);
      const all = Array.from({ length: 60 }, (_, n) => n);
      await until(() => toAnn.length >= 60 && toBob.length >= 60);
      assert.deepEqual([toAnn, toBob, ready], [all, all, [true]]);
    });
  }

  test("a message whose acknowledgement was lost is sent again, and heard once", async (t) => {
    const network = await Network.to(t, URL_OF_SERVER);
    const ann = await peer(t, user("ann"));
    const bob = await peer(t, user("bob"), { url: network.url });
    const sessionId = await pair(ann, bob);
    const toAnn = heard(ann);
    network.isDeaf = true;
    const sent = bob.send({ sessionId, content: "once" });
    const asked = bob.request("SESSION_LIST");
    await until(() => toAnn.length > 0);
    network.cut();
    await assert.rejects(asked, { name: "DisconnectedError", code: 1006 });
    network.mend();
    assert.equal((await sent).duplicate, true);
    await bob.send({ sessionId, content: "twice" });
    await until(() => toAnn.length > 1);
    assert.deepEqual(toAnn, ["once", "twice"]);
  });

  test("a server that is not heard of any more is let go of, without leaving", async (t) => {
    const network = await Network.to(t, URL_OF_SERVER);
    const ann = await peer(t, user("ann"), { url: network.url, ...OFTEN });
    const bob = await peer(t, user("bob"));
    const sessionId = await pair(ann, bob);
    network.isDeaf = true;
    const { code, reason } = await ann.once("dropped");
    assert.deepEqual([code, reason], [1006, "The server was not heard of"]);
    network.mend();
    assert.equal((await ann.connect()).recovered, true);
    assert.deepEqual((await ann.send({ sessionId, content: 1 })).delivered, [bob.id]);
  });

  test("a server that was killed: peers register anew, and start over", async (t) => {
    const server = await Server.start(t);
    const [ann, bob] = [await peer(t, user("ann"), server), await peer(t, user("bob"), server)];
    const before = await pair(ann, bob);
    const dropped = Promise.all([ann.once("dropped"), bob.once("dropped")]);
    await server.kill();
    for (const { code } of await dropped) assert.equal(code, 1006);
    const toNobody = ann.send({ sessionId: before, content: "anybody?" });
    toNobody.catch(() => {});
    const ready = Promise.all([ann.once("ready"), bob.once("ready")]);
    await Server.start(t, server.port);
    for (const { recovered } of await ready) assert.equal(recovered, false);
    await assert.rejects(toNobody, { name: "RefusedError", code: "ERR_3001" });
    assert.deepEqual(await ann.request("SESSION_LIST"), { sessions: [] });
    const [toBob, sessionId] = [heard(bob), await pair(ann, bob)];
    assert.deepEqual((await ann.send({ sessionId, content: "again" })).delivered, [bob.id]);
    await until(() => toBob.length > 0);
    assert.deepEqual(toBob, ["again"]);
  });

  test("the sender is told for whom a message is not kept, and the rest arrives", async (t) => {
    const server = await Server.start(t, undefined, { REPLAY_EVENTS: "10" });
    const network = await Network.to(t, server.url);
    const [ann, bob] = [await peer(t, user("ann"), network), await peer(t, user("bob"), server)];
    const [sessionId, toAnn] = [await pair(ann, bob), heard(ann)];
    network.cut();
    await ann.once("dropped");
    const acks = [];
    for (let n = 0; n < 12; n += 1) acks.push(await bob.send({ sessionId, content: n }));
    const { delivered, queued, full } = acks.at(-1);
    assert.deepEqual([delivered, queued, full], [[], [], [ann.id]]);
    await assert.rejects(bob.request("SEND_MESSAGE", { sessionId, content: "not acknowledged" }), { code: "ERR_4004" });
    network.mend();
    assert.equal((await ann.connect()).recovered, true);
    assert.equal((await bob.send({ sessionId, content: "again" })).full, undefined);
    const kept = acks.flatMap((ack, n) => (ack.full ? [] : [n]));
    await until(() => toAnn.length > kept.length);
    assert.deepEqual(toAnn, [...kept, "again"]);
  });

  test("refusals are typed, and the connection goes on", async (t) => {
    const ann = await peer(t, user("ann"));
    const told = [];
    ann.on("ERROR", ({ code }) => told.push(code));
    await ann.connect();
    const asked = ann.request("CONNECTION_REQUEST", { targetId: user("nobody") });
    await assert.rejects(asked, (error) => error instanceof RefusedError && error.code === "ERR_2001");
    await assert.rejects(ann.send({ sessionId: "ses_none", content: 1 }), { code: "ERR_3001" });
    await assert.rejects(ann.register({ displayName: "" }), { code: "ERR_9003" });
    const tooLong = ann.send({ sessionId: "ses_none", content: "é".repeat(600_000) });
    await assert.rejects(tooLong, (error) => error instanceof PeerSyncError && /bytes/.test(error.message));
    assert.equal((await ann.register({ displayName: "Ann" })).profile.displayName, "Ann");
    assert.deepEqual(told, []);
  });

  test("of two peers of one user the first gives way, and does not come back", async (t) => {
    const id = user("ann");
    const [first, second] = [await peer(t, id), await peer(t, id)];
    const [dropped, closed, told] = [[], new Promise((resolve) => first.on("closed", resolve)), first.once("ERROR")];
    first.on("dropped", (ending) => dropped.push(ending));
    await first.connect();
    await second.connect();
    assert.equal((await told).code, "ERR_2005");
    assert.equal((await closed).error.code, 4002);
    assert.ok((await second.request("PING")).timestamp);
    assert.deepEqual(dropped, []);
  });

  test("a token is renewed before it expires", async (t) => {
    const id = user("ann");
    const tokens = [await shortToken(id, "30s"), await token(id)];
    const ann = await peer(t, id, { token: () => tokens.shift() });
    const seen = [];
    ann.on("AUTH_SUCCESS", ({ userId, recovered }) => seen.push([userId, recovered]));
    await ann.connect();
    await until(() => seen.length > 1);
    assert.deepEqual(seen, [[id, false], [id, undefined]]);
    assert.equal(tokens.length, 0);
    assert.ok((await ann.request("PING")).timestamp);
  });

  test("a token that expired all the same is replaced, and nothing is lost", async (t) => {
    const server = await Server.start(t, undefined, { TOKEN_LEEWAY_SECONDS: "0" });
    const id = user("ann");
    const [first, last] = [await shortToken(id, "50s"), await token(id)];
    let met;
    const soonExpired = () => new Promise((resolve) => (met = () => resolve(shortToken(id, "2s"))));
    const givers = [() => first, soonExpired, () => Promise.reject(new Error("not now")), () => last];
    const ann = await peer(t, id, { url: server.url, token: () => givers.shift()() });
    const bob = await peer(t, user("bob"), { url: server.url });
    const [sessionId, toAnn] = [await pair(ann, bob), heard(ann)];
    met();
    const { code } = await ann.once("dropped");
    assert.equal(code, 4003);
    await bob.send({ sessionId, content: "soon" });
    assert.equal((await ann.connect()).recovered, true);
    await until(() => toAnn.length > 0);
    assert.deepEqual([toAnn, givers.length], [["soon"], 0]);
  });

  for (const [name, WebSocket] of Object.entries(SOCKETS)) {
    test(`connecting in vain says why, over ${name}`, async (t) => {
      const bad = new Peer({ url: URL_OF_SERVER, token: "none", WebSocket });
      await assert.rejects(bad.connect(), { name: "RefusedError", code: "ERR_1002" });
      const network = await Network.to(t, URL_OF_SERVER);
      network.cut();
      const away = await peer(t, user("ann"), { url: network.url, WebSocket });
      await assert.rejects(away.connect(), { name: "DisconnectedError", code: 1006 });
      network.mend();
      assert.equal((await away.connect()).recovered, false);
      await assert.rejects(new Peer({ url: "nowhere", token: "t", WebSocket }).connect(), PeerSyncError);
    });
  }

  test("many messages at once keep to the server's limits", async (t) => {
    const [ann, bob] = [await peer(t, user("ann")), await peer(t, user("bob"))];
    const [sessionId, toBob] = [await pair(ann, bob), heard(bob)];
    const errors = [];
    ann.on("ERROR", ({ code }) => errors.push(code));
    const all = Array.from({ length: 600 }, (_, n) => n);
    const acks = await Promise.all(all.map((content) => ann.send({ sessionId, content })));
    await until(() => toBob.length === all.length);
    assert.ok(acks.every(({ delivered }) => delivered[0] === bob.id));
    assert.deepEqual([toBob, errors], [all, []]);
  });

  test("a thousand messages may wait, and no more", async (t) => {
    const network = await Network.to(t, URL_OF_SERVER);
    const ann = await peer(t, user("ann"), { url: network.url });
    await ann.connect();
    network.cut();
    await ann.once("dropped");
    const sent = Array.from({ length: 1001 }, (_, content) => ann.send({ sessionId: "ses_none", content }));
    await assert.rejects(sent[1000], /1000 messages wait/);
    await ann.close();
    const failed = await Promise.allSettled(sent.slice(0, 1000));
    assert.ok(failed.every(({ reason }) => reason.code === 1000));
  });

  test("events can be gone through one by one, until the peer is closed", async (t) => {
    const [ann, bob] = [await peer(t, user("ann")), await peer(t, user("bob"))];
    const sessionId = await pair(ann, bob);
    const messages = bob.events("MESSAGE_RECEIVED");
    const rest = bob.events("MESSAGE_RECEIVED");
    for (const content of [1, 2, 3]) await ann.send({ sessionId, content });
    const seen = [];
    for await (const { content } of messages) if (seen.push(content) === 2) break;
    setImmediate(() => bob.close());
    for await (const { content } of rest) seen.push(content);
    assert.deepEqual(seen, [1, 2, 1, 2, 3]);
  });
});
