// Ids that were seen, the latest first: what may stand in a field that names somebody or something.

const KINDS = {
  sessionId: "session",
  requestId: "request",
  messageId: "message",
  correlationId: "correlation",
  targetId: "peer",
  userId: "peer",
  hostId: "peer",
  from: "peer",
  to: "peer",
};
const MOST = 50;

export class Ids {
  constructor() {
    this._seen = { session: [], request: [], message: [], correlation: [], peer: [] };
  }

  /** Returns the kind of id that stands under a name; undefined if it is none. */
  static kindOf = (name) => KINDS[name];

  add(kind, id) {
    const others = this._seen[kind].filter((each) => each !== id);
    this._seen[kind] = [id, ...others].slice(0, MOST);
  }

  remove(kind, id) {
    this._seen[kind] = this._seen[kind].filter((each) => each !== id);
  }

  list(kind) {
    return this._seen[kind] ?? [];
  }

  /** Takes note of the ids that the server's frame names. */
  watch({ event, data }) {
    if (event === "SESSION_ENDED") return this.remove("session", data.sessionId);
    for (const [name, value] of Object.entries(data ?? {})) {
      if (typeof value === "string" && KINDS[name]) this.add(KINDS[name], value);
    }
    for (const peer of [data?.peer, data?.from, ...(data?.peers ?? []), ...(data?.participants ?? [])]) {
      if (typeof peer?.id === "string") this.add("peer", peer.id);
    }
    if (event === "PEER_STATUS_UPDATE") this.add("peer", data.id);
  }
}
