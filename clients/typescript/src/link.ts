import { CloseCode } from "./events.js";

const LET_GO = 4000; // anything but 1000, 1001 and no code: those mean to leave

/** As much of a WebSocket as is used: browsers', Node's, and that of the library `ws` have it. */
export interface SocketLike {
  onopen: ((event: any) => any) | null;
  onmessage: ((event: any) => any) | null;
  onclose: ((event: any) => any) | null;
  onerror: ((event: any) => any) | null;
  send(text: string): void;
  close(code?: number, reason?: string): void;
}

export type SocketConstructor = new (url: string) => SocketLike;

/** A frame of the server. */
export interface Frame {
  event: string;
  data: unknown;
  ref?: string | number;
  offset?: number;
}

/** How a connection ended; the code is 1006 if there was none. */
export interface Ending {
  code: number;
  reason: string;
}

/** One connection, from the attempt to make it to its end. */
export class Link {
  /** Resolves when it is over, or could not be made; never rejects. */
  readonly ended: Promise<Ending>;
  /** How many frames have come. */
  received = 0;
  readonly #socket: SocketLike;
  #isOpen = false;
  #end!: (ending: Ending) => void;

  /** Connect. Throws what the constructor of the socket throws, as for a URL that is none. */
  constructor(Socket: SocketConstructor, url: string, opened: () => void, received: (frame: Frame) => void) {
    this.ended = new Promise((resolve) => (this.#end = resolve));
    this.#socket = new Socket(url);
    this.#socket.onopen = () => {
      this.#isOpen = true;
      opened();
    };
    this.#socket.onmessage = ({ data }) => {
      this.received += 1;
      received(JSON.parse(data));
    };
    this.#socket.onclose = ({ code, reason }) => this.#over({ code, reason });
    this.#socket.onerror = ({ message }) => {
      if (!this.#isOpen) this.#over({ code: CloseCode.ABNORMAL, reason: message ?? "" }); // older Node tells no more
    };
  }

  send(text: string): void {
    this.#socket.send(text);
  }

  /** Say goodbye: the user's sessions end for it. */
  leave(): void {
    this.#socket.close(CloseCode.NORMAL);
  }

  /** Let go of the connection at once, as if it had been lost: the user is expected back. */
  drop(code: number, reason: string): void {
    this.#over({ code, reason });
    this.#socket.close(LET_GO);
  }

  #over(ending: Ending): void {
    this.#socket.onopen = this.#socket.onmessage = null;
    this.#end(ending);
  }
}
