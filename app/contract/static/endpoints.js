// The HTTP side of the contract: its first page, and a page for each endpoint.
import { make } from "./dom.js";
import { inline, rendered } from "./markdown.js";
import { copying, fields } from "./parts.js";
import { fieldsOf, kindOf, present } from "./schema.js";

const operationsOf = ({ paths }) =>
  Object.entries(paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]) => ({ path, method: method.toUpperCase(), operation })));

/** Returns the endpoints for the index, those with one tag together. */
export function groupsOfEndpoints(document) {
  const groups = new Map();
  for (const { path, method, operation } of operationsOf(document)) {
    const [title] = operation.tags;
    if (!groups.has(title)) groups.set(title, []);
    groups.get(title).push({ hash: operation.operationId, label: path, way: method, path, method });
  }
  return [...groups].map(([title, items]) => ({ title, items }));
}

export const httpPage = ({ info }) => [make("h1", {}, "Over HTTP"), ...rendered(info.description)];

export function endpointPage({ path, method }, document) {
  const operation = document.paths[path][method.toLowerCase()];
  const body = operation.requestBody?.content["application/json"].schema;
  const command = curl(path, method, operation, body, document);
  return [
    make("h1", {}, make("code", {}, `${method} ${path}`)),
    operation.security.length > 0 && make("p", { class: "chips" }, make("span", { class: "chip" }, "needs an access token")),
    make("p", {}, ...inline(operation.summary)),
    ...parameters(operation, document),
    ...(body ? [make("h2", {}, "Body"), fields(fieldsOf(body, document))] : []),
    make("h2", {}, "Answers"),
    ...Object.entries(operation.responses).map(([status, response]) => answer(status, response, document)),
    make("h2", {}, "Example"),
    make("pre", { class: "frame" }, make("code", {}, command)),
    make("p", { class: "actions" }, isOpen(method, operation) && make("a", { href: path.slice(1) }, "Open it"), copying(command)),
  ].filter(Boolean);
}

const isOpen = (method, { security, parameters = [] }) => method === "GET" && security.length === 0 && !parameters.some((each) => each.in === "path");

function parameters({ parameters = [] }, document) {
  if (parameters.length === 0) return [];
  const all = parameters.map(({ name, in: place, required, schema }) => ({
    path: [name],
    depth: 0,
    isRequired: required,
    kind: `${kindOf(schema, document)}, in the ${place}`,
    choices: [],
    description: schema.description ?? "",
  }));
  return [make("h2", {}, "Parameters"), fields(all)];
}

/** Returns what a status means; what its body has is told of answers that are no refusal. */
function answer(status, { description, content }, document) {
  const [[type, { schema }]] = Object.entries(content);
  const body = status.startsWith("2") ? fieldsOf(schema, document) : [];
  return make("div", {}, make("p", {}, make("code", {}, status), " ", ...inline(description), type !== "application/json" && ` (${type})`), body.length > 0 && fields(body));
}

function curl(path, method, operation, body, document) {
  const filled = (operation.parameters ?? []).filter((each) => each.in === "path").reduce((at, { name, example }) => at.replace(`{${name}}`, example), path);
  const parts = [`curl -s${method === "GET" ? "" : ` -X ${method}`}`];
  if (operation.security.length) parts.push('-H "Authorization: Bearer $TOKEN"');
  if (body) parts.push("-H 'Content-Type: application/json'", `-d '${JSON.stringify(sample(body, document))}'`);
  parts.push(new URL(filled.slice(1), window.document.baseURI).href);
  return parts.join(" ");
}

/** Makes up what a body must have: of each required field a value of its type, texts being the field's name. */
function sample(schema, document) {
  const found = present(schema, document);
  const required = found.required ?? [];
  return Object.fromEntries(required.map((name) => [name, { integer: 1, boolean: true }[present(found.properties[name], document).type] ?? name]));
}
