"""What becomes of messages where a user's home moves at the wrong moment: scenes of few nodes, each step by hand."""

import json
from itertools import count
from typing import ClassVar

import pytest
from msgspec import field

from app.delivery import channel
from app.delivery.channel import Sent
from app.delivery.marks import mark_of
from app.delivery.parcels import Arrival
from app.delivery.relay import AGAIN_SECONDS, REFUSED
from handlers.ports import MessageKey, Receipt
from schemas.auth import Resume
from schemas.capabilities import VERSION_1, Spoken
from schemas.events import ServerEvent
from stores.base import User
from stores.bus import Home
from tests.support.doubles import ANN, BOB
from tests.support.mesh import Node, Seat, Store


class Said(ServerEvent, frozen=True):
    """Something with a number; with an id as a message has it, or without one."""

    event: ClassVar[str] = "SAID"
    number: int
    timestamp: str
    message_id: str | None
    session_id: str
    sender: str = field(name="from")


class Scene:
    """Nodes that go on only where they are told to; Ann's client goes on where it was."""

    def __init__(self, *names: str) -> None:
        self.store = Store()
        self.now = 0.0
        self.nodes = [Node(name, self.store, lambda: self.now) for name in names]
        self.sockets = count(1)
        self.seat: Seat
        self.token: str | None = None
        self.got: list[int] = []

    def settle(self, *but: Node) -> None:
        """Have all but these go on until nothing is under way."""
        chosen = [node for node in self.nodes if node not in but]
        while any(self.pass_on(node) for node in chosen):
            pass

    def pass_on(self, node: Node) -> bool:
        """Have a node go on by a step, or else the store with what it has of it."""
        self.wait(node)
        if node.up:
            self.carry_out(node)
        elif node.line.asked:
            self.answer(node)
        else:
            return False
        return True

    def wait(self, node: Node) -> None:
        """Have a node go on until it waits for the store."""
        while moves := node.moves(is_cut=False):
            moves[0]()
            node.turns.end()

    def answer(self, node: Node, which: int = 0) -> None:
        """Have the store answer a question of a node."""
        node.line.asked.pop(which)()

    def carry_out(self, node: Node) -> None:
        """Have the store do the oldest command of a node."""
        node.answers.there.append(self.store.execute(node.up.popleft()))

    def enter(self, node: Node) -> None:
        """Have Ann connect to a node, and all come to rest."""
        self.connect(node)
        self.settle()
        self.read()

    def connect(self, node: Node) -> None:
        """Have Ann's client connect to a node."""
        self.seat = Seat(next(self.sockets), node)
        resume = None if self.token is None else Resume(token=self.token, offset=len(self.got))
        node.spawn(node.enter(ANN, self.seat, resume))

    def read(self) -> list[int]:
        """Have it read what came; return all that it got."""
        while self.seat.came:
            frame = json.loads(self.seat.came.popleft())
            if "token" in frame:
                assert frame["recovered"] == (self.token is not None)
                self.token = frame["token"]
            else:
                self.got.append(frame["data"]["number"])
                assert frame["offset"] == len(self.got)
        return self.got

    def say(self, node: Node, number: int, *, is_marked: bool = False, has_id: bool = True) -> Receipt:
        """Have Bob say something to Ann over a node; a client without `acks` is not told the id of a message."""
        receipt, timestamp, message_id = Receipt(), f"{next(self.sockets):024}", f"m{number}"
        key = MessageKey.of("ses_1", BOB.id, message_id, timestamp) if is_marked else None
        said = Said(number, timestamp, message_id if is_marked and has_id else None, "ses_1", BOB.id)
        node.hub.send([ANN], said, BOB, receipt=receipt, key=key)
        node.turns.end()
        return receipt

    def lose(self, node: Node, gone: Node) -> None:
        """Have a node take another for gone, and adopt Ann if she was there."""
        node.bus.lose(gone.name)
        node.bus.watcher.gone(gone.name)
        home = node.bus.home(ANN)
        if home is not None and home.node == gone.name:
            node.bus.watcher.orphaned(ANN, home)

    def go_and_return(self, node: Node, over: Node) -> None:
        """Have Ann go to another node and come back, before any but that one has heard of it."""
        self.connect(over)
        self.settle(*(each for each in self.nodes if each is not over))
        assert self.read() == []
        self.connect(node)
        node.tasks[-1].go_on()
        self.answer(node)

    def come_back(self, node: Node, *, is_empty: bool = False) -> None:
        """Have a node come back to the store; what has no answer is sent again."""
        node.answers.there.clear()
        node.up.clear()
        node.up += [list(command) for load in node.pipe._loads for command in load.commands]
        node.is_reading = True
        node.spawn(node.come_back(self.store, is_empty=is_empty))


