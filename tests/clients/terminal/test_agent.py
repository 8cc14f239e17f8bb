"""An agent at a peer's side: the command, and two people whose agents work together through a real server."""

import json
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from peersync_terminal.agent import MAX_OUTPUT_BYTES, MAX_WAITING, Agent
from peersync_terminal.lines import Job
from tests.clients.terminal.test_peer import PeerProcess, running
from tests.support.client import Client, client, until
from tests.support.server import Server, serving
from tests.support.tokens import Keys

JOB = Job("ses_1", "bob", "cor_1", "what is 2 + 2?")
SHOUT = "import sys; print(sys.stdin.read().upper())"


class Desk:
    """An agent, what it told of, and its replies."""

    def __init__(
        self, program: str, seconds: float = 20, interpreter: str = sys.executable, passed: Sequence[str] = ()
    ) -> None:
        self.told: list[str] = []
        self._replies, self.replies = anyio.create_memory_object_stream[tuple[Job, object]](10)
        self.agent = Agent((interpreter, "-c", program), seconds, self.told.append, self.reply, passed)

    async def reply(self, job: Job, content: str) -> None:
        await self._replies.send((job, json.loads(content)))

    async def end(self) -> None:
        """Let the agent begin, and end at once."""
        async with anyio.create_task_group() as group:
            group.start_soon(self.agent.run)
            group.cancel_scope.cancel()
        self._replies.close()
        self.replies.close()

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
    assert desk.told == ["the agent starts on bob's request"] * 2


async def test_it_knows_who_asks() -> None:
    names = ["PEERSYNC_FROM", "PEERSYNC_SESSION", "PEERSYNC_CORRELATION_ID"]
    program = f"import os; print(*map(os.environ.get, {names}))"
    assert await Desk(program).answers(JOB, JOB._replace(correlation_id=None)) == ["bob ses_1 cor_1", "bob ses_1"]


NASTY = ["\0", "a\0b", "half \ud83d", "\x1b[2J\n", "\u202e", "é" * 300, "x" * 300_000]


@pytest.mark.parametrize("text", NASTY, ids=ascii)
@pytest.mark.parametrize("field", ["session_id", "sender", "correlation_id", "content"])
async def test_it_outlives_whatever_others_send(field: str, text: str) -> None:
    """Texts that no environment can hold are told as far as they can be, or the reply says that it cannot run."""
    job = Job(**{**JOB._asdict(), field: text})
    reply, after = await Desk("print('done')").answers(job, JOB)
    assert after == "done"
    assert reply == "done" or (len(text) > 100_000 and "cannot be run" in str(reply))


async def test_what_an_environment_cannot_hold_is_replaced() -> None:
    program = "import os; print(ascii(os.environ['PEERSYNC_CORRELATION_ID']))"
    jobs = JOB._replace(correlation_id="a\0b"), JOB._replace(correlation_id="half \ud83d")
    assert await Desk(program).answers(*jobs) == [r"'a\ufffdb'", "'half ?'"]


