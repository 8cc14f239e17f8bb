// The caret's place in JSON that is being typed, so perhaps broken elsewhere.

/**
 * Returns where the caret stands: `path` to it, whether that is a `key`, the range `start` to `end` that a choice would
 * replace, whether that is within quotes (`isQuoted`), and what stands there `before` the caret; null in no such place.
 */
export function placeOf(text, caret) {
  const stack = [];
  let at = 0;
  while (at < caret) {
    if (text[at] === '"') {
      const { end, isClosed } = stringFrom(text, at);
      if (caret <= end) return placed(stack, text, caret, at + 1, end, true);
      read(stack, text.slice(at + 1, end));
      at = end + (isClosed ? 1 : 0);
    } else {
      step(stack, text[at]);
      at += 1;
    }
  }
  const [start, end] = wordAround(text, caret);
  return placed(stack, text, caret, start, end, false);
}

/** Returns where a string's content ends: at its quote, or at the line's end if it has none. */
function stringFrom(text, at) {
  for (let end = at + 1; end < text.length; end += 1) {
    if (text[end] === "\\") end += 1;
    else if (text[end] === '"') return { end, isClosed: true };
    else if (text[end] === "\n") return { end, isClosed: false };
  }
  return { end: text.length, isClosed: false };
}

function step(stack, character) {
  const top = stack.at(-1);
  if (character === "{") stack.push({ key: null, isObject: true, wantsKey: true });
  else if (character === "[") stack.push({ key: 0, isObject: false, wantsKey: false });
  else if (character === "}" || character === "]") stack.pop();
  else if (character === "," && top?.isObject) Object.assign(top, { key: null, wantsKey: true });
  else if (character === "," && top) top.key += 1;
}

function read(stack, string) {
  const top = stack.at(-1);
  if (top?.wantsKey) Object.assign(top, { key: string, wantsKey: false });
}

function wordAround(text, caret) {
  let [start, end] = [caret, caret];
  while (/[\w.+-]/.test(text[start - 1] ?? "")) start -= 1;
  while (/[\w.+-]/.test(text[end] ?? "")) end += 1;
  return [start, end];
}

function placed(stack, text, caret, start, end, isQuoted) {
  const top = stack.at(-1);
  if (top === undefined) return null;
  const steps = stack.map((each) => each.key);
  const isKey = top.wantsKey;
  return { path: isKey ? steps.slice(0, -1) : steps, isKey, start, end, isQuoted, before: text.slice(start, caret) };
}
