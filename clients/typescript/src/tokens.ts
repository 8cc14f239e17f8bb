/** An access token, or what gives one whenever a new one is needed. */
export type TokenSource = string | (() => string | Promise<string>);

/** The access token in use. */
export class Tokens {
  readonly #source: TokenSource;
  #token: string | undefined;
  #isProven = false;

  constructor(source: TokenSource) {
    this.#source = source;
  }

  /** Return the token, asking for one if there is none. Rejects with what the source rejects with. */
  async get(): Promise<string> {
    this.#token ??= typeof this.#source === "string" ? this.#source : await this.#source();
    return this.#token;
  }

  /** Take note that the server took the token. */
  accepted(): void {
    this.#isProven = true;
  }

  /** Give the token up; return whether there may be a better one: not if it is the only one, or was never any good. */
  renew(wasRefused: boolean): boolean {
    if (typeof this.#source === "string") return false;
    const mayBeBetter = !wasRefused || this.#isProven;
    this.#token = undefined;
    this.#isProven = false;
    return mayBeBetter;
  }
}
