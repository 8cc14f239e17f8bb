"""The soak: what it demands of a server, what it makes of one that leaks or loses, and short runs against one."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import pytest

from app.settings import Settings
from tests.load.soak.acts import ACTS, act
from tests.load.soak.checks import REMEMBERED, Faults, Inbox, Letter
from tests.load.soak.peer import Peer
from tests.load.soak.report import Sample, Verdict, progress_line, report, troubles, verdict
from tests.load.soak.world import Plan, World, org_of, user_id
from tests.support.server import PATH

PATIENCE = 60
MIB = 1_048_576
BOB = "soak:1"
ANN, CAT = "soak:0", "soak-a:2"


def samples(*minutes: float) -> list[Sample]:
    """Return a sample a second, with so many MiB in each minute."""
    seconds = range(60 * len(minutes) + 1)
    return [Sample(at, rss=(*minutes, minutes[-1])[at // 60] * MIB, cpu=at / 4, files=9) for at in seconds]


@pytest.mark.parametrize(
    ("minutes", "is_good"),
    [
        ((20, 40, 60, 80, 100, 100, 100), True),
        ((20, 40, 60, 80, 100, 500, 109), True),
        ((200, 40, 60, 80, 100, 100, 111), False),
        ((20, 40, 60, 80, 100, 100, 50), True),
        ((100, 100, 100, 100, 100, 120), False),
    ],
)
def test_memory_at_the_end_is_held_against_minute_five(minutes: tuple[float, ...], is_good: object) -> None:
    """What was there before it levelled off, and between, does not count."""
    memory = verdict(samples(*minutes))
    assert memory is not None
    assert memory == Verdict(100 * MIB, minutes[-1] * MIB)
    assert memory.is_good is is_good
    assert bool(troubles(memory, Faults(), {})) is not is_good


@pytest.mark.parametrize("minutes", [(), (100,), (20, 40, 60, 80, 100)])
def test_a_short_run_has_no_verdict(minutes: tuple[float, ...]) -> None:
    """Memory that has not levelled off yet is not held against the server."""
    assert verdict(samples(*minutes) if minutes else []) is None


def test_one_second_does_not_decide() -> None:
    """The median of a minute stands for it."""
    run = samples(20, 40, 60, 80, 100, 100)
    run[270] = Sample(270, 999 * MIB, 0, 9)
    run[-1] = Sample(run[-1].at, 999 * MIB, 0, 9)
    assert verdict(run) == Verdict(100 * MIB, 100 * MIB)


def test_the_first_fault_of_a_kind_is_told_at_once() -> None:
    """So that who watches need not wait for the end."""
    told: list[str] = []
    faults = Faults(told.append)
    for detail in ("first", "second"):
        faults.note("a message twice", detail)
    assert told == ["a message twice: first"]


def test_troubles_name_the_rule() -> None:
    """Memory, faults and what is left behind each fail a run."""
    faults = Faults()
    assert troubles(None, faults, {}) == []
    faults.note("a message twice", "first")
    faults.note("a message twice", "second")
    assert troubles(Verdict(100, 150), faults, {"sockets registered": 3, "mail_bytes": 7.0}) == [
        "memory grew by 50.0% after minute 5; 10% is allowed",
        "faults: 2",
        "left behind: sockets registered 3, mail_bytes 7",
    ]


def test_progress_is_one_line() -> None:
    """What the server says is in it, and without an answer of it zeros."""
    tally = Counter(sessions=4, messages=70, recovered=5, refused=1)
    gauges = {"sockets connected": 1.0, "sockets registered": 8.0, "mail_bytes": 5.0}
    before, now = Sample(60, MIB, 3, 9), Sample(90, 50.04 * MIB, 6, 9)
    assert progress_line(now, before, gauges, tally) == (
        "minute 1.5  rss 50.0 MiB  cpu 10%  sockets 9  registered 8  sessions 4  messages 70  resumes 5/1  errors 0"
    )
    assert "sockets 0  registered 0" in progress_line(now, before, {}, tally)


def test_the_report_has_the_figures_and_the_faults() -> None:
    """The first fault of each kind is told in full."""
    faults = Faults()
    faults.note("a message twice", "first")
    faults.note("a message twice", "second")
    run = samples(20, 40, 60, 80, 100, 105)
    told = report(run, verdict(run), faults, Counter(acts=12, recovered=3))
    assert "6.0 minutes, 12 acts" in told
    assert "cpu of the server: 25% of a core" in told
    assert "memory: 100.0 MiB in minute 5, 105.0 at the end (+5.0%), at most 105.0" in told
    assert told.endswith("a message twice (2): first")
    assert "the run was too short" in report(run[:9], None, faults, Counter())


class Checked:
    """An inbox that can resume, and the faults it finds."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.tick = count(1).__next__
        self.inbox = Inbox(BOB, self.faults, self.tick)
        self.inbox.start_over(is_resumable=True)

    @property
    def kinds(self) -> list[str]:
        """The kinds of faults there are."""
        return sorted(self.faults.counts)

    def letters(self, *numbers: int) -> None:
        """Let messages of ann's come."""
        for number in numbers:
            self.inbox.receive(Letter("s", ANN, number))

    def owe(self, number: int) -> None:
        """Acknowledge a message of ann's, sent just before."""
        self.inbox.owe(Letter("s", ANN, number), self.tick())


