"""The peer in a terminal: what it says, what it makes of what is typed, and two of them talking."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import ByteSendStream, Process
from anyio.streams.buffered import BufferedByteReceiveStream
from websockets.asyncio.server import ServerConnection, serve

from peersync import Json
from peersync.events import KINDS
from peersync.frames import decode
from peersync_terminal.commands import COMMANDS, Turn, typed
from peersync_terminal.content import content_text
from peersync_terminal.lines import Conversation, is_known, printable
from schemas.errors import ErrorCode
from tests.support.server import PATH, Server, free_port, serving
from tests.support.tokens import Keys

PATIENCE = 20.0
ANN = {"displayName": "ann", "role": "guest", "ide": "neovim"}
BOB = {"displayName": "Bob B.", "role": "host", "ide": "vscode"}


def told(conversation: Conversation, event: str, **data: object) -> str:
    """Return the line that tells of an event."""
    known = decode(json.dumps({"event": event, "data": data}), KINDS)
    assert is_known(known), "an event that the peer does not know"
    return conversation.tell(known)


def sent(turn: Turn) -> Any:
    """Return the frame that a turn sends, decoded."""
    assert turn.frame is not None, turn
    return json.loads(turn.frame)


@pytest.fixture
def conversation() -> Conversation:
    """Ann's, who is connected to the server and to nobody else."""
    conversation = Conversation("ann")
    conversation.is_connected = True
    return conversation


@pytest.fixture
def with_bob(conversation: Conversation) -> Conversation:
    """Ann's, who has a session with bob."""
    told(conversation, "SESSION_CREATED", sessionId="ses_1", peer={"id": "bob", "profile": BOB})
    return conversation


@pytest.mark.parametrize(
    ("event", "data", "line"),
    [
        ("AUTH_SUCCESS", {"userId": "ann", "displayName": "ann"}, "signed in as ann"),
        ("AUTH_FAILED", {"code": "ERR_1003", "message": "too late"}, "error ERR_1003: too late"),
        ("PEER_REGISTERED", {"id": "ann", "profile": ANN, "status": "online"}, "you are online as ann (neovim)"),
        ("PEERS_LIST", {"peers": []}, "online: nobody else"),
        ("PONG", {"timestamp": 1}, "pong, server time 1"),
        ("ERROR", {"code": "ERR_2001", "message": "No such peer"}, "error ERR_2001: No such peer"),
        ("ERROR", {"code": "ERR_4004", "message": "No more is kept"}, "not kept: No more is kept"),
        (
            "ERROR",
            {"code": "ERR_5004", "message": "Too fast", "details": {"retryAfterMs": 300}},
            "error ERR_5004: Too fast (again in 300 ms)",
        ),
        (
            "CONNECTION_REQUEST_RECEIVED",
            {"requestId": "req_1", "from": {"id": "bob", "profile": BOB}},
            "bob asks to connect: /accept or /refuse",
        ),
        ("CONNECTION_REJECTED", {"requestId": "req_1", "targetId": "bob"}, "bob refuses to connect"),
        (
            "CONNECTION_REJECTED",
            {"requestId": "req_1", "targetId": "bob", "reason": "expired"},
            "no session with bob: expired",
        ),
        (
            "CONNECTION_ACCEPTED",
            {"requestId": "req_1", "sessionId": "ses_1", "peer": {"id": "bob", "profile": BOB}},
            "connected with bob",
        ),
        ("SESSION_ENDED", {"sessionId": "ses_9", "reason": "left"}, "the session with ses_9 is over: left"),
    ],
)
def test_an_event_is_one_line(conversation: Conversation, event: str, data: dict[str, object], line: str) -> None:
    """Every event that the peer knows reads as a sentence."""
    assert told(conversation, event, **data) == line


