import type { ErrorCode, ServerEvents } from "./events.js";

/** What this client rejects its promises with. */
export class PeerSyncError extends Error {
  override readonly name: string = "PeerSyncError";
}

/** The server refused what was asked; `code` says why, `message` in words for a plugin's author. */
export class RefusedError extends PeerSyncError {
  override readonly name = "RefusedError";
  readonly code: ErrorCode;
  /** When to try again, of `ERR_5004`. */
  readonly retryAfterMs: number | undefined;

  constructor({ code, message, details }: ServerEvents["ERROR"]) {
    super(message);
    this.code = code;
    this.retryAfterMs = details?.retryAfterMs;
  }
}

/** There is no connection, or it was lost before the answer came; whether the server did what was asked is not known. */
export class DisconnectedError extends PeerSyncError {
  override readonly name = "DisconnectedError";
  /** The close code; 1006 if there was none. */
  readonly code: number;

  constructor(code: number, reason: string) {
    super(reason || `The connection was closed with ${code}`);
    this.code = code;
  }
}

/** No answer came in time. */
export class TimeoutError extends PeerSyncError {
  override readonly name = "TimeoutError";
}
