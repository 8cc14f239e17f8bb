type Listener<Data> = (data: Data) => void;

/** Who listens to what. `Events` has the type of the data of each event. */
export class Listeners<Events> {
  readonly #listeners: { [Name in keyof Events]?: Set<Listener<Events[Name]>> } = {};

  /** Call the listener with the data of each such event; what is returned makes an end of that. */
  on<Name extends keyof Events>(name: Name, listener: Listener<Events[Name]>): () => void {
    const listeners = (this.#listeners[name] ??= new Set());
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  /** Tell all who listen. What one of them throws is reported as an unhandled rejection, and the others are told. */
  emit<Name extends keyof Events>(name: Name, data: Events[Name]): void {
    for (const listener of [...(this.#listeners[name] ?? [])]) {
      try {
        listener(data);
      } catch (error) {
        void Promise.reject(error);
      }
    }
  }
}

/** Return what is handed to `next`, for `for await`, until `end` is called or nobody wants more. */
export function stream<Data>(
  subscribe: (next: (data: Data) => void, end: () => void) => Array<() => void>,
): AsyncIterableIterator<Data> {
  const come: Array<Data> = [];
  let isOver = false;
  let wake = (): void => {};
  const next = (data: Data): void => {
    come.push(data);
    wake();
  };
  const end = (): void => {
    isOver = true;
    wake();
  };
  const stops = subscribe(next, end);
  return (async function* () {
    try {
      while (come.length > 0 || !isOver) {
        if (come.length > 0) yield come.shift() as Data;
        else await new Promise<void>((resolve) => (wake = resolve));
      }
    } finally {
      stops.forEach((stop) => stop());
    }
  })();
}