@pytest.fixture
def checked() -> Checked:
    """Bob's inbox."""
    return Checked()


@pytest.mark.parametrize(
    ("offsets", "kinds"),
    [
        ([1, 2, 3], []),
        ([1, 3], ["an offset left out"]),
        ([2], ["an offset left out"]),
        ([1, 2, 2], ["an offset again"]),
        ([1, 2, 1], ["an offset again"]),
        ([1, None], ["no offset"]),
    ],
)
def test_offsets_have_no_gaps(checked: Checked, offsets: list[int | None], kinds: list[str]) -> None:
    """Whoever can resume gets each number once."""
    for offset in offsets:
        checked.inbox.count("MESSAGE_RECEIVED", offset)
    assert checked.kinds == kinds


def test_offsets_begin_anew_with_each_life(checked: Checked) -> None:
    """Who cannot resume gets none."""
    checked.inbox.count("MESSAGE_RECEIVED", 1)
    checked.inbox.start_over(is_resumable=True)
    checked.inbox.count("MESSAGE_RECEIVED", 1)
    checked.inbox.start_over(is_resumable=False)
    checked.inbox.count("MESSAGE_RECEIVED", None)
    assert checked.kinds == []
    checked.inbox.count("MESSAGE_RECEIVED", 1)
    assert checked.kinds == ["an offset left out"]


def test_messages_come_once_and_in_order(checked: Checked) -> None:
    """Numbers may be left out, since not all messages go to all; they never go down within a session."""
    checked.letters(1, 2, 5)
    checked.inbox.receive(Letter("another", ANN, 3))
    checked.inbox.receive(Letter("s", CAT, 1))
    assert checked.kinds == []
    checked.letters(5)
    assert checked.kinds == ["a message twice"]
    checked.letters(4)
    assert checked.kinds == ["a message out of order", "a message twice"]


def test_an_acknowledged_message_that_never_comes_is_lost(checked: Checked) -> None:
    """A sign of life asked for later comes after the message; one asked for before says nothing."""
    checked.owe(1)
    asked_at = checked.tick()
    checked.owe(2)
    checked.letters(2)
    checked.owe(3)
    checked.inbox.settle(asked_at)
    assert checked.faults.counts == {"an acknowledged message lost": 1}
    checked.inbox.settle(asked_at)
    assert checked.faults.counts.total() == 1


