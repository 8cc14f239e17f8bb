"""What is sent between nodes arrives once and in order, whatever moves, dies or is late: lives of nodes, by seed."""

import json
import os
from collections.abc import Callable
from functools import partial
from itertools import count
from random import Random
from typing import ClassVar

import pytest
from msgspec import Struct

from handlers.ports import MessageKey, Receipt
from schemas.auth import Resume
from schemas.events import ServerEvent
from stores.base import User
from tests.support.mesh import Node, Seat, Store

ANN = User("ann")
NODES = 3
STEPS = 120
BUSY = 0.6
DEATHS = 0.5
CUTS = 0.7
WAITS = 2
BRIEF, LONG = 0.1, 6.0
LIVES = range(int(os.environ.get("MODEL_EXAMPLES", "100")))
"""Always the same few, or as many as are asked for."""


class CameTwiceError(AssertionError):
    """A message comes twice: its receiver left a node that had not written yet what it gave her."""


class StartedOverError(AssertionError):
    """She is not recovered: she left a node that had not written yet the token it gave her, or could not get in."""


FAILURES: dict[str, dict[type[AssertionError], set[int]]] = {
    "lives": {StartedOverError: {29, 55}},
    "deaths": {CameTwiceError: {11}, StartedOverError: {12, 15, 59}},
    "cuts": {StartedOverError: {3, 41, 46, 49, 56, 58, 59, 67, 70, 79}},
    "emptied": {CameTwiceError: {51}},
}
"""Which of the first hundred lives of each kind fail, and how. docs/reliability.md has how many do among more."""


class Said(ServerEvent, frozen=True):
    event: ClassVar[str] = "SAID"
    sender: str
    number: int


class Words(Struct, eq=False):
    """What somebody said to Ann. It `is_known` once the sender knows what became of it."""

    sender: str
    number: int
    receipt: Receipt
    is_known: bool = False


class Talker:
    """Somebody who sends over one node, and over another what was not acknowledged, if it is marked."""

    def __init__(self, life: "Life", name: str, *, is_marked: bool) -> None:
        self.life = life
        self.name = name
        self.is_marked = is_marked
        self.said: list[Words] = []
        self.numbers = count(1)
        self.stay = 0
        self.node = life.node()

    def say(self) -> None:
        self._send(next(self.numbers))

    def move(self) -> None:
        """Go to another node, which takes longer than what is under way; if nothing is marked, as a new sender.

        Nobody leaves a node that is cut off: what it has delivered there nobody else could know of.
        """
        self.life.settle()
        if self.node is self.life.cut:
            return
        self.node = self.life.node(but=self.node)
        self.stay += 1
        if self.is_marked:
            for number in sorted({words.number for words in self.said} - self.known):
                self._send(number)
        else:
            self.life.talkers[self.life.talkers.index(self)] = Talker(self.life, f"{self.name}'", is_marked=False)
            self.life.silent.append(self)

    @property
    def is_waiting(self) -> bool:
        return self.is_marked and self.known != {words.number for words in self.said}

    @property
    def known(self) -> set[int]:
        return {words.number for words in self.said if words.is_known}

    def _send(self, number: int) -> None:
        words = Words(self.name, number, Receipt())
        self.said.append(words)
        self.life.first_over.setdefault((self.name, number), (self.name, self.stay))
        key = MessageKey(f"{self.name} {number}", f"{len(self.said):024}") if self.is_marked else None
        event = Said(sender=self.name, number=number)
        self.life.note(self.name, "says", number, self.node.name)
        self.node.hub.send([ANN], event, User(self.name), receipt=words.receipt, key=key)
        words.receipt.when_whole(lambda: self._know(words))

    def _know(self, words: Words) -> None:
        words.is_known = True
        self.life.note("known", words.sender, words.number, words.receipt.delivered, words.receipt.queued)
        if not (words.receipt.delivered or words.receipt.queued):
            self.life.excused.add((words.sender, words.number))


