// Polling: the same question again and again, one at a time, and none while nobody looks.

/** Asks now, then each `ms` milliseconds after an answer; returns a function that asks at once. */
export function poll(ms, ask) {
  let timer = null;
  let isAsking = false;
  let isDue = false;

  async function turn() {
    clearTimeout(timer);
    if (isAsking) {
      isDue = true;
      return;
    }
    isAsking = true;
    if (!document.hidden) await ask();
    isAsking = false;
    timer = setTimeout(turn, isDue ? 0 : ms);
    isDue = false;
  }

  document.addEventListener("visibilitychange", () => !document.hidden && turn());
  turn();
  return turn;
}