def is_acknowledged(receipt: Receipt) -> bool:
    return not receipt.pending and bool(receipt.delivered or receipt.queued)


@pytest.mark.parametrize("is_first", [True, False])
def test_return_to_the_adopting_node(is_first: bool) -> None:
    """Who comes back over the very node that adopts it keeps what has come since, whichever load is answered first."""
    scene = Scene("a", "b")
    a, b = scene.nodes
    scene.enter(b)
    scene.lose(a, b)
    scene.wait(a)
    scene.answer(a)
    scene.wait(a)
    scene.connect(a)
    scene.wait(a)
    scene.answer(a, 1)
    scene.wait(a)
    adoption, entrance = a.tasks
    if is_first:
        scene.answer(a)
    scene.answer(a, -1)
    entrance.go_on()
    receipt = scene.say(a, 1)
    if not is_first:
        scene.answer(a)
    adoption.go_on()
    scene.settle(b)
    assert is_acknowledged(receipt)
    assert scene.read() == [1]
    scene.connect(a)
    scene.say(a, 2)
    scene.settle(b)
    assert scene.read() == [1, 2]


def test_claimed_back_after_the_store_was_emptied() -> None:
    """Who is claimed back from a node that began anew with its numbers gets all that was acknowledged there, once."""
    scene = Scene("a", "b")
    a, b = scene.nodes
    scene.connect(a)
    scene.settle()
    scene.say(a, 1)
    scene.say(a, 2)
    scene.settle()
    scene.read()
    scene.enter(b)
    scene.store.empty()
    scene.come_back(a, is_empty=True)
    scene.settle(b)
    scene.lose(a, b)
    scene.settle(b)
    receipts = [scene.say(a, number) for number in (3, 4)]
    scene.settle(b)
    assert all(map(is_acknowledged, receipts))
    scene.come_back(b, is_empty=True)
    scene.settle()
    assert scene.read() == [1, 2, 3, 4]
    scene.connect(a)
    scene.say(b, 5)
    scene.settle()
    assert scene.read() == [1, 2, 3, 4, 5]


def test_claimed_anew_on_the_same_node() -> None:
    """What was refused since its user has just come anew to the same node is written anew with what came after it."""
    scene = Scene("a")
    (a,) = scene.nodes
    scene.enter(a)
    receipts = [scene.say(a, 1)]
    scene.wait(a)
    assert scene.read() == [1]
    scene.connect(a)
    scene.wait(a)
    scene.answer(a)
    scene.wait(a)
    receipts.append(scene.say(a, 2))
    scene.wait(a)
    while a.up:
        scene.carry_out(a)
    scene.wait(a)
    assert not any(map(is_acknowledged, receipts))
    scene.settle()
    assert all(map(is_acknowledged, receipts))
    assert scene.read() == [1, 2]
    assert len(scene.store.kept[ANN.id].mail) == 2


def test_claimed_anew_before_all_was_written_anew() -> None:
    """What was refused as it was written anew is not let go of by what is written later, nor comes twice."""
    scene = Scene("a", "b")
    a, b = scene.nodes
    scene.enter(a)
    scene.store.empty()
    scene.come_back(b, is_empty=True)
    scene.settle(a)
    scene.say(a, 1)
    scene.settle()
    assert scene.read() == [1]
    scene.connect(a)
    a.tasks[-1].go_on()
    scene.answer(a)
    scene.come_back(a, is_empty=True)
    scene.wait(a)
    scene.answer(a)
    scene.wait(a)
    receipt = scene.say(a, 2)
    scene.wait(a)
    while a.up:
        scene.carry_out(a)
        scene.wait(a)
    scene.settle()
    assert is_acknowledged(receipt)
    assert scene.read() == [1, 2]
    scene.connect(b)
    scene.settle()
    assert scene.read() == [1, 2]


