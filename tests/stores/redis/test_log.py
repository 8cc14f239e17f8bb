"""The logs in Redis, where answers are lost, claims move and nodes miss what others tell them."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from uuid import uuid4

import anyio
import pytest

from stores.log import Appended, Bounds, MessageKey, Outcome
from stores.model import Holder, Session, User
from stores.protocols import Listener, StoreUnreachableError, SupersededError
from stores.redis.stores import RedisStores
from tests.support.client import until
from tests.support.logs import Socket, append, counted, event, tell
from tests.support.proxy import Proxy, proxy
from tests.support.redis import RedisServer
from tests.support.stores import running

ANN, BOB = User("ann"), User("bob")
DELIVERED, QUEUED = Outcome.DELIVERED, Outcome.QUEUED


class Pair:
    """Two nodes; the first reaches Redis through a network that can be cut."""

    def __init__(self, one: RedisStores, two: RedisStores, network: Proxy) -> None:
        self.one = one
        self.two = two
        self.network = network


@pytest.fixture
async def pair(redis: RedisServer) -> AsyncIterator[Pair]:
    name = uuid4().hex
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(proxy(redis.port))
        url = f"redis://127.0.0.1:{network.port}/0?namespace={name}"
        one = await stack.enter_async_context(running(url, "one", Bounds(), patience=0.5))
        two = await stack.enter_async_context(running(redis.namespace(name), "two"))
        yield Pair(one, two, network)


async def until_free(stores: RedisStores, user: User) -> None:
    """Return once nobody holds the user's claim."""
    with anyio.fail_after(5):
        while await stores.log.claims.holder(user) is not None:  # noqa: ASYNC110 - Redis brings it about
            await anyio.sleep(0.01)


async def test_answers_that_are_lost(pair: Pair) -> None:
    """Calls whose answers are lost are sent again, without another call; what they did is not done twice."""
    socket = await Socket(pair.two, BOB).come("t1")
    told: list[Outcome] = []
    pair.network.freeze()
    for number in range(5):
        events = [event(BOB, f"{number}"), event(BOB, f"if {number}", "if_told", f"req_{number}")]
        pair.one.log.append(events, done=lambda _, appended: told.append(appended.outcome))
        await anyio.sleep(0.01)
    pair.network.lose_answers(b"EVALSHA", 1)
    pair.network.thaw()
    await until(lambda: len(told) == 10)
    await anyio.sleep(0.1)
    assert socket.payloads == [b"0", b"1", b"2", b"3", b"4"]
    assert await pair.two.log.count(BOB) == 5


async def test_a_message_whose_answer_is_lost(pair: Pair) -> None:
    """The call that is sent again finds the message known, and it was not sent before for that."""
    socket = await Socket(pair.one, BOB).come("t1")
    pair.network.lose_answers(b"message", 1)
    key = MessageKey.of("ses_1", ANN, "m", int(time.time() * 1000))
    assert await append(pair.one, event(BOB, "message"), key=key) == [Appended(DELIVERED)]
    assert pair.network.lost == 1
    assert await append(pair.one, event(BOB, "message"), key=key) == [Appended(DELIVERED, key.sent_at)]
    await until(lambda: socket.payloads == [b"message"])


async def test_the_end_of_a_request_whose_answer_is_lost(pair: Pair) -> None:
    """It reaches a reader of the node that appended it, though the repeated call has nothing to append."""
    socket = await Socket(pair.one, BOB).come("t1")
    await append(pair.one, event(BOB, "asked", "while_pending", "req_1"))
    pair.network.lose_answers(b"gone", 1)
    await append(pair.one, event(BOB, "gone", "if_told", "req_1"))
    await until(lambda: len(socket.taken) == 2)
    assert pair.network.lost == 1
    assert socket.pending == 0


async def test_a_claim_that_fails(pair: Pair) -> None:
    """The socket that has the claim goes on to take events."""
    socket = await Socket(pair.one, BOB).come("t1")
    await pair.network.cut()
    with pytest.raises(StoreUnreachableError):
        await Socket(pair.one, BOB).claim()
    pair.network.mend()
    await tell(pair.two, BOB, "a")
    await until(lambda: socket.payloads == [b"a"])
    assert socket.pending == 0