def test_peers_are_told_by_id_with_what_is_worth_saying(conversation: Conversation) -> None:
    """A display name, a role or a status is told where it says more than the id alone."""
    ann = {"id": "ann", "profile": ANN, "status": "online", "connectionMode": "LAN"}
    bob = {"id": "bob", "profile": BOB, "status": "away", "connectionMode": "LAN"}
    assert (
        told(conversation, "PEERS_LIST", peers=[ann, bob]) == "online: ann (neovim), bob (Bob B., vscode, host, away)"
    )
    assert told(conversation, "PEER_STATUS_UPDATE", **ann) == "ann (neovim) is online"


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"content": "hello", "type": "chat"}, "bob: hello"),
        ({"content": "hello"}, "bob: hello"),
        ({"content": {"line": [1, None]}, "type": "cursor"}, 'bob [cursor]: {"line":[1,null]}'),
        ({"content": "half \ud83d", "type": "chat"}, "bob: half ?"),
    ],
)
def test_a_message_is_told_by_its_content(with_bob: Conversation, fields: dict[str, object], line: str) -> None:
    """A string is told as it is, other JSON compactly, and a type only if it is not chat."""
    message = {"sessionId": "ses_1", "from": "bob", "timestamp": "2026-01-01T00:00:00.000Z"}
    assert told(with_bob, "MESSAGE_RECEIVED", **message, **fields) == line


@pytest.mark.parametrize(
    "frame",
    [
        '{"event":"SESSION_FORKED","data":{}}',
        '{"event":"SESSION_UPDATED","data":{}}',
        '{"event":"PONG","data":{"timestamp":"noon"}}',
        "not JSON",
        '{"event":"PONG","data":' + "[" * 100_000 + "]" * 100_000 + "}",
    ],
)
def test_what_is_no_known_event(frame: str) -> None:
    """An event of a later version, or none at all, is left to be shown as it came."""
    assert not is_known(decode(frame, KINDS))


def participant(user: str, role: str, *, connected: bool = True) -> dict[str, object]:
    return {"id": user, "role": role, "profile": BOB, "connected": connected}


def updated(conversation: Conversation, kind: str, user: str, *participants: dict[str, object]) -> str:
    """Return the line that tells of a change of the session with bob."""
    data = {"sessionId": "ses_1", "hostId": "ann", "participants": participants, "change": {"kind": kind, "id": user}}
    return told(conversation, "SESSION_UPDATED", **data)


def test_changes_of_a_session(with_bob: Conversation) -> None:
    """A change is told with who is in the session then; that of two was told as connected."""
    ann, bob, cat = participant("ann", "host"), participant("bob", "guest"), participant("cat", "observer")
    assert updated(with_bob, "joined", "bob", ann, bob) == ""
    assert updated(with_bob, "joined", "cat", ann, bob, cat) == (
        "cat joined (session 1: ann (host), bob (guest), cat (observer))"
    )
    assert with_bob.prompt == "to bob, cat> "
    away = participant("bob", "guest", connected=False)
    assert updated(with_bob, "dropped", "bob", ann, away, cat).endswith(
        "ann (host), bob (guest, away), cat (observer))"
    )
    assert updated(with_bob, "returned", "ann", ann, away, cat) == ""
    assert updated(with_bob, "kicked", "bob", ann, cat).startswith("bob was removed")


def test_sessions_after_starting_over(with_bob: Conversation) -> None:
    """What the server lists goes on, the rest is over."""
    told(with_bob, "SESSION_CREATED", sessionId="ses_2", peer={"id": "cat", "profile": BOB})
    listed = {"sessionId": "ses_2", "hostId": "cat", "participants": [participant("cat", "host")]}
    assert (
        told(with_bob, "SESSIONS", sessions=[listed]) == "the session with cat continues; the session with bob is over"
    )
    assert told(with_bob, "SESSIONS", sessions=[]) == "the session with cat is over"


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        ("cancelled", "bob withdrew the request"),
        ("expired", "the request from bob has expired"),
        ("offline", "bob went offline; the request is cancelled"),
    ],
)
def test_a_request_that_ends_unanswered(reason: str, line: str) -> None:
    """It is said why, and there is nothing to accept any more."""
    ann = Conversation("ann")
    told(ann, "CONNECTION_REQUEST_RECEIVED", requestId="req_1", **{"from": {"id": "bob", "profile": BOB}})
    assert told(ann, "CONNECTION_CANCELLED", requestId="req_1", reason=reason) == line
    assert ann.requests == {}


