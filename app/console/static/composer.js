// The composer: picks an event, helps to write its frame, and sends it as one of the peers.
import { Choices } from "./choices.js";
import { byId, make, prose } from "../../docs/static/dom.js";
import { Ids } from "./ids.js";
import { inWords } from "./latency.js";

const FIRST = "CONNECTION_REQUEST";
const MOST_PROBLEMS = 4;
const STATES = ["connected", "authenticated", "registered"];

export class Composer {
  constructor(contract, peers, ids) {
    this._contract = contract;
    this._peers = peers;
    this._ids = ids;
    this._field = byId("frame");
    this._verdict = byId("verdict");
    this._prefilled = "";
    this._target = null;
    this._sent = null;
    this._messages = 0;
    this._choices = new Choices(this._field, byId("choices"), (place) => this._offer(place));
    this._fillEvents();
    this._fillSpeakers();
    this._listen();
    this.speakAs(0);
    this.pick(contract.events.has(FIRST) ? FIRST : contract.events.keys().next().value);
  }

  get speaker() {
    return this._peers[this._speaker];
  }

  get event() {
    return this._contract.events.get(byId("event").value);
  }

  /** Sends as this peer, 0 or 1, from now on. */
  speakAs(number) {
    this._speaker = number;
    byId(`speaker-${number}`).checked = true;
    byId("composer").dataset.speaker = this.speaker.name;
    this._refill();
  }

  /** Takes this peer as the one that frames are addressed to. */
  aimAt(id) {
    this._target = id;
    this._refill();
  }

  /** Begins a frame of this event, its example filled with the ids that were seen. */
  pick(name) {
    byId("event").value = name;
    this._prefilled = this._field.value = this._example();
    this._showEvent();
    this._judge();
  }

  /** Puts a frame that was sent before into the editor. */
  edit(peer, text, event) {
    this.speakAs(this._peers.indexOf(peer));
    if (this._contract.events.has(event)) byId("event").value = event;
    this._field.value = pretty(text);
    this._showEvent();
    this._judge();
    this._field.focus();
  }

  /** Puts a frame into the editor that somebody else wrote, to be looked at before it is sent; null does nothing. */
  open(frame) {
    if (frame === null) return;
    if (this._contract.events.has(frame.event)) byId("event").value = frame.event;
    this._prefilled = this._field.value = JSON.stringify(frame, null, 2);
    this._showEvent();
    this._judge();
    this._field.focus({ preventScroll: true });
  }

  /** Fills the example anew, unless it was edited: an id may be known by now. */
  refresh() {
    this._refill();
    this._showState();
  }

  /** Shows what a frame that the speaker got says of the one it sent last. */
  answered(peer, frame, how) {
    if (this._sent === null || peer !== this._sent.peer || frame.ref !== this._sent.ref) return;
    const isBad = frame.event === "ERROR" || frame.event === "AUTH_FAILED";
    if (frame.ref === undefined && !isBad) return; // it may be anything, and no answer
    const time = how ? ` after ${inWords(how.ms)}` : "";
    const text = isBad ? `the server: ${frame.data.code} ${frame.data.message}` : `${frame.event}${time}`;
    this._say(text, isBad ? "bad" : "good");
  }

  /** Sends what stands in the editor, if it is JSON; what does not fit its schema only by force. */
  send(byForce = false) {
    const { frame, problems } = this._judge();
    if (frame === undefined || (problems.length && !byForce)) return;
    const ref = frame?.ref ?? (byId("with-ref").checked && frame?.event ? this.speaker.nextRef() : undefined);
    const text = frame?.ref === undefined && ref !== undefined ? withRef(this._field.value, ref) : this._field.value;
    this._sent = { peer: this.speaker, ref };
    try {
      this.speaker.send(text);
    } catch {
      return this._say(`${this.speaker.name} is not connected: connect it first`, "bad");
    }
    if (problems.length === 0) this._say("sent", "good");
    this._refreshIds(frame);
  }

  focus() {
    this._field.focus();
  }

