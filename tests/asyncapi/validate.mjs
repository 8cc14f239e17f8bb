// Reads an AsyncAPI document from standard input; prints what AsyncAPI's own parser finds wrong with it, as JSON.
import { readFileSync } from "node:fs";
import parser from "@asyncapi/parser";

const { document, diagnostics } = await new parser.Parser().parse(readFileSync(0, "utf8"));
const found = diagnostics.map(({ code, message, path, severity }) => ({ code, message, path: path.join("."), severity }));
console.log(JSON.stringify({ isValid: document !== undefined, found }));
