// The contract: what the server says of its events.
import { fieldsOf, problems, schemaAt, choices } from "../../docs/static/schema.js";

/** Fetches the contract; its addresses are relative to this page, which may stand behind a proxy. */
export async function fetchContract() {
  const response = await fetch("asyncapi.json");
  if (!response.ok) throw new Error(`asyncapi.json: HTTP ${response.status}`);
  return new Contract(await response.json());
}

export class Contract {
  constructor(document) {
    this.document = document;
    /** What each close code means. */
    this.closes = document["x-closes"];
    const events = Object.values(document.components.messages).map((message) => new ClientEvent(message, document));
    this.events = new Map(events.filter((event) => event.isSent).map((event) => [event.name, event]));
  }

  /** The socket's address, from where this page is. */
  socketUrl() {
    const url = new URL(this.document.channels.socket.address.slice(1), document.baseURI);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    return url.href;
  }
}

/** An event that a client may send. */
class ClientEvent {
  constructor(message, document) {
    this._document = document;
    this._payload = message.payload;
    this.name = message.name;
    this.isSent = message["x-sender"] !== "server";
    this.description = message.description.split("\n\n")[0];
    this.example = message.examples[0].payload;
    this.needs = message["x-needs"];
    this.capability = message["x-capability"];
    this.answers = message["x-answers"] ?? [];
    this.errors = message["x-errors"] ?? [];
  }

  fields() {
    return fieldsOf(this._payload, this._document).filter((field) => field.path[0] !== "event");
  }

  problems(frame) {
    return problems(frame, this._payload, this._document);
  }

  choicesAt(path) {
    return choices(schemaAt(path, this._payload, this._document), this._document);
  }
}