class Client:
    """Ann's client: it counts what it has handled, and resumes from there."""

    def __init__(self, life: "Life") -> None:
        self.life = life
        self.seat: Seat | None = None
        self.token: str | None = None
        self.offset = 0
        self.got: list[tuple[str, int]] = []
        self.is_in = True

    def connect(self, node: Node) -> None:
        """Connect to a node."""
        if self.seat is not None and self.seat.is_open and self.life.rng.random() < 0.3:
            self.seat.close(1006, "")
        self.seat = Seat(next(self.life.sockets), node)
        self.is_in = False
        self.life.note("connect", node.name, self.offset)
        resume = None if self.token is None else Resume(token=self.token, offset=self.offset)
        node.spawn(node.enter(ANN, self.seat, resume))

    def read(self) -> None:
        assert self.seat is not None
        frame = json.loads(self.seat.came.popleft())
        self.life.note("read", frame)
        if "token" in frame:
            self._enter(frame["token"], is_recovered=frame["recovered"])
            return
        said = frame["data"]["sender"], frame["data"]["number"]
        if said in self.got:
            raise CameTwiceError(f"{said} came twice")
        assert frame["offset"] == self.offset + 1
        via = self.life.first_over[said]
        before = [number for sender, number in self.got if self.life.first_over[sender, number] == via]
        assert said[1] > max(before, default=0), f"{said} came after {before}"
        self.got.append(said)
        self.offset += 1

    def confirm(self) -> None:
        assert self.seat is not None
        if self.seat.is_open:
            self.seat.node.resumption.confirm(ANN)
            self.seat.node.hub.handled(ANN, self.offset)

    def _enter(self, token: str | None, *, is_recovered: bool) -> None:
        self.token, self.is_in = token, True
        if not is_recovered:
            self.life.starts += 1
            self.offset, self.got = 0, []
            self.life.excuse()


