// Single keys that do something where no text is typed.
import { byId } from "../../docs/static/dom.js";

const isTyping = (element) => element.matches("textarea, select, input:not([type=checkbox], [type=radio])");

/** `acts` has a function for each key. */
export function listenForKeys(acts) {
  const help = byId("help");
  const act = { ...acts, "?": () => help.showModal() };
  byId("help-open").addEventListener("click", act["?"]);
  document.addEventListener("keydown", (event) => {
    const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey;
    const found = act[event.key.toLowerCase()];
    if (!found || !isPlain || help.open || isTyping(event.target) || !byId("single-keys").checked) return;
    event.preventDefault();
    found();
  });
}