  _listen() {
    byId("event").addEventListener("change", () => this.pick(byId("event").value));
    byId("send").addEventListener("click", () => this.send());
    this._field.addEventListener("input", () => this._judge());
    this._field.addEventListener("taken", () => this._judge());
    byId("composer").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        this._choices.hide();
        this.send(event.shiftKey);
      }
    });
  }

  _fillEvents() {
    const events = [...this._contract.events.values()];
    const groups = STATES.map((state) => {
      const names = events.filter((event) => event.needs === state).map((event) => make("option", {}, event.name));
      return make("optgroup", { label: `once ${state}` }, ...names);
    });
    byId("event").replaceChildren(...groups.filter((group) => group.children.length));
  }

  _fillSpeakers() {
    const radios = this._peers.map((peer, number) => {
      const radio = make("input", { type: "radio", name: "speaker", id: `speaker-${number}`, onchange: () => this.speakAs(number) });
      return make("label", { class: `seat ${peer.name.toLowerCase()}` }, radio, make("span", {}, `as ${peer.name}`));
    });
    byId("speaker").append(...radios);
  }

  _refill() {
    if (this._field.value !== this._prefilled || !byId("event").value) return;
    this._prefilled = this._field.value = this._example();
    this._judge();
  }

  _refreshIds(frame) {
    for (const [name, kind] of [["messageId", "message"], ["correlationId", "correlation"]]) {
      if (typeof frame?.data?.[name] === "string") this._ids.add(kind, frame.data[name]);
    }
  }

  _example() {
    const { event, data, ...others } = this.event.example;
    const filled = data && Object.fromEntries(Object.entries(data).map(([name, value]) => [name, this._known(name) ?? value]));
    delete filled?.resume;
    return JSON.stringify({ event, ...(filled && { data: filled }), ...others }, null, 2);
  }

  /** Returns what is known to fit a field of the speaker's, undefined if nothing is. */
  _known(name) {
    const other = this._peers.find((peer) => peer !== this.speaker);
    const target = this._target ?? other.id;
    const known = {
      token: () => this.speaker.token,
      sessionId: () => [...this.speaker.sessions].at(-1) ?? this._ids.list("session")[0],
      requestId: () => this.speaker.requests.at(-1) ?? this._ids.list("request")[0],
      targetId: () => target,
      to: () => target && [target],
      messageId: () => `msg_${(this._messages += 1)}`,
    };
    return known[name]?.() ?? undefined;
  }

  _offer({ path, isKey }) {
    const event = this._written() ?? this.event;
    if (isKey) {
      const here = path.join(".");
      const names = event.fields().filter((field) => field.path.slice(0, -1).join(".") === here);
      return [...(path.length ? [] : ["event"]), ...names.map((field) => field.path.at(-1))];
    }
    if (path.join() === "event") return [...this._contract.events.keys()];
    const name = path.findLast((step) => typeof step === "string");
    return [...event.choicesAt(path), ...this._ids.list(Ids.kindOf(name))];
  }

  /** Returns the event that the frame names, which may be another than was picked; undefined if there is no such. */
  _written() {
    return this._contract.events.get(/"event"\s*:\s*"(\w+)"/.exec(this._field.value)?.[1]);
  }

  _judge() {
    let frame;
    try {
      frame = JSON.parse(this._field.value);
    } catch (error) {
      this._mark(false);
      this._say(`not JSON: ${error.message.replace(/^JSON\.parse: /, "")}`, "bad");
      return { frame: undefined, problems: [] };
    }
    const problems = this._problems(frame);
    this._mark(problems.length === 0);
    if (problems.length) this._sayProblems(problems);
    else this._say("fits the schema", "plain");
    this._markFields(problems);
    return { frame, problems };
  }

  _problems(frame) {
    if (frame === null || typeof frame !== "object" || Array.isArray(frame)) return [{ path: "", message: "must be an object" }];
    const event = this._contract.events.get(frame.event);
    if (event === undefined) return [{ path: "event", message: `there is no event ${JSON.stringify(frame.event)}` }];
    if (event !== this.event) {
      byId("event").value = event.name;
      this._showEvent();
    }
    return event.problems(frame);
  }

  _sayProblems(problems) {
    const lines = problems.slice(0, MOST_PROBLEMS).map(({ path, message }) =>
      make("span", { class: "problem" }, make("code", {}, path || "the frame"), ` ${message}`),
    );
    const more = problems.length > lines.length ? `and ${problems.length - lines.length} more` : "";
    const force = make("button", { type: "button", class: "link", onclick: () => this.send(true) }, "Send it all the same");
    this._verdict.className = "bad";
    this._verdict.replaceChildren(...lines, more, force);
  }

  _say(text, kind) {
    this._verdict.className = kind;
    this._verdict.textContent = text;
  }

  _mark(isGood) {
    this._field.setAttribute("aria-invalid", !isGood);
  }

  _markFields(problems) {
    const wrong = new Set(problems.map(({ path }) => path.replace(/\[\d+\]/g, "")));
    for (const row of byId("fields").querySelectorAll("[data-path]")) {
      row.classList.toggle("wrong", wrong.has(row.dataset.path));
    }
  }

  _showEvent() {
    const { description, answers, errors } = this.event;
    const told = [["Answered by", answers], ["Refused with", errors]].filter(([, codes]) => codes.length);
    byId("fields").replaceChildren(
      make("p", { class: "about" }, ...prose(description)),
      make("dl", {}, ...this.event.fields().flatMap((field) => this._row(field))),
      ...told.map(([what, codes]) => make("p", { class: "chips" }, `${what} `, ...codes.map((code) => make("code", {}, code)))),
    );
    this._showState();
  }

  /** Returns the term and what is told of a field; of what holds fields, they tell. */
  _row({ path, depth, isRequired, kind, choices, description }) {
    const dotted = path.join(".");
    const name = make(
      "button",
      { type: "button", class: "link", title: `Put ${dotted} into the frame`, onclick: () => this._insert(path, choices) },
      path.at(-1),
    );
    const term = make("dt", { "data-path": dotted, class: `depth-${Math.min(depth, 3)}` }, name, isRequired && make("b", { title: "required" }, "*"));
    const listed = choices.length > 1 && choices.map((choice) => make("code", {}, JSON.stringify(choice)));
    const about = kind === "object" ? [] : [" ", ...prose(description)];
    return [term, make("dd", {}, make("span", { class: "kind" }, kind), ...(listed || []), ...about)];
  }

  /** Adds a field that is not there yet, and selects its value. */
  _insert(path, choices) {
    let frame;
    try {
      frame = JSON.parse(this._field.value);
    } catch {
      return this.focus();
    }
    let at = frame;
    for (const step of path.slice(0, -1)) at = at[step] ??= {};
    const name = path.at(-1);
    if (at[name] === undefined) {
      at[name] = this._known(name) ?? this._ids.list(Ids.kindOf(name))[0] ?? choices[0] ?? "";
      this._field.value = JSON.stringify(frame, null, 2);
    }
    const key = this._field.value.indexOf(`"${name}":`);
    this._judge();
    this.focus();
    this._field.setSelectionRange(key, key + name.length + 2);
  }

  _showState() {
    const { needs, capability } = this.event;
    const rank = STATES.indexOf(this.speaker.state);
    const isShort = rank < STATES.indexOf(needs);
    const chips = [make("span", { class: isShort ? "chip bad" : "chip" }, `needs ${needs}`)];
    if (capability) chips.push(make("span", { class: "chip" }, capability));
    byId("needs").replaceChildren(...chips);
  }
}

/** Adds a ref to the text of an object; the rest of it stays byte for byte as it was typed. */
const withRef = (text, ref) => text.replace(/\s*\}\s*$/, `, "ref": ${JSON.stringify(ref)}}`);

function pretty(text) {
  try {
    const { ref: _, ...frame } = JSON.parse(text);
    return JSON.stringify(frame, null, 2);
  } catch {
    return text;
  }
}
