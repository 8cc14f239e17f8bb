// The overview: which peers and sessions are there, live.
import { byId, make, reconcile } from "../../docs/static/dom.js";
import { poll } from "./poll.js";
import { Rover } from "./rover.js";

const EVERY = 1000;
const LIMIT = 100;

export class Overview {
  /** `onChoose` gets the id of a peer that was chosen, null if none is any more. */
  constructor(ids, onChoose) {
    this._ids = ids;
    this._onChoose = onChoose;
    this._token = null;
    this._chosen = null;
    this._query = byId("there-query");
    this._rover = new Rover(byId("peers"), "button");
    const ask = poll(EVERY, () => this._ask());
    this._query.addEventListener("input", ask);
    byId("operator").addEventListener("submit", (event) => {
      event.preventDefault();
      this._token = byId("operator-token").value.trim();
      byId("operator-token").value = "";
      ask();
    });
  }

  focus() {
    if (!this._rover.focus()) this._query.focus();
  }

  async _ask() {
    const query = new URLSearchParams({ limit: LIMIT, query: this._query.value });
    const headers = this._token ? { Authorization: `Bearer ${this._token}` } : {};
    try {
      const response = await fetch(`api/v1/admin/overview?${query}`, { headers });
      const answer = await response.json();
      if (response.ok) this._show(answer);
      else this._refused(response.status, answer);
    } catch {
      this._say("The server does not answer", true);
    }
  }

  _refused(status, { code, message }) {
    const needsToken = status === 401 || status === 403;
    byId("operator").hidden = !needsToken;
    if (needsToken && this._token) byId("operator-problem").textContent = `${code}: ${message}`;
    if (needsToken) this._token = null;
    this._say(needsToken ? "An operator's token shows who is there" : message, true);
  }

  _show({ version, draining, counts, peers, sessions }) {
    byId("operator").hidden = true;
    this._say(`${version} · ${plural(counts.sockets, "socket")}${draining ? " · draining" : ""}`, draining);
    byId("peer-count").textContent = told(peers.length, counts.peers);
    byId("session-count").textContent = told(sessions.length, counts.sessions);
    for (const peer of peers.slice(0, 20).reverse()) this._ids.add("peer", peer.id);
    this._peers = peers;
    this._showPeers();
    reconcile(byId("sessions"), sessions, ({ sessionId }) => sessionId, session);
  }

  _say(text, isBad) {
    const node = byId("node");
    if (node.textContent !== text) node.textContent = text;
    node.classList.toggle("bad", isBad);
  }

  _peer(peer) {
    const { id, org, displayName, ide, status, hidden, connected, capabilities, sessions, kept, isChosen } = peer;
    const state = connected ? status : `dropped, ${kept} kept`;
    const details = [state, hidden && "hidden", sessions && plural(sessions, "session"), ide, org];
    return make(
      "li",
      {},
      make(
        "button",
        { type: "button", "aria-pressed": String(isChosen), title: `Address frames to ${id}\nspeaks ${capabilities.join(", ") || "version 1"}`, onclick: () => this._choose(id) },
        make("i", { class: `dot ${connected ? status : "lost"}` }),
        make("b", {}, displayName),
        id !== displayName && make("code", {}, id),
        make("small", {}, details.filter(Boolean).join(" · ")),
      ),
    );
  }

  _choose(id) {
    this._chosen = this._chosen === id ? null : id;
    this._onChoose(this._chosen);
    this._showPeers();
  }

  _showPeers() {
    const marked = this._peers.map((peer) => ({ ...peer, isChosen: peer.id === this._chosen }));
    reconcile(byId("peers"), marked, ({ org, id }) => `${org ?? ""}/${id}`, (peer) => this._peer(peer));
    this._rover.settle();
  }
}

const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
const told = (shown, all) => (shown < all ? `${shown} of ${all.toLocaleString("en")}` : String(all));

function session({ sessionId, org, participants }) {
  const people = participants.map(({ id, role, connected }) =>
    make("span", { class: connected ? "" : "lost", title: `${role}${connected ? "" : ", dropped"}` }, role === "host" ? `${id} (host)` : id),
  );
  return make("li", { class: "session" }, make("code", {}, sessionId), make("small", {}, org ?? "", ...people));
}
