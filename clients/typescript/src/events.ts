// Written by `bin/schema` from the handler table: change the structs and the handlers, not this file.

/** Why something was refused. */
export const ErrorCode = {
  /** token missing, or the deadline for `AUTH` passed */
  TOKEN_MISSING: "ERR_1001",
  /** token invalid */
  TOKEN_INVALID: "ERR_1002",
  /** token expired */
  TOKEN_EXPIRED: "ERR_1003",
  /** not allowed */
  NOT_ALLOWED: "ERR_1004",
  /** no such peer */
  PEER_NOT_FOUND: "ERR_2001",
  /** superseded by a newer connection of the same user */
  SUPERSEDED: "ERR_2005",
  /** send `PEER_REGISTER` first */
  NOT_REGISTERED: "ERR_2006",
  /** no such session: it never was, or is over */
  SESSION_NOT_FOUND: "ERR_3001",
  /** session full, or too many sessions of one user */
  SESSION_FULL: "ERR_3005",
  /** not a participant of the session */
  NOT_A_PARTICIPANT: "ERR_3008",
  /** the target is offline */
  TARGET_OFFLINE: "ERR_4003",
  /** what is kept for the target is full; try again once it is back */
  LOG_FULL: "ERR_4004",
  /** not a message: bad JSON, no object, no `event`, or an unknown one */
  NOT_A_MESSAGE: "ERR_5003",
  /** too much at once; `details.retryAfterMs` says when to go on */
  RATE_LIMITED: "ERR_5004",
  /** send `AUTH` first */
  NOT_AUTHENTICATED: "ERR_5005",
  /** no such connection request: it never was, is answered, or expired */
  REQUEST_NOT_FOUND: "ERR_6001",
  /** a connection request to oneself */
  REQUEST_TO_ONESELF: "ERR_6002",
  /** the request was made to another peer */
  NOT_THE_ONE_ASKED: "ERR_6004",
  /** internal error; the server's log has it */
  INTERNAL: "ERR_9001",
  /** a store is unreachable; try again */
  STORE_UNREACHABLE: "ERR_9002",
  /** `data` or `ref` does not fit; the message names the field */
  INVALID_DATA: "ERR_9003",
} as const;
export type ErrorCode = (typeof ErrorCode)[keyof typeof ErrorCode];

/** Why a socket was closed, and what to do. */
export const CloseCode = {
  /** one side said goodbye: do not reconnect by yourself */
  NORMAL: 1000,
  /** the other side goes away: if you did not close it yourself, pause, then reconnect */
  GOING_AWAY: 1001,
  /** RFC 6455 violated, a bug in the client: stop */
  PROTOCOL_ERROR: 1002,
  NO_STATUS: 1005,
  ABNORMAL: 1006,
  /** not UTF-8, a bug in the client: stop */
  BAD_UTF8: 1007,
  /** message too large, a bug in the client: stop */
  TOO_LARGE: 1009,
  /** this node restarts: reconnect, with jitter */
  RESTART: 1012,
  /** the token was refused or revoked, or `AUTH` came late: get a new token first */
  UNAUTHENTICATED: 4001,
  /** another connection of the user took over: do not reconnect by yourself */
  SUPERSEDED: 4002,
  /** the token expired: reconnect with a fresh one */
  TOKEN_EXPIRED: 4003,
  /** you read too slowly: reconnect */
  TOO_SLOW: 4008,
  /** you kept exceeding the rate limit: wait, then reconnect */
  RATE_LIMITED: 4029,
} as const;
export type CloseCode = (typeof CloseCode)[keyof typeof CloseCode];

/** What a socket may ask for beyond version 1. */
export type Capability = "resume" | "acks" | "sessions" | "notices" | "trace";

/**
 * Tells the client that its token is good, and what the claims `sub`, `name` and `email` say.
 *
 * Only clients that sent `capabilities` get the other fields.
 */
export interface AuthSuccess {
  userId: string;
  displayName: string;
  email?: string;
  capabilities?: Array<string>;
  server?: Server;
  limits?: SocketLimits;
  resume?: Resumption;
  recovered?: boolean;
}

/** The server's program, and the newest protocol that it speaks. */
export interface Server {
  version: string;
  protocol?: "1.1";
}

/**
 * What a client may send: bytes a message, events a second in the long run, events at once.
 *
 * The server pings every `heartbeatSeconds`: a connection on which nothing came for twice as long is dead.
 */
