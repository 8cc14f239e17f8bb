import { after, pause } from "./backoff.js";
import { DisconnectedError, PeerSyncError, RefusedError } from "./errors.js";
import { CloseCode, ErrorCode, type Answers, type Capability, type ClientEvents, type ServerEvents } from "./events.js";
import { Link, type Ending, type Frame, type SocketConstructor } from "./link.js";
import { Listeners, stream } from "./listeners.js";
import { Pace, type Limits } from "./pace.js";
import { HERE, type Platform } from "./platform.js";
import { Resumption } from "./resumption.js";
import { Tokens, type TokenSource } from "./tokens.js";
import { Waiting } from "./waiting.js";

const CAPABILITIES: Array<Capability> = ["resume", "acks", "sessions", "notices"];
const MAX_KEPT = 1_000; // as many messages of a session the server knows again
const GOODBYE_MS = 2_000;
const NO_LIMITS: Limits = { burst: 1e9, eventsPerSecond: 1e9 };
const PASSING: ReadonlyArray<ErrorCode> = [ErrorCode.RATE_LIMITED, ErrorCode.INTERNAL, ErrorCode.STORE_UNREACHABLE];

/** What a peer is made with; times are in milliseconds. */
export interface Options {
  /** Where the server's socket is, such as `wss://example.com/ws`. */
  url: string;
  /** An access token, or a function that gives one: it is called again when the server wants a new one. */
  token: TokenSource;
  /** What to register with. */
  profile?: ClientEvents["PEER_REGISTER"];
  /** The name and version of your program, for the server's log. */
  client?: { name: string; version: string };
  /** The WebSocket to use, such as that of `ws`; the built-in one if not given. */
  WebSocket?: SocketConstructor;
  /** After how long a request has failed that was not answered; 30,000 if not given. */
  requestTimeoutMs?: number;
  /** How often to see whether the server is still there; 20,000 if not given. */
  heartbeatMs?: number;
  /** Time and chance, for tests. */
  platform?: Platform;
}

/** What a peer tells of its connection. */
export interface ConnectionEvents {
  /** The peer is registered. If not `recovered` it is so anew: `SESSION_LIST` says which sessions still stand. */
  ready: ServerEvents["AUTH_SUCCESS"];
  /** The connection was lost, and the next attempt comes after `retryInMs`. */
  dropped: Ending & { retryInMs: number };
  /** There is no connection and there will be none until `connect` is called; no `error` means that you closed it. */
  closed: { error?: PeerSyncError };
}

export type PeerEvents = ServerEvents & ConnectionEvents;

/** What may be asked by `request`: the rest is `connect` and `send`. */
export type Requests = Omit<ClientEvents, "AUTH" | "SEND_MESSAGE">;

type Arguments<Data> = {} extends Data ? [data?: Data] : [data: Data];
type Awaiting = { resolve(success: ServerEvents["AUTH_SUCCESS"]): void; reject(error: unknown): void };

/** A user of PeerSync Dev Connect, through all connections that it takes. */
export class Peer {
  readonly #options: Options;
  readonly #platform: Platform;
  readonly #tokens: Tokens;
  readonly #waiting: Waiting;
  readonly #listeners = new Listeners<PeerEvents>();
  readonly #resumption = new Resumption();
  #profile: ClientEvents["PEER_REGISTER"];
  #awaiting: Array<Awaiting> = [];
  #isRunning = false;
  #isClosing = false;
  #success: ServerEvents["AUTH_SUCCESS"] | undefined; // of this connection
  #link: Link | undefined;
  #pace: Pace | undefined; // while registered
  #refusal: RefusedError | undefined; // for which to stop
  #wake: () => void = () => {};
  #id: string | undefined;
  #lastId = 0;
  readonly #idPrefix: string;

  constructor(options: Options) {
    this.#options = options;
    this.#platform = options.platform ?? HERE;
    this.#profile = options.profile ?? {};
    this.#tokens = new Tokens(options.token);
    this.#waiting = new Waiting(this.#platform, options.requestTimeoutMs ?? 30_000);
    this.#idPrefix = this.#platform.random().toString(36).slice(2);
  }