def test_requests_that_cross() -> None:
    """What a peer asked is answered once there is a session with it; what it invites to is not."""
    ann = Conversation("ann")
    bob = {"from": {"id": "bob", "profile": BOB}}
    told(ann, "CONNECTION_REQUEST_RECEIVED", requestId="req_1", **bob)
    told(ann, "CONNECTION_REQUEST_RECEIVED", requestId="req_2", sessionId="ses_1", role="guest", **bob)
    told(ann, "SESSION_CREATED", sessionId="ses_2", peer={"id": "bob", "profile": BOB})
    assert list(ann.requests) == ["req_2"]


@pytest.mark.parametrize(
    ("event", "data", "line"),
    [
        ("OK", {}, ""),
        ("CONNECTION_CANCELLED", {"requestId": "req_9", "reason": "cancelled"}, "somebody withdrew the request"),
        ("SERVER_NOTICE", {"kind": "slow"}, "the server says that this client reads too slowly"),
        (
            "SERVER_NOTICE",
            {"kind": "draining", "closesInSeconds": 10.0},
            "the server is restarting; this client will reconnect",
        ),
        (
            "SERVER_NOTICE",
            {"kind": "token-expiring", "expiresAt": "then"},
            "the token expires at then; sending a new one",
        ),
        (
            "CONNECTION_REQUEST_RECEIVED",
            {"requestId": "req_1", "from": {"id": "bob", "profile": BOB}, "sessionId": "ses_1", "role": "observer"},
            "bob invites you to a session as observer: /accept or /refuse",
        ),
        (
            "MESSAGE_RECEIVED",
            {"sessionId": "ses_1", "from": "bob", "content": 1, "timestamp": "then", "to": ["ann"]},
            "bob (to ann): 1",
        ),
    ],
)
def test_an_event_of_version_1_1_is_one_line(
    conversation: Conversation, event: str, data: dict[str, object], line: str
) -> None:
    """So are those that came later; an empty line is none."""
    assert told(conversation, event, **data) == line


@pytest.fixture
def modern(with_bob: Conversation) -> Conversation:
    """Ann's, with bob, at a server that speaks version 1.1."""
    told(with_bob, "AUTH_SUCCESS", userId="ann", displayName="ann", capabilities=["acks", "sessions"])
    with_bob.new_id = lambda: "id_1"
    return with_bob


@pytest.mark.parametrize(
    ("line", "event", "data"),
    [
        ("/invite cat observer", "SESSION_INVITE", {"sessionId": "ses_1", "targetId": "cat", "role": "observer"}),
        ("/invite cat", "SESSION_INVITE", {"sessionId": "ses_1", "targetId": "cat"}),
        ("/kick cat", "SESSION_KICK", {"sessionId": "ses_1", "targetId": "cat"}),
        ("/role cat guest", "SESSION_ROLE", {"sessionId": "ses_1", "targetId": "cat", "role": "guest"}),
        ("/handover cat", "SESSION_HANDOVER", {"sessionId": "ses_1", "targetId": "cat"}),
        ("/leave", "SESSION_LEAVE", {"sessionId": "ses_1"}),
        ("/end", "SESSION_END", {"sessionId": "ses_1"}),
        ("/status busy", "PEER_STATUS", {"status": "busy"}),
    ],
)
def test_commands_of_version_1_1(modern: Conversation, line: str, event: str, data: dict[str, object]) -> None:
    """They concern the session that is talked in."""
    assert sent(typed(modern, line)) == {"event": event, "data": data}


