"""The whole service against a small reference, over simulated time and a simulated network (hypothesis)."""

import gc
import os
from asyncio import AbstractEventLoop, Future
from collections.abc import Iterator
from itertools import chain
from types import FunctionType, ModuleType
from typing import ClassVar

import pytest
from coverage import Coverage
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from stores.log import RECENT_SECONDS
from stores.model import User
from tests.model.harness import PEOPLE, Harness
from tests.model.plugin import Happening, Plugin
from tests.model.reference import LEEWAY, RESUME_GRACE, SESSION_GRACE, Request
from tests.support.tokens import Keys

WHO = st.sampled_from(list(PEOPLE))
TOGETHER = [user for user in PEOPLE if user.org is None]
HOSTS = st.sampled_from([user for user, wants in PEOPLE.items() if "sessions" in (wants or ())])
LATENCY = st.sampled_from([0.001, 0.02, 0.7])
RARELY_WHO = st.one_of(st.none(), st.none(), st.none(), WHO)
NUMBER = st.integers(0, 15)
CHANGES = st.sampled_from(["LEAVE", "KICK", "HANDOVER", "END", "LIST", "ROLE"])
TIMES = st.sampled_from([0.005, 0.1, 1.0, 4.0, 33.0, 125.0])
HEARTBEATS = 2 * 30.0
LONG = 10**6
EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "60"))
"""How many lives of the harness are tried: always the same few, or as many as are asked for, new ones every time."""

OPAQUE = (type, ModuleType, FunctionType, AbstractEventLoop, Future)