def test_what_came_is_not_owed(checked: Checked) -> None:
    """Whether the message or its acknowledgement is seen first."""
    checked.owe(1)
    checked.letters(1, 2)
    checked.owe(2)
    checked.inbox.settle(checked.tick())
    assert checked.kinds == []


def test_a_new_life_is_owed_nothing_of_the_old(checked: Checked) -> None:
    """Neither what was acknowledged before, nor what was sent before and acknowledged after."""
    sent_at = checked.tick()
    checked.owe(1)
    checked.inbox.start_over(is_resumable=True)
    checked.inbox.owe(Letter("s", ANN, 2), sent_at)
    checked.inbox.settle(checked.tick())
    assert checked.kinds == []


def test_only_who_can_resume_is_owed(checked: Checked) -> None:
    """To others a message may be lost in a drop."""
    checked.inbox.start_over(is_resumable=False)
    checked.owe(1)
    checked.inbox.settle(checked.tick())
    assert checked.kinds == []


def test_who_is_out_of_a_session_is_owed_nothing_of_it(checked: Checked) -> None:
    """What is on its way may come or not."""
    checked.letters(7)
    checked.owe(8)
    checked.inbox.forget("s")
    checked.inbox.settle(checked.tick())
    assert checked.kinds == []


def test_an_inbox_does_not_grow(checked: Checked) -> None:
    """The check itself must not be what leaks."""
    checked.letters(*range(REMEMBERED + 100))
    assert len(checked.inbox._received) == REMEMBERED


class Client:
    """Bob's client without a connection: what it sends, and what it finds wrong."""

    def __init__(self, acts: int | None = None) -> None:
        plan = Plan(peers=3, minutes=1, pause=1, seed=3, acts=acts)
        self.now = 0.0
        self.world = World(plan, Settings(), "ws://127.0.0.1/", lambda: self.now, Faults())
        self.sent: list[dict[str, object]] = []
        self.peer = Peer(BOB, "token", self.world, lambda frame: self.sent.append(json.loads(frame)))
        self.world.add(ANN)
        self.world.add(CAT)

    @property
    def kinds(self) -> list[str]:
        """The kinds of faults there are."""
        return sorted(self.world.faults.counts)

    @property
    def events(self) -> list[object]:
        """What was sent since the last look."""
        sent, self.sent[:] = [frame["event"] for frame in self.sent], []
        return sent

    def enter(self, *, can_resume: bool = True) -> None:
        """Let it in, in a life of these capabilities."""
        self.peer.introduce()
        self.peer.capabilities = ("resume", "acks", "sessions") if can_resume else None
        resume = {"token": "res_1"} if can_resume else {}
        self.take("AUTH_SUCCESS", userId=BOB, recovered=False, resume=resume)
        self.take("PEER_REGISTERED", id=BOB)
        if can_resume:
            self.take("SESSIONS", sessions=[])
        assert self.peer.entered.is_set()
        self.sent.clear()

    def come_back(self, *, recovered: bool) -> None:
        """Resume, in time."""
        self.peer.may_expect_recovery = True
        self.peer.introduce()
        assert self.sent[-1]["data"]["resume"] == {"token": "res_1", "offset": self.peer.inbox.offset}  # type: ignore[index]
        self.take("AUTH_SUCCESS", userId=BOB, recovered=recovered, resume={"token": "res_2"})

    def join(self) -> None:
        """Be in a session with ann."""
        self.take("CONNECTION_ACCEPTED", offset=1, requestId="r", sessionId="s", peer={"id": ANN})

    def take(self, event: str, *, ref: str = "", offset: int | None = None, **data: object) -> None:
        """Let an event come."""
        frame = {"event": event, "data": data, "ref": ref, "offset": offset}
        self.peer.take(memoryview(json.dumps(frame).encode()))


@pytest.fixture
def client() -> Client:
    """A client that is in, and can resume."""
    client = Client()
    client.enter()
    return client


