// Markdown, the part of it that our pages use: headings, paragraphs, lists, tables, code, pictures, links.
// Text is always set as text, never as markup.
import { make } from "./dom.js";
import { colored } from "./json.js";

const INLINE = /(`+)(.+?)\1|!\[([^\]]*)\]\(([^)\s]+)\)|\[((?:[^\][]|\[[^\]]*\])+)\]\(([^)\s]+)\)|\*\*(.+?)\*\*|\*([^*\s][^*]*)\*/g;
const BLOCKS = [
  [/^<!--/, comment],
  [/^<\/?\w/, markup],
  [/^ *```/, code],
  [/^#{1,6} /, heading],
  [/^\|/, table],
  [/^(?:[-*]|\d+\.) /, list],
];

/** Returns the elements of a text. `link` and `picture` return an address here for one there, null if it leads nowhere. */
export function rendered(text, { link = (target) => target, picture = () => null, level = 0 } = {}) {
  const page = { lines: text.split("\n"), at: 0, link, picture, level };
  const elements = [];
  while (page.at < page.lines.length) {
    const line = page.lines[page.at];
    if (line.trim() === "") {
      page.at += 1;
      continue;
    }
    const [, build] = BLOCKS.find(([starts]) => starts.test(line)) ?? [null, paragraph];
    const element = build(page);
    if (element) elements.push(element);
  }
  return elements;
}

/** Returns the name by which links lead to a heading. */
export const slug = (text) =>
  text.toLowerCase().replace(/[^\p{L}\p{N}\s_-]/gu, "").trim().replace(/\s+/g, "-");

function comment(page) {
  while (page.at < page.lines.length && !page.lines[page.at].includes("-->")) page.at += 1;
  page.at += 1;
  return null;
}

/** Leaves markup out, which is there for the site. */
function markup(page) {
  page.at += 1;
  return null;
}

function code(page) {
  const [, indent, language] = /^( *)```([\w+-]*)/.exec(page.lines[page.at]);
  const lines = takeUntil(page, (line) => line.startsWith(`${indent}\`\`\``));
  const text = lines.map((line) => line.slice(indent.length)).join("\n");
  const block = make("pre", { tabindex: "0", class: `code ${language}` }, make("code", {}, ...(language === "json" ? colored(text) : [text])));
  return language === "mermaid" ? make("details", {}, make("summary", {}, "Diagram, as text"), block) : block;
}

function takeUntil(page, ends) {
  const lines = [];
  page.at += 1;
  while (page.at < page.lines.length && !ends(page.lines[page.at])) lines.push(page.lines[page.at++]);
  page.at += 1;
  return lines;
}

function heading(page) {
  const [, marks, text] = /^(#+) (.*)$/.exec(page.lines[page.at]);
  page.at += 1;
  const rank = Math.min(6, marks.length + page.level);
  return make(`h${rank}`, { "data-anchor": slug(text), tabindex: "-1" }, ...inline(text, page));
}

function table(page) {
  const rows = takeWhile(page, (line) => line.startsWith("|")).map((line) => cells(line));
  const [head, rule, ...body] = rows;
  const hasRule = rule?.every((cell) => /^:?-+:?$/.test(cell));
  const row = (tag) => (each) => make("tr", {}, ...each.map((cell) => make(tag, {}, ...inline(cell, page))));
  const parts = hasRule ? [make("thead", {}, row("th")(head)), make("tbody", {}, ...body.map(row("td")))] : rows.map(row("td"));
  return make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Table" }, make("table", {}, ...parts));
}

const cells = (line) => line.trim().replace(/^\||\|$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));

function takeWhile(page, holds) {
  const lines = [];
  while (page.at < page.lines.length && holds(page.lines[page.at])) lines.push(page.lines[page.at++]);
  return lines;
}

function list(page) {
  const isOrdered = /^\d/.test(page.lines[page.at]);
  const starts = isOrdered ? /^\d+\. / : /^[-*] /;
  const items = [];
  while (page.at < page.lines.length && starts.test(page.lines[page.at])) {
    const first = page.lines[page.at++].replace(starts, "");
    const rest = takeWhile(page, (line) => /^\s+\S/.test(line));
    items.push(make("li", {}, ...inline([first, ...rest.map((line) => line.trim())].join(" "), page)));
    if (page.lines[page.at] === "" && starts.test(page.lines[page.at + 1] ?? "")) page.at += 1;
  }
  return make(isOrdered ? "ol" : "ul", {}, ...items);
}

function paragraph(page) {
  const lines = takeWhile(page, (line) => line.trim() !== "" && !BLOCKS.some(([starts]) => starts.test(line)));
  return make("p", {}, ...inline(lines.join(" "), page));
}

/** Returns the nodes of a line: code, emphasis, links and pictures. */
export function inline(text, { link = (target) => target, picture = () => null } = {}) {
  const within = { link, picture };
  const nodes = [];
  let at = 0;
  for (const match of text.matchAll(INLINE)) {
    nodes.push(text.slice(at, match.index), piece(match, within));
    at = match.index + match[0].length;
  }
  return [...nodes, text.slice(at)];
}

function piece([whole, ticks, shown, alt, source, label, target, strong, soft], page) {
  if (ticks) return make("code", {}, shown);
  if (source) {
    const address = page.picture(source);
    return address ? make("img", { src: address, alt, loading: "lazy" }) : alt;
  }
  if (target) {
    const address = /^(?!https?:)[a-z]+:/i.test(target) ? null : page.link(target);
    return make(address === null ? "span" : "a", { href: address }, ...inline(label, page));
  }
  if (strong) return make("strong", {}, ...inline(strong, page));
  return soft ? make("em", {}, ...inline(soft, page)) : whole;
}
