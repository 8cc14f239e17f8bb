// A peer: one socket at a time, what it was told, and what it needs to come back after a drop. Knows no element.

export const CAPABILITIES = ["resume", "acks", "sessions", "notices"];
const DROP = 3000; // any code but 1000, 1001 and none counts as a drop; a page may close with 3000 to 4999
const LEAVE = 1000;
const UNOPENED = "it never opened: the server is away, or refuses this page's origin (ALLOWED_ORIGINS)";

export class Peer extends EventTarget {
  /** Dispatches `frame` {direction, text, frame, at}, `note` {text, kind} and `change`. `now` is in milliseconds, `closes` says what close codes mean. */
  constructor(name, now, closes = {}) {
    super();
    this.name = name;
    this.state = "off";
    this.id = null;
    this.token = null;
    this.sessions = new Set();
    this.requests = [];
    this._askers = new Map();
    this._now = now;
    this._closes = closes;
    this._socket = null;
    this._options = {};
    this._resume = null;
    this._offset = 0;
    this._refs = 0;
  }

  get isOpen() {
    return this._socket?.readyState === WebSocket.OPEN;
  }

  get isAway() {
    return this.state === "off" || this.state === "dropped";
  }

  get canResume() {
    return this.state === "dropped" && this._resume !== null;
  }

  /** Opens a socket. `until` says how far to go: open, authenticated or registered. */
  connect(url, token, { capabilities = [], until = "registered", accept = false }) {
    this.token = token;
    this._options = { capabilities, until };
    this._resume = null;
    this._offset = 0;
    this.acceptsAll = accept;
    this.sessions.clear();
    this._open(url);
  }

  /** Opens a socket that goes on where the last one was cut. */
  resume(url, token) {
    this.token = token;
    this._open(url);
  }

  /** Cuts the connection as a lost network would, as far as the server is concerned. */
  drop() {
    this._close(DROP, "dropped by the console");
  }

  leave() {
    this._close(LEAVE, "");
  }

  nextRef() {
    this._refs += 1;
    return `${this.name}${this._refs}`;
  }

  /** Sends a frame as it is. Throws if the socket is not open. */
  send(text) {
    if (!this.isOpen) throw new Error(`${this.name} is not connected`);
    const at = this._now();
    this._socket.send(text);
    this._tell("frame", { direction: "out", text, frame: parsed(text), at });
  }

  sendEvent(event, data) {
    this.send(JSON.stringify({ event, ...(data && { data }), ref: this.nextRef() }));
  }

  _open(url) {
    const socket = new WebSocket(url);
    this._socket = socket;
    this._become("connecting");
    socket.onopen = () => this._opened();
    socket.onmessage = (message) => this._received(message.data);
    socket.onclose = (event) => socket === this._socket && this._closed(event);
  }

  _opened() {
    this._become("connected");
    const { capabilities, until } = this._options;
    if (until === "open" && !this._resume) return;
    const data = { token: this.token };
    if (capabilities.length) data.capabilities = capabilities;
    if (this._resume) data.resume = { token: this._resume, offset: this._offset };
    this.sendEvent("AUTH", data);
  }

  _received(text) {
    const frame = parsed(text);
    this._tell("frame", { direction: "in", text, frame, at: this._now() });
    if (Number.isInteger(frame.offset)) this._offset = frame.offset;
    this[`_on_${frame.event}`]?.(frame.data);
  }

  _on_AUTH_SUCCESS(data) {
    if (this.state !== "connected") return; // a token renewed
    this.id = data.userId;
    const isReturning = this._resume !== null;
    this._resume = data.resume?.token ?? null;
    if (isReturning) this._tell("note", resumed(data.recovered));
    if (data.recovered) return this._become("registered");
    this._offset = 0;
    this._become("authenticated");
    if (this._options.until === "registered") this.sendEvent("PEER_REGISTER", {});
  }

  _on_PEER_REGISTERED() {
    this._become("registered");
  }

  _on_CONNECTION_REQUEST_RECEIVED({ requestId, from, sessionId }) {
    this.requests.push(requestId);
    if (sessionId === undefined) this._askers.set(requestId, from.id);
    if (this.acceptsAll) this.answer(requestId, true);
  }

  _on_CONNECTION_CANCELLED({ requestId }) {
    this._forget(requestId);
  }

  _on_CONNECTION_ACCEPTED({ sessionId }) {
    this._join(sessionId);
  }

  _on_SESSION_CREATED({ sessionId, peer }) {
    this._join(sessionId);
    for (const [requestId, asker] of this._askers) if (asker === peer.id) this._forget(requestId);
  }

  _on_SESSION_ENDED({ sessionId }) {
    this.sessions.delete(sessionId);
    this._tell("change");
  }

  answer(requestId, accepted) {
    this._forget(requestId);
    this.sendEvent("CONNECTION_RESPONSE", { requestId, accepted });
  }

  _forget(requestId) {
    this._askers.delete(requestId);
    this.requests = this.requests.filter((each) => each !== requestId);
  }

  _join(sessionId) {
    this.sessions.add(sessionId);
    this._tell("change");
  }

  _close(code, reason) {
    if (this.isAway) return;
    const socket = this._socket;
    this._socket = null;
    socket.onmessage = null;
    socket.close(code, reason);
    this._end(code, reason);
  }

  _closed({ code, reason }) {
    this._socket = null;
    this._end(code, this.state === "connecting" ? UNOPENED : reason, true);
  }

  _end(code, reason, byServer = false) {
    const isGone = [1000, 1001, 1005].includes(code);
    if (isGone) this._resume = null;
    const what = byServer ? "closed by the server or the network" : isGone ? "left" : "dropped";
    const meaning = byServer ? this._closes[code] : null;
    this._tell("note", { text: [`${what}: ${code}`, reason, meaning].filter(Boolean).join(" · "), kind: isGone ? "plain" : "bad" });
    this._become(isGone ? "off" : "dropped");
  }

  _become(state) {
    this.state = state;
    this._tell("change");
  }

  _tell(type, detail = {}) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

const resumed = (recovered) =>
  recovered
    ? { text: "resumed: what was kept follows", kind: "good" }
    : { text: "not recovered: it starts over, and what was kept is gone", kind: "bad" };

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}
