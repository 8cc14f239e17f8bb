"""A peer in a terminal, for trying things by hand: the Python client, told of in lines and steered by typing."""

import io
import math
import sys
import threading
import time
from asyncio import Future
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from functools import partial
from ssl import SSLContext
from typing import NamedTuple, cast

import anyio
import click
from anyio import from_thread
from anyio.lowlevel import current_token
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.patch_stdout import patch_stdout
from websockets.exceptions import InvalidStatus, InvalidURI

import peersync
from peersync.errors import NORMAL
from peersync.events import (
    AuthSuccess,
    AuthSuccessData,
    Error,
    ErrorCode,
    MessageAck,
    MessageAckData,
    MessageReceived,
    PeerRegisterData,
    PeersList,
    Pong,
)
from peersync.tokens import TokenSource
from peersync_terminal.absence import Absence
from peersync_terminal.agent import MAX_WAITING, Agent
from peersync_terminal.commands import COMMANDS, Turn, frame, response, turned_away, typed
from peersync_terminal.lines import Conversation, Job, is_known, printable, read_message

NO_SUCH_PATH = 404


class Helper(NamedTuple):
    """The agent beside a person: its command, its time limit in seconds, and whether it runs without being told to.

    `passed` names environment variables to pass on to it besides the usual ones.
    """

    command: tuple[str, ...]
    seconds: float
    is_trusted: bool
    passed: tuple[str, ...] = ()


class Server(NamedTuple):
    """Where the server is, and what makes its certificate trusted if it is not what the system trusts."""

    url: str
    tls: SSLContext | None = None


