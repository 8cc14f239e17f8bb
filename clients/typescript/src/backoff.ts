import { CloseCode } from "./events.js";

const FIRST_MS = 1_000;
const LONGEST_MS = 15_000;

/** What to do once a connection has ended: come back, do so with a new token, do so after a rest, or stop. */
export type Next = "return" | "renew" | "rest" | "stop";

const NEXT: Partial<Record<number, Next>> = {
  [CloseCode.NORMAL]: "stop",
  [CloseCode.PROTOCOL_ERROR]: "stop",
  [CloseCode.BAD_UTF8]: "stop",
  [CloseCode.TOO_LARGE]: "stop",
  [CloseCode.SUPERSEDED]: "stop",
  [CloseCode.UNAUTHENTICATED]: "renew",
  [CloseCode.TOKEN_EXPIRED]: "renew",
  [CloseCode.RATE_LIMITED]: "rest",
};

/** Return what a close code asks of a client; a code that is not known, to come back. */
export function after(code: number): Next {
  return NEXT[code] ?? "return";
}

/**
 * Return for how many milliseconds to wait before the next attempt, `failures` having failed before it.
 *
 * It is between half of what it is at most, which doubles up to 15 seconds, and all of it, so that the clients of a
 * server that restarted do not come at once; a rest is 15 seconds longer.
 */
export function pause(failures: number, next: Next, random: () => number): number {
  const most = Math.min(LONGEST_MS, FIRST_MS * 2 ** failures);
  return (most * (1 + random())) / 2 + (next === "rest" ? LONGEST_MS : 0);
}
