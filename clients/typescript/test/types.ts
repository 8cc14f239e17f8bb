// Compiled, never run: what the types allow, and, where an error is expected, what they do not.
import { WebSocket as WsSocket } from "ws";
import { ErrorCode, Peer, RefusedError, type Types } from "../src/index.js";

declare module "../src/index.js" {
  interface ServerEvents {
    SHOUTED: { text: string };
  }
  interface ClientEvents {
    SHOUT: { text: string };
  }
  interface Answers {
    SHOUT: { heard: number };
  }
}

const peer = new Peer({ url: "ws://127.0.0.1", token: async () => "token", profile: { ide: "vscode" }, WebSocket: WsSocket });
new Peer({ url: "ws://127.0.0.1", token: "token", WebSocket });
// @ts-expect-error: a token is needed
new Peer({ url: "ws://127.0.0.1" });
// @ts-expect-error: there is no such editor
new Peer({ url: "ws://127.0.0.1", token: "token", profile: { ide: "ed" } });

peer.on("MESSAGE_RECEIVED", ({ sessionId, from, content, timestamp, to }) => {
  const strings: Array<string> = [sessionId, from, timestamp, ...(to ?? [])];
  // @ts-expect-error: content may be any JSON value
  strings.push(content);
});
peer.on("dropped", ({ code, retryInMs }) => code + retryInMs);
peer.on("SHOUTED", ({ text }) => text.length);
// @ts-expect-error: there is no such event
peer.on("MESSAGE_RECIEVED", () => {});
// @ts-expect-error: this event has no such field
peer.on("SESSION_ENDED", ({ why }) => why);
peer.on("PEER_STATUS_UPDATE", ({ status }) => {
  // @ts-expect-error: there is no such status
  return status === "asleep";
});

export async function requests(): Promise<void> {
  const { peers } = await peer.request("DISCOVER_PEERS", { ide: "neovim" });
  const modes: Array<"LAN" | "REMOTE"> = peers.map((each) => each.connectionMode);
  const profile: Types.Profile | undefined = peers[0]?.profile;
  const { timestamp } = await peer.request("PING");
  const asked = await peer.request("CONNECTION_REQUEST", { targetId: "bob" });
  const requestId = "requestId" in asked ? asked.requestId : asked.sessionId; // bob had asked before
  const made = await peer.request("CONNECTION_RESPONSE", { requestId, accepted: true });
  if ("sessionId" in made) made.sessionId.trim();
  const { heard } = await peer.request("SHOUT", { text: "hey" });
  const numbers: Array<number> = [timestamp, heard];
  const { delivered, duplicate } = await peer.send({ sessionId: "ses_1", content: [1, null], to: ["bob"] });
  // @ts-expect-error: the target is missing
  await peer.request("CONNECTION_REQUEST");
  // @ts-expect-error: a yes or no, not a text
  await peer.request("CONNECTION_RESPONSE", { requestId, accepted: "yes" });
  // @ts-expect-error: messages are sent by `send`
  await peer.request("SEND_MESSAGE", { sessionId: "ses_1", content: 1 });
  // @ts-expect-error: the peer authenticates by itself
  await peer.request("AUTH", { token: "token" });
  // @ts-expect-error: a message without a session
  await peer.send({ content: 1 });
  for await (const { change } of peer.events("SESSION_UPDATED")) if (change.kind === "returned") break;
  const { id } = await peer.once("PEER_STATUS_UPDATE", (update) => update.status === "online");
  console.log(modes, profile, numbers, delivered, duplicate, id);
}

export function refused(error: unknown): boolean {
  // @ts-expect-error: there is no such code
  if (error instanceof RefusedError && error.code === "ERR_0000") return false;
  return error instanceof RefusedError && error.code === ErrorCode.SESSION_FULL;
}
