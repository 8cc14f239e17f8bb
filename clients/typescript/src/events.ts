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

/** The token is good; from its claims `sub`, `name` and `email`. The rest is told to clients of version 1.1. */
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

/** The token is not good; the socket closes with 4001. */
export interface AuthFailed {
  code: ErrorCode;
  message: string;
}

/** Answers `PING` with the server's time, milliseconds since 1970. */
export interface Pong {
  timestamp: number;
}

/** Answers a request with `ref`: it waits for the target's answer until `expiresAt`. */
export interface ConnectionPending {
  requestId: string;
  targetId: string;
  /** ISO 8601, UTC, in milliseconds: 24 characters. */
  expiresAt: string;
}

/**
 * Somebody asks for a session, or invites to one.
 *
 * For a receiver with `sessions` it also says until when an answer counts, and of an invitation the session and the
 * role.
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
 * Tells the target that a request ended without its answer; for those who speak `sessions`.
 *
 * `expired`: its time was up. `offline`: its requester is gone. `cancelled`: it was withdrawn, or the invitation is
 * void.
 */
export interface ConnectionCancelled {
  requestId: string;
  reason: "cancelled" | "expired" | "offline";
}

/** Tells the requester of its session; `peer` is the other one. */
export interface ConnectionAccepted {
  requestId: string;
  sessionId: string;
  peer: PeerCard;
}

/** Tells the requester that nothing comes of it; without a reason, the target said no. */
export interface ConnectionRejected {
  requestId: string;
  targetId: string;
  reason?: "expired" | "full" | "offline";
}

/** Something was refused. The socket stays open, unless a close frame follows. */
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
 * A message of another participant.
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
 * Tells the sender who has its message: handed to their sockets, or kept for their return.
 *
 * It is neither handed nor kept for those in `full`, who are away and have no room for more.
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
 * Tells a socket with the capability `notices` what is about to happen, so that it can act before.
 *
 * `draining`: this node stops, and closes the socket with 1012 within `closesInSeconds`; until then all goes on.
 * `token-expiring`: the token expires at `expiresAt`; a new AUTH renews it.
 * `slow`: half of what may wait for the socket waits; if the client does not read faster, it is closed with 4008.
 */
export interface ServerNotice {
  kind: "draining" | "slow" | "token-expiring";
  closesInSeconds?: number;
  /** ISO 8601, UTC, in milliseconds: 24 characters. */
  expiresAt?: string;
}

/** The peer is in the directory. */
export interface PeerRegistered {
  id: string;
  profile: Profile;
  status: "away" | "busy" | "offline" | "online";
}

/** Who is there, in the order of registration; never the asker. `nextCursor` asks for the page after this one. */
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

/** A peer came, went or changed. */
export interface PeerStatusUpdate {
  id: string;
  profile: Profile;
  status: "away" | "busy" | "offline" | "online";
  connectionMode: "LAN" | "REMOTE";
}

/** Tells the responder of its session; `peer` is the requester. */
export interface SessionCreated {
  sessionId: string;
  peer: PeerCard;
}

/** The session is over for the one who gets this. */
export interface SessionEnded {
  sessionId: string;
  reason: "ended" | "kicked" | "left" | "overflow" | "revoked" | "timeout";
}

/** The session as it is after a change, participants in the order of joining; for those who speak `sessions`. */
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

/** The sessions that one is in, in the order of joining them. */
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
 * Presents an access token. What is wrong with it is answered `AUTH_FAILED`, and the socket closes with 4001.
 *
 * A token of any other type than string is an invalid token, so it is looked at later.
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

/** Asks for a sign of life; `offset` is that of the last event handled, so that the server can let go of those. */
export interface Ping {
  offset?: number | null;
}

/** Joins the directory, or replaces the profile there; who is hidden can be reached by its id only. */
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

/** Says whether one has time. */
export interface PeerStatus {
  status: "away" | "busy" | "online";
}

/**
 * Asks who is there; each filter given must match, `query` as a part of the display name in any case.
 *
 * `limit` and `cursor` ask for a page at a time; a page has `DIRECTORY_PAGE` peers at most.
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
 * Asks a peer for a session.
 *
 * If that peer's own request to the sender waits, and both have `sessions`, this accepts it: the answer is
 * `SESSION_CREATED`.
 */
export interface ConnectionRequest {
  targetId: string;
}

/** Accepts or refuses. */
export interface ConnectionResponse {
  requestId: string;
  accepted: boolean;
}

/** Withdraws a request of one's own. */
export interface ConnectionCancel {
  requestId: string;
}

/** Asks a peer into a session of one's own, as a guest if no role is given. */
export interface SessionInvite {
  sessionId: string;
  targetId: string;
  role?: "guest" | "observer" | null;
}

/** Goes out of a session. */
export interface SessionLeave {
  sessionId: string;
}

/** Throws a participant out. */
export interface SessionKick {
  sessionId: string;
  targetId: string;
}

/** Gives another participant a role; that of the host is handed over. */
export interface SessionRole {
  sessionId: string;
  targetId: string;
  role: "guest" | "observer";
}

/** Makes another participant the host, and oneself a guest. */
export interface SessionHandover {
  sessionId: string;
  targetId: string;
}

/** Ends a session for all. */
export interface SessionEnd {
  sessionId: string;
}

/** Asks which sessions one is in. */
export interface SessionList {
}