def test_second_copy_waits_for_the_first() -> None:
    """A message that comes once more is not acknowledged before it is written."""
    scene = Scene("a")
    (a,) = scene.nodes
    scene.connect(a)
    scene.settle()
    first, second = (scene.say(a, 1, is_marked=True) for _ in range(2))
    a.send()
    assert not is_acknowledged(second)
    scene.settle()
    assert is_acknowledged(first)
    assert is_acknowledged(second)
    assert scene.read() == [1]


def test_second_copy_of_what_is_refused() -> None:
    """If the first is refused, neither is acknowledged before the user's next home has written the message, once."""
    scene = Scene("a", "b")
    a, b = scene.nodes
    scene.enter(a)
    receipts = [scene.say(a, 1, is_marked=True) for _ in range(2)]
    scene.connect(b)
    scene.settle(a)
    scene.settle(b)
    assert not any(map(is_acknowledged, receipts))
    scene.wait(b)
    assert scene.read() == [1]
    assert not any(map(is_acknowledged, receipts))
    scene.settle()
    assert all(map(is_acknowledged, receipts))
    assert scene.read() == [1]


def test_adopted_after_the_store_was_emptied() -> None:
    """What an adopting node acknowledged goes to the user's own node if that filled an emptied store first."""
    scene = Scene("a", "b")
    a, b = scene.nodes
    scene.enter(b)
    scene.lose(a, b)
    scene.settle(b)
    receipts = [scene.say(a, number) for number in (1, 2)]
    scene.settle(b)
    assert all(map(is_acknowledged, receipts))
    scene.store.empty()
    scene.come_back(b, is_empty=True)
    scene.settle(a)
    scene.come_back(a, is_empty=True)
    scene.settle()
    assert scene.read() == [1, 2]
    receipt = scene.say(a, 3)
    scene.settle()
    assert is_acknowledged(receipt)
    assert scene.read() == [1, 2, 3]


def test_adopted_without_an_answer() -> None:
    """Who was adopted, though the answer to that was lost, is waited for once it is reported anew."""
    scene = Scene("a", "b")
    a, b = scene.nodes
    scene.enter(b)
    scene.nodes.remove(b)
    a.line.is_deaf = True
    scene.lose(a, b)
    scene.settle()
    receipt = scene.say(a, 1)
    scene.settle()
    assert not is_acknowledged(receipt)
    a.line.is_deaf = False
    home = a.bus.home(ANN)
    assert home is not None
    assert home.node == a.name
    a.bus.watcher.orphaned(ANN, home)
    scene.settle()
    assert is_acknowledged(receipt)
    scene.connect(a)
    scene.settle()
    assert scene.read() == [1]


def test_back_before_it_is_known_what_was_refused() -> None:
    """What others send to a user who went away and came back comes after what was refused meanwhile."""
    scene = Scene("a", "b", "c")
    a, b, c = scene.nodes
    scene.enter(a)
    receipts = [scene.say(c, 1)]
    scene.settle(a)
    scene.wait(a)
    scene.go_and_return(a, b)
    scene.wait(a)
    scene.answer(a)
    scene.wait(a)
    receipts.append(scene.say(c, 2))
    scene.wait(c)
    scene.carry_out(c)
    scene.wait(a)
    scene.settle()
    assert all(map(is_acknowledged, receipts))
    assert scene.read() == [1, 2]


def test_refused_once_the_user_is_back() -> None:
    """What a node could not write any more comes again where it is the user's home anew by the time that it hears."""
    scene = Scene("a", "b")
    a, b = scene.nodes
    scene.enter(a)
    receipt = scene.say(a, 1)
    scene.wait(a)
    scene.go_and_return(a, b)
    scene.settle()
    assert is_acknowledged(receipt)
    assert scene.read() == [1]


@pytest.mark.parametrize("is_filled", [False, True])
def test_written_over_a_gap(is_filled: bool) -> None:
    """What is written to a store that lost what came before, or all, is acknowledged once all is written anew."""
    scene = Scene("a", "b")
    a, b = scene.nodes
    scene.enter(a)
    scene.say(a, 1)
    scene.settle()
    scene.store.empty()
    if is_filled:
        scene.come_back(b, is_empty=True)
        scene.settle(a)
    receipt = scene.say(a, 2)
    scene.settle()
    assert not is_acknowledged(receipt)
    scene.come_back(a, is_empty=True)
    scene.settle()
    assert is_acknowledged(receipt)
    scene.connect(b)
    scene.settle()
    assert scene.read() == [1, 2]