def test_a_run_without_faults(client: Client) -> None:
    """A session, a message each way, a drop, and what was not acknowledged sent again."""
    client.join()
    client.take("MESSAGE_RECEIVED", offset=2, sessionId="s", **{"from": ANN}, content={"n": 1})
    client.peer.say("s", 10, None)
    client.peer.say("s", 10, [ANN])
    client.take("MESSAGE_ACK", messageId="1", sessionId="s", delivered=[ANN], queued=[])
    assert client.events == ["SEND_MESSAGE", "SEND_MESSAGE"]
    client.come_back(recovered=True)
    assert client.events == ["AUTH", "SEND_MESSAGE"]
    client.take("MESSAGE_ACK", messageId="2", sessionId="s", delivered=[], queued=[ANN], duplicate=True)
    client.peer.ping()
    client.take("PONG")
    client.take("SESSION_ENDED", offset=3, sessionId="s")
    assert client.peer.ponged.is_set()
    assert client.kinds == []
    assert not client.peer.rooms
    assert client.world.tally["recovered"] == 1


def test_a_resume_refused_in_time(client: Client) -> None:
    """Then the client starts over, and the server is to blame."""
    client.join()
    client.come_back(recovered=False)
    assert client.events == ["AUTH", "PEER_REGISTER"]
    assert client.kinds == ["not recovered in time"]


def test_a_server_that_leaves_things_out(client: Client) -> None:
    """A message without an answer by the time of a later one's, and one that was acknowledged and never came."""
    client.join()
    client.peer.say("s", 10, None)
    client.peer.inbox.owe(Letter("s", ANN, 1), client.world.tick())
    client.peer.ping()
    client.take("PONG")
    assert client.kinds == ["a message without an answer", "an acknowledged message lost"]


def test_a_server_that_does_not_answer(client: Client) -> None:
    """The next PING comes too early to tell, or late enough."""
    client.peer.ping()
    client.peer.ping()
    assert client.kinds == []
    client.now = 21.0
    client.peer.ping()
    assert client.kinds == ["no answer to PING"]


@pytest.mark.parametrize(
    ("event", "data", "kind"),
    [
        ("ERROR", {"code": "ERR_9001"}, "an unexpected error"),
        ("ERROR", {"code": "ERR_6001", "ref": "SEND_MESSAGE|s|1"}, "an unexpected error"),
        ("AUTH_FAILED", {"code": "ERR_1002"}, "AUTH_FAILED"),
        ("MESSAGE_ACK", {"messageId": "9"}, "an acknowledgement of nothing sent"),
        ("PEER_STATUS_UPDATE", {"id": CAT}, "a peer that is not for these eyes"),
        ("PEERS_LIST", {"peers": [{"id": CAT}]}, "a peer that is not for these eyes"),
        ("PEERS_LIST", {"peers": [{"id": BOB}]}, "a peer that is not for these eyes"),
        ("PEER_REGISTERED", {"id": ANN}, "a registration of somebody else"),
        ("PONG", {"peers": 1}, "a frame that cannot be read"),
        (
            "MESSAGE_RECEIVED",
            {"offset": 1, "sessionId": "elsewhere", "from": ANN, "content": {"n": 1}},
            "a message of a session one is not in",
        ),
    ],
)
def test_what_should_not_come(client: Client, event: str, data: dict[str, str], kind: str) -> None:
    """Each is a fault of its own kind."""
    client.take(event, **data)  # type: ignore[arg-type]
    assert client.kinds == [kind]


def test_refusals_that_come_of_others(client: Client) -> None:
    """A session that is over is forgotten; one with a `ref` is known by it, a client of version 1 forgets all."""
    client.join()
    client.peer.say("s", 10, None)
    client.take("ERROR", ref="SEND_MESSAGE|s|1", code="ERR_3001")
    assert (client.peer.rooms, client.peer.unanswered) == ({}, {})
    old = Client()
    old.enter(can_resume=False)
    old.take("SESSION_CREATED", sessionId="s", peer={"id": ANN})
    old.take("ERROR", code="ERR_3001")
    assert old.peer.rooms == {}
    assert client.kinds == old.kinds == []


