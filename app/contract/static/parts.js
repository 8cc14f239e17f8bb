// What pages of events and of endpoints have in common: fields, and examples.
import { make } from "./dom.js";
import { colored } from "./json.js";
import { inline } from "./markdown.js";

/** Returns a list of fields, as `fieldsOf` gives them. */
export function fields(all) {
  return make("dl", { class: "fields" }, ...all.map(field));
}

function field({ path, depth, isRequired, kind, choices, description }) {
  const values = choices.length > 1 && kind !== "boolean" ? choices.flatMap((each, at) => [at ? ", " : " ", make("code", {}, String(each))]) : [];
  const text = kind === "object" || !description ? [] : [make("br"), ...inline(description)];
  return make(
    "div",
    { class: `depth-${Math.min(depth, 3)}` },
    make("dt", {}, make("code", {}, path.at(-1)), isRequired && make("b", {}, " required")),
    make("dd", {}, make("span", { class: "kind" }, kind), ...values, ...text),
  );
}

/** Returns a frame, with what copies it, and what opens it in the console if there is one. */
export function example(frame, toConsole) {
  const text = JSON.stringify(frame, null, 2);
  return [
    make("pre", { class: "frame" }, make("code", {}, ...colored(text))),
    make("p", { class: "actions" }, toConsole && make("a", { class: "main", href: toConsole }, "Try it in the console"), copying(text)),
  ];
}

/** Returns a button that copies a text; nothing where the browser does not let a page do that. */
export function copying(text) {
  if (!navigator.clipboard) return null;
  const button = make("button", { type: "button" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Cannot copy";
    }
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
  return button;
}