def test_sent_again_after_the_user_was_claimed_back() -> None:
    """What the adopting node got, and is sent again over a third once the user is claimed back, does not come twice."""
    scene = Scene("a", "b", "c")
    a, b, c = scene.nodes
    scene.connect(b)
    scene.settle()
    scene.lose(a, b)
    scene.settle(b)
    scene.say(a, 1, is_marked=True)
    scene.settle(b)
    scene.come_back(b)
    scene.settle()
    receipt = scene.say(c, 1, is_marked=True)
    scene.settle()
    assert is_acknowledged(receipt)
    assert scene.read() == [1]


@pytest.mark.parametrize("over", [0, 2])
@pytest.mark.parametrize("is_early", [True, False])
def test_back_unnoticed(over: int, is_early: bool) -> None:
    """A node that has missed that its user was elsewhere goes on with what was written there."""
    scene = Scene("a", "b", "c")
    a, b, _ = scene.nodes
    scene.enter(a)
    scene.say(a, 1)
    scene.settle()
    scene.connect(b)
    scene.settle(a)
    scene.say(b, 2)
    scene.settle(a)
    scene.read()
    scene.connect(a)
    a.tasks[-1].go_on()
    scene.answer(a)
    scene.come_back(a)
    scene.settle(a)
    scene.wait(a)
    if not is_early:
        scene.settle()
    third = scene.say(scene.nodes[over], 3)
    if is_early:
        scene.settle(a, b)
        scene.wait(a)
        while a.up:
            scene.carry_out(a)
        scene.wait(a)
    scene.settle()
    scene.read()
    assert is_acknowledged(third)
    assert scene.got == [1, 2, 3]


def test_refused_and_back_unnoticed() -> None:
    """What a node could not write before its user went away and came back, which it has missed, is not dropped."""
    scene = Scene("a", "b", "c")
    a, b, c = scene.nodes
    scene.enter(a)
    first = scene.say(a, 1)
    scene.settle(a)
    scene.wait(a)
    scene.connect(b)
    scene.settle(a, c)
    scene.read()
    scene.connect(a)
    a.tasks[-1].go_on()
    scene.answer(a)
    scene.come_back(a)
    scene.wait(a)
    while a.up:
        scene.carry_out(a)
    scene.settle()
    scene.read()
    assert is_acknowledged(first)
    assert scene.got == [1]


def test_refused_is_forgotten() -> None:
    """Of what other nodes know by now nothing is kept for ever, though they send nothing more to those users."""
    scene = Scene("a", "b")
    refusing = scene.nodes[0].relay
    for turn in range(1, 3 * REFUSED):
        refusing.refuse(User(f"user-{turn}"), Arrival(node="b", turn=turn, heard=turn - 1))
    assert len(refusing._refused) <= REFUSED


@pytest.mark.parametrize("is_marked", [True, False])
def test_nothing_goes_over_a_gap(is_marked: bool) -> None:
    """What was sent to a node that was taken for gone, and lost, comes before what is sent once it is back."""
    scene = Scene("a", "b")
    a, b = scene.nodes
    scene.enter(a)
    receipts = [scene.say(b, 1, is_marked=is_marked)]
    scene.settle(a)
    a.told.clear()
    b.bus.lose("a")
    b.bus.watcher.gone("a")
    receipts.append(scene.say(b, 2, is_marked=is_marked))
    scene.settle()
    assert scene.read() == [1, 2]
    assert all(map(is_acknowledged, receipts))


def test_ahead_of_what_could_be_written() -> None:
    """Who has something from a node that could not write it gets what another kept meanwhile after that, all once."""
    scene = Scene("a", "b", "c")
    a, b, c = scene.nodes
    scene.enter(a)
    first = scene.say(a, 1)
    scene.wait(a)
    assert scene.read() == [1]
    scene.lose(b, a)
    scene.settle(a)
    second = scene.say(b, 2)
    scene.settle(a)
    scene.connect(c)
    scene.settle(a)
    assert scene.read() == [1, 2]
    scene.come_back(a)
    scene.settle()
    scene.connect(b)
    third = scene.say(c, 3)
    scene.settle()
    assert scene.read() == [1, 2, 3]
    assert all(map(is_acknowledged, (first, second, third)))


