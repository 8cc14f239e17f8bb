// A seat: one peer's name, token, capabilities, and what becomes of its connection.
import { byId, make } from "../../docs/static/dom.js";
import { CAPABILITIES } from "./peer.js";

const MAIL_NAME = /^[\w.+-]{1,64}$/; // other names get a token without an address
const GOALS = { registered: "authenticate and register", authenticated: "authenticate", open: "do nothing more" };

export class Seat {
  constructor(peer, name, url) {
    this._peer = peer;
    this._url = url;
    this._key = peer.name.toLowerCase();
    this._build(name);
    peer.addEventListener("change", () => this.show());
    this.show();
  }

  connect = () => this._withToken((token) => this._peer.connect(this._url, token, this._options()));

  drop = () => this._peer.drop();

  resume = () => this._peer.canResume && this._withToken((token) => this._peer.resume(this._url, token));

  show() {
    const { state, id, sessions } = this._peer;
    this._card.dataset.state = state;
    this._state.textContent = state;
    const inSessions = sessions.size && `${sessions.size} session${sessions.size > 1 ? "s" : ""}`;
    this._id.textContent = [id !== this._name.value && id, inSessions].filter(Boolean).join(" · ");
    this._buttons.connect.disabled = !this._peer.isAway;
    this._buttons.drop.disabled = this._buttons.leave.disabled = this._peer.isAway;
    this._buttons.resume.disabled = !this._peer.canResume;
  }

  /** Gets the token that was pasted, or a fresh one for the name, and uses it. */
  async _withToken(use) {
    this._complain("");
    const name = this._name.value.trim();
    if (!name) return this._complain("A name, please");
    try {
      use(this._token.value.trim() || (await devToken(name)));
    } catch (error) {
      this._complain(error.message);
    }
  }

  _options() {
    return {
      capabilities: this._checks.filter((check) => check.checked).map((check) => check.value),
      until: this._goal.value,
      accept: this._accepts.checked,
    };
  }

  _build(name) {
    const { _key: key, _peer: peer } = this;
    this._name = make("input", { id: `${key}-name`, value: name, maxlength: 128, autocomplete: "off", spellcheck: "false" });
    this._token = make("input", { id: `${key}-token`, type: "password", autocomplete: "off", placeholder: "empty: a development token" });
    this._goal = make("select", { id: `${key}-goal` }, ...Object.entries(GOALS).map(([value, text]) => make("option", { value }, text)));
    this._checks = CAPABILITIES.map((value) => make("input", { type: "checkbox", value, checked: true }));
    this._accepts = make("input", { type: "checkbox", onchange: () => (peer.acceptsAll = this._accepts.checked) });
    this._state = make("span", { class: "state", role: "status" });
    this._id = make("span", { class: "hint" });
    this._problem = make("p", { class: "problem", role: "alert" });
    this._buttons = {
      connect: make("button", { class: "main" }, "Connect"),
      drop: button("Drop", this.drop),
      resume: button("Resume", this.resume),
      leave: button("Leave", () => peer.leave()),
    };
    this._buttons.drop.title = "Close with 3000: to the server that is a connection lost";
    this._buttons.leave.title = "Close with 1000: it is gone for good";
    this._card = this._layout();
    this._card.addEventListener("submit", (event) => {
      event.preventDefault();
      if (peer.isAway) this.connect();
    });
    byId("seats").append(this._card);
  }

  _layout() {
    const { _key: key, _peer: peer } = this;
    const capabilities = CAPABILITIES.map((name, at) => make("label", { class: "check" }, this._checks[at], name));
    return make(
      "form",
      { class: `card ${key}`, "aria-label": `Peer ${peer.name}` },
      make("div", { class: "bar" }, make("b", { class: "badge" }, peer.name), make("label", { class: "unseen", for: `${key}-name` }, "Name"), this._name, this._id, this._state),
      make("div", { class: "bar" }, ...Object.values(this._buttons), make("label", { class: "check" }, this._accepts, "accepts requests")),
      make(
        "details",
        {},
        make("summary", {}, "Token and capabilities"),
        make("div", { class: "checks" }, ...capabilities),
        make("label", { for: `${key}-token` }, "Token"),
        this._token,
        make("label", { for: `${key}-goal` }, "Once connected"),
        this._goal,
      ),
      this._problem,
    );
  }

  _complain(text) {
    this._problem.textContent = text;
  }
}

const button = (text, onclick) => make("button", { type: "button", onclick }, text);

async function devToken(name) {
  const response = await fetch("api/v1/auth/dev-token", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ userId: name, displayName: name, ...(MAIL_NAME.test(name) && { email: `${name}@example.com` }) }),
  });
  if (response.status === 404 || response.status === 405) throw new Error("No development tokens here: paste a token below");
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.message);
  return answer.token;
}