@pytest.mark.parametrize("line", ["/kick", "/invite", "/role", "/status asleep", "/to bob", "/cancel"])
def test_commands_that_lack_something(modern: Conversation, line: str) -> None:
    """What is missing is said, and nothing is sent."""
    turn = typed(modern, line)
    assert (turn.frame, len(turn.lines)) == (None, 1)


def test_a_message_that_is_acknowledged(modern: Conversation) -> None:
    """It is no frame, but handed to the client, which sends it until it is acknowledged."""
    turn = typed(modern, '/json {"a" : 1.10}')
    assert (turn.frame, turn.message) == (None, {"sessionId": "ses_1", "content": Json('{"a" : 1.10}')})
    ack = {"messageId": "id_1", "sessionId": "ses_1", "timestamp": "then"}
    assert told(modern, "MESSAGE_ACK", **ack, delivered=["bob"], queued=["cat"]) == "delivered to bob; kept for cat"
    assert told(modern, "MESSAGE_ACK", **ack, delivered=[], queued=[]) == "nobody received it"
    line = told(modern, "MESSAGE_ACK", **ack, delivered=["bob"], queued=[], full=["cat"])
    assert line == "delivered to bob; not kept for cat, who is away and has no room for more"


def test_a_message_to_some(modern: Conversation) -> None:
    """It names them, by id or display name."""
    turn = typed(modern, "/to bob,cat psst")
    assert turn.message == {"sessionId": "ses_1", "content": "psst", "type": "chat", "to": ["bob", "cat"]}
    assert turn.lines == ("ann to bob, cat: psst",)


def test_a_request_is_taken_back(modern: Conversation) -> None:
    """The one made last, or the one that is named, once the server has said which it is."""
    assert sent(typed(modern, "/ask cat"))["ref"] == "ask cat"
    told(modern, "CONNECTION_PENDING", requestId="req_1", targetId="cat", expiresAt="then")
    assert sent(typed(modern, "/cancel"))["data"] == {"requestId": "req_1"}
    assert typed(modern, "/cancel cat").frame is None


def test_numbers_are_shown_as_they_were_sent() -> None:
    """Compact JSON keeps every digit, since it is passed on byte for byte."""
    assert content_text('{"a" : 1.10, "b": 1e400}') == '{"a":1.10,"b":1e400}'
    assert content_text('[1, "\\ud83d"]') == '[1,"\ud83d"]'


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 日本 \U0001f469\u200d\U0001f4bb", "plain é 日本 \U0001f469\u200d\U0001f4bb"),
        ("\x1b[2J\x07", "\\x1b[2J\\x07"),
        ("one\r\ntwo\x9b", "one\\r\\ntwo\\x9b"),
        ("left\u202eright\u2028", "left\\u202eright\\u2028"),
        ("half \ud83d", "half \\ud83d"),
        ("\0\x7f\x85", "\\x00\\x7f\\x85"),
        ("an\u200dn \u200d", "an\\u200dn \\u200d"),
        ("a\u200bn\u200cn\ufeff\u2066\u061c\u00ad", "a\\u200bn\\u200cn\\ufeff\\u2066\\u061c\\xad"),
        ("ann\u3164\u2800\U000e0041", "ann\\u3164\\u2800\\U000e0041"),
        ("\u2764\ufe0f\u200d\U0001f525", "\u2764\ufe0f\u200d\U0001f525"),
    ],
)
def test_nothing_from_the_network_steers_the_terminal(text: str, shown: str) -> None:
    """Control characters, line ends, direction marks and what is not seen are shown as escapes."""
    assert printable(text) == shown


def test_a_request_is_made_by_id_or_display_name(conversation: Conversation) -> None:
    """An id wins; a display name will do where one peer has it."""
    told(conversation, "PEER_STATUS_UPDATE", id="bob", profile=BOB, status="online", connectionMode="LAN")
    turn = typed(conversation, "/ask Bob B.")
    assert sent(turn) == {"event": "CONNECTION_REQUEST", "data": {"targetId": "bob"}}
    assert turn.lines == ("asking bob",)
    assert sent(typed(conversation, "/ask carol"))["data"] == {"targetId": "carol"}
    assert typed(conversation, "/ask").frame is None


