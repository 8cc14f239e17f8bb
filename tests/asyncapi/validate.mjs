// Reads an AsyncAPI document from standard input; prints as JSON what AsyncAPI's own parser finds wrong with it, and the
// schemas for which code generators have to make a name up (AnonymousSchema_1): those with neither an id nor a title.
import { readFileSync } from "node:fs";
import parser from "@asyncapi/parser";

const { document, diagnostics } = await new parser.Parser().parse(readFileSync(0, "utf8"));
const found = diagnostics.map(({ code, message, path, severity }) => ({ code, message, path: path.join("."), severity }));
const schemas = document?.allSchemas().all() ?? [];
const isAnonymous = (schema) => schema.id().startsWith("<anonymous-schema") && !schema.title() && schema.type() !== "null";
const anonymous = schemas.filter(isAnonymous).map((schema) => schema.json());
console.log(JSON.stringify({ isValid: document !== undefined, found, anonymous }));