def run(
    server: Server,
    user: str,
    profile: dict[str, str | None],
    token: TokenSource,
    *,
    version: str,
    helper: Helper | None = None,
) -> None:
    """Be a peer until the person leaves; raises `click.ClickException` if the server or the network ends it first."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        reason = anyio.run(Peer(server, user, profile, token, version=version, helper=helper).run)
    except KeyboardInterrupt:
        return
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    if reason:
        raise click.ClickException(printable(reason))


class Peer:
    """One user at one server."""

    def __init__(
        self,
        server: Server,
        user: str,
        profile: dict[str, str | None],
        token: TokenSource,
        *,
        version: str,
        helper: Helper | None = None,
    ) -> None:
        self._url = server.url
        self._client = peersync.Peer(
            self._url,
            token,
            cast(PeerRegisterData, {name: value for name, value in profile.items() if value is not None}),
            program={"name": "peersync-peer", "version": version},
            open_socket=partial(peersync.open_socket, proxy=None, ssl=server.tls),
        )
        self._conversation = Conversation(user, has_agent=helper is not None)
        self._agent = (
            None if helper is None else Agent(helper.command, helper.seconds, _show, self._reply, helper.passed)
        )
        self._is_trusted = helper is not None and helper.is_trusted
        self._absence = Absence(time.monotonic)
        self._has_begun = anyio.Event()

    async def run(self) -> str | None:
        """Stay until the person leaves; returns why if it ended otherwise."""
        try:
            async with self._client:
                return await self._stay()
        except peersync.UnreachableError as error:
            return f"cannot connect to {self._url}: {_described(error.__cause__ or error)}"
        except peersync.ClosedError as error:
            if error.__cause__ is not None:
                _show(f"error {error.__cause__}")
            return str(error)
        except peersync.RefusedError as error:
            return str(error)

    async def _stay(self) -> str | None:
        async with anyio.create_task_group() as self._tasks:
            self._tasks.start_soon(self._follow_typing)
            if self._agent is not None:
                self._tasks.start_soon(self._agent.run)
            reason = await self._follow_events()
            self._tasks.cancel_scope.cancel()
        return reason

    async def _follow_events(self) -> str | None:
        """Tell what happens until the connection is over; returns why if it was not the person who ended it."""
        try:
            async for event in self._client:
                self._tell(event)
        except peersync.ClosedError as error:
            if error.code != NORMAL:
                return str(error)
            _show(str(error))
        except peersync.RefusedError as error:
            return str(error)
        return None

    def _tell(self, event: peersync.Event) -> None:
        if isinstance(event, peersync.ConnectionLost):
            self._conversation.lost()
            self._absence.began()
            _show(f"connection lost (close code {event.data['code']}); reconnecting")
            return
        self._absence.missed(event.offset)
        if not is_known(event):
            _show(event.text)
            return
        caught_up = self._absence.ended() if isinstance(event, Pong) else ""
        _show(caught_up or self._conversation.tell(event))
        if isinstance(event, AuthSuccess):
            self._ask_around(event.data)
        if isinstance(event, PeersList | Error):
            self._has_begun.set()
        if isinstance(event, MessageReceived):
            self._offer_jobs(event)

    def _ask_around(self, success: AuthSuccessData) -> None:
        """Ask who is there, and after starting over which sessions go on."""
        self._conversation.is_connected = True
        starting_over = self._absence.returned(success)
        _show(starting_over)
        if not success.get("recovered"):
            self._do(Turn(frame("DISCOVER_PEERS")))
        if starting_over:
            self._do(Turn(frame("SESSION_LIST")))

    def _offer_jobs(self, event: MessageReceived) -> None:
        """Give a request that just came to the agent, or ask the person whether to."""
        jobs = self._conversation.jobs
        if not jobs or not read_message(event).is_request:
            return
        if self._is_trusted:
            self._hand_over(jobs.pop())
        elif len(jobs) > MAX_WAITING:
            self._do(turned_away(self._conversation, jobs.pop()))
        else:
            _show("/run lets your agent answer, /skip refuses")

    def _hand_over(self, job: Job) -> None:
        """Give the agent a job; refuse the job if too many wait."""
        if self._agent is not None and not self._agent.take(job):
            self._do(turned_away(self._conversation, job))

    async def _reply(self, job: Job, content: str) -> None:
        self._do(response(self._conversation, job, content))

    async def _follow_typing(self) -> None:
        await self._has_begun.wait()
        is_terminal = sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()
        if is_terminal:
            _show("/help lists the commands; other lines are messages")
        lines = _terminal_lines(lambda: self._conversation.prompt) if is_terminal else _piped_lines()
        async with aclosing(lines):
            async for line in lines:
                if not self._take(line):
                    break
        await self._client.close()  # what the server still answers is told before the events end

    def _take(self, line: str) -> bool:
        """Do what was typed; returns whether to go on."""
        turn = typed(self._conversation, line)
        if turn.job is not None:
            self._hand_over(turn.job)
        self._do(turn)
        return not turn.quits

    def _do(self, turn: Turn) -> None:
        for shown in turn.lines:
            _show(shown)
        try:
            if turn.message is not None:
                self._tasks.start_soon(self._follow, self._client.post(**turn.message))
            elif turn.frame is not None:
                self._client.send(turn.frame)
        except peersync.PeerSyncError:
            _show("it was not sent")

    async def _follow(self, answer: "Future[MessageAckData]") -> None:
        """Tell what becomes of a message."""
        event: peersync.Event
        try:
            event = MessageAck("MESSAGE_ACK", await answer, None, None, "")
        except peersync.RefusedError as refused:
            code = cast(ErrorCode, refused.code)  # or one of a plugin's
            event = Error("ERROR", {"code": code, "message": refused.message}, None, None, "")
        except peersync.ClosedError:
            return
        _show(self._conversation.tell(event))


async def _terminal_lines(prompt: Callable[[], str]) -> AsyncGenerator[str]:
    """Yield what a person types, at a line that what is shown meanwhile does not break."""
    commands = WordCompleter(list(COMMANDS), sentence=True)
    session: PromptSession[str] = PromptSession(
        prompt, completer=commands, complete_while_typing=False, erase_when_done=True
    )
    with patch_stdout():
        while True:
            try:
                line = await session.prompt_async()
            except (EOFError, KeyboardInterrupt):
                return
            yield line


async def _piped_lines() -> AsyncGenerator[str]:
    """Yield the lines of standard input, read by a thread that the end of the process does not wait for."""
    send, receive = anyio.create_memory_object_stream[str](math.inf)
    token = current_token()

    def read() -> None:
        # Not sys.stdin: its lock, held by a reading thread, would be fatal at the end of the process.
        with (
            suppress(OSError, anyio.RunFinishedError, anyio.BrokenResourceError),
            open(0, encoding="utf-8", errors="replace", closefd=False) as stdin,
        ):
            for line in stdin:
                from_thread.run_sync(send.send_nowait, line, token=token)
        with suppress(anyio.RunFinishedError):
            from_thread.run_sync(send.close, token=token)

    threading.Thread(target=read, daemon=True).start()
    async with receive:
        async for line in receive:
            yield line


def _show(line: str) -> None:
    if line:
        click.echo(f"{time.strftime('%H:%M:%S')}  {printable(line)}", file=sys.stdout)


def _described(error: BaseException) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused; is bin/serve running?"
    if isinstance(error, InvalidURI):
        return "--url must be ws://HOST:PORT/PATH or wss://HOST:PORT/PATH"
    if isinstance(error, InvalidStatus) and error.response.status_code == NO_SUCH_PATH:
        return "there is no socket at this path; it is WS_PATH of the server, /ws by default"
    return str(error) or type(error).__name__