def test_the_latest_request_is_answered_unless_one_is_named(conversation: Conversation) -> None:
    """A request is answered once, by whoever asked last, by name or by id."""
    for number, user in enumerate(("bob", "carol", "dave")):
        told(
            conversation,
            "CONNECTION_REQUEST_RECEIVED",
            requestId=f"req_{number}",
            **{"from": {"id": user, "profile": BOB}},
        )
    answers = [typed(conversation, line) for line in ("/accept", "/refuse bob", "/accept req_1")]
    assert [sent(answer)["data"] for answer in answers] == [
        {"requestId": "req_2", "accepted": True},
        {"requestId": "req_0", "accepted": False},
        {"requestId": "req_1", "accepted": True},
    ]
    assert [answer.lines[0] for answer in answers] == ["accepting dave", "refusing bob", "accepting carol"]
    assert typed(conversation, "/accept").lines == ("nobody has asked to connect",)
    assert typed(conversation, "/refuse bob").lines == ("bob has not asked to connect",)


@pytest.mark.parametrize("line", ["hello there", "/say hello there", "  hello there\n"])
def test_a_line_is_a_message(with_bob: Conversation, line: str) -> None:
    """Plain text goes to the current session, as chat."""
    turn = typed(with_bob, line)
    assert sent(turn) == {
        "event": "SEND_MESSAGE",
        "data": {"sessionId": "ses_1", "content": "hello there", "type": "chat"},
    }
    assert turn.lines == ("ann: hello there",)


def test_json_is_sent_as_it_was_typed(with_bob: Conversation) -> None:
    """Content of one's own keeps its digits and spaces, and has no type."""
    turn = typed(with_bob, '/json {"a" : 1.10}')
    assert turn.frame is not None
    assert '"content":{"a" : 1.10}}' in turn.frame
    assert turn.lines == ('ann: {"a":1.10}',)
    assert typed(with_bob, "/json {").lines[0].startswith("not JSON: ")


def test_a_raw_frame_is_sent_as_it_is(conversation: Conversation) -> None:
    """Mistakes can be tried by hand."""
    assert typed(conversation, "/raw {oops") == Turn("{oops", lines=("sent {oops",))


@pytest.mark.parametrize(("line", "event"), [("/peers", "DISCOVER_PEERS"), ("/ping", "PING")])
def test_a_command_without_arguments_is_a_frame(conversation: Conversation, line: str, event: str) -> None:
    """What the server answers is told when it comes."""
    assert sent(typed(conversation, line)) == {"event": event, "data": {}}


def test_help_has_a_line_for_every_command(conversation: Conversation) -> None:
    """Nothing that can be typed is left out."""
    lines = typed(conversation, "/help").lines
    assert [line.split()[0] for line in lines] == list(COMMANDS)


def test_what_means_nothing_is_said_to_mean_nothing(conversation: Conversation) -> None:
    """A slip is told, an empty line is not, and quitting is neither."""
    assert typed(conversation, "/nope").lines[0].startswith("no such command: /nope")
    assert typed(conversation, "hello").lines == ("nobody to talk to yet: /ask NAME",)
    assert typed(conversation, "  \n") == Turn()
    assert typed(conversation, "/quit") == Turn(quits=True)


def test_nothing_is_sent_while_the_connection_is_lost(with_bob: Conversation) -> None:
    """What needs the server is refused, the rest works, and coming back is told as such."""
    with_bob.lost()
    assert typed(with_bob, "hello").lines == ("not connected: nothing was sent",)
    assert typed(with_bob, "/sessions").lines == ("sessions: 1 bob; lines go to 1",)
    line = told(with_bob, "PEER_REGISTERED", id="ann", profile=ANN, status="online")
    assert line == "you are online again as ann (neovim); your sessions continue"