class Life:
    """One life; `pass_on` moves something on, whatever may go next."""

    def __init__(self, seed: int, deaths: float, cuts: float, empties: float) -> None:
        self.deaths, self.cuts, self.empties = deaths, cuts, empties
        self.cut: Node | None = None
        self.late: list[Node] = []
        self.rng = Random(seed)
        self.now = 0.0
        self.store = Store()
        self.names, self.sockets = count(1), count(1)
        self.nodes: list[Node] = []
        self.dead: list[Node] = []
        self.mourned: set[tuple[str, str]] = set()
        self.log: list[tuple[object, ...]] = []
        self.starts = 0
        self.excused: set[tuple[str, int]] = set()
        self.first_over: dict[tuple[str, int], tuple[str, int]] = {}
        for _ in range(NODES):
            self._begin_node()
        self.client = Client(self)
        self.silent: list[Talker] = []
        self.talkers = [Talker(self, name, is_marked=name != "cat") for name in ("bob", "eve", "cat")]
        self.client.connect(self.node())
        self.settle()

    def note(self, *about: object) -> None:
        self.log.append((round(self.now, 2), *about))

    def node(self, but: Node | None = None) -> Node:
        return self.rng.choice([node for node in self.nodes if node not in {but, self.cut}])

    def excuse(self) -> None:
        """What is acknowledged by now need not arrive any more: she has started over."""
        for talker in self.talkers + self.silent:
            for words in talker.said:
                self.excused.add((words.sender, words.number))

    def act(self) -> None:
        """Have somebody do something."""
        doings: list[tuple[Callable[[], None], float]] = [
            (lambda: self.rng.choice(self.talkers).say(), 8),
            (lambda: self.rng.choice(self.talkers).move(), 1),
            (self._reconnect, 2),
            (self._drop, 0.5),
            (self.client.confirm, 2),
            (self._die, self.deaths),
            (self._cut, self.cuts),
            (self._heal, self.cuts),
            (self._empty, self.empties),
            (self._wait, WAITS),
        ]
        chosen, weights = zip(*doings, strict=True)
        self.rng.choices(chosen, weights)[0]()
        self._end_turns()

    def pass_on(self) -> bool:
        """Move one thing on; False if nothing is under way."""
        connected = [node for node in self.nodes if node is not self.cut]
        moves = [move for node in self.nodes for move in node.moves(is_cut=node is self.cut)]
        moves += [partial(self._carry_out, node) for node in connected + self.dead if node.up]
        moves += [partial(self._answer, node) for node in connected if node.line.asked]
        moves += [partial(self._come_back, node) for node in connected if node in self.late]
        if self.client.seat is not None and self.client.seat.came:
            moves.append(self.client.read)
        if not moves:
            return False
        self.rng.choice(moves)()
        self._end_turns()
        return True

    def settle(self) -> None:
        """Have all go on until nothing is under way."""
        while self.pass_on():
            pass

    def end(self) -> None:
        """Have all come to rest, and everybody send again what was not acknowledged."""
        self._heal()
        for _ in range(4):
            self._mourn()
            self.settle()
            self._tick(LONG)
            self.settle()
            if self.client.seat is None or not self.client.seat.is_open or not self.client.is_in:
                self.client.connect(self.node())
            for talker in list(self.talkers):
                if talker.node not in self.nodes or talker.is_waiting:
                    talker.move()
        self.settle()

    def _end_turns(self) -> None:
        for node in self.nodes:
            node.turns.end()

    def _carry_out(self, node: Node) -> None:
        command = node.up.popleft()
        answer = self.store.execute(command)
        self.note(node.name, command[0], command[4] if command[0] == "EVALSHA" else command[1], answer)
        node.answers.there.append(answer)

    def _answer(self, node: Node) -> None:
        node.line.asked.pop(self.rng.randrange(len(node.line.asked)))()

    def _begin_node(self) -> None:
        self.nodes.append(Node(f"n{next(self.names)}", self.store, lambda: self.now))

    def _reconnect(self) -> None:
        if self.client.is_in:
            self.client.connect(self.node())

    def _drop(self) -> None:
        seat = self.client.seat
        if seat is not None and seat.is_open and self.client.is_in:
            seat.close(1006, "")

    def _cut(self) -> None:
        """Cut a node off from the store, but not from its clients."""
        if self.cut is None:
            self.cut = self.node()
            self.note("cut", self.cut.name)

    def _heal(self) -> None:
        """Have it come back. What it sent without an answer goes again, and what others sent to it may be lost."""
        node, self.cut = self.cut, None
        if node is None:
            return
        self.note("heal", node.name)
        node.answers.there.clear()
        node.up.clear()
        node.up += [list(command) for load in node.pipe._loads for command in load.commands]
        if self.rng.random() < 0.5:
            node.told.clear()
        self.mourned -= {(mourner, gone) for mourner, gone in self.mourned if gone == node.name}
        self._come_back(node)

    def _come_back(self, node: Node) -> None:
        is_empty = node in self.late
        if is_empty:
            self.late.remove(node)
        node.is_reading = True
        self.note("comes back", node.name, is_empty)
        node.spawn(node.come_back(self.store, is_empty=is_empty))

    def _empty(self) -> None:
        """Have the store lose everything, once all that came back to it last time have written it anew."""
        if set(self.late) <= {self.cut}:
            self.settle()
            self.note("empty")
            self.store.empty()
            self.late = list(self.nodes)

    def _die(self) -> None:
        """Have a node die; what it sent stays under way.

        What it wrote is read by the store before anybody can have noticed. None dies that only has what it has.
        """
        if self.late:
            self.settle()
        node = self.node()
        while node.up:
            self._carry_out(node)
        self.note("die", node.name)
        self.nodes.remove(node)
        self.dead.append(node)
        del self.store.told[f"mesh:node:{node.name}"]
        for task in node.tasks:
            task.close()
        self._begin_node()
        seat = self.client.seat
        if seat is not None and seat.node is node:
            seat.is_open, self.client.is_in = False, True
        for talker in list(self.talkers):
            if talker.node is node:
                talker.move()

    def _wait(self) -> None:
        """Have time pass: a little, or much, in which all that is under way arrives."""
        is_long = self.rng.random() < 0.3
        if is_long:
            self.settle()
        self._tick(self.rng.choice([0.5, 1.2, LONG]) if is_long else BRIEF)
        if is_long and self.rng.random() < 0.5:
            self._mourn()

    def _tick(self, seconds: float) -> None:
        self.now += seconds
        self.note("tick")
        names = [node.name for node in self.nodes]
        for node in self.nodes:
            node.pipe.is_away = node is self.cut
            node.relay.tick()
            if node is not self.cut:
                node.bus.ask_again(names)
        self._end_turns()

    def _mourn(self) -> None:
        """Have everybody learn who is gone, which takes longer than anything that is under way."""
        self.settle()
        missing = self.dead if self.cut is None else [*self.dead, self.cut]
        for node in self.rng.sample(self.nodes, len(self.nodes)):
            for dead in missing if node is not self.cut else ():
                if (node.name, dead.name) not in self.mourned:
                    self.mourned.add((node.name, dead.name))
                    node.bus.lose(dead.name)
                    node.bus.watcher.gone(dead.name)
            home = node.bus.home(ANN)
            if home is not None and node is not self.cut and home.node in {dead.name for dead in missing}:
                node.bus.watcher.orphaned(ANN, home)