export interface SocketLimits {
  maxMessageBytes: number;
  eventsPerSecond: number;
  burst: number;
  heartbeatSeconds: number;
}

/** What the client resumes with, if it is back within `graceSeconds` of a drop. */
export interface Resumption {
  token: string;
  graceSeconds: number;
}

/** Tells the client that its token is refused. The server then closes the socket with 4001. */
export interface AuthFailed {
  code: ErrorCode;
  message: string;
}

/** Answers `PING` with the server's time, in milliseconds since 1970. */
export interface Pong {
  timestamp: number;
}

/** Answers a request that has a `ref`: the request waits for the target until `expiresAt`. */
export interface ConnectionPending {
  requestId: string;
  targetId: string;
  /** ISO 8601, UTC, in milliseconds: 24 characters. */
  expiresAt: string;
}

/**
 * Tells a peer that somebody asks it for a session, or invites it to one. Answer with `CONNECTION_RESPONSE`.
 *
 * A receiver with `sessions` also gets `expiresAt`, and of an invitation `sessionId` and `role`.
 */
export interface ConnectionRequestReceived {
  requestId: string;
  from: PeerCard;
  sessionId?: string;
  role?: "guest" | "host" | "observer";
  /** ISO 8601, UTC, in milliseconds: 24 characters. */
  expiresAt?: string;
}

/** A peer as events about it name it. */
export interface PeerCard {
  id: string;
  profile: Profile;
}

/** What a peer shows of itself; its metadata only to sockets of version 1.1, and only if it gave some. */
export interface Profile {
  displayName: string;
  /** One of host, guest, observer, or any text of a client of version 1. */
  role: string;
  /** One of vscode, cursor, jetbrains, vim, neovim, emacs, sublime, other, or any text of a client of version 1. */
  ide: string;
  metadata?: Metadata;
}

/**
 * What a peer tells of its editor and itself, for other clients; the server makes no use of it.
 *
 * As encoded, `publicKey` must be at most 4 KiB, and all the rest together 2 KiB. Control characters are refused.
 */
export interface Metadata {
  ideVersion?: string;
  extensionVersion?: string;
  os?: string;
  timezone?: string;
  publicKey?: string;
  capabilities?: Array<string>;
}

/**
 * Tells the target that a request ended before it answered.
 *
 * `expired`: the time was up. `offline`: the requester is gone. `cancelled`: the requester withdrew it, or the
 * invitation is void.
 */
export interface ConnectionCancelled {
  requestId: string;
  reason: "cancelled" | "expired" | "offline";
}

/** Tells the requester that the target accepted, and which session came of it. `peer` is the target. */
export interface ConnectionAccepted {
  requestId: string;
  sessionId: string;
  peer: PeerCard;
}

/** Tells the requester that no session comes of its request. Without a `reason` the target said no. */
export interface ConnectionRejected {
  requestId: string;
  targetId: string;
  reason?: "expired" | "full" | "offline";
}

/** Tells the client that the server refused its event. The socket stays open, unless a close frame follows. */
export interface Error {
  code: ErrorCode;
  message: string;
  details?: RetryAfter;
}

/** When a refused client may send again, in milliseconds. */
export interface RetryAfter {
  retryAfterMs: number;
}

/** Sent when a frame had a `ref` and needs no other reply. */
export interface Ok {
}

/**
 * Brings a message of another participant.
 *
 * Only sockets with `acks` get `messageId`, with `sessions` `to`, with `trace` `traceparent` (of the W3C).
 */
export interface TracedMessage {
  sessionId: string;
  from: string;
  content: unknown;
  type?: string;
  correlationId?: string;
  /** ISO 8601, UTC, in milliseconds: 24 characters. */
  timestamp: string;
  messageId?: string;
  to?: Array<string>;
  traceparent?: string;
}

/**
 * Tells the sender who has its message: `delivered` was handed to a socket, `queued` is kept for a return.
 *
 * Those in `full` are away and have no room for more, so the message is not kept for them.
 */
export interface MessageAck {
  messageId: string;
  sessionId: string;
  /** ISO 8601, UTC, in milliseconds: 24 characters. */
  timestamp: string;
  delivered: Array<string>;
  queued: Array<string>;
  full?: Array<string>;
  duplicate?: boolean;
}

/**
 * Warns a client before something happens.
 *
 * - `draining`: this node shuts down and closes the socket with 1012 within `closesInSeconds`; until then all goes
 * on.
 * - `token-expiring`: the token expires at `expiresAt`; a new `AUTH` renews it.
 * - `slow`: the client reads too slowly; if it does not catch up, the server closes the socket with 4008.
 */