class Machine(RuleBasedStateMachine):
    """Users come, talk and go; in the end all come back, compare, and leave."""

    keys: ClassVar[Keys]

    def __init__(self) -> None:
        super().__init__()
        self.harness = Harness(self.keys)
        self.reference = self.harness.reference
        self._tokens_end = 0.0

    @initialize(latency=LATENCY, groups=st.lists(st.permutations(TOGETHER), min_size=1, max_size=2))
    def begin(self, latency: float, groups: list[list[User]]) -> None:
        for user in PEOPLE:
            self.harness.connect(user, latency)
        self.harness.pass_time(4)
        for group in groups:
            host = next(user for user in group if "sessions" in (PEOPLE[user] or ()))
            self.gather(host, [user for user in group if user != host][:3])

    @rule(host=HOSTS, guests=st.lists(WHO, min_size=1, max_size=3, unique=True))
    def gather(self, host: User, guests: list[User]) -> None:
        """Make a session, if the network and the reference let it happen."""
        self.send(host, "CONNECTION_REQUEST", targetId=guests[0].id)
        self._accept_all(guests[0])
        for guest in guests[1:]:
            sessions = list(self.reference.sessions_of(host))
            self.send(host, "SESSION_INVITE", sessionId=[*sessions, "ses_0"][-1], targetId=guest.id)
            self._accept_all(guest)

    @rule(who=WHO, latency=LATENCY)
    def connect(self, who: User, latency: float) -> None:
        """Connect; of the old connection, if there is one, the server hears no more."""
        self.harness.connect(who, latency)

    @rule(latency=LATENCY)
    def come_back(self, latency: float) -> None:
        """Have everybody connect who knows of no connection."""
        for user, plugin in self.harness.plugins.items():
            if plugin.link is None:
                self.harness.connect(user, latency)

    @rule(who=WHO, is_noticed=st.booleans(), is_told=st.booleans())
    def break_off(self, who: User, *, is_noticed: bool, is_told: bool) -> None:
        plugin = self.harness.plugins[who]
        if plugin.link is not None:
            plugin.link.break_off(is_noticed=is_noticed)
            if is_told:
                plugin.lose()

    @rule(which=NUMBER, number=NUMBER, times=st.integers(0, 3), away=TIMES, latency=LATENCY, is_noticed=st.booleans())
    def be_away(self, which: int, number: int, *, times: int, away: float, latency: float, is_noticed: bool) -> None:
        """Lose a participant for a while in which the others talk."""
        session_id, who = self._participant(which, number)
        self.harness.pass_time(latency)
        self.break_off(who, is_noticed=is_noticed, is_told=True)
        self._talk(session_id, who, times)
        self.harness.pass_time(away)
        self.harness.connect(who, latency)
        self._talk(session_id, who, times)
        self.harness.pass_time(3 * latency)

    @rule(who=WHO)
    def leave(self, who: User) -> None:
        self.harness.plugins[who].leave()

    @rule(who=WHO)
    def stall(self, who: User) -> None:
        plugin = self.harness.plugins[who]
        if plugin.link is not None:
            plugin.link.stall()

    @rule(who=WHO)
    def read_on(self, who: User) -> None:
        plugin = self.harness.plugins[who]
        if plugin.link is not None:
            plugin.link.read_on()

    @rule(seconds=TIMES)
    def wait(self, seconds: float) -> None:
        self.harness.pass_time(seconds)

    @rule(who=WHO, whom=WHO)
    def ask(self, who: User, whom: User) -> None:
        self.send(who, "CONNECTION_REQUEST", targetId=whom.id)

    @rule(number=NUMBER, who=RARELY_WHO, is_accepted=st.booleans())
    def respond(self, number: int, who: User | None, *, is_accepted: bool) -> None:
        request_id, request = self._request(number)
        responder = who or (request.target if request else User("ann"))
        self.send(responder, "CONNECTION_RESPONSE", requestId=request_id, accepted=is_accepted)

    @rule(number=NUMBER, who=RARELY_WHO)
    def cancel(self, number: int, who: User | None) -> None:
        request_id, request = self._request(number)
        requester = who or (request.requester if request else User("ann"))
        self.send(requester, "CONNECTION_CANCEL", requestId=request_id)

    @rule(which=NUMBER, number=NUMBER, who=RARELY_WHO, times=st.integers(1, 4))
    def say(self, which: int, number: int, who: User | None, times: int) -> None:
        session_id, participant = self._participant(which, number)
        for _ in range(times):
            self.harness.plugins[who or participant].say(session_id)

    @rule(which=NUMBER, number=NUMBER, others=st.lists(NUMBER, max_size=2), who=RARELY_WHO)
    def say_to(self, which: int, number: int, others: list[int], who: User | None) -> None:
        session_id, participant = self._participant(which, number)
        to = [self._participant(which, other)[1] for other in others]
        self.harness.plugins[participant].say(session_id, [user.id for user in (*to, who) if user is not None])

    @rule(which=NUMBER, number=NUMBER, size=st.sampled_from([1500, 3500]), times=st.integers(1, 8))
    def say_much(self, which: int, number: int, *, size: int, times: int) -> None:
        session_id, participant = self._participant(which, number)
        for _ in range(times):
            self.harness.plugins[participant].say(session_id, size=size)

    @rule()
    def repeat(self) -> None:
        """Have everybody send again what may well have arrived."""
        for plugin in self.harness.plugins.values():
            if plugin.is_registered:
                plugin.repeat()

    @rule(which=NUMBER, who=RARELY_WHO, whom=WHO, role=st.sampled_from([None, "guest", "observer"]))
    def invite(self, which: int, who: User | None, whom: User, role: str | None) -> None:
        session_id, host = self._host(which)
        self.send(who or host, "SESSION_INVITE", sessionId=session_id, targetId=whom.id, role=role)

    @rule(which=NUMBER, number=NUMBER, who=RARELY_WHO, what=CHANGES, role=st.sampled_from(["guest", "observer"]))
    def change_session(self, which: int, number: int, *, who: User | None, what: str, role: str) -> None:
        session_id, host = self._host(which)
        _, participant = self._participant(which, number)
        actor = participant if what == "LEAVE" else host
        self.send(who or actor, f"SESSION_{what}", sessionId=session_id, targetId=participant.id, role=role)

    @rule(which=NUMBER, number=NUMBER)
    def silence(self, which: int, number: int) -> None:
        """Make a participant an observer, who then tries to speak."""
        session_id, host = self._host(which)
        _, participant = self._participant(which, number)
        self.send(host, "SESSION_ROLE", sessionId=session_id, targetId=participant.id, role="observer")
        self.harness.pass_time(2)
        self.harness.plugins[participant].say(session_id)

    @rule(which=NUMBER, way=st.sampled_from(["session", "harness", "network"]), seconds=TIMES)
    def lose_host(self, which: int, way: str, seconds: float) -> None:
        session_id, host = self._host(which)
        if way == "session":
            self.send(host, "SESSION_LEAVE", sessionId=session_id)
        elif way == "harness":
            self.leave(host)
        else:
            self.break_off(host, is_noticed=True, is_told=True)
        self.harness.pass_time(seconds)

    @rule(who=WHO, status=st.sampled_from(["online", "away", "busy"]))
    def set_status(self, who: User, status: str) -> None:
        self.send(who, "PEER_STATUS", status=status)

    @rule(who=WHO, visibility=st.sampled_from(["everyone", "hidden"]))
    def register_again(self, who: User, visibility: str) -> None:
        self.send(who, "PEER_REGISTER", displayName=f"{who.id} {who.org}", visibility=visibility)

    @rule(who=WHO)
    def discover(self, who: User) -> None:
        self.send(who, "DISCOVER_PEERS")

    @rule(who=WHO)
    def say_what_is_handled(self, who: User) -> None:
        self.send(who, "PING", offset=self.harness.plugins[who].offset)

    @rule(who=WHO, seconds=st.sampled_from([20, 90, LONG]))
    def renew(self, who: User, seconds: int) -> None:
        """Present a new token, which may run out soon."""
        if self.harness.plugins[who].is_registered:
            self.send(who, "AUTH", token=self.harness.tokens.make(who, seconds))
            if seconds < LONG:
                self._tokens_end = self.harness.loop.time() + seconds + LEEWAY + 1

    def send(self, who: User, event: str, **data: object) -> None:
        self.harness.plugins[who].send(event, **data)

    def teardown(self) -> None:
        try:
            self._come_together()
            self._check_answers()
            for plugin in self.harness.plugins.values():
                self._check_history(plugin)
                self._check_acknowledged(plugin)
                visible = self.reference.visible_to(plugin.user)
                assert plugin.view == visible, (plugin.user, plugin.view, visible)
            self._go_apart()
            self._check_that_nothing_is_left()
        finally:
            self.harness.close()

    def _come_together(self) -> None:
        """Have everybody connected who is not; the server may cut some off yet that did not read for long."""
        for plugin in self.harness.plugins.values():
            if plugin.link is not None and plugin.link.is_stalled:
                plugin.link.read_on()
        self.harness.pass_time(max(0, self._tokens_end - self.harness.loop.time()))
        for _ in range(3):
            self.harness.pass_time(3)
            for user, plugin in self.harness.plugins.items():
                link = plugin.link
                if link is None or link.is_broken or self.reference.links.get(user) != link.number:
                    self.harness.connect(user, 0.001)
        self.harness.pass_time(3)

    def _go_apart(self) -> None:
        for plugin in self.harness.plugins.values():
            plugin.leave()
        self.harness.pass_time(RESUME_GRACE + SESSION_GRACE + HEARTBEATS)

    def _check_answers(self) -> None:
        """Every answer was as expected, and none is missing on connections that still stand."""
        for plugin in self.harness.plugins.values():
            for key, answer in plugin.answers.items():
                assert answer == self.reference.answers[key], (plugin.user, key, answer, self.reference.answers[key])
            assert plugin.link is not None
            number = plugin.link.number
            expected = {ref for socket, ref in self.reference.answers if socket == number}
            assert expected == {ref for socket, ref in plugin.answers if socket == number}, plugin.user

    def _check_history(self, plugin: Plugin) -> None:
        """Who resumes saw all that happened in this epoch, and an unbroken beginning of those before; others some."""
        log = self.reference.log[plugin.user]
        for epoch, seen in plugin.epochs.items():
            expected = log[epoch]
            if plugin.can_resume:
                complete = len(expected) if epoch == plugin.epoch else len(seen)
                assert seen == expected[:complete], (plugin.user, first_difference(seen, expected))
            else:
                assert is_part(seen, expected), plugin.user

    def _check_acknowledged(self, plugin: Plugin) -> None:
        """What a sender was told is true: each receiver who resumes got it once, or was told that it lost something."""
        for message_id, ack in plugin.acknowledged.items():
            for name in (*ack["delivered"], *ack["queued"]):
                receiver = self.harness.plugins[User(name, plugin.user.org)]
                times = [str(seen[-1]).rstrip() for seen in chain(*receiver.epochs.values())].count(message_id)
                is_told = any(loss >= plugin.said_at[message_id] for loss in receiver.losses)
                assert times == 1 or (times == 0 and (is_told or not receiver.can_resume)), (receiver.user, message_id)

    def _check_that_nothing_is_left(self) -> None:
        """Nobody who is gone is remembered by anything that the runtime holds."""
        harness, runtime = self.harness, self.harness.runtime
        assert not runtime.gateway.connections
        runtime.stores.log.forget_old(runtime.services.clock.now() + RECENT_SECONDS)
        left = [each for each in reachable(runtime) if isinstance(each, User)]
        assert left == [], left
        assert (runtime.stores.log.stats()["log_bytes"], runtime.delivery.write_scheduler.held) == (0, 0)
        assert not harness.reference.people

    def _talk(self, session_id: str, absent: User, times: int) -> None:
        """Have everybody else in a session say something."""
        session = self.reference.sessions.get(session_id)
        for other in session.roles if session is not None else ():
            for _ in range(times if other != absent else 0):
                self.harness.plugins[other].say(session_id)

    def _accept_all(self, who: User) -> None:
        """Have a user accept what it is asked; it is given the time for it."""
        self.harness.pass_time(1)
        for request_id, request in list(self.reference.requests.items()):
            if request.target == who:
                self.send(who, "CONNECTION_RESPONSE", requestId=request_id, accepted=True)
        self.harness.pass_time(1)

    def _session(self, which: int) -> str:
        """Return a session, or now and then one that never was."""
        choice = [*(5 * list(self.reference.sessions)), "ses_0"]
        return choice[which % len(choice)]

    def _host(self, which: int) -> tuple[str, User]:
        session_id = self._session(which)
        session = self.reference.sessions.get(session_id)
        return session_id, session.host if session is not None else User("ann")

    def _participant(self, which: int, number: int) -> tuple[str, User]:
        session_id = self._session(which)
        session = self.reference.sessions.get(session_id)
        participants = list(session.roles) if session is not None else list(PEOPLE)
        return session_id, participants[number % len(participants)]

    def _request(self, number: int) -> tuple[str, Request | None]:
        choice = [*(5 * list(self.reference.requests)), "req_0"]
        request_id = choice[number % len(choice)]
        return request_id, self.reference.requests.get(request_id)