def test_ahead_of_the_very_node_that_adopts() -> None:
    """So it is where it comes back over the node that has kept it."""
    scene = Scene("a", "b")
    a, b = scene.nodes
    scene.enter(a)
    scene.say(a, 1)
    scene.wait(a)
    scene.read()
    scene.lose(b, a)
    scene.settle(a)
    scene.say(b, 2)
    scene.settle(a)
    scene.connect(b)
    scene.settle(a)
    assert scene.read() == [1, 2]
    scene.come_back(a)
    scene.settle()
    assert scene.read() == [1, 2]


def test_two_sockets_over_a_node_that_was_taken_for_gone() -> None:
    """The older one is closed, though the store does not know of it any more."""
    scene = Scene("a", "b")
    a, b = scene.nodes
    scene.enter(a)
    older = scene.seat
    scene.lose(b, a)
    scene.settle(a)
    scene.connect(a)
    scene.settle()
    assert not older.is_open
    receipt = scene.say(b, 1)
    scene.settle()
    assert scene.read() == [1]
    assert is_acknowledged(receipt)


def test_two_sockets_and_an_emptied_store() -> None:
    """So it is where the store has forgotten the older one; what that was handed comes to the newer."""
    scene = Scene("a", "b")
    a, _ = scene.nodes
    scene.enter(a)
    older = scene.seat
    scene.store.empty()
    scene.connect(a)
    a.tasks[-1].go_on()
    scene.answer(a)
    receipt = scene.say(a, 1)
    scene.come_back(a, is_empty=True)
    scene.settle()
    assert not older.is_open
    assert scene.read() == [1]
    assert is_acknowledged(receipt)


@pytest.mark.parametrize("is_marked", [True, False])
def test_said_while_the_user_is_claimed_back(is_marked: bool) -> None:
    """What is said over the node that claims its user back comes after what was kept for it meanwhile."""
    scene = Scene("a", "b")
    a, b = scene.nodes
    scene.enter(a)
    scene.lose(b, a)
    scene.settle(a)
    receipts = [scene.say(b, 1)]
    scene.settle(a)
    scene.wait(a)
    receipts.append(scene.say(a, 2, is_marked=is_marked))
    scene.settle()
    assert scene.read() == [1, 2]
    assert all(map(is_acknowledged, receipts))


@pytest.mark.parametrize("has_id", [True, False])
def test_said_over_both_before_the_user_is_claimed_back(has_id: bool) -> None:
    """What came before it was known that another node is its user's home, and was said again there, comes once."""
    scene = Scene("a", "b")
    a, b = scene.nodes
    scene.enter(a)
    receipts = [scene.say(a, 1, is_marked=True, has_id=has_id)]
    scene.wait(a)
    assert scene.read() == [1]
    scene.lose(b, a)
    scene.settle(a)
    receipts += [scene.say(b, number, is_marked=True, has_id=has_id) for number in (1, 2)]
    scene.settle(a)
    scene.settle()
    assert scene.read() == [1, 2]
    assert all(map(is_acknowledged, receipts))


@pytest.mark.parametrize("is_read", [True, False])
def test_adopted_twice(is_read: bool) -> None:
    """Who is adopted once more before all is written since it was claimed back gets nothing a second time."""
    scene = Scene("a", "b", "c")
    a, b, c = scene.nodes
    scene.enter(a)
    scene.lose(b, a)
    scene.settle(a)
    receipts = [scene.say(b, 1)]
    scene.settle(a)
    scene.wait(a)
    while a.line.asked:  # it claims back, registers and reads
        scene.answer(a)
        scene.wait(a)
    assert scene.read() == [1]
    a.hub.handled(ANN, len(scene.got))
    scene.settle(a, b)
    scene.lose(c, a)
    scene.wait(c)
    scene.answer(c)
    if is_read:
        scene.settle(a)
        receipts.append(scene.say(c, 2))
    scene.settle(c)
    scene.settle()
    receipts.append(scene.say(b, 3))
    scene.settle()
    assert scene.read() == ([1, 2, 3] if is_read else [1, 3])
    assert all(map(is_acknowledged, receipts))