def test_sessions_are_numbered_and_one_is_current(with_bob: Conversation) -> None:
    """The last made is talked in until another is chosen; a message in another is told with its number."""
    assert with_bob.prompt == "to bob> "
    line = told(with_bob, "SESSION_CREATED", sessionId="ses_2", peer={"id": "carol", "profile": ANN})
    assert line == "connected with carol (session 2)"
    assert with_bob.prompt == "to carol> "
    assert typed(with_bob, "hi").lines == ("ann to carol: hi",)
    message = {"from": "bob", "content": "psst", "timestamp": "2026-01-01T00:00:00.000Z"}
    assert told(with_bob, "MESSAGE_RECEIVED", sessionId="ses_1", **message) == "bob (session 1): psst"
    assert typed(with_bob, "/use 3").lines == ("no such session; /sessions lists them",)
    assert typed(with_bob, "/use bob").lines == ("talking to bob (session 1)",)
    assert told(with_bob, "SESSION_ENDED", sessionId="ses_1", reason="left") == "the session with bob is over: left"
    assert with_bob.prompt == "to carol> "


def test_a_session_of_an_earlier_process_goes_on(conversation: Conversation) -> None:
    """Sessions belong to the user: one that this process did not see begin can be answered."""
    message = {"sessionId": "ses_7", "from": "bob", "content": "still there?", "timestamp": "2026-01-01T00:00:00.000Z"}
    assert told(conversation, "MESSAGE_RECEIVED", **message) == "bob: still there?"
    assert sent(typed(conversation, "yes"))["data"]["sessionId"] == "ses_7"


@pytest.mark.parametrize("code", [ErrorCode.SESSION_NOT_FOUND, ErrorCode.NOT_A_PARTICIPANT])
def test_a_session_that_the_server_forgot_is_forgotten(with_bob: Conversation, code: str) -> None:
    """After a message was refused for want of a session, lines go there no longer."""
    typed(with_bob, "hello")
    line = told(with_bob, "ERROR", code=code, message="No such session")
    assert line == f"error {code}: No such session (the session with bob is over)"
    assert with_bob.prompt == "> "


class PeerProcess:
    """A peer process on pipes."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self._stdin: ByteSendStream = process.stdin
        self._stdout = BufferedByteReceiveStream(process.stdout)

    async def type(self, line: str) -> None:
        """Type a line."""
        await self._stdin.send(f"{line}\n".encode())

    async def reads(self, expected: str) -> None:
        """See this line next, after a time of day or as an error."""
        with anyio.fail_after(PATIENCE):
            line = (await self._stdout.receive_until(b"\n", 10_000)).decode()
        assert line == expected if line.startswith("Error") else line[8:] == f"  {expected}", line

    async def reads_on(self, expected: str) -> None:
        """See this line come, whatever comes before it, after a time of day."""
        with anyio.fail_after(PATIENCE):
            while (await self._stdout.receive_until(b"\n", 10_000)).decode()[10:] != expected:
                pass

    async def reads_like(self, pattern: str) -> None:
        """See a line next that matches, after a time of day."""
        with anyio.fail_after(PATIENCE):
            line = (await self._stdout.receive_until(b"\n", 10_000)).decode()
        assert re.fullmatch(pattern, line[10:]), line

    async def exits(self, code: int) -> None:
        """See the process end by itself."""
        with anyio.fail_after(PATIENCE):
            assert await self.process.wait() == code

    async def end_input(self) -> None:
        """Close standard input."""
        await self._stdin.aclose()


@pytest.fixture(scope="module")
def alone(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server that nobody else uses."""
    with serving(keys, tmp_path_factory.mktemp("peer")) as server:
        yield server


def command(url: str, user: str, *options: str) -> list[str]:
    """Return the command line of a peer."""
    return [sys.executable, "-m", "app", "peer", user, "--url", url, *options]


def environment(keys: Keys) -> dict[str, str]:
    """Return the environment of a peer."""
    return {**os.environ, **keys.environment(), "PYTHONPATH": PATH}