def live(seed: int, *, deaths: float = 0, cuts: float = 0, empties: float = 0) -> Life:
    """Live, and come to rest; what went wrong is told with all that happened."""
    life = Life(seed, deaths, cuts, empties)
    try:
        for _ in range(STEPS):
            life.act()
            while life.rng.random() < BUSY and life.pass_on():
                pass
        life.end()
        check(life)
    except AssertionError as error:
        error.add_note("\n".join(map(str, life.log)))
        raise
    return life


def check(life: Life) -> None:
    """Every message that was acknowledged has arrived, and every one that can be sent again was acknowledged.

    Unless the store loses what it has, she goes on over each new socket, and never has to start over.
    """
    for talker in life.talkers + life.silent:
        for words in talker.said:
            if words.is_known and (words.sender, words.number) not in life.excused:
                assert (words.sender, words.number) in life.client.got, f"{words.sender} {words.number} is lost"
        assert not talker.is_waiting
    assert all(not node.relay.waiting for node in life.nodes)
    if life.starts > 1 and not life.empties:
        raise StartedOverError(f"she was not recovered, {life.starts - 1} times")


def seeds(kind: str) -> list[pytest.ParameterSet]:
    """Return the seeds of all lives, each that is known to fail marked: to pass, or to fail otherwise, is a failure."""
    known = {seed: error for error, failing in FAILURES[kind].items() for seed in failing}
    return [
        pytest.param(seed, marks=pytest.mark.xfail(raises=known[seed], strict=True, reason=str(known[seed].__doc__)))
        if seed in known
        else pytest.param(seed)
        for seed in LIVES
    ]


@pytest.mark.parametrize("seed", seeds("lives"))
def test_lives(seed: int) -> None:
    """She goes from node to node, and so do those who send to her."""
    live(seed)


@pytest.mark.parametrize("seed", seeds("deaths"))
def test_deaths(seed: int) -> None:
    """Nodes die, too."""
    live(seed, deaths=DEATHS)


@pytest.mark.parametrize("seed", seeds("cuts"))
def test_cuts(seed: int) -> None:
    """Nodes are cut off from the store, are taken for gone, and come back."""
    live(seed, cuts=CUTS)


@pytest.mark.parametrize("seed", seeds("emptied"))
def test_emptied(seed: int) -> None:
    """The store loses everything, too, now and then while a node is cut off."""
    live(seed, cuts=CUTS, empties=CUTS)
