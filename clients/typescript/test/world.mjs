// What the tests need around the client: users' tokens, servers of their own, a network that can be cut.
import { spawn } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { WebSocket as WsSocket } from "ws";
import { Peer } from "../dist/index.js";

export const SOCKETS = { "built-in": globalThis.WebSocket, ws: WsSocket };
export const { PEERSYNC_URL: URL_OF_SERVER, PEERSYNC_PYTHON: PYTHON } = process.env;
const PATIENCE_MS = 20_000;
let users = 0;

/** Return a name that no other test has. */
export const user = (name) => `${name}-${process.pid}-${++users}`;

/** Return an access token of the user, good for an hour. */
export async function token(id) {
  const answer = await fetch(`${URL_OF_SERVER.replace(/^ws(.*)\/ws$/, "http$1")}/api/v1/auth/dev-token`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ userId: id, displayName: id, email: `${id}@example.com` }),
  });
  return (await answer.json()).token;
}

/** Return an access token of the user that is good for a while, such as `30s`. */
export async function shortToken(id, ttl) {
  const maker = spawn(PYTHON, ["-m", "app", "devtoken", id, "--ttl", ttl], { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  for await (const chunk of maker.stdout) text += chunk;
  return text.trim();
}

/** Return a peer of the user; it is closed when the test is over. */
export async function peer(test, id, options = {}) {
  const made = new Peer({ url: URL_OF_SERVER, token: await token(id), profile: { displayName: id }, ...options });
  test.after(() => made.close());
  return made;
}

/** Bring two peers into a session, and return its id. */
export async function pair(ann, bob) {
  await Promise.all([ann.connect(), bob.connect()]);
  const asked = bob.once("CONNECTION_REQUEST_RECEIVED");
  const accepted = ann.once("CONNECTION_ACCEPTED");
  await ann.request("CONNECTION_REQUEST", { targetId: bob.id });
  const { requestId } = await asked;
  const { sessionId } = await bob.request("CONNECTION_RESPONSE", { requestId, accepted: true });
  return (await accepted).sessionId === sessionId && sessionId;
}

/** Return the contents of messages that a peer receives, as they come. */
export function heard(of) {
  const contents = [];
  of.on("MESSAGE_RECEIVED", ({ content }) => contents.push(content));
  return contents;
}

/** Wait until something is so. */
export async function until(isSo) {
  for (const end = Date.now() + PATIENCE_MS; !isSo(); await sleep(10)) {
    if (Date.now() > end) throw new Error(`in vain: ${isSo}`);
  }
}

/** A network between a client and a server. Cut, it refuses connections; deaf, nothing comes back from the server. */
export class Network {
  #sockets = new Set();
  isCut = false;
  isDeaf = false;

  static async to(test, url) {
    const network = new Network();
    const { hostname, port } = new URL(url);
    const listener = net.createServer((client) => network.#connect(client, net.connect(Number(port), hostname)));
    listener.listen(0, "127.0.0.1");
    await once(listener, "listening");
    test.after(() => {
      listener.close();
      network.cut();
    });
    network.url = `ws://127.0.0.1:${listener.address().port}/ws`;
    return network;
  }

  cut() {
    this.isCut = true;
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  mend() {
    this.isCut = this.isDeaf = false;
  }

  #connect(client, server) {
    for (const socket of [client, server]) {
      this.#sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        this.#sockets.delete(socket);
        client.destroy();
        server.destroy();
      });
    }
    if (this.isCut) return client.destroy();
    client.on("data", (data) => server.write(data));
    server.on("data", (data) => this.isDeaf || client.write(data));
  }
}

/** A server of one's own, that can be killed. */
export class Server {
  static async start(test, port, settings = {}) {
    const server = new Server();
    server.port = port ?? (await freePort());
    server.url = `ws://127.0.0.1:${server.port}/ws`;
    const env = { ...process.env, STORE_URL: "memory://", ...settings, PORT: String(server.port) };
    server.process = spawn(PYTHON, ["-m", "app", "serve"], { env, stdio: "ignore" });
    test.after(() => server.process.kill());
    const isReady = () => fetch(`http://127.0.0.1:${server.port}/health/ready`).then((answer) => answer.ok, () => false);
    for (const end = Date.now() + PATIENCE_MS; !(await isReady()); await sleep(20)) {
      if (Date.now() > end || server.process.exitCode !== null) throw new Error("the server did not start");
    }
    return server;
  }

  async kill() {
    this.process.kill("SIGKILL");
    await once(this.process, "exit");
  }
}

/** Return a port that is free, and that the system gives to nobody: one who tries again in vain would meet itself. */
async function freePort() {
  for (;;) {
    const port = 11_000 + Math.floor(Math.random() * 21_000);
    const probe = net.createServer().listen(port, "127.0.0.1");
    const isFree = await once(probe, "listening").then(() => true, () => false);
    if (!isFree) continue;
    probe.close();
    await once(probe, "close");
    return port;
  }
}