class Recording(Listener):
    """Notes whose sockets were superseded."""

    def __init__(self) -> None:
        self.superseded_users: list[User] = []

    def superseded(self, user: User, holder: Holder) -> None:
        self.superseded_users.append(user)


async def test_a_claim_that_is_given_up(pair: Pair) -> None:
    """If the new socket is gone before its claim has an answer, the one before finds out that it has lost it."""
    pair.one.listener = listener = Recording()
    first = await Socket(pair.one, BOB).come("t1")
    pair.network.freeze()
    with anyio.move_on_after(0.05):
        await Socket(pair.one, BOB).claim()
    pair.network.thaw()
    await until(lambda: first.is_lost or listener.superseded_users == [BOB])
    await until_free(pair.two, BOB)


async def test_a_claim_that_comes_too_late(pair: Pair) -> None:
    """Redis gets it after the caller was told that it failed: it takes nothing from whoever has the claim by then."""
    pair.network.freeze()
    with pytest.raises(StoreUnreachableError):
        await Socket(pair.one, BOB).claim()
    second = await Socket(pair.two, BOB).come("t1")
    pair.network.thaw()
    await pair.one.log.pipeline.drained()
    await tell(pair.one, BOB, "a")
    await until(lambda: second.payloads == [b"a"])
    assert await pair.two.log.claims.holder(BOB) == second.holder


async def test_claims_out_of_order(pair: Pair) -> None:
    """A claim that was asked for before another one, and comes after it, changes nothing."""
    first = Socket(pair.one, BOB)
    outcomes: list[type[Exception]] = []

    async def claim() -> None:
        with pytest.raises(SupersededError) as refusal:
            await first.claim()
        outcomes.append(refusal.type)

    pair.network.freeze()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(claim)
        await anyio.sleep(0.2)
        second = await Socket(pair.two, BOB).come("t1")
        pair.network.thaw()
    assert outcomes == [SupersededError]
    assert await pair.two.log.claims.holder(BOB) == second.holder


async def test_a_release_whose_answer_is_lost(pair: Pair) -> None:
    """It is done, and says so."""
    socket = await Socket(pair.one, BOB).come("t1")
    pair.network.lose_answers(pair.one.client.scripts["release"].sha.encode(), 1)
    assert await pair.one.peers.release(BOB, socket.holder)
    assert not await pair.one.peers.release(BOB, socket.holder)


async def test_events_while_the_log_is_read(pair: Pair) -> None:
    """What comes after a read, and before the node hears from others again, is read once more."""
    socket = await Socket(pair.one, BOB).come("t1")
    cursor = pair.one.log._cursors[BOB]
    cursor.is_reading = True
    pair.one.log._check(cursor, is_due=True)
    cursor.fill(1, [])
    pair.one.log._check_again(cursor)
    assert cursor.is_reading
    await until(lambda: not cursor.is_reading)
    assert await tell(pair.two, BOB, "a") == [DELIVERED]
    await until(lambda: socket.payloads == [b"a"])
    assert socket.pending == 0


async def test_a_late_confirmation(pair: Pair) -> None:
    """It takes nothing from a token that was handed out after the one it confirms."""
    await Socket(pair.one, BOB).come("t1")
    first = Socket(pair.one, BOB)
    assert await first.resume("t1", 0, "t2")
    assert await Socket(pair.two, BOB).resume("t2", 0, "t3")
    pair.one.log.confirm(BOB)
    await append(pair.one, event(BOB, "a"))
    assert await Socket(pair.two, BOB).resume("t3", 0, "t4")


