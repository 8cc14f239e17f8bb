"""Rows: which rows of the file have the events of whom. New ones go to its end, and the file needs no index by user."""

from collections import deque

from stores.model import User


class Rows:
    """For each user the numbers of its rows, oldest first, each with the offset of the last event in it."""

    def __init__(self) -> None:
        self.latest = 0
        self._by_user: dict[User, deque[tuple[int, int]]] = {}

    def add(self, user: User, last: int, number: int) -> None:
        """Take note of a row, the latest of all."""
        self._by_user.setdefault(user, deque()).append((last, number))
        self.latest = number

    def until(self, user: User, offset: int | None = None) -> list[int]:
        """Return the numbers of the user's rows up to an offset, or of all."""
        found: list[int] = []
        for last, number in self._by_user.get(user, ()):
            if offset is not None and last > offset:
                break
            found.append(number)
        return found

    def drop(self, user: User, count: int) -> None:
        """Forget so many of the user's rows, the oldest."""
        rows = self._by_user.get(user, deque())
        for _ in range(count):
            rows.popleft()
        if not rows:
            self._by_user.pop(user, None)
