"""An agent at a peer's side: the command, and two people whose agents work together through a real server."""

import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from app.cli.peer_agent import MAX_OUTPUT_BYTES, Agent
from app.cli.peer_lines import Job
from tests.app.cli.test_peer import PeerProcess, running
from tests.support.client import until
from tests.support.server import Server, serving
from tests.support.tokens import Keys

JOB = Job("ses_1", "bob", "cor_1", "what is 2 + 2?")
SHOUT = "import sys; print(sys.stdin.read().upper())"


class Desk:
    """An agent, what it told of, and its replies."""

    def __init__(self, program: str, seconds: float = 20, interpreter: str = sys.executable) -> None:
        self.told: list[str] = []
        self._replies, self.replies = anyio.create_memory_object_stream[tuple[Job, object]](10)
        self.agent = Agent((interpreter, "-c", program), seconds, self.told.append, self.reply)

    async def reply(self, job: Job, content: str) -> None:
        await self._replies.send((job, json.loads(content)))

    async def answers(self, *jobs: Job) -> list[object]:
        """Have the agent do these jobs; return its replies."""
        async with anyio.create_task_group() as group:
            group.start_soon(self.agent.run)
            for job in jobs:
                self.agent.take(job)
            with self._replies, self.replies, anyio.fail_after(20):
                replies = [await self.replies.receive() for _ in jobs]
            group.cancel_scope.cancel()
        assert [job for job, _ in replies] == list(jobs)
        return [content for _, content in replies]


async def test_what_it_prints_is_the_reply() -> None:
    """One job after the other, from standard input to standard output."""
    desk = Desk(SHOUT)
    assert await desk.answers(JOB, JOB._replace(content="half \ud83d")) == ["WHAT IS 2 + 2?", "HALF ?"]
    assert desk.told == ["the agent begins with bob's request"] * 2


async def test_it_knows_who_asks() -> None:
    names = ["PEERSYNC_FROM", "PEERSYNC_SESSION", "PEERSYNC_CORRELATION_ID"]
    program = f"import os; print(*map(os.environ.get, {names}))"
    assert await Desk(program).answers(JOB, JOB._replace(correlation_id=None)) == ["bob ses_1 cor_1", "bob ses_1"]


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("print('so far'); raise SystemExit('no idea')", "the agent ended with 1: no idea"),
        ("raise SystemExit(3)", "the agent ended with 3: without a word"),
    ],
)
async def test_a_failure_is_told(program: str, error: str) -> None:
    """The last line that it printed says why."""
    assert await Desk(program).answers(JOB) == [{"error": error}]


async def test_one_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    """With all that it has started."""
    noted = tmp_path / "child"
    start = "import subprocess, time; child = subprocess.Popen(['sleep', '60'])"
    program = f"{start}; open({str(noted)!r}, 'w').write(str(child.pid)); time.sleep(60)"
    assert await Desk(program, seconds=1.5).answers(JOB) == [{"error": "the agent took more than 1.5 seconds"}]
    child = int(noted.read_text())
    await until(lambda: not is_running(child))


async def test_one_that_is_not_there() -> None:
    [reply] = await Desk("", interpreter="/nowhere/agent").answers(JOB)
    assert "cannot be run" in str(reply)


async def test_one_that_prints_too_much_or_does_not_listen() -> None:
    """What is too long is cut off, and input that nobody reads hurts nobody."""
    job = JOB._replace(content="y" * 1_000_000)
    assert await Desk("print('x' * 1_000_000)").answers(job) == ["x" * MAX_OUTPUT_BYTES]


def is_running(pid: int) -> bool:
    """Whether a process is there, and not just still to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except FileNotFoundError:
        return False


@pytest.fixture
def alone(keys: Keys, tmp_path: Path) -> Iterator[Server]:
    """Run a server that nobody else uses."""
    with serving(keys, tmp_path) as server:
        yield server


@asynccontextmanager
async def asking(keys: Keys, server: Server, *options: str) -> AsyncIterator[tuple[PeerProcess, PeerProcess]]:
    """Have ann and bob talk, whose agent shouts, and ann ask for it."""
    agent = f"{sys.executable} -c '{SHOUT}'"
    async with running(keys, server.url, "ann") as ann:
        await ann.reads_on("online: nobody else")
        async with running(keys, server.url, "bob", "--agent", agent, *options) as bob:
            await bob.type("/ask ann")
            await ann.reads_on("bob asks to connect: /accept or /refuse")
            await ann.type("/accept")
            await ann.reads_on("connected with bob")
            await ann.type("/ai hello")
            await ann.reads_on("delivered to bob")
            await bob.reads_on("ann [ai-request]: hello")
            yield ann, bob


async def test_an_agent_answers_when_told_to(keys: Keys, alone: Server) -> None:
    """The person is asked first."""
    async with asking(keys, alone) as (ann, bob):
        await bob.reads("/run lets your agent answer, /skip refuses")
        await bob.type("/run")
        await bob.reads("the agent begins with ann's request")
        await bob.reads("bob to ann: HELLO")
        await ann.reads("bob [ai-response] (to ann): HELLO")
        await bob.type("/run")
        await bob.reads_on("no request waits for the agent")


async def test_an_agent_that_is_not_to_answer(keys: Keys, alone: Server) -> None:
    """Who asked is told so."""
    async with asking(keys, alone) as (ann, bob):
        await bob.type("/skip ann")
        await ann.reads('bob [ai-response] (to ann): {"error":"bob does not want the agent to answer that"}')


async def test_a_trusted_agent_answers_by_itself(keys: Keys, alone: Server) -> None:
    async with asking(keys, alone, "--yes") as (ann, _):
        await ann.reads("bob [ai-response] (to ann): HELLO")


async def test_an_agent_that_cannot_be_is_one_line(keys: Keys, alone: Server) -> None:
    async with running(keys, alone.url, "ann", "--agent", "no-such-agent --really") as ann:
        await ann.reads("Error: --agent no-such-agent --really: there is no such command")
        await ann.exits(1)