def test_written_anew_where_the_store_lost_it() -> None:
    """What is refused since the store has lost what came before it is written with that, a little later."""
    scene = Scene("a", "b")
    a, b = scene.nodes
    scene.enter(a)
    scene.say(a, 1)
    scene.settle()
    scene.store.kept.clear()
    receipt = scene.say(b, 2)
    scene.settle()
    assert not is_acknowledged(receipt)
    for _ in range(2):
        scene.now += 1
        a.relay.tick()
        a.ledger.tick()
        scene.settle()
    assert is_acknowledged(receipt)
    assert scene.read() == [1, 2]
    assert len(scene.store.kept[ANN.id].mail) == 2


def test_refused_for_one_who_starts_over() -> None:
    """What was on its way to the store as its user started over is not waited for."""
    scene = Scene("a")
    (a,) = scene.nodes
    scene.enter(a)
    receipt = scene.say(a, 1)
    scene.wait(a)
    scene.token = None
    scene.connect(a)
    a.tasks[-1].go_on()
    scene.answer(a)
    scene.wait(a)
    scene.settle()
    assert not receipt.pending


def test_too_much_for_a_node_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what a node does not confirm the oldest gives way, past a number or a size, and its sender learns that."""
    scene = Scene("a", "b")
    a, b = scene.nodes
    scene.enter(a)
    for name, bound in (("MOST_OPEN", 2), ("OPEN_BYTES", 300)):
        monkeypatch.setattr(channel, name, bound)
        receipts = [scene.say(b, number) for number in range(3)]
        assert [receipt.pending for receipt in receipts] == [0, 1, 1]
        assert not is_acknowledged(receipts[0])
        monkeypatch.undo()
        scene.settle()
        assert all(map(is_acknowledged, receipts[1:]))


def test_nothing_is_sent_again_while_the_store_is_away() -> None:
    """Nor soon after: only what a node that could answer has not confirmed is."""
    scene = Scene("a", "b")
    a, b = scene.nodes
    scene.enter(a)
    scene.say(b, 1)
    b.pipe.is_away = True
    for _ in range(3):
        scene.now += 2 * AGAIN_SECONDS
        b.relay.tick()
    b.pipe.is_away = False
    scene.now += AGAIN_SECONDS / 2
    b.relay.tick()
    assert b.relay.repeated == 0
    scene.now += AGAIN_SECONDS
    b.relay.tick()
    assert b.relay.repeated == 1
    scene.settle()
    assert scene.read() == [1]


@pytest.mark.parametrize("spoken", [frozenset({"acks"}), VERSION_1])
def test_marks_go_on_with_what_was_kept_without_numbers(monkeypatch: pytest.MonkeyPatch, spoken: Spoken) -> None:
    """So that the next home knows a message that the client has had, or that its sender sends there again."""
    scene = Scene("a")
    (a,) = scene.nodes
    scene.enter(a)
    a.hub.detach(ANN)
    a.mail.take(ANN)
    a.mail.open(ANN, spoken)
    mark = mark_of(MessageKey.of("ses_1", BOB.id, "m1", "2026-01-31T09:00:00.000Z"))
    for each in (None, mark, None):
        a.hub.keep_here(ANN, b"{}", mark=each)
    a.mail.open(ANN, spoken)
    sent: list[Sent] = []
    monkeypatch.setattr(a.relay, "send", sent.append)
    a.handover.moved(ANN, Home("a", 1, 1), is_claimed=True)
    assert [each.message.mark for each in sent] == [None, mark, None]


def test_whom_the_store_has_lost() -> None:
    """Who is not in the directory twice in a row has to come again; who was not there for a moment stays."""
    scene = Scene("a")
    (a,) = scene.nodes
    scene.enter(a)
    peer = a.replica.directory.remove_peer(ANN)
    a.bus.watcher.looked()
    assert peer is not None
    a.replica.directory.put_peer(peer, 1)
    a.bus.watcher.looked()
    del a.replica._orgs[None].homes["ann"]
    a.bus.watcher.looked()
    assert scene.seat.is_open
    a.bus.watcher.looked()
    assert not scene.seat.is_open