def first_difference(seen: list[Happening], expected: list[Happening]) -> object:
    """Return the first place where two histories differ, and what there is from there on in each."""
    place = next((at for at, pair in enumerate(zip(seen, expected, strict=False)) if pair[0] != pair[1]), len(seen))
    return place, seen[place : place + 3], expected[place : place + 3]


def is_part(some: list[Happening], everything: list[Happening]) -> bool:
    """Whether these are among all, in this order, none twice."""
    rest = iter(everything)
    return all(each in rest for each in some)


def reachable(root: object) -> Iterator[object]:
    """Return whatever an object holds on to, other than code and the event loop with its tasks."""
    seen: set[int] = {id(root)}
    waiting = [root]
    while waiting:
        each = waiting.pop()
        yield each
        for other in gc.get_referents(each):
            if id(other) not in seen and not isinstance(other, OPAQUE):
                seen.add(id(other))
                waiting.append(other)


@pytest.fixture
def untraced() -> Iterator[None]:
    """Run without coverage, with which this takes four times as long; other tests see to it."""
    tracer = Coverage.current()
    if tracer is None:
        yield
        return
    tracer.stop()
    yield
    tracer.start()


@pytest.mark.usefixtures("untraced")
def test_the_service_keeps_its_promises(keys: Keys) -> None:
    Machine.keys = keys
    bounds = settings(
        max_examples=EXAMPLES,
        stateful_step_count=50,
        derandomize=not os.environ.get("MODEL_EXAMPLES"),
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Machine, settings=bounds)
