"""The keys of an issuer: when it is asked, and what holds while it does not answer."""

import io
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse

from app.auth.algorithms import Key
from app.auth.issuer import FETCH_BYTES, Fetcher, IssuerKeys
from app.auth.jwks import IssuerError
from app.auth.keyfile import KeyFile
from app.auth.keyring import KeyRing
from app.ops.logs import make_logger
from app.settings import Settings
from stores.protocols import StoreUnreachableError
from tests.support.issuer import Issuer as RealIssuer
from tests.support.server import free_port
from tests.support.tokens import Keys

INTERVAL = 30.0
WAITING = 50


class Issuer:
    """An issuer by hand: `kids` are those of its keys, None while it is down. A `gate` holds its answer back."""

    def __init__(self, keys: Keys, *kids: str) -> None:
        self.kids: tuple[str, ...] | None = kids
        self.asked = 0
        self.time = 1000.0
        self.gate: anyio.Event | None = None
        self._numbers = keys.key.as_dict(private=False)
        self._log = io.StringIO()
        log = make_logger(Settings(log_format="json"), self._log)
        self.keys = IssuerKeys(self, INTERVAL, lambda: self.time, log)
        self.ring = KeyRing(KeyFile(Settings(), [keys.key], log), self.keys)

    async def __call__(self) -> bytes:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.kids is None:
            raise IssuerError("down")
        return json.dumps({"keys": [{**self._numbers, "kid": kid} for kid in self.kids]}).encode()

    async def close(self) -> None:
        pass

    async def knows(self, kid: str) -> bool:
        return bool(await self.keys.find(kid))

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.getvalue().splitlines()]


@pytest.fixture
async def issuer(keys: Keys) -> Issuer:
    """An issuer with one key, asked a long time ago."""
    issuer = Issuer(keys, "a")
    await issuer.keys.refresh()
    issuer.time += INTERVAL
    issuer.asked = 0
    return issuer


async def test_known(issuer: Issuer) -> None:
    """For a key that is known nobody is asked."""
    assert await issuer.knows("a")
    assert issuer.asked == 0


async def test_unknown(issuer: Issuer) -> None:
    """For a key that is not known the issuer is asked, and then not again within the interval."""
    issuer.kids = ("a", "b")
    assert await issuer.knows("b")
    for number in range(100):
        assert not await issuer.knows(f"junk{number}")
    issuer.kids = ("b", "c")
    issuer.time += INTERVAL - 0.1
    assert not await issuer.knows("c")
    assert issuer.asked == 1
    issuer.time += 0.1
    assert await issuer.knows("c")
    assert not await issuer.knows("a")
    assert issuer.asked == 2


async def test_one_question_for_all(issuer: Issuer) -> None:
    """Many who need a new key at once wait for one question; meanwhile known keys are at hand."""
    issuer.kids, issuer.gate = ("a", "b"), anyio.Event()
    found = []

    async def ask() -> None:
        found.append(await issuer.knows("b"))

    async with anyio.create_task_group() as tasks:
        for _ in range(WAITING):
            tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        assert (found, await issuer.knows("a")) == ([], True)
        issuer.gate.set()
    assert (found, issuer.asked) == ([True] * (WAITING + 1), 1)


async def test_down(issuer: Issuer) -> None:
    """While the issuer is down, or shows no usable key, the last good keys stay; the log says why."""
    for kids, reason in ((None, "down"), ((), "it is empty")):
        issuer.kids = kids
        assert not await issuer.knows("b")
        assert await issuer.knows("a")
        assert reason in issuer.lines()[-1]["reason"]
        issuer.time += INTERVAL
    assert issuer.asked == 2


async def test_changes_are_logged_once(issuer: Issuer) -> None:
    """A change of the keys is logged, and nothing while there is none."""
    for kids in (("a",), ("a", "b"), ("a", "b")):
        issuer.kids = kids
        issuer.time += INTERVAL
        await issuer.keys.refresh()
    assert [line["after"] for line in issuer.lines()] == [["a"], ["a", "b"]]