async def test_a_broken_log_of_version_1(pair: Pair) -> None:
    """... is started over: else its user could never come back."""
    await (await Socket(pair.one, BOB).come()).go()
    await tell(pair.one, BOB, "a")
    log = pair.one.log
    found = await log._reader.read(BOB, Socket(pair.one, BOB).holder, 0)
    assert await log._run("break", BOB, found.epoch, "gone", 5, "", "")
    socket = await Socket(pair.one, BOB).come()
    assert await tell(pair.two, BOB, "b") == [DELIVERED]
    await until(lambda: socket.payloads == [b"b"])


async def test_version_1_leaves_while_its_log_is_read(pair: Pair) -> None:
    """What its socket was handed is not handed out again."""
    socket = Socket(pair.one, BOB, is_version_1=True)
    await socket.come()
    await tell(pair.two, BOB, "a")
    await until(lambda: socket.payloads == [b"a"])
    cursor = pair.one.log._cursors[BOB]
    cursor.is_reading = True
    await socket.go()
    assert (await Socket(pair.two, BOB).come()).payloads == []


async def test_version_1_on_a_node_that_read_and_froze(pair: Pair) -> None:
    """What a node has read may have reached its socket: none of it is handed out again when the claim moves."""
    await (await Socket(pair.one, BOB).come()).go()
    await tell(pair.two, BOB, "a")
    frozen = Socket(pair.one, BOB, is_version_1=True)
    await frozen.claim()
    assert await pair.one.log.start(BOB, frozen.holder, None)
    assert (await pair.one.log._reader.read(BOB, frozen.holder, -1)).payloads == [b"a"]
    assert (await Socket(pair.two, BOB).come()).payloads == []


async def test_version_1_of_a_node_that_hears_nothing(pair: Pair) -> None:
    """What certainly never reached it is for the next socket."""
    socket = await Socket(pair.one, BOB).come()
    await tell(pair.two, BOB, "a")
    await until(lambda: socket.payloads == [b"a"])
    await counted(pair.two, BOB, 0)
    await pair.network.cut()
    with anyio.fail_after(5):
        while await tell(pair.two, BOB, "b") != [QUEUED]:  # noqa: ASYNC110 - Redis has to notice
            await anyio.sleep(0.01)
    later = await Socket(pair.two, BOB).come()
    assert later.payloads[-1:] == [b"b"]
    pair.network.mend()


async def test_a_socket_that_leaves_is_not_the_next_one(pair: Pair) -> None:
    """The end of a superseded socket, noticed late, ends no reader but its own, not even one that just begins."""
    first = await Socket(pair.one, BOB).come("t1")
    second = Socket(pair.one, BOB)
    await second.claim()
    assert await pair.one.log.start(BOB, second.holder, "t2")
    followed: list[bool] = []

    async def follow() -> None:
        followed.append(await pair.one.log.follow(BOB, second.holder, 0, second))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        await anyio.lowlevel.checkpoint()
        pair.one.log.unfollow(BOB)
        assert not await pair.one.peers.release(BOB, first.holder)
    assert followed == [True]
    await tell(pair.two, BOB, "a")
    await until(lambda: second.payloads == [b"a"])


async def test_what_was_appended_before_its_reader_came(pair: Pair) -> None:
    """... is on its way to the reader, around which nothing may go meanwhile."""
    await (await Socket(pair.one, BOB).come()).go()
    socket = Socket(pair.one, BOB, is_version_1=True)
    await socket.claim()
    assert await pair.one.log.start(BOB, socket.holder, None)
    pair.network.hold(b"appended")
    pair.one.log.append([event(BOB, "appended")])
    assert await pair.one.log.follow(BOB, socket.holder, None, socket)
    assert (socket.payloads, socket.pending) == ([], 1)
    pair.network.release()
    await until(lambda: not socket.pending)
    assert socket.payloads == [b"appended"]


async def test_version_1_moves_before_an_answer_comes(pair: Pair) -> None:
    """What was appended before the claim moved is its old socket's, though the node hears of the move first."""
    socket = await Socket(pair.one, BOB).come()
    pair.network.hold_answers(b"appended")
    pair.one.log.append([event(BOB, "appended")])
    await counted(pair.two, BOB, 1)
    later = await Socket(pair.two, BOB).come()
    await anyio.sleep(0.1)
    pair.network.release()
    await until(lambda: socket.payloads == [b"appended"])
    assert await tell(pair.one, BOB, "next") == [DELIVERED]
    await until(lambda: later.payloads == [b"next"])
    assert socket.payloads == [b"appended"]


