"""The script by which homes write, by hand: serials, gaps, marks, and what an opening leaves."""

import json
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis

from stores.redis import scripts
from stores.redis.space import Space
from tests.support.redis import RedisServer

MARK = b"m" * 32
FENCE = 7
LATER = 2


class Script:
    """Runs it for a node, `n`, whose fence for Ann is the latest."""

    def __init__(self, url: str) -> None:
        self.redis: Any = Redis.from_url(url)
        self.space = Space(uuid4().hex)
        self.key = self.space.org(None)
        self._serial = 0
        self.redis.hset(f"{self.key}homes", "ann", f"n 1 {FENCE}")

    def write(
        self, kind: str, *about: object, serial: int = 0, fence: int = FENCE, rest: tuple[bytes, ...] = ()
    ) -> int:
        """Write one thing; return its answer."""
        self._serial += 1
        head = json.dumps([[kind, "ann", fence, serial or self._serial, *about]])
        told_on = self.space.changes, "null", "n"
        (answer,) = self.redis.eval(scripts.WRITE, 1, self.key, head, *told_on, *rest)
        return int(answer)

    def keep(self, first: int, last: int, *frames: bytes, marks: bytes = b"", seen: str = "{}", **how: Any) -> int:
        return self.write("keep", first, last, seen, len(frames), rest=(marks, *frames), **how)

    def open(self, *, is_new: bool, last: int = 0, **how: Any) -> int:
        return self.write("open", '["res_1"]', '{"3":5}', is_new, last, **how)

    @property
    def frames(self) -> list[bytes]:
        frames: list[bytes] = self.redis.lrange(f"{self.key}mail:ann", 0, -1)
        return frames

    @property
    def marks(self) -> list[bytes]:
        marks: list[bytes] = self.redis.lrange(f"{self.key}marks:ann", 0, -1)
        return marks

    @property
    def box(self) -> dict[bytes, bytes]:
        box: dict[bytes, bytes] = self.redis.hgetall(f"{self.key}box:ann")
        return box


@pytest.fixture
def script(redis: RedisServer) -> Script:
    """The script, and a home."""
    return Script(redis.url)


def test_a_stale_serial(script: Script) -> None:
    """What was sent again from before an opening does nothing; it is answered as if it had."""
    assert script.open(is_new=True, last=3, serial=5) == 1
    assert script.keep(1, 1, b"one", serial=4) == 1
    assert script.open(is_new=True, last=9, serial=5) == 1
    assert (script.frames, script.box[b"last"]) == ([], b"3")
    assert script.keep(4, 4, b"four", serial=6) == 1
    assert script.frames == [b"four"]


def test_serials_are_of_one_fence(script: Script) -> None:
    """A home that comes after an opening begins to count where it likes, once it has opened the mailbox itself."""
    script.open(is_new=True, serial=100)
    script.redis.hset(f"{script.key}homes", "ann", f"m 1 {FENCE + 1}")
    assert script.keep(1, 1, b"one", serial=1, fence=FENCE + 1) == LATER
    assert script.open(is_new=True, serial=2, fence=FENCE + 1) == 1
    assert script.keep(1, 1, b"one", serial=3, fence=FENCE + 1) == 1
    assert script.frames == [b"one"]


def test_a_gap(script: Script) -> None:
    """What comes after a gap is not written, unless what is missing is not to be kept any more."""
    script.keep(1, 2, b"one", b"two")
    assert script.keep(1, 5, b"five") == script.keep(4, 5, b"five") == LATER
    assert (script.frames, script.box[b"last"]) == ([b"one", b"two"], b"2")
    assert script.keep(5, 5, b"five") == 1
    assert (script.frames, script.box[b"last"]) == ([b"five"], b"5")


def test_what_overlaps(script: Script) -> None:
    """Of what comes twice in part only the rest is added, and what is not to be kept any more goes."""
    script.keep(1, 2, b"one", b"two")
    script.keep(2, 3, b"two", b"three")
    assert script.frames == [b"two", b"three"]
    script.keep(5, 4, b"four")
    assert (script.frames, script.box[b"last"]) == ([], b"4")


@pytest.mark.parametrize("last", [1, 2])
def test_what_is_there_already(script: Script, last: int) -> None:
    """A write that goes no further than what is there changes nothing at all."""
    script.keep(1, 2, b"one", b"two", marks=MARK, seen='{"a":1}')
    before = script.frames, script.marks, script.box
    assert script.keep(last, last, b"other", marks=MARK, seen='{"a":2}') == 1
    assert (script.frames, script.marks, script.box) == before


def test_marks_are_bounded(script: Script) -> None:
    """The latest 64 writes with marks have them; one without adds none."""
    for number in range(1, 71):
        script.keep(number, number, b"x", marks=b"%032d" % number)
    script.keep(71, 71, b"x")
    assert script.marks == [b"%032d" % number for number in range(7, 71)]


def test_an_opening(script: Script) -> None:
    """It drops what was kept if it is new; how far the user came with each node, and the marks, outlive it."""
    script.keep(1, 1, b"one", marks=MARK, seen='{"a":1}')
    script.open(is_new=False, last=0)
    assert (script.frames, script.box[b"last"]) == ([b"one"], b"1")
    script.open(is_new=True, last=5)
    assert (script.frames, script.marks) == ([], [MARK])
    assert (script.box[b"last"], script.box[b"seen"], script.box[b"tokens"]) == (b"5", b'{"a":1}', b'["res_1"]')
    assert script.box[b"bases"] == b'{"3":5}'


@pytest.mark.parametrize("kept", [None, "holders", "peers"])
def test_forgetting(script: Script, kept: str | None) -> None:
    """All of a user goes, and whoever is neither held nor registered has no home any more, which is told."""
    listener = script.redis.pubsub(ignore_subscribe_messages=True)
    listener.subscribe(script.space.changes)
    assert listener.get_message(timeout=5) is None  # it has subscribed
    if kept is not None:
        script.redis.hset(f"{script.key}{kept}", "ann", "{}")
    script.keep(1, 1, b"one", marks=MARK)
    assert script.write("forget") == 1
    assert (script.frames, script.marks, script.box) == ([], [], {})
    assert script.redis.hexists(f"{script.key}homes", "ann") == (kept is not None)
    script.redis.publish(script.space.changes, "end")
    told = [listener.get_message(timeout=5)["data"] for _ in range(1 if kept else 2)]
    assert told == [*([] if kept else [b'[["left","n",null,1,"ann"]]']), b"end"]


@pytest.mark.parametrize("kind", ["keep", "open", "forget"])
def test_another_home(script: Script, kind: str) -> None:
    """Whoever is not the user's home changes nothing, and is told so; in an emptied store nobody is."""
    writes = {
        "keep": lambda: script.keep(1, 1, b"one", fence=FENCE - 1),
        "open": lambda: script.open(is_new=True, fence=FENCE - 1),
        "forget": lambda: script.write("forget", fence=FENCE - 1),
    }
    assert writes[kind]() == 0
    script.redis.delete(f"{script.key}homes")
    assert writes[kind]() == 2
    assert (script.frames, script.box) == ([], {})
