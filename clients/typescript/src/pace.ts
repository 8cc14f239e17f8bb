import type { Platform } from "./platform.js";

/** How many events the server takes: at once, and a second in the long run. */
export interface Limits {
  burst: number;
  eventsPerSecond: number;
}

/** Passes frames on, no faster than the server takes them: half of a burst at once, lest delays add up to a whole. */
export class Pace {
  readonly #platform: Platform;
  readonly #send: (text: string) => void;
  readonly #burst: number;
  readonly #perMs: number;
  readonly #waiting: string[] = [];
  #left: number;
  #at: number;
  #timer: unknown;

  constructor(platform: Platform, limits: Limits, send: (text: string) => void) {
    this.#platform = platform;
    this.#send = send;
    this.#burst = this.#left = Math.max(1, limits.burst / 2);
    this.#perMs = limits.eventsPerSecond / 1000;
    this.#at = platform.now();
  }

  /** Pass a frame on as soon as may be, after those before it. */
  push(text: string): void {
    this.#waiting.push(text);
    this.#flush();
  }

  /** Forget what waits. */
  stop(): void {
    this.#waiting.length = 0;
    this.#platform.clearTimer(this.#timer);
  }

  #flush(): void {
    this.#refill();
    while (this.#left >= 1) {
      const text = this.#waiting.shift();
      if (text === undefined) return;
      this.#left -= 1;
      this.#send(text);
    }
    if (this.#waiting.length > 0) this.#timer ??= this.#platform.setTimer(this.#wake, (1 - this.#left) / this.#perMs);
  }

  readonly #wake = (): void => {
    this.#timer = undefined;
    this.#flush();
  };

  #refill(): void {
    const now = this.#platform.now();
    this.#left = Math.min(this.#burst, this.#left + Math.max(0, now - this.#at) * this.#perMs);
    this.#at = now;
  }
}