export interface ServerNotice {
  kind: "draining" | "slow" | "token-expiring";
  closesInSeconds?: number;
  /** ISO 8601, UTC, in milliseconds: 24 characters. */
  expiresAt?: string;
}

/** Tells the client that its user is in the directory. */
export interface PeerRegistered {
  id: string;
  profile: Profile;
  status: "away" | "busy" | "offline" | "online";
}

/**
 * Lists the peers that are there, in the order of registration, without the asker.
 *
 * `nextCursor` asks for the next page.
 */
export interface PeersList {
  peers: Array<PeerEntry>;
  nextCursor?: string;
}

/** A peer as the directory lists it; `connectionMode` is the asker's relation to it. */
export interface PeerEntry {
  id: string;
  profile: Profile;
  status: "away" | "busy" | "offline" | "online";
  connectionMode: "LAN" | "REMOTE";
}

/** Tells of a peer that came, left, or changed its status or profile. */
export interface PeerStatusUpdate {
  id: string;
  profile: Profile;
  status: "away" | "busy" | "offline" | "online";
  connectionMode: "LAN" | "REMOTE";
}

/** Tells the responder which session came of the request it accepted. `peer` is the requester. */
export interface SessionCreated {
  sessionId: string;
  peer: PeerCard;
}

/** Tells a participant that the session is over for it, and why. */
export interface SessionEnded {
  sessionId: string;
  reason: "ended" | "kicked" | "left" | "overflow" | "revoked" | "timeout";
}

/** Shows the session after each change, with its participants in the order of joining. */
export interface SessionUpdated {
  sessionId: string;
  hostId: string;
  participants: Array<Participant>;
  change: Change;
}

/** A participant of a session; its profile has no metadata. `connected` is false after a drop. */
export interface Participant {
  id: string;
  role: "guest" | "host" | "observer";
  profile: Profile;
  connected: boolean;
}

/** What happened, and to whom. */
export interface Change {
  kind: "dropped" | "host" | "joined" | "kicked" | "left" | "returned" | "role";
  id: string;
}

/** Lists the sessions that the user is in, in the order of joining. */
export interface Sessions {
  sessions: Array<SessionState>;
}

/** A session as it is listed. */
export interface SessionState {
  sessionId: string;
  hostId: string;
  participants: Array<Participant>;
}

/**
 * Authenticates the socket with an access token; on an authenticated socket, renews its token.
 *
 * The first `AUTH` of a user takes over from the user's other socket, which is closed with 4002. If the token is
 * refused, the server answers `AUTH_FAILED` and closes the socket with 4001.
 */
export interface Auth {
  /** A JWT, with or without `Bearer `. */
  token: string;
  capabilities?: Array<string> | null;
  client?: Client | null;
  resume?: Resume | null;
}

/** The client's program. */
export interface Client {
  name?: string | null;
  version?: string | null;
}

/** What a client resumes from: the token it was given last, and the offset of the last event it handled. */
export interface Resume {
  token: string;
  offset: number;
}

/**
 * Asks the server for a sign of life.
 *
 * `offset` is the number of the last event that the client has handled. The server lets go of what it keeps up to
 * there.
 */
export interface Ping {
  offset?: number | null;
}

/**
 * Puts the user into the directory of peers, or replaces its profile there.
 *
 * The server first answers `PEER_REGISTERED`, then sends what it kept for the user. A peer with `visibility`
 * `hidden` is on no list; only those who know its id can reach it.
 */
export interface PeerRegister {
  displayName?: string | null;
  /** Without `capabilities` also any other text of 1 to 64 characters, no control characters. */
  ide?: "vscode" | "cursor" | "jetbrains" | "vim" | "neovim" | "emacs" | "sublime" | "other" | null;
  /** Without `capabilities` also any other text of 1 to 64 characters, no control characters. */
  role?: "host" | "guest" | "observer" | null;
  metadata?: MetadataInput | null;
  visibility?: "everyone" | "hidden" | null;
}

/**
 * What a peer tells of its editor and itself, for other clients; the server makes no use of it.
 *
 * As encoded, `publicKey` must be at most 4 KiB, and all the rest together 2 KiB. Control characters are refused.
 */
export interface MetadataInput {
  ideVersion?: string | null;
  extensionVersion?: string | null;
  os?: string | null;
  timezone?: string | null;
  publicKey?: string | null;
  capabilities?: Array<string> | null;
}