  /** The user's id, once the server has told it. */
  get id(): string | undefined {
    return this.#id;
  }

  /**
   * Connect, authenticate and register; resolves once that is done. From then on the peer comes back by itself after
   * every drop, until it is closed; called meanwhile, this resolves when it is back.
   *
   * Rejects if the first attempt fails, or when the peer is closed; then it may be called again.
   */
  connect(): Promise<ServerEvents["AUTH_SUCCESS"]> {
    if (this.#pace !== undefined && this.#success !== undefined) return Promise.resolve(this.#success);
    const ready = new Promise<ServerEvents["AUTH_SUCCESS"]>((resolve, reject) => {
      this.#awaiting.push({ resolve, reject });
    });
    if (!this.#isRunning) void this.#run();
    return ready;
  }

  /** Leave: the user's sessions end for it. Resolves when the connection is closed; what still waits is rejected. */
  async close(): Promise<void> {
    if (!this.#isRunning) return;
    this.#isClosing = true;
    const closed = this.once("closed");
    this.#link?.leave();
    const timer = this.#platform.setTimer(() => this.#link?.drop(CloseCode.NORMAL, "closed"), GOODBYE_MS);
    this.#wake();
    await closed;
    this.#platform.clearTimer(timer);
  }

  /**
   * Send an event and return what it is answered with.
   *
   * Rejects with `RefusedError` if the server refuses it, with `DisconnectedError` if there is no connection or it is
   * lost meanwhile, with `TimeoutError` if no answer comes.
   */
  request<Name extends keyof Requests>(name: Name, ...[data]: Arguments<Requests[Name]>): Promise<Answers[Name]> {
    if (this.#pace === undefined) return Promise.reject(new DisconnectedError(CloseCode.ABNORMAL, "Not connected"));
    return this.#ask(name, data ?? {}, false);
  }

  /** Register again, with another profile, and with that from now on. Rejects as `request` does. */
  register(profile: ClientEvents["PEER_REGISTER"]): Promise<Answers["PEER_REGISTER"]> {
    this.#profile = profile;
    return this.request("PEER_REGISTER", profile);
  }

  /**
   * Send a message to the others in a session; resolves when the server has acknowledged it.
   *
   * It outlives the connection: without an acknowledgement it is sent again over the next one, and reaches everybody
   * once, except those in `full` of the acknowledgement: they are away, and have no room for more. Rejects with
   * `RefusedError` if the server refuses it, with `DisconnectedError` when the peer is closed.
   */
  send(message: ClientEvents["SEND_MESSAGE"]): Promise<Answers["SEND_MESSAGE"]> {
    if (!this.#isRunning) return Promise.reject(new DisconnectedError(CloseCode.ABNORMAL, "Not connected"));
    if (this.#waiting.kept().length >= MAX_KEPT) {
      return Promise.reject(new PeerSyncError(`${MAX_KEPT} messages wait for their acknowledgement already`));
    }
    const messageId = message.messageId ?? `${this.#idPrefix}-${++this.#lastId}`;
    return this.#ask("SEND_MESSAGE", { ...message, messageId }, true);
  }

  /** Call a listener with the data of each such event; what is returned makes an end of that. */
  on<Name extends keyof PeerEvents>(name: Name, listener: (data: PeerEvents[Name]) => void): () => void {
    return this.#listeners.on(name, listener);
  }

  /** Return the data of the next such event that `where` holds for; rejects when the peer is closed before. */
  once<Name extends keyof PeerEvents>(
    name: Name,
    where: (data: PeerEvents[Name]) => boolean = () => true,
  ): Promise<PeerEvents[Name]> {
    return new Promise((resolve, reject) => {
      const found = this.on(name, (data) => {
        if (!where(data)) return;
        stop();
        resolve(data);
      });
      const closed = this.on("closed", ({ error }) => {
        stop();
        reject(error ?? leaving());
      });
      const stop = (): void => {
        found();
        closed();
      };
    });
  }

  /** Return the data of each such event from now on, for `for await`; it is over when the peer is closed. */
  events<Name extends keyof ServerEvents>(name: Name): AsyncIterableIterator<ServerEvents[Name]> {
    return stream((next, end) => [this.on(name, next as (data: PeerEvents[Name]) => void), this.on("closed", end)]);
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    let error: unknown;
    try {
      error = await this.#stay();
    } catch (thrown) {
      error = thrown;
    }
    this.#finish(error);
  }

  /** Connect again and again; return why that is over: nothing if the peer was closed. */
  async #stay(): Promise<PeerSyncError | undefined> {
    let hasBeenReady = false;
    for (let failures = 0; ; failures += 1) {
      const ending = await this.#connection();
      if (this.#success !== undefined) failures = 0;
      hasBeenReady ||= this.#pace !== undefined;
      this.#ended(ending);
      if (this.#isClosing) return undefined;
      if (this.#isToStop(ending) || !hasBeenReady) {
        return this.#refusal ?? new DisconnectedError(ending.code, ending.reason);
      }
      await this.#rest(ending, failures);
      if (this.#isClosing) return undefined;
    }
  }

  /** Live through one connection, and return how it ended. */
  async #connection(): Promise<Ending> {
    this.#success = this.#refusal = undefined;
    let token: string | undefined;
    try {
      token = await this.#unlessClosed(this.#tokens.get());
    } catch (error) {
      return { code: CloseCode.ABNORMAL, reason: `There is no access token: ${error}` };
    }
    if (token === undefined || this.#isClosing) return { code: CloseCode.NORMAL, reason: "" };
    const link = new Link(
      this.#socket(),
      this.#options.url,
      () => this.#hello(token),
      (frame) => this.#receive(frame),
    );
    this.#link = link;
    const stop = this.#watch(link);
    const ending = await link.ended;
    stop();
    return ending;
  }

  #ended(ending: Ending): void {
    this.#link = undefined;
    this.#pace?.stop();
    this.#pace = undefined;
    this.#waiting.lost(new DisconnectedError(ending.code, ending.reason));
  }

  #isToStop({ code }: Ending): boolean {
    const next = after(code);
    if (next === "renew") return !this.#tokens.renew(this.#refusal !== undefined);
    return next === "stop" || this.#refusal !== undefined;
  }

  async #rest(ending: Ending, failures: number): Promise<void> {
    const retryInMs = pause(failures, after(ending.code), () => this.#platform.random());
    this.#listeners.emit("dropped", { ...ending, retryInMs });
    if (this.#isClosing) return;
    let timer: unknown;
    await this.#unlessClosed(new Promise<void>((resolve) => (timer = this.#platform.setTimer(resolve, retryInMs))));
    this.#platform.clearTimer(timer);
  }

  /** Wait for something, but for nothing if the peer is closed meanwhile. */
  #unlessClosed<Value>(promise: Promise<Value>): Promise<Value | undefined> {
    const closed = new Promise<undefined>((resolve) => (this.#wake = () => resolve(undefined)));
    return Promise.race([promise, closed]);
  }

  #finish(error: unknown): void {
    const told = error === undefined || error instanceof PeerSyncError ? error : new PeerSyncError(`${error}`);
    const awaiting = this.#awaiting;
    this.#awaiting = [];
    this.#isRunning = this.#isClosing = false;
    if (told === undefined) this.#resumption.left();
    this.#waiting.end(told ?? leaving());
    awaiting.forEach(({ reject }) => reject(told ?? leaving()));
    this.#listeners.emit("closed", told === undefined ? {} : { error: told });
  }

  #socket(): SocketConstructor {
    const Socket = this.#options.WebSocket ?? (globalThis as { WebSocket?: SocketConstructor }).WebSocket;
    if (Socket === undefined) throw new PeerSyncError("There is no built-in WebSocket here: give one as `WebSocket`");
    return Socket;
  }

  /** Drop a connection over which nothing at all came for a while, though the server was asked for a sign of life. */
  #watch(link: Link): () => void {
    const everyMs = this.#options.heartbeatMs ?? 20_000;
    let timer: unknown;
    let before = -1;
    const look = (): void => {
      if (link.received === before) return link.drop(CloseCode.ABNORMAL, "The server was not heard of");
      before = link.received;
      if (this.#pace !== undefined) this.#report();
      timer = this.#platform.setTimer(look, everyMs);
    };
    look();
    return () => this.#platform.clearTimer(timer);
  }

  #hello(token: string): void {
    const { client } = this.#options;
    const data = { token, capabilities: CAPABILITIES, ...(client && { client }), ...this.#resumption.hello() };
    this.#begin("AUTH", data, (success: ServerEvents["AUTH_SUCCESS"], event) => {
      if (event === "AUTH_SUCCESS") this.#enter(success);
    });
  }

  #enter(success: ServerEvents["AUTH_SUCCESS"]): void {
    this.#tokens.accepted();
    this.#success = success;
    this.#id = success.userId;
    this.#waiting.maxBytes = success.limits?.maxMessageBytes ?? Infinity;
    this.#resumption.entered(success);
    if (success.recovered) this.#ready(success);
    else this.#begin("PEER_REGISTER", this.#profile, () => this.#ready(success));
  }

  #ready(success: ServerEvents["AUTH_SUCCESS"]): void {
    const link = this.#link;
    this.#pace = new Pace(this.#platform, success.limits ?? NO_LIMITS, (text) => link?.send(text));
    this.#report();
    this.#waiting.kept().forEach((text) => this.#pace?.push(text));
    const awaiting = this.#awaiting;
    this.#awaiting = [];
    awaiting.forEach(({ resolve }) => resolve(success));
    this.#listeners.emit("ready", success);
  }

  /** Send what a connection begins with. Without it there is none: what cannot be mended by trying again ends all. */
  #begin<Data>(event: string, data: object, answered: (data: Data, event: string) => void): void {
    const failed = (error: PeerSyncError): void => {
      const isRefused = error instanceof RefusedError;
      if (isRefused && !PASSING.includes(error.code)) this.#refusal = error;
      const isTooMuch = isRefused && error.code === ErrorCode.RATE_LIMITED;
      this.#link?.drop(isTooMuch ? CloseCode.RATE_LIMITED : CloseCode.ABNORMAL, error.message);
    };
    this.#link?.send(this.#waiting.add({ event, data, isKept: false, answered, failed }));
  }

