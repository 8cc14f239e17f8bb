// A rover: in a long list only one thing takes part in Tab; arrow keys, Home and End go along it.

const STEPS = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity };

export class Rover {
  constructor(list, selector) {
    this._list = list;
    this._selector = selector;
    list.addEventListener("focusin", (event) => this._settleOn(event.target.closest(selector)));
    list.addEventListener("keydown", (event) => this._pressed(event));
  }

  /** Sees to it that one thing can be reached with Tab, after the list has changed. */
  settle() {
    const all = this._all();
    const chosen = all.filter((each) => each.tabIndex === 0);
    this._settleOn(chosen.length === 1 ? chosen[0] : all.at(-1));
  }

  /** Moves the focus into the list; false if it is empty. */
  focus() {
    const all = this._all();
    const place = all.find((each) => each.tabIndex === 0) ?? all.at(-1);
    place?.focus();
    return place !== undefined;
  }

  _all() {
    return [...this._list.querySelectorAll(this._selector)].filter((each) => each.offsetParent !== null);
  }

  _settleOn(chosen) {
    if (!chosen) return;
    for (const each of this._list.querySelectorAll(this._selector)) each.tabIndex = each === chosen ? 0 : -1;
  }

  _pressed(event) {
    const here = event.target.closest(this._selector);
    const step = STEPS[event.key];
    if (!here || step === undefined) return;
    event.preventDefault();
    const all = this._all();
    all[Math.max(0, Math.min(all.length - 1, all.indexOf(here) + step))].focus();
  }
}