async def test_version_1_moves_and_its_log_is_read_before_an_answer_comes(pair: Pair) -> None:
    """So it is where the node finds out by reading the log that the claim has moved."""
    socket = await Socket(pair.one, BOB).come()
    pair.network.hold_answers(b"appended")
    pair.one.log.append([event(BOB, "appended")])
    await counted(pair.two, BOB, 1)
    await Socket(pair.two, BOB).come()
    cursor = pair.one.log._cursors[BOB]
    pair.one.log._check(cursor, is_due=True)
    await until(lambda: not cursor.is_reading)
    pair.network.release()
    await until(lambda: socket.payloads == [b"appended"])
    await until(lambda: not pair.one.log.stats()["logs"])


async def test_version_1_moves_while_its_log_is_read_again(pair: Pair) -> None:
    """So it is for what came while the log was read, which by then is the next socket's."""
    socket = await Socket(pair.one, BOB).come()
    pair.network.hold(pair.one.client.scripts["read"].sha.encode())
    pair.one.log._check(pair.one.log._cursors[BOB], is_due=True)
    await until(lambda: pair.network.is_holding)
    assert await tell(pair.one, BOB, "appended") == [DELIVERED]
    later = await Socket(pair.two, BOB).come()
    pair.network.release()
    await until(lambda: socket.payloads == [b"appended"])
    await until(lambda: not pair.one.log.stats()["logs"])
    assert later.payloads == []


async def test_version_1_moves_before_the_directory_is_as_far(pair: Pair) -> None:
    """What waits for the node to know of the latest changes is its old socket's, too."""
    socket = await Socket(pair.one, BOB).come()
    pair.network.hold_answers(b"XREAD")
    await anyio.sleep(0.3)  # the node asks anew that often
    await Socket(pair.two, ANN).claim()
    assert await tell(pair.two, BOB, "appended") == [DELIVERED]
    await Socket(pair.two, BOB).come()
    await anyio.sleep(0.1)
    assert socket.payloads == []
    pair.network.release()
    await until(lambda: socket.payloads == [b"appended"])
    await until(lambda: not pair.one.log.stats()["logs"])


async def test_version_1_moves_before_its_log_is_read(pair: Pair) -> None:
    """What its node appended for a socket that never was handed anything is for the next one."""
    socket = Socket(pair.one, BOB, is_version_1=True)
    await socket.claim()
    assert await pair.one.log.start(BOB, socket.holder, None)
    async with anyio.create_task_group() as tasks:
        pair.network.hold(pair.one.client.scripts["read"].sha.encode())
        tasks.start_soon(pair.one.log.follow, BOB, socket.holder, None, socket)
        await until(lambda: pair.network.is_holding)
        assert await tell(pair.one, BOB, "appended") == [DELIVERED]
        later = await Socket(pair.two, BOB).come()
        pair.network.release()
    assert (socket.payloads, later.payloads) == ([], [b"appended"])


async def test_version_1_moves_while_its_log_is_read(pair: Pair) -> None:
    """What was read before the claim moved is its old socket's, though the node hears of the move meanwhile."""
    await (await Socket(pair.one, BOB).come()).go()
    await tell(pair.two, BOB, "kept")
    socket = Socket(pair.one, BOB, is_version_1=True)
    await socket.claim()
    assert await pair.one.log.start(BOB, socket.holder, None)
    async with anyio.create_task_group() as tasks:
        pair.network.hold_answers(pair.one.client.scripts["read"].sha.encode())
        tasks.start_soon(pair.one.log.follow, BOB, socket.holder, None, socket)
        with anyio.fail_after(5):
            while await pair.two.client.ask(("HGET", pair.two.client.keys.state(BOB), "unheard")) != [None]:  # noqa: ASYNC110 - Redis is read
                await anyio.sleep(0.01)
        later = await Socket(pair.two, BOB).come()
        await anyio.sleep(0.1)
        pair.network.release()
    assert (socket.payloads, later.payloads) == ([b"kept"], [])
    assert await tell(pair.one, BOB, "next") == [DELIVERED]
    await until(lambda: later.payloads == [b"next"])
    assert socket.payloads == [b"kept"]


