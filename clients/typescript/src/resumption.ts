import type { ServerEvents } from "./events.js";

const REPORT_AFTER = 100;

/** What a client keeps so that nothing is lost when its connection is: a token, and the last event it handled. */
export class Resumption {
  #token: string | undefined;
  #offset = 0;
  #reported = 0;

  /** Return what AUTH asks to resume from; nothing if there is nothing. */
  hello(): { resume?: { token: string; offset: number } } {
    return this.#token === undefined ? {} : { resume: { token: this.#token, offset: this.#offset } };
  }

  /** Go on, or start over, as the server says. */
  entered({ resume, recovered }: ServerEvents["AUTH_SUCCESS"]): void {
    this.#token = resume?.token;
    if (!recovered) this.#offset = this.#reported = 0;
  }

  /** Whether a frame is new; one with a number is, if that is beyond the last. */
  isNew(offset: number | undefined): boolean {
    return offset === undefined || offset > this.#offset;
  }

  /** Take note that a frame was handled; return whether it is time to tell the server how far that was. */
  handled(offset: number | undefined): boolean {
    this.#offset = offset ?? this.#offset;
    return this.#offset - this.#reported >= REPORT_AFTER;
  }

  /** Return what tells the server which events it can let go of. */
  report(): { offset: number } {
    this.#reported = this.#offset;
    return { offset: this.#offset };
  }

  /** Forget all: who left has nothing to come back to. */
  left(): void {
    this.#token = undefined;
    this.#offset = this.#reported = 0;
  }
}