async def test_it_does_not_get_what_may_be_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the environment it has what programs need to run, and what it was given by name."""
    for name in ("PEERSYNC_TOKEN", "JWT_PRIVATE_KEY", "API_KEY", "AWS_SECRET", "LC_TIME", "HOME", "TERM"):
        monkeypatch.setenv(name, "x")
    program = "import os; print(*sorted(name for name, value in os.environ.items() if value == 'x'))"
    assert await Desk(program).answers(JOB) == ["HOME LC_TIME TERM"]
    assert await Desk(program, passed=["API_KEY", "NONE"]).answers(JOB) == ["API_KEY HOME LC_TIME TERM"]


async def test_requests_do_not_pile_up() -> None:
    """Beyond a bound those who ask are sent away."""
    desk = Desk("")
    assert [desk.agent.take(JOB) for _ in range(MAX_WAITING + 1)] == [True] * MAX_WAITING + [False]
    await desk.end()


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("print('so far', flush=True); raise SystemExit('no idea')", "the agent ended with 1: no idea"),
        ("raise SystemExit(3)", "the agent ended with 3: no output"),
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
        await bob.reads("the agent starts on ann's request")
        await bob.reads("bob to ann: HELLO")
        await ann.reads("bob [ai-response] (to ann): HELLO")
        await bob.type("/run")
        await bob.reads_on("no request is waiting for the agent")


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
        await ann.reads("Error: --agent is 'no-such-agent --really'; there is no such command")
        await ann.exits(1)


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        ({"content": "hello", "type": "ai-request"}, "HELLO"),
        ({"content": "hello", "type": "ai-prompt"}, "HELLO"),
        (
            {"content": {"messageId": "m1", "content": "hello", "type": "ai-prompt"}},
            {"content": "HELLO", "type": "ai-response"},
        ),
        (
            {"content": {"messageId": "m1", "content": "hello", "type": "ai-prompt"}, "type": "ai-prompt"},
            {"content": "HELLO", "type": "ai-response"},
        ),
        (
            {"content": {"messageId": "m1", "content": "hello", "type": "chat"}, "type": "ai-request"},
            {"content": "HELLO", "type": "ai-response"},
        ),
    ],
)
async def test_it_answers_in_the_shape_that_it_was_asked_in(
    keys: Keys, alone: Server, data: dict[str, object], answer: object
) -> None:
    """By either name for a request; an envelope's answer has one of its own."""
    async with asked(keys, alone) as (ann, session_id):
        await ann.send("SEND_MESSAGE", sessionId=session_id, correlationId="cor_1", **data)
        received = await ann.until("MESSAGE_RECEIVED")
    if isinstance(answer, dict):
        assert received["content"].pop("messageId")
    assert (received["content"], received["type"], received["correlationId"]) == (answer, "ai-response", "cor_1")


async def test_nothing_that_others_send_ends_it(keys: Keys, alone: Server) -> None:
    """Whatever stands in a message, it is told, or answered, and the next one is answered."""
    contents = [
        '"\\u0000"',
        "1e999",
        "9" * 5000,
        '"half \\ud83d"',
        '["\\ud83d",' + "9" * 5000 + "]",
        "[" * 300 + "]" * 300,
    ]
    contents += [
        '{"messageId":"\\u0000","content":"\\ud83d","type":5}',
        '{"messageId":"","content":[1],"type":"\\u001b[2J"}',
    ]
    kinds = ['"ai-request"', '"ai-prompt"', '"\\u0000"', '"\\ud83d"', '"\\u001b]0;x\\u0007"', '""', "null"]
    ids = ['"\\u0000"', '"a\\u0000b"', '"\\ud83d"', '""', "null", json.dumps("é" * 256)]
    async with asked(keys, alone) as (ann, session_id):
        for number in range(max(map(len, (contents, kinds, ids)))):
            content, kind, id_ = (each[number % len(each)] for each in (contents, kinds, ids))
            data = f'"sessionId":"{session_id}","content":{content},"type":{kind},"correlationId":{id_}'
            await ann.raw(f'{{"event":"SEND_MESSAGE","data":{{{data}}}}}')
        for id_ in ids:
            data = f'"sessionId":"{session_id}","content":"still?","type":"ai-request","correlationId":{id_}'
            await ann.raw(f'{{"event":"SEND_MESSAGE","data":{{{data}}}}}')
        await ann.send("SEND_MESSAGE", sessionId=session_id, content="last", type="ai-request", correlationId="last")
        while (received := await ann.until("MESSAGE_RECEIVED")).get("correlationId") != "last":
            pass
    assert received["content"] == "LAST"


@asynccontextmanager
async def asked(keys: Keys, server: Server) -> AsyncIterator[tuple[Client, str]]:
    """Have ann, of any other program, in a session with bob, whose agent shouts without asking him."""
    agent = f"{sys.executable} -c '{SHOUT}'"
    async with client(server) as ann, running(keys, server.url, "bob", "--agent", agent, "--yes") as bob:
        await ann.join("ann")
        await bob.reads_on("online: ann (Name ann, other)")
        await ann.send("CONNECTION_REQUEST", targetId="bob")
        await bob.reads_on("ann asks to connect: /accept or /refuse")
        await bob.type("/accept")
        yield ann, (await ann.until("CONNECTION_ACCEPTED"))["sessionId"]
