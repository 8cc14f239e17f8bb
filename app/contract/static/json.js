// JSON for people: indented and coloured. The text itself stays as it is, down to its digits and escapes.
import { make } from "./dom.js";

const TOKEN = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null|[{}[\],:]|[^\s"{}[\],:]+/g;
const OPENS = { "{": "}", "[": "]" };

/** Returns JSON on several lines; text that is not JSON as it is. */
export function indented(text) {
  if (!isJson(text)) return text;
  const tokens = text.match(TOKEN) ?? [];
  let depth = 0;
  let written = "";
  tokens.forEach((token, at) => {
    const isEmpty = OPENS[token] === tokens[at + 1];
    const closesEmpty = at > 0 && OPENS[tokens[at - 1]] === token;
    if (token in OPENS) {
      depth += 1;
      written += isEmpty ? token : token + line(depth);
    } else if (token === "}" || token === "]") {
      depth -= 1;
      written += closesEmpty ? token : line(depth) + token;
    } else if (token === ",") written += token + line(depth);
    else written += token === ":" ? ": " : token;
  });
  return written;
}

/** Returns the nodes of JSON text, each key, string, number and word in its colour. */
export function colored(text) {
  const nodes = [];
  let at = 0;
  for (const match of text.matchAll(TOKEN)) {
    const kind = kindOf(match[0], text.slice(match.index + match[0].length));
    if (!kind) continue;
    nodes.push(text.slice(at, match.index), make("span", { class: `json-${kind}` }, match[0]));
    at = match.index + match[0].length;
  }
  return [...nodes, text.slice(at)];
}

function kindOf(token, rest) {
  if (token[0] === '"') return /^\s*:/.test(rest) ? "key" : "string";
  if (/^-?\d/.test(token)) return "number";
  return ["true", "false", "null"].includes(token) ? "word" : null;
}

const line = (depth) => `\n${"  ".repeat(depth)}`;

function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