/** Tells the others whether the user is there, away or busy. It stays so until the user changes it or leaves. */
export interface PeerStatus {
  status: "away" | "busy" | "online";
}

/**
 * Asks which peers are there. Each filter that is given must match; `query` matches any part of the display name.
 *
 * `limit` and `cursor` ask for one page at a time. A page has at most `DIRECTORY_PAGE` peers, and fewer if their
 * metadata would exceed the size of a message.
 */
export interface DiscoverPeers {
  /** Without `capabilities` also any other text of 1 to 64 characters, no control characters. */
  role?: "host" | "guest" | "observer" | null;
  /** Without `capabilities` also any other text of 1 to 64 characters, no control characters. */
  ide?: "vscode" | "cursor" | "jetbrains" | "vim" | "neovim" | "emacs" | "sublime" | "other" | null;
  lanOnly?: boolean | null;
  status?: "away" | "busy" | "online" | null;
  query?: string | null;
  limit?: number | null;
  cursor?: string | null;
}

/**
 * Asks a peer for a session. The request waits 30 seconds for its answer.
 *
 * If the peer has asked the sender already, and both have `sessions`, this accepts that request: the answer is
 * `SESSION_CREATED`. Otherwise the answer to a frame with `ref` is `CONNECTION_PENDING`.
 */
export interface ConnectionRequest {
  targetId: string;
}

/** Accepts or refuses a request. If there are several answers to one request, the first counts. */
export interface ConnectionResponse {
  requestId: string;
  accepted: boolean;
}

/** Withdraws a request that the sender made. It must not have been answered yet. */
export interface ConnectionCancel {
  requestId: string;
}

/**
 * Invites a peer to a session, as a guest if no role is given. Only the host may.
 *
 * The peer gets `CONNECTION_REQUEST_RECEIVED` with the session's id, and answers with `CONNECTION_RESPONSE`.
 */
export interface SessionInvite {
  sessionId: string;
  targetId: string;
  role?: "guest" | "observer" | null;
}

/** Leaves a session. When the host leaves, the guest who has been there longest becomes host. */
export interface SessionLeave {
  sessionId: string;
}

/**
 * Removes a participant from a session. Only the host may.
 *
 * A host that this leaves alone gets `SESSION_ENDED` with reason `ended`.
 */
export interface SessionKick {
  sessionId: string;
  targetId: string;
}

/** Makes another participant a guest or an observer. Only the host may; `SESSION_HANDOVER` changes the host. */
export interface SessionRole {
  sessionId: string;
  targetId: string;
  role: "guest" | "observer";
}

/** Makes another participant the host, and the sender a guest. Only the host may. */
export interface SessionHandover {
  sessionId: string;
  targetId: string;
}

/** Ends a session for everybody in it. Only the host may. */
export interface SessionEnd {
  sessionId: string;
}

/** Asks which sessions the user is in, for instance after the editor was restarted. */
export interface SessionList {
}

/**
 * Sends `content`, any JSON value, to the other participants of a session. The server passes it on byte for byte.
 *
 * `to` names the participants who get it; without it all others do. With the capability `acks` a `messageId` asks
 * for `MESSAGE_ACK`, and makes it safe to send the message again.
 */
export interface SendMessage {
  sessionId: string;
  content: unknown;
  type?: string | null;
  correlationId?: string | null;
  messageId?: string | null;
  to?: Array<string> | null;
}