@asynccontextmanager
async def running(keys: Keys, url: str, user: str, *options: str) -> AsyncIterator[PeerProcess]:
    """Run a peer, and end it if it does not end by itself."""
    process = await anyio.open_process(command(url, user, *options), env=environment(keys), stderr=subprocess.STDOUT)
    async with process:
        try:
            yield PeerProcess(process)
        finally:
            if process.returncode is None:
                process.kill()


async def test_two_peers_talk(keys: Keys, alone: Server) -> None:
    """Ann asks, bob accepts, both talk, and one leaves: each sees every step as a line."""
    async with running(keys, alone.url, "ann", "--ide", "neovim") as ann:
        for line in ("signed in as ann", "you are online as ann (neovim)", "online: nobody else"):
            await ann.reads(line)
        async with running(keys, alone.url, "bob", "--name", "Bob B.", "--role", "host") as bob:
            for line in ("signed in as bob", "you are online as bob (Bob B., other)", "online: ann (neovim)"):
                await bob.reads(line)
            await ann.reads("bob (Bob B., other) is online")
            await ann.type("/ask bob")
            await ann.reads("asking bob")
            await bob.reads("ann asks to connect: /accept or /refuse")
            await bob.type("/accept")
            await bob.reads("accepting ann")
            await bob.reads("connected with ann")
            await ann.reads("connected with bob")
            await ann.type("hello")
            await ann.reads("ann: hello")
            await ann.reads("delivered to bob")
            await bob.reads("ann: hello")
            await ann.type('/json {"a" : 1.10}')
            await ann.reads('ann: {"a":1.10}')
            await ann.reads("delivered to bob")
            await bob.reads('ann: {"a":1.10}')
            await bob.type("\x1b[2Jhi")
            await bob.reads("bob: \\x1b[2Jhi")
            await bob.reads("delivered to ann")
            await ann.reads("bob: \\x1b[2Jhi")
            await bob.end_input()
            await bob.exits(0)
        await ann.reads("the session with bob is over: left")
        await ann.reads("bob (Bob B., other) is offline")
        await ann.type("/quit")
        await ann.exits(0)


@pytest.mark.parametrize(
    ("scheme", "path", "says"),
    [("http", "/ws", "--url must be ws://HOST:PORT/PATH"), ("ws", "/", "it is WS_PATH of the server, /ws by default")],
)
async def test_a_url_that_is_wrong(scheme: str, path: str, says: str, keys: Keys, alone: Server) -> None:
    """What may be is told in one line."""
    done = await anyio.run_process(
        command(f"{scheme}://127.0.0.1:{alone.port}{path}", "ann"), env=environment(keys), check=False
    )
    (line,) = done.stderr.decode().splitlines()
    assert (done.returncode, says in line) == (1, True), line


async def test_what_was_piped_is_answered_before_the_end(keys: Keys, alone: Server) -> None:
    """The peer leaves when its input ends, but not before the server has answered."""
    async with running(keys, alone.url, "pia") as pia:
        await pia.type('/raw {"event":"NOPE"}')
        await pia.end_input()
        for line in ("signed in as pia", "you are online as pia (other)", "online: nobody else"):
            await pia.reads(line)
        await pia.reads('sent {"event":"NOPE"}')
        await pia.reads("error ERR_5003: Unknown event: NOPE")
        await pia.exits(0)


