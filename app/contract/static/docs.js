// The contract as a page: an index, and one thing at a time, chosen by the address. #SEND_MESSAGE is an event,
// #get_health an endpoint, #guide/errors a page of the guide; #socket, #http and #guide are the parts' first pages.
import { byId, make } from "./dom.js";
import { eventPage, groupsOfEvents, socketPage } from "./events.js";
import { endpointPage, groupsOfEndpoints, httpPage } from "./endpoints.js";
import { guidePage, groupsOfGuide } from "./guide.js";

const wide = matchMedia("(min-width: 760px)");
const places = new Map();
let shown = null;
let isForward = false;

async function start() {
  const [socket, http, { pages }] = await Promise.all(["asyncapi.json", "openapi.json", "docs/guide.json"].map(asked));
  const hasConsole = "/console" in http.paths;
  byId("to-console").hidden = !hasConsole;
  const parts = {
    socket: part("socket", "Events", groupsOfEvents(socket), () => socketPage(socket), (item) => eventPage(item, socket, hasConsole)),
    http: part("http", "Endpoints", groupsOfEndpoints(http), () => httpPage(http), (item) => endpointPage(item, http)),
    guide: part("guide", "Pages of the guide", groupsOfGuide(pages), () => guidePage(pages[0]), (item) => guidePage(item)),
  };
  document.querySelector("#tabs a[href='#guide']").hidden = pages.length === 0;
  listen(parts);
  await follow(parts);
}

async function asked(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address}: HTTP ${response.status}`);
  return response.json();
}

/** `first` and `of` return the elements of the part's first page, and of the page of an item. */
function part(name, title, groups, first, of) {
  const items = new Map(groups.flatMap(({ items }) => items).map((item) => [item.hash, item]));
  return { name, title, groups, items, first, of };
}

function listen(parts) {
  addEventListener("hashchange", () => follow(parts));
  addEventListener("scroll", () => shown !== null && places.set(shown, scrollY), { passive: true });
  addEventListener("click", (event) => (isForward = event.target.closest("a[href^='#']") !== null));
  wide.addEventListener("change", () => openIndex(location.hash));
  byId("find").addEventListener("input", () => narrow());
  byId("skip").addEventListener("click", (event) => {
    event.preventDefault();
    byId("main").focus();
  });
}

async function follow(parts) {
  const hash = decodeURIComponent(location.hash.slice(1));
  const { part, build, item, anchor } = found(hash, parts);
  const place = isForward ? 0 : places.get(hash);
  isForward = false;
  const isFirst = shown === null;
  shown = null;
  showIndex(part, item?.hash ?? null);
  byId("main").replaceChildren(...(await build()));
  shown = hash;
  document.title = [item?.label, "PeerSync contract"].filter(Boolean).join(" · ");
  const heading = anchor && byId("main").querySelector(`[data-anchor="${CSS.escape(anchor)}"]`);
  if (heading) heading.scrollIntoView();
  else scrollTo(0, place ?? 0);
  if (!isFirst) (heading || byId("main")).focus({ preventScroll: true });
}

/** Returns which part and item an address names, and what builds its page. */
function found(hash, parts) {
  const [head, ...rest] = hash.split("/");
  if (head === "guide") {
    const item = parts.guide.items.get(`guide/${rest[0] ?? ""}`);
    return { part: parts.guide, item, anchor: rest[1], build: () => (item ? parts.guide.of(item) : parts.guide.first()) };
  }
  for (const part of Object.values(parts)) {
    const item = part.items.get(hash);
    if (item) return { part, item, build: () => part.of(item) };
  }
  const part = parts[head || "socket"];
  if (part) return { part, anchor: rest[0], build: part.first };
  return { part: parts.socket, build: () => [make("h1", {}, "Not here"), make("p", {}, `The contract has no ${hash}. The index has what there is.`)] };
}

function showIndex(part, current) {
  for (const link of document.querySelectorAll("#tabs a[href^='#']")) mark(link, link.hash === `#${part.name}`, "true");
  if (byId("index").dataset.part !== part.name) {
    byId("index").dataset.part = part.name;
    byId("index-title").textContent = part.title;
    byId("find").value = "";
    byId("index").replaceChildren(...part.groups.flatMap(group));
  }
  for (const link of byId("index").querySelectorAll("a")) {
    mark(link, decodeURIComponent(link.hash.slice(1)) === current, "page");
  }
  openIndex(current);
}

const openIndex = (current) => (byId("index-box").open = wide.matches || !current);

function mark(link, isCurrent, value) {
  if (isCurrent) link.setAttribute("aria-current", value);
  else link.removeAttribute("aria-current");
}

const group = ({ title, items }) => [title && make("h2", {}, title), make("ul", {}, ...items.map((item) => make("li", {}, entry(item))))].filter(Boolean);

function entry({ hash, label, way, told }) {
  const sign = way && make("span", { class: "way", "aria-hidden": "true", title: told }, way);
  const text = way ? make("code", {}, ...breakable(label)) : label;
  return make("a", { href: `#${encodeURIComponent(hash).replaceAll("%2F", "/")}` }, sign, text, told && make("span", { class: "unseen" }, `, ${told}`));
}

/** Returns a name that may break after its underscores and slashes. */
const breakable = (name) => name.split(/(?<=[_/])/).flatMap((part, at) => (at ? [make("wbr"), part] : [part]));

/** Leaves in the index what has the text that was typed. */
function narrow() {
  const wanted = byId("find").value.trim().toLowerCase();
  for (const list of byId("index").querySelectorAll("ul")) {
    for (const item of list.children) item.hidden = !item.textContent.toLowerCase().includes(wanted);
    const isEmpty = [...list.children].every((item) => item.hidden);
    list.hidden = isEmpty;
    if (list.previousElementSibling?.tagName === "H2") list.previousElementSibling.hidden = isEmpty;
  }
}

start().catch((error) => byId("main").replaceChildren(make("p", { role: "alert" }, `The contract cannot be shown: ${error.message}`)));
