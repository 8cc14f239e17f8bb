// The timeline: the frames of both peers in the order of time, each in its peer's lane. Bounded.
import { unwrapped } from "./content.js";
import { byId, make } from "../../docs/static/dom.js";
import { colored, indented } from "../../docs/static/json.js";
import { inWords } from "./latency.js";
import { Rover } from "./rover.js";

const MOST = 500;
const PRESENCE = "PEER_STATUS_UPDATE";
const ENDED = { cancelled: "withdrawn", expired: "expired", offline: "its requester is gone" };

export class Timeline {
  /** `onEdit` gets a peer, the text and the event of a frame to be edited anew. */
  constructor(onEdit) {
    this._list = byId("timeline");
    this._onEdit = onEdit;
    this._waiting = [];
    this._count = 0;
    this._isDue = false;
    this._questions = new Map();
    this._rover = new Rover(this._list, ".head");
    this._list.addEventListener("keydown", (event) => this._pressed(event));
    byId("clear").addEventListener("click", () => this.clear());
    byId("expand").addEventListener("change", ({ target }) => {
      for (const row of this._list.children) row.unfold?.(target.checked);
    });
    byId("without-presence").addEventListener("change", (event) => {
      this._list.classList.toggle("without-presence", event.target.checked);
    });
  }

  /** Adds a frame; `how` says how it came about, if that is known. */
  addFrame(peer, { direction, text, frame }, how) {
    this._count += 1;
    this._add(() => this._frame(peer, { direction, text, frame }, how));
  }

  addNote(peer, { text, kind }) {
    this._add(() => {
      const card = make("div", { class: "card" }, text);
      return make("li", { class: `note ${peer.name.toLowerCase()} ${kind}` }, this._time(), card);
    });
  }

  clear() {
    this._count = 0;
    this._waiting = [];
    this._questions.clear();
    this._list.replaceChildren();
    this._showCount();
  }

  focus() {
    this._rover.focus();
  }

  _add(build) {
    this._waiting.push({ build, at: new Date() });
    if (this._waiting.length > MOST) this._waiting.shift();
    if (this._isDue) return;
    this._isDue = true;
    // Not an animation frame: a page in the background is to go on counting.
    setTimeout(() => this._flush(), 16);
  }

  _flush() {
    this._isDue = false;
    const rows = this._waiting.map(({ build, at }) => {
      this._now = at;
      return build();
    });
    this._waiting = [];
    this._list.append(...rows);
    while (this._list.children.length > MOST) this._list.firstElementChild.remove();
    this._rover.settle();
    if (byId("follow").checked) this._list.scrollTop = this._list.scrollHeight;
    this._showCount();
  }

  _showCount() {
    byId("frame-count").textContent = this._count || "";
  }

  _time() {
    return make("time", {}, clock(this._now));
  }

  _frame(peer, { direction, text, frame }, how) {
    const isBad = frame.event === "ERROR" || frame.event === "AUTH_FAILED";
    const lane = peer.name.toLowerCase();
    const head = make(
      "button",
      { type: "button", class: "head", "aria-expanded": "false", tabindex: "-1" },
      make("span", { class: "unseen" }, `${peer.name} ${direction === "out" ? "sends" : "gets"} `),
      make("span", { class: "way", "aria-hidden": "true" }, direction === "out" ? "▲" : "▼"),
      make("b", {}, frame.event ?? "?"),
      how && latency(how),
      frame.ref !== undefined && make("span", { class: "chip", title: "ref" }, String(frame.ref)),
      frame.offset !== undefined && make("span", { class: "chip", title: "offset" }, `№ ${frame.offset}`),
      make("span", { class: "summary" }, summary(frame)),
    );
    const card = make("div", { class: "card" }, head, ...this._actions(peer, direction, frame));
    const kinds = [direction, lane, isBad && "bad", frame.event === "CONNECTION_REQUEST_RECEIVED" && "asks", frame.event === PRESENCE && "presence"].filter(Boolean);
    const row = make("li", { class: kinds.join(" "), "data-event": frame.event ?? "" }, this._time(), card);
    const edit = direction === "out" && action("Edit anew", () => row.edit());
    row.unfold = (isOpen) => unfold(head, card, text, edit, isOpen);
    head.addEventListener("click", () => row.unfold(head.getAttribute("aria-expanded") !== "true"));
    if (byId("expand").checked) row.unfold(true);
    row.edit = direction === "out" ? () => this._onEdit(peer, text, frame.event) : null;
    return row;
  }

