// JSON Schema, the part of it that the contract uses: $ref, anyOf, type, const, enum, properties, required, items,
// lengths, bounds and pattern. Other keywords are passed over; the server has the last word.

const TYPES = {
  null: (value) => value === null,
  string: (value) => typeof value === "string",
  boolean: (value) => typeof value === "boolean",
  integer: (value) => Number.isInteger(value),
  number: (value) => typeof value === "number",
  array: (value) => Array.isArray(value),
  object: (value) => value !== null && typeof value === "object" && !Array.isArray(value),
};

const characters = (text) => [...text].length;
const nounOf = (type) => `${/^[aio]/.test(type) ? "an" : "a"} ${type}`;
const isAbsent = (value) => value === undefined;
const quoted = (value) => JSON.stringify(value);

/** Follows a schema's $ref within the document that it stands in. */
export function resolve(schema, document) {
  let found = schema;
  while (found?.$ref !== undefined) {
    const path = found.$ref.slice(2).split("/");
    found = path.reduce((at, part) => at?.[part.replaceAll("~1", "/").replaceAll("~0", "~")], document);
  }
  return found ?? {};
}

/** Returns the alternative of a schema that is not null, if it has but one. */
export function present(schema, document) {
  const found = resolve(schema, document);
  const others = (found.anyOf ?? []).map((each) => resolve(each, document)).filter((each) => each.type !== "null");
  return others.length === 1 ? others[0] : found;
}

/** Returns what is wrong with a value, as [{path, message}]; empty if nothing is. */
export function problems(value, schema, document, path = "") {
  const found = resolve(schema, document);
  if (found.anyOf) return ofAny(value, found, document, path);
  const wrong = (message) => [{ path, message }];
  if ("const" in found && value !== found.const) return wrong(`must be ${quoted(found.const)}`);
  if (found.enum && !found.enum.includes(value)) {
    return wrong(`must be one of ${found.enum.filter((each) => each !== null).map(quoted).join(", ")}`);
  }
  const types = [found.type ?? []].flat();
  if (types.length && !types.some((type) => TYPES[type](value))) {
    return wrong(`must be ${types.filter((type) => type !== "null" || types.length === 1).map(nounOf).join(" or ")}`);
  }
  if (TYPES.string(value)) return ofText(value, found, wrong);
  if (TYPES.number(value)) return ofNumber(value, found, wrong);
  if (TYPES.array(value)) return ofList(value, found, document, path, wrong);
  return TYPES.object(value) ? ofObject(value, found, document, path) : [];
}

function ofAny(value, schema, document, path) {
  const each = schema.anyOf.map((option) => problems(value, option, document, path));
  if (each.some((found) => found.length === 0)) return [];
  return each.reduce((best, found) => (deepest(found) > deepest(best) ? found : best));
}

const deepest = (found) => Math.max(...found.map((each) => each.path.length));

function ofText(value, schema, wrong) {
  const length = characters(value);
  if (length < (schema.minLength ?? 0)) return wrong(length ? `needs ${schema.minLength} characters` : "must not be empty");
  if (length > (schema.maxLength ?? Infinity)) return wrong(`has ${length} characters, ${schema.maxLength} at most`);
  if (schema.pattern && !new RegExp(schema.pattern, "u").test(value)) return wrong(`must match ${schema.pattern}`);
  return [];
}

function ofNumber(value, schema, wrong) {
  if (value < (schema.minimum ?? -Infinity)) return wrong(`must be ${schema.minimum} or more`);
  if (value > (schema.maximum ?? Infinity)) return wrong(`must be ${schema.maximum} or less`);
  return [];
}

function ofList(value, schema, document, path, wrong) {
  if (value.length > (schema.maxItems ?? Infinity)) return wrong(`has ${value.length} items, ${schema.maxItems} at most`);
  if (schema.items === undefined) return [];
  return value.flatMap((item, at) => problems(item, schema.items, document, `${path}[${at}]`));
}

function ofObject(value, schema, document, path) {
  const below = (name) => (path ? `${path}.${name}` : name);
  const missing = (schema.required ?? [])
    .filter((name) => isAbsent(value[name]))
    .map((name) => ({ path: below(name), message: "is missing" }));
  const unfit = Object.entries(schema.properties ?? {})
    .filter(([name]) => Object.hasOwn(value, name))
    .flatMap(([name, field]) => problems(value[name], field, document, below(name)));
  return [...missing, ...unfit];
}

/** Returns the schema of what stands at a path of names and numbers; empty if the schema does not tell. */
export function schemaAt(path, schema, document) {
  return path.reduce((at, step) => {
    const found = present(at, document);
    return (typeof step === "number" ? found.items : found.properties?.[step]) ?? {};
  }, schema);
}

/** Returns the values that a schema lists, null left out. */
export function choices(schema, document) {
  const found = present(schema, document);
  if ("const" in found) return [found.const];
  if (found.enum) return found.enum.filter((each) => each !== null);
  if (found["x-listed"]) return found["x-listed"];
  return [found.type].flat().includes("boolean") ? [true, false] : [];
}

/** Says in a few words what a schema takes. */
export function kindOf(schema, document) {
  const found = present(schema, document);
  const types = [found.type ?? []].flat().filter((type) => type !== "null");
  if ("const" in found) return quoted(found.const);
  if (found.enum || found["x-listed"]) return "one of";
  if (types[0] === "array") return `list of ${present(found.items ?? {}, document).type ?? "value"}s`;
  const most = found.maxLength ? ` ≤ ${found.maxLength}` : "";
  const least = found.minimum !== undefined ? ` ≥ ${found.minimum}` : "";
  return (types.join(" or ") || "any JSON") + most + least;
}

/** Returns the fields of an object's schema, those of objects within it included, as [{path, depth, …}]. */
export function fieldsOf(schema, document, path = [], depth = 0) {
  const found = present(schema, document);
  return Object.entries(found.properties ?? {}).flatMap(([name, field]) => {
    const inner = present(field, document);
    const own = {
      path: [...path, name],
      depth,
      isRequired: (found.required ?? []).includes(name),
      kind: kindOf(field, document),
      choices: choices(field, document),
      description: (field.description ?? inner.description ?? "").split("\n\n")[0],
    };
    return [own, ...fieldsOf(inner, document, own.path, depth + 1)];
  });
}
