"""The Python client, with real servers over networks that fail."""

import asyncio
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import anyio
import pytest
from websockets.asyncio.server import Server as WebSocketServer
from websockets.asyncio.server import ServerConnection, serve

from peersync import (
    Backoff,
    ClosedError,
    ConnectionLost,
    DisconnectedError,
    Event,
    Json,
    Peer,
    PeerSyncError,
    RefusedError,
    UnreachableError,
    open_socket,
)
from peersync.events import (
    AuthFailed,
    AuthSuccess,
    ConnectionAccepted,
    ConnectionPendingData,
    ConnectionRejected,
    ConnectionRequestReceived,
    Error,
    MessageReceived,
    PeerRegistered,
    PeerStatusUpdate,
    Pong,
    ServerNotice,
    SessionEnded,
)
from tests.support.client import PATIENCE, until
from tests.support.proxy import Proxy, proxy
from tests.support.server import ROOT, Server, free_port, serving
from tests.support.tokens import Keys

PACKAGE = ROOT / "clients/python"
PROGRAM = re.findall(r"```python\n(.*?)\n```", (PACKAGE / "README.md").read_text(), re.DOTALL)[0]
E = TypeVar("E", bound=Event)
T = TypeVar("T")
direct = partial(open_socket, proxy=None)
FAR_OFF = 1e12  # for a client whose clock is so wrong that it cannot tell when a token expires


def peer(server: Server, user: str, network: Proxy | None = None) -> Peer:
    """Return a peer of the server, over a network if there is one."""
    url = f"ws://127.0.0.1:{network.port}/ws" if network else server.url
    return peer_at(url, server.keys.token(user), user)


def peer_at(url: str, token: Any, user: str = "ann", now: Callable[[], float] = time.time) -> Peer:
    """Return a peer that comes back almost at once."""
    backoff = Backoff(first=0.02, longest=0.1, random=lambda: 1.0)
    return Peer(url, token, {"displayName": user}, backoff=backoff, open_socket=direct, now=now)


async def the(kind: type[E], peer: Peer) -> E:
    """Return the next event of a kind, whatever comes before it."""
    with anyio.fail_after(PATIENCE):
        async for event in peer:
            if isinstance(event, kind):
                return event
    raise AssertionError(f"{kind} did not come")


async def within(answer: Awaitable[T]) -> T:
    with anyio.fail_after(PATIENCE):
        return await answer


async def session_of(ann: Peer, bob: Peer) -> str:
    """Let ann ask bob for a session; return its id."""
    pending = cast(ConnectionPendingData, await ann.connection_request(targetId=bob.me["userId"]))
    received = await the(ConnectionRequestReceived, bob)
    assert received.data["requestId"] == pending["requestId"]
    created = await bob.accept(received.data["requestId"])
    accepted = await the(ConnectionAccepted, ann)
    assert accepted.data["sessionId"] == created["sessionId"]
    return created["sessionId"]


async def contents(peer: Peer, count: int) -> list[object]:
    """Return the contents of the next messages."""
    return [(await the(MessageReceived, peer)).data["content"] for _ in range(count)]


@asynccontextmanager
async def pair(server: Server, network: Proxy | None = None) -> AsyncIterator[tuple[Peer, Peer, str]]:
    """Let py-ann, who is over the network, and py-bob be in a session."""
    async with peer(server, "py-ann", network) as ann, peer(server, "py-bob") as bob:
        yield ann, bob, await session_of(ann, bob)