  _actions(peer, direction, frame) {
    if (direction === "out") return [];
    if (frame.event === "CONNECTION_CANCELLED") this._close(peer, frame.data);
    if (frame.event !== "CONNECTION_REQUEST_RECEIVED" || peer.acceptsAll) return [];
    const answer = (accepted) => () => peer.isOpen && peer.answer(frame.data.requestId, accepted);
    const actions = [action("Accept", answer(true)), action("Decline", answer(false))];
    this._questions.set(`${peer.name} ${frame.data.requestId}`, actions);
    if (this._questions.size > MOST) this._questions.delete(this._questions.keys().next().value);
    return actions;
  }

  /** Replaces the buttons of a request that ended unanswered with the reason. */
  _close(peer, { requestId, reason }) {
    const key = `${peer.name} ${requestId}`;
    const [first, ...others] = this._questions.get(key) ?? [];
    first?.replaceWith(make("span", { class: "chip" }, ENDED[reason] ?? reason));
    for (const other of others) other.remove();
    this._questions.delete(key);
  }

  _pressed(event) {
    const edit = event.target.closest("li")?.edit;
    if (event.key !== "e" || !edit) return;
    event.preventDefault();
    event.stopPropagation();
    edit();
  }
}

function unfold(head, card, text, edit, isOpen) {
  if (isOpen === (head.getAttribute("aria-expanded") === "true")) return;
  head.setAttribute("aria-expanded", isOpen);
  if (isOpen) card.append(make("pre", { tabindex: "0" }, ...colored(indented(text))), ...(edit ? [edit] : []));
  else for (const part of [card.querySelector("pre"), edit]) part && part.remove();
}

const action = (text, onclick) => make("button", { type: "button", class: "action", onclick }, text);

function latency({ kind, ms, from }) {
  const [text, title] = kind === "answer" ? [`⟲ ${inWords(ms)}`, "from sending to this answer"] : [`${from.name} → ${inWords(ms)}`, `since ${from.name} sent it`];
  return make("span", { class: `chip time ${kind}`, title }, text);
}

const FIRST = ["content", "code", "message", "from", "peer", "change", "delivered", "queued", "full", "reason", "targetId"];
const SELF_TOLD = new Set(["content", "code", "message"]);

/** Says in one line what a frame holds, the telling first and ids last; a token is left out. */
function summary({ data }) {
  if (data === undefined || data === null || typeof data !== "object") return "";
  const fields = Object.entries(unwrapped(data)).filter(([name]) => name !== "token");
  const rank = ([name]) => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length + name.endsWith("Id"));
  const parts = fields.sort((one, other) => rank(one) - rank(other)).map(([name, value]) => (SELF_TOLD.has(name) ? brief(value) : `${name} ${brief(value)}`));
  return parts.join(" · ").slice(0, 200);
}

function brief(value) {
  if (typeof value === "string") return value.slice(0, 80);
  const name = value?.profile?.displayName; // a peer is told by its name
  if (name !== undefined) return name === value.id ? name : `${name} (${value.id})`;
  return JSON.stringify(value).slice(0, 80);
}

const two = (number) => String(number).padStart(2, "0");
const clock = (at) =>
  `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${String(at.getMilliseconds()).padStart(3, "0")}`;