  #ask<Name extends keyof ClientEvents>(event: Name, data: object, isKept: boolean): Promise<Answers[Name]> {
    return new Promise((answered, failed) => {
      const text = this.#waiting.add({ event, data, isKept, answered, failed });
      this.#pace?.push(text);
    });
  }

  #receive(frame: Frame): void {
    if (!this.#resumption.isNew(frame.offset)) return;
    const isAnswer = this.#waiting.answer(frame);
    if (!isAnswer || frame.event !== "ERROR") this.#tell(frame);
    if (this.#resumption.handled(frame.offset) && this.#pace !== undefined) this.#report();
  }

  #tell({ event, data }: Frame): void {
    if (event === "AUTH_FAILED") this.#refusal = new RefusedError(data as ServerEvents["AUTH_FAILED"]);
    if (event === "SERVER_NOTICE") this.#heed(data as ServerEvents["SERVER_NOTICE"]);
    this.#listeners.emit(event as keyof ServerEvents, data as never);
  }

  #heed({ kind }: ServerEvents["SERVER_NOTICE"]): void {
    if (kind === "token-expiring") void this.#renew();
  }

  /** Say how far events were handled, and see by the answer that the server is there. */
  #report(): void {
    this.#ask("PING", this.#resumption.report(), false).catch(() => {});
  }

  /** Renew the token before it expires. If that fails the server closes with 4003, and the next connection has one. */
  async #renew(): Promise<void> {
    const link = this.#link;
    if (!this.#tokens.renew(false)) return;
    const token = await this.#tokens.get().catch(() => undefined);
    if (token === undefined || this.#link !== link) return;
    const answered = (_: unknown, event: string): void => {
      if (event === "AUTH_SUCCESS") this.#tokens.accepted();
    };
    link?.send(this.#waiting.add({ event: "AUTH", data: { token }, isKept: false, answered, failed: () => {} }));
  }
}

function leaving(): DisconnectedError {
  return new DisconnectedError(CloseCode.NORMAL, "The peer was closed");
}