/**
 * Sends `content`, any JSON value, to the other participants; it is passed on byte for byte, never decoded.
 *
 * `to` names those of them who get it. With the capability `acks` a `messageId` asks for `MESSAGE_ACK`.
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
  /** The token is good; from its claims `sub`, `name` and `email`. */
  AUTH_SUCCESS: AuthSuccess;
  /** The token is not good; the socket closes with 4001. */
  AUTH_FAILED: AuthFailed;
  /** Answers `PING` with the server's time, milliseconds since 1970. */
  PONG: Pong;
  /** Answers a request with `ref`: it waits for the target's answer until `expiresAt`. */
  CONNECTION_PENDING: ConnectionPending;
  /** Somebody asks for a session, or invites to one. */
  CONNECTION_REQUEST_RECEIVED: ConnectionRequestReceived;
  /** Tells the target that a request ended without its answer; for those who speak `sessions`. */
  CONNECTION_CANCELLED: ConnectionCancelled;
  /** Tells the requester of its session; `peer` is the other one. */
  CONNECTION_ACCEPTED: ConnectionAccepted;
  /** Tells the requester that nothing comes of it; without a reason, the target said no. */
  CONNECTION_REJECTED: ConnectionRejected;
  /** Something was refused. */
  ERROR: Error;
  /** Sent when a frame had a `ref` and needs no other reply. */
  OK: Ok;
  /** A message of another participant. */
  MESSAGE_RECEIVED: TracedMessage;
  /** Tells the sender who has its message: handed to their sockets, or kept for their return. */
  MESSAGE_ACK: MessageAck;
  /** Tells a socket with the capability `notices` what is about to happen, so that it can act before. */
  SERVER_NOTICE: ServerNotice;
  /** The peer is in the directory. */
  PEER_REGISTERED: PeerRegistered;
  /** Who is there, in the order of registration; never the asker. */
  PEERS_LIST: PeersList;
  /** A peer came, went or changed. */
  PEER_STATUS_UPDATE: PeerStatusUpdate;
  /** Tells the responder of its session; `peer` is the requester. */
  SESSION_CREATED: SessionCreated;
  /** The session is over for the one who gets this. */
  SESSION_ENDED: SessionEnded;
  /** The session as it is after a change, participants in the order of joining; for those who speak `sessions`. */
  SESSION_UPDATED: SessionUpdated;
  /** The sessions that one is in, in the order of joining them. */
  SESSIONS: Sessions;
}

/** What a client sends. */
export interface ClientEvents {
  /** Presents an access token. */
  AUTH: Auth;
  /** Asks for a sign of life; `offset` is that of the last event handled, so that the server can let go of those. */
  PING: Ping;
  /** Joins the directory, or replaces the profile there; who is hidden can be reached by its id only. */
  PEER_REGISTER: PeerRegister;
  /** Says whether one has time. */
  PEER_STATUS: PeerStatus;
  /** Asks who is there; each filter given must match, `query` as a part of the display name in any case. */
  DISCOVER_PEERS: DiscoverPeers;
  /** Asks a peer for a session. */
  CONNECTION_REQUEST: ConnectionRequest;
  /** Accepts or refuses. */
  CONNECTION_RESPONSE: ConnectionResponse;
  /** Withdraws a request of one's own. */
  CONNECTION_CANCEL: ConnectionCancel;
  /** Asks a peer into a session of one's own, as a guest if no role is given. */
  SESSION_INVITE: SessionInvite;
  /** Goes out of a session. */
  SESSION_LEAVE: SessionLeave;
  /** Throws a participant out. */
  SESSION_KICK: SessionKick;
  /** Gives another participant a role; that of the host is handed over. */
  SESSION_ROLE: SessionRole;
  /** Makes another participant the host, and oneself a guest. */
  SESSION_HANDOVER: SessionHandover;
  /** Ends a session for all. */
  SESSION_END: SessionEnd;
  /** Asks which sessions one is in. */
  SESSION_LIST: SessionList;
  /** Sends `content`, any JSON value, to the other participants; it is passed on byte for byte, never decoded. */
  SEND_MESSAGE: SendMessage;
}

/** What an event with a `ref` is answered with, unless by `ERROR`. */
export interface Answers {
  /** Presents an access token. */
  AUTH: AuthSuccess | AuthFailed;
  /** Asks for a sign of life; `offset` is that of the last event handled, so that the server can let go of those. */
  PING: Pong;
  /** Joins the directory, or replaces the profile there; who is hidden can be reached by its id only. */
  PEER_REGISTER: PeerRegistered;
  /** Says whether one has time. */
  PEER_STATUS: Ok;
  /** Asks who is there; each filter given must match, `query` as a part of the display name in any case. */
  DISCOVER_PEERS: PeersList;
  /** Asks a peer for a session. */
  CONNECTION_REQUEST: SessionCreated | ConnectionPending;
  /** Accepts or refuses. */
  CONNECTION_RESPONSE: SessionCreated | Ok;
  /** Withdraws a request of one's own. */
  CONNECTION_CANCEL: Ok;
  /** Asks a peer into a session of one's own, as a guest if no role is given. */
  SESSION_INVITE: ConnectionPending;
  /** Goes out of a session. */
  SESSION_LEAVE: Ok;
  /** Throws a participant out. */
  SESSION_KICK: Ok;
  /** Gives another participant a role; that of the host is handed over. */
  SESSION_ROLE: Ok;
  /** Makes another participant the host, and oneself a guest. */
  SESSION_HANDOVER: Ok;
  /** Ends a session for all. */
  SESSION_END: Ok;
  /** Asks which sessions one is in. */
  SESSION_LIST: Sessions;
  /** Sends `content`, any JSON value, to the other participants; it is passed on byte for byte, never decoded. */
  SEND_MESSAGE: MessageAck;
}