async def test_a_peer_comes_back_after_a_drop_and_stays_away_when_told(keys: Keys) -> None:
    """A restart is sat out with a new introduction; another connection of the same user is the end."""
    codes = iter((1012, 4002))

    async def introduce_and_close(websocket: ServerConnection) -> None:
        for answer in (
            {"event": "AUTH_SUCCESS", "data": {"userId": "ann", "displayName": "ann"}},
            {"event": "PEER_REGISTERED", "data": {"id": "ann", "profile": ANN, "status": "online"}},
            {"event": "PEERS_LIST", "data": {"peers": []}},
        ):
            await websocket.recv()
            await websocket.send(json.dumps(answer))
        await websocket.close(next(codes))

    async with serve(introduce_and_close, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with running(keys, f"ws://127.0.0.1:{port}/ws", "ann") as ann:
            for line in ("signed in as ann", "you are online as ann (neovim)", "online: nobody else"):
                await ann.reads(line)
            await ann.reads("connection lost (close code 1012); reconnecting")
            for line in ("signed in as ann", "you are online again as ann (neovim)", "online: nobody else"):
                await ann.reads(line)
            await ann.reads("Error: the same user connected from elsewhere (close code 4002)")
            await ann.exits(1)


async def test_a_bad_token_is_two_lines_and_the_end(keys: Keys, alone: Server) -> None:
    """What the server says of the token is told, and the peer gives up."""
    async with running(keys, alone.url, "ann", "--token", "nonsense") as ann:
        await ann.reads("error ERR_1002: The access token is invalid: it is malformed, or not RS256")
        await ann.reads("Error: the server does not take the token; get a new one (close code 4001)")
        await ann.exits(1)


async def test_no_key_is_one_line(keys: Keys, alone: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has no private key is told what makes one."""
    monkeypatch.setattr(keys, "environment", lambda: {"JWT_PRIVATE_KEY_PATH": "/nowhere"})
    async with running(keys, alone.url, "ann") as ann:
        await ann.reads("Error: the key /nowhere cannot be read (No such file or directory); bin/genkeys makes a pair")
        await ann.exits(1)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let child processes be interrupted even if the tests run in the background of a shell, which prevents it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
async def test_an_interrupt_is_a_goodbye(keys: Keys, alone: Server) -> None:
    """Ctrl-C leaves at once and in peace, though standard input is open."""
    async with running(keys, alone.url, "ivy") as ivy:
        for line in ("signed in as ivy", "you are online as ivy (other)", "online: nobody else"):
            await ivy.reads(line)
        ivy.process.send_signal(signal.SIGINT)
        await ivy.exits(0)


async def test_no_server_is_one_line(keys: Keys) -> None:
    """Whoever forgot to start a server is told so."""
    url = f"ws://127.0.0.1:{free_port()}/ws"
    async with running(keys, url, "ann") as ann:
        await ann.reads(f"Error: cannot connect to {url}: connection refused; is bin/serve running?")
        await ann.exits(1)


class Terminal:
    """A peer process on a terminal of its own."""

    def __init__(self, process: "subprocess.Popen[bytes]", controller: int) -> None:
        self.process = process
        self._controller = controller
        self._seen = b""

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._controller, keys)

    def shows(self, expected: bytes) -> None:
        """See this come next on the screen."""
        end = time.monotonic() + PATIENCE
        while expected not in self._seen:
            ready, _, _ = select.select([self._controller], [], [], max(0, end - time.monotonic()))
            assert ready, self._seen
            self._seen += os.read(self._controller, 4096)
        self._seen = self._seen.partition(expected)[2]


@pytest.fixture
def terminal(keys: Keys, alone: Server) -> Iterator[Terminal]:
    """Tea's, who is online."""
    controller, ours = pty.openpty()
    variables = {**environment(keys), "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
    process = subprocess.Popen(command(alone.url, "tea"), env=variables, stdin=ours, stdout=ours, stderr=ours)
    os.close(ours)
    try:
        terminal = Terminal(process, controller)
        terminal.shows(b"online: nobody else")
        terminal.shows(b"/help lists the commands")
        terminal.shows(b">")
        yield terminal
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(controller)


@pytest.mark.parametrize("key", [b"\x03", b"\x04"], ids=["Ctrl-C", "Ctrl-D"])
def test_a_terminal_has_a_line_to_type_at(terminal: Terminal, key: bytes) -> None:
    """What was typed is taken, and either key leaves in peace."""
    terminal.type(b"/nope\r")
    terminal.shows(b"no such command: /nope")
    terminal.shows(b">")
    terminal.type(key)
    assert terminal.process.wait(PATIENCE) == 0
