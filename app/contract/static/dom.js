// Elements, made and found. Text is always set as text, never as markup.

export const byId = (id) => document.getElementById(id);

/** Returns a new element; attributes that are false or null are left out, `on…` are listeners. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child != null && child !== false));
  return element;
}

/** Returns text with what stands in `backticks` as code. */
export const prose = (text) => text.split("`").map((part, at) => (at % 2 ? make("code", {}, part) : part));

const SVG = "http://www.w3.org/2000/svg";

export function makeSvg(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Makes the children of a list those for these items, by key; one that is there is kept, so focus stays. */
export function reconcile(list, items, keyOf, build) {
  const there = new Map([...list.children].map((child) => [child.dataset.key, child]));
  items.forEach((item, place) => {
    const key = keyOf(item);
    const look = JSON.stringify(item);
    let child = there.get(key);
    there.delete(key);
    if (child === undefined || child.dataset.look !== look) {
      const fresh = build(item);
      fresh.dataset.key = key;
      fresh.dataset.look = look;
      const hadFocus = child?.contains(document.activeElement);
      child?.replaceWith(fresh);
      if (hadFocus) (fresh.querySelector("button") ?? fresh).focus();
      child = fresh;
    }
    if (list.children[place] !== child) list.insertBefore(child, list.children[place] ?? null);
  });
  for (const child of there.values()) child.remove();
}