async def test_version_1_whose_next_claim_fails(pair: Pair) -> None:
    """What its socket was handed is not handed out again, though the claim that was to say so failed."""
    socket = await Socket(pair.one, BOB).come()
    await tell(pair.two, BOB, "a")
    await until(lambda: socket.payloads == [b"a"])
    pair.one.log._trims.clear()
    pair.one.log.unfollow(BOB)
    await pair.network.cut()
    with pytest.raises(StoreUnreachableError):
        await Socket(pair.one, BOB).claim()
    pair.network.mend()
    await socket.go()
    assert (await Socket(pair.two, BOB).come()).payloads == []


async def test_version_1_whose_reader_is_lost(pair: Pair) -> None:
    """So it is where the node has the socket start over."""
    socket = await Socket(pair.one, BOB).come()
    await tell(pair.two, BOB, "a")
    await until(lambda: socket.payloads == [b"a"])
    pair.one.log._trims.clear()
    pair.one.log._lose(pair.one.log._cursors[BOB])
    await until(lambda: socket.is_lost)
    await socket.go()
    assert (await Socket(pair.two, BOB).come()).payloads == []


async def test_a_late_claim_of_version_1(pair: Pair) -> None:
    """A claim that comes late says what another socket was handed: that takes nothing back."""
    socket = await Socket(pair.one, BOB).come()
    await tell(pair.two, BOB, "a")
    await until(lambda: socket.payloads == [b"a"])
    pair.one.log._trims.clear()
    late = 10**15
    arguments = pair.one.client.node, 10**6, 60, pair.one.client.keys.node(""), "S", 10**6, 0, late, late
    await pair.one.log._run("claim", BOB, *arguments)
    assert (await Socket(pair.two, BOB).come()).payloads == []


async def in_session(stores: RedisStores, *users: User) -> None:
    """Put these users in a session."""
    await stores.sessions.put(Session(uuid4().hex, users[0], dict.fromkeys(users, "guest")))


async def test_a_sender_that_moves_while_its_node_is_held_up(pair: Pair) -> None:
    """What comes late from its old socket is dropped, and nobody is told that it is kept."""
    bob = await Socket(pair.two, BOB).come("t1")
    await Socket(pair.one, ANN).come()
    await in_session(pair.one, ANN, BOB)
    assert (await append(pair.one, event(BOB, "first", about=ANN)))[0].outcome is DELIVERED
    told: list[Outcome] = []
    pair.network.hold(b"late")
    pair.one.log.append([event(BOB, "late", about=ANN)], done=lambda _, appended: told.append(appended.outcome))
    await until(lambda: pair.network.is_holding)
    await Socket(pair.two, ANN).come()
    pair.network.release()
    await pair.one.log.pipeline.drained()
    await append(pair.two, event(BOB, "next", about=ANN))
    await until(lambda: bob.payloads[-1:] == [b"next"])
    assert bob.payloads == [b"first", b"next"]
    assert told == []


async def test_a_sender_that_moves_before_an_answer_comes(pair: Pair) -> None:
    """A call that was made before, and is sent again since its answer was lost, is not taken for late."""
    bob = await Socket(pair.two, BOB).come("t1")
    await Socket(pair.one, ANN).come()
    await in_session(pair.one, ANN, BOB)
    pair.network.lose_answers(b"first", 1)
    told: list[Outcome] = []
    pair.one.log.append([event(BOB, "first", about=ANN)], done=lambda _, appended: told.append(appended.outcome))
    await until(lambda: bob.payloads == [b"first"])
    await Socket(pair.two, ANN).come()
    await until(lambda: told == [DELIVERED])
    assert bob.payloads == [b"first"]
