// What an extension of VS Code does with PeerSync, driven over the port that the environment names.
// WEBSOCKET says with what: `ws`, as extensions bring along, or `builtin`, what the runtime itself has.
import net from "node:net";
import readline from "node:readline";

const WebSocket = process.env.WEBSOCKET === "ws" ? (await import("ws")).WebSocket : globalThis.WebSocket;
const NORMAL = 1000;

class Peer {
  status = "offline";
  peers = new Map();
  requests = new Map();
  sessions = new Map();
  messages = [];

  connect(url, token, displayName) {
    this.socket = new WebSocket(url);
    this.socket.addEventListener("open", () => this.send("AUTH", { token }));
    this.socket.addEventListener("message", ({ data }) => this.receive(JSON.parse(data)));
    this.socket.addEventListener("close", ({ code }) => (this.status = `closed ${code}`));
    this.displayName = displayName;
  }

  send(event, data = {}) {
    this.socket.send(JSON.stringify({ event, data }));
  }

  receive({ event, data }) {
    this[event]?.(data);
  }

  AUTH_SUCCESS() {
    this.send("PEER_REGISTER", { displayName: this.displayName, ide: "vscode" });
  }

  PEER_REGISTERED() {
    this.status = "online";
    this.send("DISCOVER_PEERS");
  }

  PEERS_LIST({ peers }) {
    this.peers = new Map(peers.map((peer) => [peer.id, peer]));
  }

  PEER_STATUS_UPDATE(peer) {
    if (peer.status === "offline") this.peers.delete(peer.id);
    else this.peers.set(peer.id, peer);
  }

  CONNECTION_REQUEST_RECEIVED(request) {
    this.requests.set(request.from.id, request.requestId);
  }

  CONNECTION_ACCEPTED({ sessionId, peer }) {
    this.sessions.set(peer.id, sessionId);
  }

  SESSION_CREATED({ sessionId, peer }) {
    this.sessions.set(peer.id, sessionId);
  }

  CONNECTION_REJECTED({ targetId, reason }) {
    this.messages.push(`${targetId} rejected ${reason ?? ""}`);
  }

  SESSION_ENDED({ sessionId }) {
    for (const [peer, id] of this.sessions) if (id === sessionId) this.sessions.delete(peer);
  }

  MESSAGE_RECEIVED({ content }) {
    this.messages.push(content.text ?? content);
  }

  answer(peer, accepted) {
    this.send("CONNECTION_RESPONSE", { requestId: this.requests.get(peer), accepted });
  }

  say(content, type) {
    const [sessionId] = this.sessions.values();
    this.send("SEND_MESSAGE", { sessionId, content, type });
  }

  leave() {
    this.socket.close(NORMAL);
  }
}

const peer = new Peer();
const driver = net.connect(Number(process.env.DRIVER_PORT), "127.0.0.1");
driver.on("close", () => process.exit());
for await (const line of readline.createInterface({ input: driver })) {
  let answer;
  try {
    answer = { value: new Function("peer", JSON.parse(line))(peer) ?? null };
  } catch (error) {
    answer = { error: String(error) };
  }
  driver.write(JSON.stringify(answer) + "\n");
}
