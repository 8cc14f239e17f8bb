// Latency: which frame answers which, and which one at a peer comes of what another peer sent.

const MOST = 200;

/** From each server event that comes of another client's: the event, and a field that both have, if any. */
const COMES_OF = {
  MESSAGE_RECEIVED: { event: "SEND_MESSAGE", shared: "sessionId" },
  CONNECTION_REQUEST_RECEIVED: { event: "CONNECTION_REQUEST" },
  CONNECTION_ACCEPTED: { event: "CONNECTION_RESPONSE", shared: "requestId" },
  CONNECTION_REJECTED: { event: "CONNECTION_RESPONSE", shared: "requestId" },
  CONNECTION_CANCELLED: { event: "CONNECTION_CANCEL", shared: "requestId" },
};

export class Latency {
  constructor() {
    this._asked = new Map();
    this._sent = [];
  }

  /** Takes note of a frame that a peer sent. */
  sent(peer, frame, at) {
    if (frame.ref !== undefined) this._asked.set(keyOf(peer, frame.ref), at);
    this._sent.push({ from: peer, frame, at, reached: new Set() });
    if (this._sent.length > MOST) this._sent.shift();
    if (this._asked.size > MOST) this._asked.delete(this._asked.keys().next().value);
  }

  /** Returns how a frame that a peer got came about, {kind: "answer" | "crossing", ms, from}; null if not known. */
  received(peer, frame, at) {
    return this._answer(peer, frame, at) ?? this._crossing(peer, frame, at);
  }

  _answer(peer, frame, at) {
    const began = frame.ref === undefined ? undefined : this._asked.get(keyOf(peer, frame.ref));
    if (began === undefined) return null;
    this._asked.delete(keyOf(peer, frame.ref));
    if (frame.event === "ERROR") this._sent = this._sent.filter((each) => each.frame.ref !== frame.ref || each.from !== peer);
    return { kind: "answer", ms: at - began, from: peer };
  }

  /** Messages of one sender in one session arrive in the order sent, so the oldest that has not arrived is the one. */
  _crossing(peer, frame, at) {
    const rule = COMES_OF[frame.event];
    const cause = rule && this._sent.find((each) => isCause(each, peer, frame, rule));
    if (!cause) return null;
    cause.reached.add(peer);
    return { kind: "crossing", ms: at - cause.at, from: cause.from };
  }
}

const keyOf = (peer, ref) => `${peer.name} ${JSON.stringify(ref)}`;

function isCause({ from, frame: sent, reached }, peer, frame, { event, shared }) {
  if (from === peer || sent.event !== event || reached.has(peer)) return false;
  if (shared && sent.data?.[shared] !== frame.data[shared]) return false;
  if (event === "SEND_MESSAGE") return frame.data.from === from.id && isMessage(sent.data, frame.data, peer);
  return event !== "CONNECTION_REQUEST" || (sent.data?.targetId === peer.id && frame.data.from?.id === from.id);
}

function isMessage(sent, received, peer) {
  if (sent.to && !sent.to.includes(peer.id)) return false;
  return received.messageId === undefined || sent.messageId === received.messageId;
}

/** Says a time in milliseconds, to three digits at most. */
export function inWords(ms) {
  if (ms >= 10_000) return `${(ms / 1000).toFixed(0)} s`;
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`;
  return `${ms.toFixed(ms < 10 ? 1 : 0)} ms`;
}
