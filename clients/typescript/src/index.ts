export { DisconnectedError, PeerSyncError, RefusedError, TimeoutError } from "./errors.js";
export { CloseCode, ErrorCode } from "./events.js";
export type { Answers, Capability, ClientEvents, ServerEvents } from "./events.js";
export type * as Types from "./events.js";
export { Peer } from "./peer.js";
export type { ConnectionEvents, Options, PeerEvents, Requests } from "./peer.js";
export type { SocketConstructor, SocketLike } from "./link.js";
export type { Platform } from "./platform.js";
export type { TokenSource } from "./tokens.js";
