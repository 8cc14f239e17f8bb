// The choices: a list at the caret of what may stand there. The text keeps the focus.
import { placeOf } from "./caret.js";
import { make } from "../../docs/static/dom.js";

const MOST = 12;

export class Choices {
  /** `offer` returns what may stand at a place of the text, as a list of values. */
  constructor(field, list, offer) {
    this._field = field;
    this._list = list;
    this._offer = offer;
    this._place = null;
    field.addEventListener("keydown", (event) => this._pressed(event));
    field.addEventListener("input", () => this.show(false));
    field.addEventListener("blur", () => this.hide());
    field.addEventListener("click", () => this.hide());
    list.addEventListener("pointerdown", (event) => this._pointed(event));
  }

  get isOpen() {
    return !this._list.hidden;
  }

  /** Opens the list if there is something to choose; unasked, only within quotes, and not if it stands there already. */
  show(isAsked = true) {
    const place = placeOf(this._field.value, this._field.selectionStart);
    const found = place === null ? [] : this._found(place, isAsked);
    if (found.length === 0) return this.hide();
    this._place = place;
    this._list.replaceChildren(...found.map((value, at) => option(value, at)));
    this._list.hidden = false;
    this._put();
    this._choose(0);
  }

  hide() {
    this._list.hidden = true;
    this._field.removeAttribute("aria-activedescendant");
  }

  _found(place, isAsked) {
    if (!isAsked && !place.isQuoted) return [];
    const part = isAsked ? "" : place.before.toLowerCase();
    const values = this._offer(place).filter((value) => !place.isQuoted || typeof value === "string");
    const fitting = values.filter((value) => String(value).toLowerCase().includes(part)).slice(0, MOST);
    return !isAsked && fitting.some((value) => value === place.before) ? [] : fitting;
  }

  /** Puts the list under the caret, or above it at the bottom of the window: the text does not wrap, and all its characters are of one width. */
  _put() {
    const { value, scrollLeft, scrollTop, offsetLeft, offsetTop, clientWidth } = this._field;
    const above = value.slice(0, this._place.start).split("\n");
    const style = getComputedStyle(this._field);
    const line = Number.parseFloat(style.lineHeight);
    const x = Number.parseFloat(style.paddingLeft) + above.at(-1).length * widthOf(style.font) - scrollLeft;
    const y = Number.parseFloat(style.paddingTop) + above.length * line - scrollTop;
    const most = clientWidth - this._list.offsetWidth;
    this._list.style.left = `${offsetLeft + Math.max(0, Math.min(x, most))}px`;
    this._list.style.top = `${offsetTop + y + 2}px`;
    const isBelow = this._list.getBoundingClientRect().bottom > innerHeight;
    if (isBelow) this._list.style.top = `${offsetTop + y - line - this._list.offsetHeight - 2}px`;
  }

  _pressed(event) {
    if (event.key === " " && event.ctrlKey) {
      event.preventDefault();
      this.show();
    } else if (this.isOpen && event.key in MOVES) {
      event.preventDefault();
      this._choose(this._at + MOVES[event.key]);
    } else if (this.isOpen && event.key === "Enter" && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      this._take();
    } else if (this.isOpen && event.key === "Escape") {
      event.preventDefault();
      this.hide();
    } else if (["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) {
      this.hide();
    }
  }

  _pointed(event) {
    event.preventDefault();
    const at = [...this._list.children].indexOf(event.target.closest("[role=option]"));
    if (at >= 0) {
      this._choose(at);
      this._take();
    }
  }

  _choose(at) {
    const options = [...this._list.children];
    this._at = (at + options.length) % options.length;
    options.forEach((each, number) => each.setAttribute("aria-selected", number === this._at));
    options[this._at].scrollIntoView({ block: "nearest" });
    this._field.setAttribute("aria-activedescendant", options[this._at].id);
  }

  _take() {
    const { start, end, isQuoted } = this._place;
    const json = this._list.children[this._at].dataset.json;
    this._field.setRangeText(isQuoted ? json.slice(1, -1) : json, start, end, "end");
    this.hide();
    this._field.dispatchEvent(new CustomEvent("taken"));
  }
}

const MOVES = { ArrowDown: 1, ArrowUp: -1 };

const option = (value, at) =>
  make("li", { role: "option", id: `choice-${at}`, "data-json": JSON.stringify(value) }, String(value));

function widthOf(font) {
  const context = make("canvas").getContext("2d");
  context.font = font;
  return context.measureText("m").width;
}