def test_one_who_is_out_may_be_another(client: Client) -> None:
    """Who is told that somebody is no participant asks which sessions it is in itself."""
    client.join()
    client.take("ERROR", ref="SESSION_KICK|s", code="ERR_3008")
    assert client.events == ["SESSION_LIST"]
    assert "s" in client.peer.rooms
    client.take("SESSIONS", sessions=[])
    assert client.peer.rooms == {}
    assert client.kinds == []


def test_leaving_counts_once_it_is_answered(client: Client) -> None:
    """Until then messages of the session may come."""
    client.join()
    client.take("OK", ref="SESSION_ROLE|s")
    assert "s" in client.peer.rooms
    client.take("OK", ref="SESSION_LEAVE|s")
    assert "s" not in client.peer.rooms


def test_every_act_is_done_sooner_or_later(client: Client) -> None:
    """By one who is host of a session of its own, is asked, and asks."""
    done: set[object] = set()
    for _ in range(2000):
        client.peer.rooms.clear()
        client.take(
            "SESSION_UPDATED",
            offset=client.peer.inbox.offset + 1,
            sessionId="s",
            hostId=BOB,
            participants=[{"id": ANN}],
        )
        client.peer.requests, client.peer.asked, client.peer.known = ["r"], ["q"], [ANN]
        act(client.peer)
        done.update(client.events)
        client.peer.ponged.set()
    assert len(done) == len(ACTS) + 2  # what a host may do is one act of three
    assert client.kinds == []


def test_the_last_act_ends_the_soak() -> None:
    """A soak may be as long as so many acts."""
    world = Client(acts=2).world
    world.act()
    assert not world.is_ending
    world.act()
    assert world.is_ending


def test_users_tell_their_org() -> None:
    """There is more than one org, and that of nobody."""
    assert [org_of(user_id(number)) for number in range(4)] == [None, None, "soak-a", "soak-b"]
    client = Client()
    assert {client.world.acquaintance(ANN) for _ in range(50)} == {ANN, BOB}


@contextmanager
def soaking(*options: str) -> Iterator["subprocess.Popen[str]"]:
    """Run a soak of a few peers with short graces, once it has begun."""
    command = [sys.executable, "-m", "tests.load", "soak", "--peers", "8", "--pause", "0.02", *options]
    environment = {
        **os.environ,
        "PYTHONPATH": PATH,
        "SESSION_GRACE_SECONDS": "0.2",
        "RESUME_GRACE_SECONDS": "0.4",
    }
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def server_of(process: "subprocess.Popen[str]") -> int:
    """Return the number of the server's process, once the soak has begun."""
    assert process.stderr is not None
    assert process.stderr.readline() == "Starting a server\n"
    words = process.stderr.readline().split()
    assert words[:2] == ["Soaking", "process"], words
    return int(words[2])


def test_a_short_run() -> None:
    """Peers come and go, nothing is wrong, nothing is left behind."""
    with soaking("--acts", "500") as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, (out, err)
    begun, soaking_it, *_, settling, leaving = err.splitlines()
    steps = [line.split()[0] for line in (begun, soaking_it, settling, leaving)]
    assert steps == ["Starting", "Soaking", "Waiting", "All"], err
    assert "500 acts" in out
    assert "the run was too short" in out
    assert ": 0 recovered" not in out


def test_an_interrupt_ends_it_with_the_figures() -> None:
    """As if the time were up."""
    with soaking() as process:
        server_of(process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, (out, err)
    assert "messages: " in out


def test_a_server_that_ends_fails_the_run() -> None:
    """In one line, with the figures."""
    with soaking() as process:
        os.kill(server_of(process), signal.SIGKILL)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, (out, err)
    assert "the server ended (1)" in out
    assert err.splitlines()[-1].startswith("Error: faults: ")
