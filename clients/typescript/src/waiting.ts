import { PeerSyncError, RefusedError, TimeoutError } from "./errors.js";
import type { ServerEvents } from "./events.js";
import type { Frame } from "./link.js";
import { bytesOf, type Platform } from "./platform.js";

/** Something that was sent, and what becomes of it. */
export interface Question {
  event: string;
  data: object;
  /** Whether it outlives the connection, to be sent again over the next. */
  isKept: boolean;
  answered(data: never, event: string): void;
  failed(error: PeerSyncError): void;
}

interface Waiter {
  question: Question;
  text: string;
  timer: unknown;
}

/** What waits for an answer, by `ref`, in the order it was sent. */
export class Waiting {
  /** How long a frame may be. */
  maxBytes = Infinity;
  readonly #platform: Platform;
  readonly #timeoutMs: number;
  readonly #waiters = new Map<number, Waiter>();
  #lastRef = 0;

  constructor(platform: Platform, timeoutMs: number) {
    this.#platform = platform;
    this.#timeoutMs = timeoutMs;
  }

  /** Wait for an answer, for what is not kept only so long; return the frame to send. Throws if it is too long. */
  add(question: Question): string {
    const ref = ++this.#lastRef;
    const { event, data } = question;
    const text = JSON.stringify({ event, data, ref });
    if (bytesOf(text) > this.maxBytes) throw new PeerSyncError(`${event} is longer than ${this.maxBytes} bytes`);
    const expire = () => this.#take(ref)?.question.failed(new TimeoutError(`${event} was not answered in time`));
    const timer = question.isKept ? undefined : this.#platform.setTimer(expire, this.#timeoutMs);
    this.#waiters.set(ref, { question, text, timer });
    return text;
  }

  /** Hand over an answer; return whether somebody waited for it. */
  answer({ event, data, ref }: Frame): boolean {
    const waiter = this.#take(ref);
    if (waiter === undefined) return false;
    if (event === "ERROR") waiter.question.failed(new RefusedError(data as ServerEvents["ERROR"]));
    else waiter.question.answered(data as never, event);
    return true;
  }

  /** Return the frames of what is kept. */
  kept(): Array<string> {
    return [...this.#waiters.values()].filter(({ question }) => question.isKept).map(({ text }) => text);
  }

  /** Fail whatever does not outlive a connection. */
  lost(error: PeerSyncError): void {
    for (const [ref, { question }] of [...this.#waiters]) {
      if (!question.isKept) this.#take(ref)?.question.failed(error);
    }
  }

  /** Fail all. */
  end(error: PeerSyncError): void {
    for (const ref of [...this.#waiters.keys()]) this.#take(ref)?.question.failed(error);
  }

  #take(ref: string | number | undefined): Waiter | undefined {
    const waiter = this.#waiters.get(ref as number);
    if (waiter === undefined) return undefined;
    this.#waiters.delete(ref as number);
    this.#platform.clearTimer(waiter.timer);
    return waiter;
  }
}
