// The socket's side of the contract: its first page, and a page for each event.
import { make } from "./dom.js";
import { inline, rendered } from "./markdown.js";
import { example, fields } from "./parts.js";
import { fieldsOf } from "./schema.js";

const WAYS = { client: ["▲", "sent by the client"], server: ["▼", "sent by the server"] };

const isFromServer = (message) => message["x-sender"] === "server";
const senderOf = (message) => (isFromServer(message) ? "server" : "client");

/** Returns the events for the index, those of one domain together, what clients send first. */
export function groupsOfEvents({ components: { messages } }) {
  const domains = new Map();
  for (const [key, message] of Object.entries(messages)) {
    const [way, told] = WAYS[senderOf(message)];
    const title = message.tags[0].name;
    if (!domains.has(title)) domains.set(title, []);
    domains.get(title).push({ hash: key, label: message.name, way, told });
  }
  return [...domains].map(([title, items]) => ({ title, items }));
}

export function socketPage({ info, channels, servers }) {
  const [server] = Object.values(servers);
  const address = `${server.protocol}://${server.host}${channels.socket.address}`;
  return [
    make("h1", {}, "The socket"),
    make("p", { class: "hint" }, "Its address is ", make("code", {}, address), ". In the index ▲ is sent by the client, ▼ by the server."),
    ...rendered(info.description),
  ];
}

export function eventPage({ hash }, document, hasConsole) {
  const message = document.components.messages[hash];
  const frame = message.examples?.[0]?.payload;
  return [
    make("h1", {}, make("code", {}, message.name)),
    make("p", { class: "chips" }, ...chips(message).map((text) => make("span", { class: "chip" }, text))),
    ...rendered(message.description),
    ...answers(message, document),
    make("h2", {}, "Fields"),
    ...fieldsOfData(message, document),
    ...(frame ? [make("h2", {}, "Example"), ...example(frame, isFromServer(message) || !hasConsole ? null : toConsole(frame))] : []),
    ...errors(message, document),
    make("p", { class: "hint" }, make("a", { href: `schemas/${encodeURIComponent(hash)}.json` }, "JSON Schema of this event")),
  ];
}

function chips(message) {
  const { "x-needs": needs, "x-capability": capability } = message;
  return [WAYS[senderOf(message)][1], needs && `needs a socket that is ${needs}`, capability && `needs the capability ${capability}`].filter(Boolean);
}

function answers(message, document) {
  const messages = Object.entries(document.components.messages);
  const link = (target) => target;
  if (!isFromServer(message)) {
    const linked = message["x-answered"].replace(/`([A-Z_]+)`/g, (code, name) => (keyOf(name) ? `[${code}](#${keyOf(name)})` : code));
    return [make("h2", {}, "Answer"), make("p", {}, ...inline(linked.replace(/^n/, "N"), { link }))];
  }
  const asking = messages.filter(([, each]) => each["x-answers"]?.includes(message.name));
  if (asking.length === 0) return [];
  const links = asking.flatMap(([key, each], at) => [at ? ", " : "", make("a", { href: `#${key}` }, make("code", {}, each.name))]);
  return [make("h2", {}, "Sent in answer to"), make("p", {}, ...links)];

  function keyOf(name) {
    return messages.find(([, each]) => each.name === name && isFromServer(each))?.[0];
  }
}

function fieldsOfData({ payload }, document) {
  const all = fieldsOf(payload, document);
  const data = all.filter(({ path }) => path[0] === "data" && path.length > 1).map((field) => ({ ...field, path: field.path.slice(1), depth: field.depth - 1 }));
  const around = all.filter(({ path }) => path.length === 1 && ["ref", "offset"].includes(path[0])).map(({ path }) => path[0]);
  const beside = around.length ? [make("p", { class: "hint" }, "Beside ", make("code", {}, "data"), " the frame may have ", ...around.flatMap((name, at) => [at ? " and " : "", make("code", {}, name)]), ".")] : [];
  return [data.length ? fields(data) : make("p", {}, make("code", {}, "data"), " has no fields."), ...beside];
}

function errors(message, document) {
  const own = message["x-own-errors"] ?? [];
  const common = (message["x-errors"] ?? []).filter((code) => !own.includes(code));
  if (own.length + common.length === 0) return [];
  const list = (codes) => make("ul", {}, ...codes.map((code) => make("li", {}, make("code", {}, code), " ", ...inline(document["x-errors"][code] ?? ""))));
  const shared = common.length && make("details", {}, make("summary", {}, "Errors that it shares with others"), list(common));
  return [make("h2", {}, "Errors"), own.length && list(own), shared].filter(Boolean);
}

/** Returns the address of the console with this frame filled in. It stays in the browser: no server sees what is behind #. */
const toConsole = (frame) => `console#frame=${encodeURIComponent(JSON.stringify(frame))}`;