/** What the server sends. */
export interface ServerEvents {
  /** Tells the client that its token is good, and what the claims `sub`, `name` and `email` say. */
  AUTH_SUCCESS: AuthSuccess;
  /** Tells the client that its token is refused. */
  AUTH_FAILED: AuthFailed;
  /** Answers `PING` with the server's time, in milliseconds since 1970. */
  PONG: Pong;
  /** Answers a request that has a `ref`: the request waits for the target until `expiresAt`. */
  CONNECTION_PENDING: ConnectionPending;
  /** Tells a peer that somebody asks it for a session, or invites it to one. */
  CONNECTION_REQUEST_RECEIVED: ConnectionRequestReceived;
  /** Tells the target that a request ended before it answered. */
  CONNECTION_CANCELLED: ConnectionCancelled;
  /** Tells the requester that the target accepted, and which session came of it. */
  CONNECTION_ACCEPTED: ConnectionAccepted;
  /** Tells the requester that no session comes of its request. */
  CONNECTION_REJECTED: ConnectionRejected;
  /** Tells the client that the server refused its event. */
  ERROR: Error;
  /** Sent when a frame had a `ref` and needs no other reply. */
  OK: Ok;
  /** Brings a message of another participant. */
  MESSAGE_RECEIVED: TracedMessage;
  /** Tells the sender who has its message: `delivered` was handed to a socket, `queued` is kept for a return. */
  MESSAGE_ACK: MessageAck;
  /** Warns a client before something happens. */
  SERVER_NOTICE: ServerNotice;
  /** Tells the client that its user is in the directory. */
  PEER_REGISTERED: PeerRegistered;
  /** Lists the peers that are there, in the order of registration, without the asker. */
  PEERS_LIST: PeersList;
  /** Tells of a peer that came, left, or changed its status or profile. */
  PEER_STATUS_UPDATE: PeerStatusUpdate;
  /** Tells the responder which session came of the request it accepted. */
  SESSION_CREATED: SessionCreated;
  /** Tells a participant that the session is over for it, and why. */
  SESSION_ENDED: SessionEnded;
  /** Shows the session after each change, with its participants in the order of joining. */
  SESSION_UPDATED: SessionUpdated;
  /** Lists the sessions that the user is in, in the order of joining. */
  SESSIONS: Sessions;
}

/** What a client sends. */
export interface ClientEvents {
  /** Authenticates the socket with an access token; on an authenticated socket, renews its token. */
  AUTH: Auth;
  /** Asks the server for a sign of life. */
  PING: Ping;
  /** Puts the user into the directory of peers, or replaces its profile there. */
  PEER_REGISTER: PeerRegister;
  /** Tells the others whether the user is there, away or busy. */
  PEER_STATUS: PeerStatus;
  /** Asks which peers are there. */
  DISCOVER_PEERS: DiscoverPeers;
  /** Asks a peer for a session. */
  CONNECTION_REQUEST: ConnectionRequest;
  /** Accepts or refuses a request. */
  CONNECTION_RESPONSE: ConnectionResponse;
  /** Withdraws a request that the sender made. */
  CONNECTION_CANCEL: ConnectionCancel;
  /** Invites a peer to a session, as a guest if no role is given. */
  SESSION_INVITE: SessionInvite;
  /** Leaves a session. */
  SESSION_LEAVE: SessionLeave;
  /** Removes a participant from a session. */
  SESSION_KICK: SessionKick;
  /** Makes another participant a guest or an observer. */
  SESSION_ROLE: SessionRole;
  /** Makes another participant the host, and the sender a guest. */
  SESSION_HANDOVER: SessionHandover;
  /** Ends a session for everybody in it. */
  SESSION_END: SessionEnd;
  /** Asks which sessions the user is in, for instance after the editor was restarted. */
  SESSION_LIST: SessionList;
  /** Sends `content`, any JSON value, to the other participants of a session. */
  SEND_MESSAGE: SendMessage;
}

/** What an event with a `ref` is answered with, unless by `ERROR`. */
export interface Answers {
  /** Authenticates the socket with an access token; on an authenticated socket, renews its token. */
  AUTH: AuthSuccess | AuthFailed;
  /** Asks the server for a sign of life. */
  PING: Pong;
  /** Puts the user into the directory of peers, or replaces its profile there. */
  PEER_REGISTER: PeerRegistered;
  /** Tells the others whether the user is there, away or busy. */
  PEER_STATUS: Ok;
  /** Asks which peers are there. */
  DISCOVER_PEERS: PeersList;
  /** Asks a peer for a session. */
  CONNECTION_REQUEST: SessionCreated | ConnectionPending;
  /** Accepts or refuses a request. */
  CONNECTION_RESPONSE: SessionCreated | Ok;
  /** Withdraws a request that the sender made. */
  CONNECTION_CANCEL: Ok;
  /** Invites a peer to a session, as a guest if no role is given. */
  SESSION_INVITE: ConnectionPending;
  /** Leaves a session. */
  SESSION_LEAVE: Ok;
  /** Removes a participant from a session. */
  SESSION_KICK: Ok;
  /** Makes another participant a guest or an observer. */
  SESSION_ROLE: Ok;
  /** Makes another participant the host, and the sender a guest. */
  SESSION_HANDOVER: Ok;
  /** Ends a session for everybody in it. */
  SESSION_END: Ok;
  /** Asks which sessions the user is in, for instance after the editor was restarted. */
  SESSION_LIST: Sessions;
  /** Sends `content`, any JSON value, to the other participants of a session. */
  SEND_MESSAGE: MessageAck;
}
