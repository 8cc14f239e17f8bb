"""Mail: what is kept for users who are away, bounded per user and in all (protocol.md section 3)."""

from collections.abc import Callable

from stores.base import User


class Mailbox:
    """What one user will get on its return, in order."""

    __slots__ = ("payloads", "size")

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.size = 0


class Mail:
    """The mailboxes of all users who are away. One that outgrows its bound is emptied and reported, once."""

    def __init__(self, *, events: int, size: int, total_size: int, on_overflow: Callable[[User], None]) -> None:
        self._events = events
        self._size = size
        self._total_size = total_size
        self._on_overflow = on_overflow
        self._boxes: dict[User, Mailbox] = {}
        self.held = 0

    def open(self, user: User) -> None:
        """Keep what comes for the user from now on."""
        self._boxes.setdefault(user, Mailbox())

    def keep(self, user: User, payload: bytes) -> bool:
        """Keep an event if the user has a mailbox; False if not, or if that was too much for it."""
        box = self._boxes.get(user)
        if box is None:
            return False
        box.payloads.append(payload)
        box.size += len(payload)
        self.held += len(payload)
        if len(box.payloads) > self._events or box.size > self._size:
            self._overflow(user)
        while self.held > self._total_size:
            self._overflow(max(self._boxes, key=lambda each: self._boxes[each].size))
        return user in self._boxes

    def take(self, user: User) -> list[bytes]:
        """Close the mailbox and return what was in it; empty if there was none."""
        box = self._boxes.pop(user, None)
        if box is None:
            return []
        self.held -= box.size
        return box.payloads

    def _overflow(self, user: User) -> None:
        self.take(user)
        self._on_overflow(user)