async def test_before_the_first_answer(keys: Keys) -> None:
    """Before the issuer has answered nobody can be told good from bad, and strangers do not make it be asked."""
    issuer = Issuer(keys, "a")
    issuer.kids = None
    await issuer.keys.refresh()
    with pytest.raises(StoreUnreachableError):
        await issuer.keys.find("a")
    assert (issuer.asked, issuer.keys.is_ready) == (1, False)


async def test_without_kid(issuer: Issuer) -> None:
    """A token without kid may be of any of the issuer's keys, unless these are more than four."""
    for kids, tried in (("a", 1), ("ab", 2), ("abcd", 4), ("abcde", 0)):
        issuer.kids = tuple(kids)
        issuer.time += INTERVAL
        await issuer.keys.refresh()
        assert len(await issuer.keys.find(None)) == tried


async def test_beside_keys_in_pem(issuer: Issuer, keys: Keys) -> None:
    """The kid tells the issuer's keys and those in PEM apart; those in PEM may be named otherwise, or not at all."""
    own: list[Key] = [keys.key]
    (theirs,) = await issuer.keys.find("a")
    expected: list[tuple[str | None, list[Key]]] = [
        (keys.key.thumbprint(), own),
        ("a", [theirs]),
        ("junk", own),
        (None, [*own, theirs]),
    ]
    for kid, candidates in expected:
        assert list(await issuer.ring.candidates(kid)) == candidates


async def test_run(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked ever more slowly until it answers, then regularly, and every interval while it is down."""
    issuer = Issuer(keys, "a")
    pauses: list[float] = []
    up = {7, 8, 11}

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        issuer.time += seconds
        issuer.kids = ("a",) if len(pauses) in up else None
        if len(pauses) == 12:
            raise StopAsyncIteration

    issuer.kids = None
    monkeypatch.setattr("app.auth.issuer.anyio.sleep", sleep)
    with pytest.raises(StopAsyncIteration):
        await issuer.keys.run()
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 300, 300, 30, 30, 300]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealIssuer]:
    """An issuer that is a real server."""
    issuer = RealIssuer(tmp_path_factory.mktemp("issuer"))
    with issuer.serving():
        yield issuer


@asynccontextmanager
async def fetching(url: str) -> AsyncIterator[Fetcher]:
    fetcher = Fetcher(url)
    try:
        yield fetcher
    finally:
        await fetcher.close()


async def endlessly() -> AsyncIterator[bytes]:
    """Send a little, and never end."""
    yield b"{"
    await anyio.sleep_forever()


async def test_fetch(real: RealIssuer) -> None:
    """What is at the URL is fetched, time and again."""
    async with fetching(real.jwks_url) as fetch:
        for _ in range(2):
            assert [member["kid"] for member in json.loads(await fetch())["keys"]] == ["key 1", "enc"]


ANSWERS: list[tuple[Response, str]] = [
    (PlainTextResponse("no", 500), "the response status was 500"),
    (RedirectResponse("/jwks"), "the response status was 307"),
    (PlainTextResponse(b"x" * (FETCH_BYTES + 1)), "more than 262144 bytes"),
    (StreamingResponse(endlessly()), "no complete response within"),
]


@pytest.mark.parametrize(("answer", "why"), ANSWERS, ids=["error", "redirect", "large", "slow"])
async def test_fetch_refuses(answer: Response, why: str, real: RealIssuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error, a redirect, and an answer that is too large or too slow are no keys."""
    monkeypatch.setattr("app.auth.issuer.FETCH_SECONDS", 0.5)
    monkeypatch.setattr(real, "answer", lambda: answer)
    async with fetching(real.jwks_url) as fetch:
        with pytest.raises(IssuerError, match=why):
            await fetch()


async def test_nobody_there() -> None:
    """Where nobody listens there are no keys, and the reason is one line."""
    async with fetching(f"http://127.0.0.1:{free_port()}/jwks") as fetch:
        with pytest.raises(IssuerError, match="ConnectError: ") as info:
            await fetch()
    assert "\n" not in str(info.value)
