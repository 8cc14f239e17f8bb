"""Who waits for which answer."""

from asyncio import Future, get_running_loop
from typing import Any

from peersync.errors import DisconnectedError, RefusedError
from peersync.events import Error, ErrorData
from peersync.frames import Event


class Answers:
    """Futures of answers by `ref`. Those of messages outlive a connection, with the frame to send again.

    Whoever cancels its future waits no longer: what then comes is an answer to nobody, and dropped.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, Future[Any]] = {}
        self._messages: dict[str, str] = {}
        self._count = 0

    def new_ref(self) -> str:
        """Return a `ref` that is unlike all before."""
        self._count += 1
        return f"peersync-{self._count}"

    def wait(self, ref: str, message: str | None = None) -> "Future[Any]":
        """Return the future of the answer's data; it raises `RefusedError`, or `DisconnectedError` if not a message."""
        answer: Future[Any] = get_running_loop().create_future()
        self._waiting[ref] = answer
        if message is not None:
            self._messages[ref] = message
        answer.add_done_callback(lambda _: self._forget(ref))
        return answer

    def take(self, event: Event) -> bool:
        """Hand an answer to who waits for it; returns whether this client asked."""
        if not isinstance(event.ref, str) or not event.ref.startswith("peersync-"):
            return False
        answer = self._waiting.get(event.ref)
        if answer is None or answer.done():
            return event.offset is None
        if isinstance(event, Error):
            answer.set_exception(refusal(event.data))
        else:
            answer.set_result(event.data)
        return True

    def unacknowledged(self) -> list[str]:
        """Return the messages that are to be sent again, in order."""
        return list(self._messages.values())

    def lost(self) -> None:
        """Take note that no more answers come, but to messages."""
        for ref, answer in self._waiting.items():
            if ref not in self._messages and not answer.done():
                answer.set_exception(DisconnectedError("the connection was lost"))

    def end(self, reason: Exception) -> None:
        """Take note that no more answers come at all."""
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(reason)

    def _forget(self, ref: str) -> None:
        self._waiting.pop(ref, None)
        self._messages.pop(ref, None)


def refusal(error: ErrorData) -> RefusedError:
    """Return what the server refused as an exception."""
    retry_after = error["details"]["retryAfterMs"] / 1000 if "details" in error else None
    return RefusedError(error["code"], error["message"], retry_after)
