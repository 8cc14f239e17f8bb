// The guide: the pages of docs/, where the server has them.
import { make } from "./dom.js";
import { rendered } from "./markdown.js";

let names = new Set();

export function groupsOfGuide(pages) {
  names = new Set(pages.map(({ name }) => name));
  return [{ title: "", items: pages.map(({ name, title }) => ({ name, hash: `guide/${name}`, label: title })) }];
}

export async function guidePage({ name }) {
  const response = await fetch(`docs/guide/${name}.md`);
  if (!response.ok) return [make("p", { role: "alert" }, `The page cannot be shown: HTTP ${response.status}`)];
  return rendered(await response.text(), { link: (target) => address(target, name), picture: (source) => `docs/guide/${source}` });
}

/** Returns where a link of a page leads here; null if the page is not part of the guide. */
function address(target, name) {
  if (/^https?:/.test(target)) return target;
  const [path, anchor] = target.split("#");
  if (path === "contract/events.md") return anchor ? `#${anchor.toUpperCase()}` : "#socket";
  const page = path ? path.replace(/\.md$/, "") : name;
  if (!names.has(page)) return null;
  return `#guide/${page}${anchor ? `/${anchor}` : ""}`;
}