@pytest.fixture(scope="module")
def alone(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server that nobody else uses."""
    with serving(keys, tmp_path_factory.mktemp("client")) as server:
        yield server


@pytest.fixture
async def network(alone: Server) -> AsyncIterator[Proxy]:
    """A network to it."""
    async with proxy(alone.port) as network:
        yield network


async def test_hello(alone: Server) -> None:
    """A peer that is entered is registered, and the first events say so."""
    async with peer(alone, "py-ann") as ann:
        success = await the(AuthSuccess, ann)
        assert (success.data["userId"], success.data["recovered"]) == ("py-ann", False)
        assert (await the(PeerRegistered, ann)).data["profile"]["displayName"] == "py-ann"
        assert (await ann.ping())["timestamp"] > 0
        assert await ann.discover_peers(query="nobody") == {"peers": []}
        assert ann.is_connected
    assert not ann.is_connected
    assert [event async for event in ann] == []


async def test_chat(alone: Server) -> None:
    """Two peers meet, talk, and one leaves."""
    async with peer(alone, "py-bob") as bob:
        async with peer(alone, "py-ann") as ann:
            session_id = await session_of(ann, bob)
            ack = await ann.send_message(sessionId=session_id, content={"line": 7}, type="cursor")
            assert ack["delivered"] == ["py-bob"]
            message = await the(MessageReceived, bob)
            assert (message.data["from"], message.data["content"], message.data.get("type")) == (
                "py-ann",
                {"line": 7},
                "cursor",
            )
            last = ann.post(sessionId=session_id, content="the last goes out, too")
        assert await contents(bob, 1) == ["the last goes out, too"]
        assert (await last)["delivered"] == ["py-bob"]
        ended = await the(SessionEnded, bob)
        assert ended.data == {"sessionId": session_id, "reason": "left"}


async def test_content_goes_as_it_is_written(alone: Server) -> None:
    """JSON that is given as such keeps its digits and spaces, and so does the text of an event."""
    async with pair(alone) as (ann, bob, session_id):
        await ann.send_message(sessionId=session_id, content=Json('{"a" : 1.10, "b": 1e400}'))
        assert '"content":{"a" : 1.10, "b": 1e400}' in (await the(MessageReceived, bob)).text


async def test_a_refusal_is_an_exception(alone: Server) -> None:
    """It has the code; also of a message, and what is no JSON is not sent."""
    async with peer(alone, "py-ann") as ann, peer(alone, "py-bob") as bob:
        with pytest.raises(RefusedError, match="ERR_2001") as refused:
            await ann.connection_request(targetId="nobody")
        assert refused.value.code == "ERR_2001"
        with pytest.raises(RefusedError, match="ERR_3001"):
            await ann.send_message(sessionId="ses_none", content="hello")
        with pytest.raises(ValueError, match="float"):
            await ann.request("PING", {"offset": float("nan")})
        await ann.connection_request(targetId="py-bob")
        await bob.refuse((await the(ConnectionRequestReceived, bob)).data["requestId"])
        assert "reason" not in (await the(ConnectionRejected, ann)).data
        ann.send('{"event": "NOPE", "ref": 1}')
        assert (await the(Error, ann)).ref == 1


async def test_a_profile_that_is_refused(alone: Server) -> None:
    async def enter() -> None:
        async with Peer(alone.url, alone.keys.token("py-ann"), {"displayName": "x" * 200}, open_socket=direct):
            pass

    with pytest.raises(RefusedError, match="ERR_9003"):
        await within(enter())


async def test_no_server() -> None:
    """It says so at once, since nothing was there before."""
    for url in (f"ws://127.0.0.1:{free_port()}/ws", "nonsense"):
        with pytest.raises(UnreachableError):
            await within(peer_at(url, "token").__aenter__())


async def test_a_cut_connection(alone: Server, network: Proxy) -> None:
    """Both talk while it is cut; each message arrives once, in order, and the peer is told that nothing is missing."""
    async with pair(alone, network) as (ann, bob, session_id):
        for number in range(3):
            await bob.send_message(sessionId=session_id, content=number)
        assert await contents(ann, 2) == [0, 1]
        await network.cut()
        assert (await the(ConnectionLost, ann)).data["code"] == 1006
        for number in range(3, 150):
            ack = await bob.send_message(sessionId=session_id, content=number)
            assert ack["delivered"] + ack["queued"] == ["py-ann"]
        sent = [ann.post(sessionId=session_id, content=f"from ann {number}") for number in range(5)]
        with pytest.raises(DisconnectedError):
            await ann.ping()
        network.mend()
        assert (await the(AuthSuccess, ann)).data["recovered"]
        assert await contents(ann, 147) == list(range(3, 150))
        await the(Pong, ann)
        assert await contents(bob, 5) == [f"from ann {number}" for number in range(5)]
        for answer in sent:
            assert (await answer)["delivered"] == ["py-bob"]


async def test_each_event_is_handed_over_once(alone: Server, network: Proxy) -> None:
    """However often it is cut, and in whatever it was cut."""
    heard: list[object] = []
    async with pair(alone, network) as (ann, bob, session_id), asyncio.TaskGroup() as tasks:
        tasks.create_task(hear(ann, heard))
        for number in range(0, 50, 10):
            asked = [bob.post(sessionId=session_id, content=each) for each in range(number, number + 10)]
            ack = ann.post(sessionId=session_id, content=number)
            await network.cut()
            await until(lambda: not ann.is_connected)
            network.mend()
            for each in (ack, *asked):
                await within(each)
        await bob.send_message(sessionId=session_id, content="end")
        await until(lambda: heard[-1:] == ["end"])
        assert heard == [*range(50), "end"]
        assert await contents(bob, 5) == list(range(0, 50, 10))
        await ann.close()


async def hear(peer: Peer, heard: list[object]) -> None:
    """Note the contents of all messages."""
    async for event in peer:
        if isinstance(event, MessageReceived):
            heard.append(event.data["content"])  # noqa: PERF401 - at once, not at the end


async def test_an_acknowledgement_that_was_lost(alone: Server, network: Proxy) -> None:
    """The message is sent again, delivered once, and acknowledged with its first time."""
    async with pair(alone, network) as (ann, bob, session_id):
        network.mute()
        sent = ann.post(sessionId=session_id, content="once")
        asked = asyncio.ensure_future(ann.ping())
        assert await contents(bob, 1) == ["once"]
        await network.cut()
        with pytest.raises(DisconnectedError):
            await within(asked)
        network.mend()
        assert (await within(sent))["duplicate"]
        await ann.send_message(sessionId=session_id, content="twice")
        assert await contents(bob, 1) == ["twice"]


async def test_a_message_that_was_given_up(alone: Server, network: Proxy) -> None:
    """Who cancels does not send it again."""
    async with pair(alone, network) as (ann, bob, session_id):
        await network.cut()
        await the(ConnectionLost, ann)
        with anyio.move_on_after(0.01):
            await ann.send_message(sessionId=session_id, content="given up")
        network.mend()
        await within(ann.send_message(sessionId=session_id, content="kept"))
        assert await contents(bob, 1) == ["kept"]


async def test_one_who_has_no_room(keys: Keys, tmp_path: Path) -> None:
    """The sender is told for whom a message is not kept, in the acknowledgement or by a refusal; the rest arrives."""
    with serving(keys, tmp_path, replay_events=10) as server:
        async with proxy(server.port) as network, pair(server, network) as (ann, bob, session_id):
            await network.cut()
            await the(ConnectionLost, ann)
            acks = [await bob.send_message(sessionId=session_id, content=number) for number in range(12)]
            assert [ack.get("full") for ack in acks[-2:]] == [["py-ann"]] * 2
            assert (acks[-1]["delivered"], acks[-1]["queued"]) == ([], [])
            with pytest.raises(RefusedError, match="ERR_4004"):
                await bob.request("SEND_MESSAGE", {"sessionId": session_id, "content": "not acknowledged"})
            kept = [number for number, ack in enumerate(acks) if "full" not in ack]
            network.mend()
            assert (await the(AuthSuccess, ann)).data["recovered"]
            assert await contents(ann, len(kept)) == kept
            assert "full" not in await bob.send_message(sessionId=session_id, content="again")
            assert await contents(ann, 1) == ["again"]


async def test_a_killed_server(keys: Keys, tmp_path: Path) -> None:
    """The peers come back to its successor and start over; what was not acknowledged is refused or delivered, once."""
    with serving(keys, tmp_path) as first, ExitStack() as later:
        async with pair(first) as (ann, bob, session_id):
            await ann.send_message(sessionId=session_id, content="acknowledged")
            assert await contents(bob, 1) == ["acknowledged"]
            first.process.kill()
            first.process.wait(PATIENCE)
            await until(lambda: not ann.is_connected)
            lost = ann.post(sessionId=session_id, content="lost with its session")
            later.enter_context(serving(keys, tmp_path, port=first.port))
            for each in (ann, bob):
                assert (await the(ConnectionLost, each)).data["code"] == 1006
                assert not (await the(AuthSuccess, each)).data["recovered"]
                await the(PeerRegistered, each)
            with pytest.raises(RefusedError, match="ERR_3001"):
                await within(lost)
            assert await ann.session_list() == {"sessions": []}
            await ann.send_message(sessionId=await session_of(ann, bob), content="new")
            assert await contents(bob, 1) == ["new"]


async def test_a_peer_that_starts_over_in_time_keeps_its_sessions(alone: Server, network: Proxy) -> None:
    """What it sent meanwhile is delivered once it has registered, with the last profile that it gave."""
    async with pair(alone, network) as (ann, bob, session_id):
        await ann.peer_register(displayName="Ann of late")
        await network.cut()
        await the(ConnectionLost, ann)
        ann._resumption._token = "res_wrong"
        sent = ann.post(sessionId=session_id, content="hello again")
        network.mend()
        assert not (await the(AuthSuccess, ann)).data["recovered"]
        assert (await the(PeerRegistered, ann)).data["profile"]["displayName"] == "Ann of late"
        assert (await within(sent))["delivered"] == ["py-bob"]
        assert await contents(bob, 1) == ["hello again"]
        [session] = (await ann.session_list())["sessions"]
        assert session["sessionId"] == session_id


async def test_another_connection_of_the_user(alone: Server) -> None:
    """The first is told, and does not come back."""
    async with peer(alone, "py-ann") as first, peer(alone, "py-ann") as second:
        assert (await the(Error, first)).data["code"] == "ERR_2005"
        with pytest.raises(ClosedError) as closed:
            await the(ConnectionLost, first)
        assert closed.value.code == 4002
        with pytest.raises(ClosedError):
            await first.ping()
        with pytest.raises(ClosedError):
            await first.send_message(sessionId="ses_none", content=1)
        assert await second.ping()


class Source:
    """Tokens, one after the other; the last as often as is asked."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = tokens
        self.asked = 0

    async def __call__(self) -> str:
        self.asked += 1
        return self.tokens[min(self.asked, len(self.tokens)) - 1]


async def test_a_token_is_renewed_before_it_expires(alone: Server) -> None:
    """By the client's own clock, which jumps here, with no connection lost."""
    source = Source([alone.keys.token("py-ann", ttl=ttl) for ttl in (3600, 7200)])
    times = iter([time.time()])
    async with peer_at(alone.url, source, now=lambda: next(times, time.time() + 3590)) as ann:
        await until(lambda: source.asked == 2)
        assert await ann.ping()
        ann.send('{"event": "PING", "ref": 0}')
        assert await before(Pong, ann) == ["AUTH_SUCCESS", "PEER_REGISTERED"]


async def test_a_token_is_renewed_when_the_server_says_so(alone: Server) -> None:
    """That is a notice; the renewal is not seen."""
    source = Source([alone.keys.token("py-ann", ttl=ttl) for ttl in (59, 3600)])
    async with peer_at(alone.url, source, now=lambda: FAR_OFF) as ann:
        assert (await the(ServerNotice, ann)).data["kind"] == "token-expiring"
        await until(lambda: source.asked == 2)
        assert await ann.ping()


async def test_a_token_that_expired(keys: Keys, tmp_path: Path) -> None:
    """The source has none better before the server closes with 4003; then a fresh one is presented, and all goes on."""
    asked: list[str] = []

    def source() -> str:
        asked.append(asked[0] if len(asked) == 1 else keys.token("py-ann", ttl=3600 if asked else 2))
        return asked[-1]

    with serving(keys, tmp_path, token_leeway_seconds=0) as server:
        async with peer_at(server.url, source, now=lambda: FAR_OFF) as ann:
            assert (await the(ConnectionLost, ann)).data["code"] == 4003
            assert (await the(AuthSuccess, ann)).data["recovered"]
            assert len(asked) == 3


async def test_a_token_that_is_refused(alone: Server, network: Proxy) -> None:
    """Another is asked for, once; without one that is the end, and the cause says why."""
    url = f"ws://127.0.0.1:{network.port}/ws"
    async with peer_at(url, Source(["nonsense", alone.keys.token("py-ann")])) as ann:
        assert (await the(ConnectionLost, ann)).data["code"] == 4001
        await network.cut()
        network.mend()
        assert (await the(ConnectionLost, ann)).data["code"] == 1006
        while not (await the(AuthSuccess, ann)).data["recovered"]:
            pass
    for token in ("nonsense", Source(["nonsense"]), Source(["nonsense", "more of it", alone.keys.token("py-ann")])):
        with pytest.raises(ClosedError) as closed:
            await within(peer_at(alone.url, token).__aenter__())
        assert closed.value.code == 4001
        assert isinstance(closed.value.__cause__, RefusedError)
        assert closed.value.__cause__.code == "ERR_1002"


async def test_a_source_that_fails(alone: Server, network: Proxy) -> None:
    """What it raises is raised, from where the peer waits."""
    with pytest.raises(ZeroDivisionError):
        await within(peer_at(alone.url, lambda: 1 // 0).__aenter__())
    tokens, clock = iter([alone.keys.token("py-ann")]), [time.time()]
    url = f"ws://127.0.0.1:{network.port}/ws"
    async with peer_at(url, lambda: next(tokens, None) or 1 // 0, now=lambda: clock[0]) as ann:
        clock[0] += 3600
        await network.cut()
        with pytest.raises(ZeroDivisionError):
            await before(AuthFailed, ann)
        with pytest.raises(ZeroDivisionError):
            await ann.ping()


async def test_a_source_that_cannot_be_reached(alone: Server, network: Proxy) -> None:
    """It is asked again, as the server is."""
    tokens: list[str | OSError] = [
        alone.keys.token("py-ann"),
        OSError(),
        OSError(),
        alone.keys.token("py-ann", ttl=9999),
    ]
    asked: list[str | OSError] = []

    def source() -> str:
        asked.append(tokens[min(len(asked), 3)])
        if isinstance(asked[-1], OSError):
            raise asked[-1]
        return asked[-1]

    clock = [time.time()]
    url = f"ws://127.0.0.1:{network.port}/ws"
    async with peer_at(url, source, now=lambda: clock[0]) as ann:
        clock[0] += 3600
        await network.cut()
        network.mend()
        await the(ConnectionLost, ann)
        assert (await the(AuthSuccess, ann)).data["recovered"]
        assert len(asked) == 4


async def before(end: type[Event], peer: Peer) -> list[str]:
    """Return the names of what comes before an event of a kind."""
    names: list[str] = []
    with anyio.fail_after(PATIENCE):
        async for event in peer:
            if isinstance(event, end):
                break
            names.append(event.name)
    return names


@asynccontextmanager
async def double(*closes: int, capabilities: Sequence[str] | None = None) -> AsyncIterator[tuple[str, list[Any]]]:
    """Run a server that registers a peer and closes with these codes, one each time; after the last it stays."""
    codes = iter(closes)
    heard: list[Any] = []

    async def attend(websocket: ServerConnection) -> None:
        hello = json.loads(await websocket.recv())
        spoken = {} if capabilities is None else {"capabilities": capabilities}
        success = {"userId": "ann", "displayName": "ann", **spoken}
        await websocket.send(json.dumps({"event": "AUTH_SUCCESS", "data": success}))
        heard.append([hello["event"], json.loads(await websocket.recv())["event"]])
        await websocket.send(json.dumps({"event": "PEER_REGISTERED", "data": {"id": "ann"}}))
        code = next(codes, None)
        if code is None:
            await websocket.wait_closed()
        else:
            await websocket.close(code)

    async with serve(attend, "127.0.0.1", 0, compression=None) as server:
        yield url_of(server), heard


def url_of(server: WebSocketServer) -> str:
    return f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/ws"


@pytest.mark.parametrize("code", [1000, 1002, 1007, 1009, 4002])
async def test_closes_that_are_final(code: int) -> None:
    async with double(code) as (url, heard), peer_at(url, "token") as ann:
        with pytest.raises(ClosedError) as closed:
            await the(ConnectionLost, ann)
        assert (closed.value.code, len(heard)) == (code, 1)


async def test_closes_that_are_not(alone: Server) -> None:
    """The peer comes back, with a new token where the old one may be why, and before long since all went well."""
    codes = (1001, 1011, 1012, 4001, 4003, 4008, 4029)
    source = Source(["token"])
    async with double(*codes) as (url, heard), peer_at(url, source) as ann:
        losses = [(await the(ConnectionLost, ann)).data for _ in codes]
        assert [loss["code"] for loss in losses] == list(codes)
        assert [loss["pauseSeconds"] for loss in losses] == [0.02] * 6 + [0.1]
        await the(PeerRegistered, ann)
        assert heard == [["AUTH", "PEER_REGISTER"]] * 8
        assert source.asked == 3


async def test_a_registration_that_fails_for_now() -> None:
    """The peer comes back and tries again if it is not to blame."""
    errors = iter(["ERR_9002", "ERR_9001"])

    async def attend(websocket: ServerConnection) -> None:
        await websocket.recv()
        await websocket.send('{"event": "AUTH_SUCCESS", "data": {"userId": "ann", "displayName": "ann"}}')
        register = json.loads(await websocket.recv())
        error = next(errors, None)
        answer = {"event": "ERROR", "data": {"code": error, "message": "later"}, "ref": register["ref"]}
        await websocket.send(json.dumps(answer if error else {"event": "PEER_REGISTERED", "data": {}}))
        await websocket.wait_closed()

    async with serve(attend, "127.0.0.1", 0) as server, peer_at(url_of(server), "token") as ann:
        assert (await before(PeerRegistered, ann)).count("CONNECTION_LOST") == 2


async def test_a_server_without_its_store() -> None:
    """It cannot let the peer in, and keeps the socket: the peer comes back, with what it resumes from."""
    turns = iter(["ERR_9002", "ERR_9001", None, "ERR_9002", None])
    resumes: list[object] = []

    async def attend(websocket: ServerConnection) -> None:
        hello = json.loads(await websocket.recv())
        resumes.append(hello["data"].get("resume"))
        code = next(turns)
        if code is not None:
            error = {"event": "ERROR", "data": {"code": code, "message": "later"}, "ref": hello.get("ref")}
            await websocket.send(json.dumps(error))
            await websocket.wait_closed()
            return
        resume = {"resume": {"token": "res_1", "graceSeconds": 30}}
        success = {"userId": "ann", "displayName": "ann", "recovered": "resume" in hello["data"], **resume}
        await websocket.send(json.dumps({"event": "AUTH_SUCCESS", "data": success, "ref": hello.get("ref")}))
        await websocket.recv()
        if not success["recovered"]:
            await websocket.send('{"event": "PEER_REGISTERED", "data": {"id": "ann"}}')
            await websocket.close(1012)
        await websocket.wait_closed()

    async with serve(attend, "127.0.0.1", 0) as server:
        with anyio.fail_after(PATIENCE):
            async with peer_at(url_of(server), "token") as ann:
                assert (await before(PeerRegistered, ann)).count("CONNECTION_LOST") == 2
                assert (await before(AuthSuccess, ann)).count("CONNECTION_LOST") == 2
    assert resumes == [None] * 3 + [{"token": "res_1", "offset": 0}] * 2


async def test_an_entrance_that_is_refused() -> None:
    """What trying again does not help ends it, with what the server said."""

    async def attend(websocket: ServerConnection) -> None:
        hello = json.loads(await websocket.recv())
        error = {"event": "ERROR", "data": {"code": "ERR_9003", "message": "no"}, "ref": hello.get("ref")}
        await websocket.send(json.dumps(error))
        await websocket.wait_closed()

    async with serve(attend, "127.0.0.1", 0) as server:
        with anyio.fail_after(PATIENCE), pytest.raises(RefusedError, match="ERR_9003"):
            await peer_at(url_of(server), "token").__aenter__()


async def test_a_server_of_version_1() -> None:
    """It does not acknowledge, so messages go as other frames do."""
    async with double() as (url, _), peer_at(url, "token") as ann:
        with pytest.raises(PeerSyncError, match="acknowledge"):
            await ann.send_message(sessionId="ses_1", content=1)


async def test_no_faster_than_the_server_takes_it(keys: Keys, tmp_path: Path) -> None:
    """What is asked at once goes out at the rate that the server has named: nothing is refused."""
    with serving(keys, tmp_path, rate_limit_events_per_second=1000, rate_limit_burst=1000) as server:
        async with pair(server) as (ann, _, session_id):
            sent = [ann.post(sessionId=session_id, content=number) for number in range(1500)]
            for ack in sent:
                assert (await within(ack))["delivered"] == ["py-bob"]


async def test_who_is_cancelled_leaves_nothing_behind(alone: Server) -> None:
    """Neither a task nor the user's presence; nor does one whose body fails."""
    async with peer(alone, "py-bob") as bob:
        tasks_before = asyncio.all_tasks()
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(be(peer(alone, "py-ann")))
            await comes_and_goes(bob, "online")
            task.cancel()
            await comes_and_goes(bob, "offline")
        with pytest.raises(ZeroDivisionError):
            async with peer(alone, "py-ann"):
                raise ZeroDivisionError
        with anyio.move_on_after(0.001):
            await be(peer(alone, "py-ann"))
        assert asyncio.all_tasks() == tasks_before


async def be(peer: Peer) -> None:
    async with peer:
        async for _ in peer:
            pass


async def comes_and_goes(peer: Peer, status: str) -> None:
    while (await the(PeerStatusUpdate, peer)).data["status"] != status:
        pass


async def test_the_program_of_the_readme(alone: Server, tmp_path: Path) -> None:
    """It runs without the server's source, greets who asks it, and echoes."""
    (tmp_path / "echo.py").write_text(PROGRAM)
    environment = {"PYTHONPATH": str(PACKAGE), "PEERSYNC_URL": alone.url, "PEERSYNC_TOKEN": alone.keys.token("echo")}
    command = [sys.executable, "-W", "error", "echo.py"]
    async with peer(alone, "py-ann") as ann:
        process = await anyio.open_process(command, cwd=tmp_path, env=environment, stdout=None, stderr=None)
        async with process:
            try:
                await comes_and_goes(ann, "online")
                await ann.connection_request(targetId="echo")
                session_id = (await the(ConnectionAccepted, ann)).data["sessionId"]
                await ann.send_message(sessionId=session_id, content={"line": 7})
                assert await contents(ann, 2) == ["hello", {"line": 7}]
            finally:
                process.kill()
