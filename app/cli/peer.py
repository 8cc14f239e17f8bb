"""A peer in a terminal, for trying things by hand: its connection, which it keeps up, and its terminal."""

import io
import math
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from random import SystemRandom
from typing import NamedTuple

import anyio
import click
from anyio import CancelScope, from_thread
from anyio.lowlevel import current_token
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.patch_stdout import patch_stdout
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException

from app import VERSION
from app.cli.peer_agent import Agent
from app.cli.peer_commands import COMMANDS, Turn, frame, response, typed
from app.cli.peer_lines import Conversation, Job, printable, read_frame
from app.cli.peer_resume import CATCH_UP, OUR_REFS, RENEW, Resumption
from schemas.auth import AuthSuccess, Pong
from schemas.errors import CloseCode, Error
from schemas.events import ServerEvent
from schemas.messages import AddressedMessage
from schemas.notices import ServerNotice
from schemas.peers import PeersList

LONGEST_PAUSE = 15.0
CLOSE_SECONDS = 2.0
NO_SUCH_PATH = 404
_BYE = {CloseCode.NORMAL, CloseCode.GOING_AWAY}
_FINAL = {
    CloseCode.PROTOCOL_ERROR: "the server found a breach of the WebSocket protocol",
    CloseCode.BAD_UTF8: "the server found bad UTF-8",
    CloseCode.TOO_LARGE: "that was larger than the server takes",
    CloseCode.UNAUTHENTICATED: "the server does not take the token; get a new one",
    CloseCode.SUPERSEDED: "the same user connected from elsewhere",
}


class Helper(NamedTuple):
    """The agent beside a person: its command, its time limit in seconds, and whether it runs without being told to."""

    command: tuple[str, ...]
    seconds: float
    is_trusted: bool


def run(
    url: str,
    user: str,
    profile: dict[str, str | None],
    make_token: Callable[[], str],
    helper: Helper | None = None,
) -> None:
    """Be a peer until the person leaves; raises `click.ClickException` if the server or the network ends it first."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        reason = anyio.run(Peer(url, user, profile, make_token, helper).run)
    except KeyboardInterrupt:
        return
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    if reason:
        raise click.ClickException(printable(reason))


def final_reason(code: int) -> str | None:
    """Return why a peer should not come back after this close code, or None if it should (protocol.md section 5)."""
    why = _FINAL.get(CloseCode(code)) if code in _FINAL else None
    return f"{why} (close code {code})" if why else None


def pause(attempt: int, code: int, chance: float) -> float:
    """Return the seconds before attempt 0, 1, 2 … to come back: twice as many each time, `chance` (0 to 1) of half."""
    longest = LONGEST_PAUSE if code == CloseCode.RATE_LIMITED else min(LONGEST_PAUSE, 2.0 ** min(attempt, 4))
    return longest * (1 + chance) / 2


class Peer:
    """One user at one server; `make_token` is asked at each connection, since a token may have expired meanwhile."""

    def __init__(
        self,
        url: str,
        user: str,
        profile: dict[str, str | None],
        make_token: Callable[[], str],
        helper: Helper | None = None,
    ) -> None:
        self._url = url
        self._profile = profile
        self._make_token = make_token
        self._conversation = Conversation(user, has_agent=helper is not None)
        self._agent = None if helper is None else Agent(helper.command, helper.seconds, _show, self._reply)
        self._is_trusted = helper is not None and helper.is_trusted
        self._resumption = Resumption({"name": "peersync-peer", "version": VERSION}, time.monotonic)
        self._has_begun = anyio.Event()
        self._socket: ClientConnection | None = None
        self._is_leaving = False
        self._attempt = 0

    async def run(self) -> str | None:
        """Stay until the person leaves; returns why if it ended otherwise."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._follow_typing, group.cancel_scope)
            if self._agent is not None:
                group.start_soon(self._agent.run)
            reason = await self._stay_connected()
            group.cancel_scope.cancel()
        return reason

    async def _stay_connected(self) -> str | None:
        code: int = CloseCode.ABNORMAL
        while True:
            try:
                socket = await connect(
                    self._url, compression=None, proxy=None, max_size=None, close_timeout=CLOSE_SECONDS
                )
            except (OSError, WebSocketException, ValueError) as error:
                if not self._has_begun.is_set():
                    return f"cannot connect to {self._url}: {_described(error)}"
            else:
                code = await self._converse(socket)
                if self._is_leaving:
                    return None
                if code in _BYE:
                    _show(f"the server says goodbye (close code {code})")
                    return None
                if reason := final_reason(code):
                    return reason
                _show(f"connection lost (close code {code}); reconnecting")
            await anyio.sleep(pause(self._attempt, code, SystemRandom().random()))
            self._attempt += 1

    async def _converse(self, socket: ClientConnection) -> int:
        """Introduce ourselves and tell what comes, until the socket closes; returns the close code."""
        try:
            await socket.send(self._resumption.hello(self._make_token()))
            self._socket = socket
            while True:
                for answer in self._receive(await socket.recv(decode=True)):
                    await socket.send(answer)
        except ConnectionClosed:
            return socket.close_code or CloseCode.ABNORMAL
        finally:
            self._socket = None
            self._conversation.lost()
            self._resumption.lost()
            with CancelScope(shield=True):
                await socket.close()

    def _receive(self, text: str) -> list[str]:
        """Tell of a frame, unless it came before; returns the frames that it calls for."""
        event, offset, ref = read_frame(text)
        if not self._resumption.takes(offset):
            return []
        self._conversation.answered(ref)
        if isinstance(event, Pong) and ref == CATCH_UP:
            _show(self._resumption.caught_up())
        elif ref not in OUR_REFS or isinstance(event, Error):
            _show(text if event is None else self._conversation.tell(event))
            self._offer_jobs(event)
        if isinstance(event, PeersList):
            self._attempt = 0
        if isinstance(event, PeersList | Error):
            self._has_begun.set()
        return self._replies(event)

    def _offer_jobs(self, event: ServerEvent | None) -> None:
        """Give a request that just came to the agent, or ask the person whether to."""
        if self._agent is None or not isinstance(event, AddressedMessage) or event.type != "ai-request":
            return
        if self._is_trusted:
            self._agent.take(self._conversation.jobs.pop())
        else:
            _show("/run lets your agent answer, /skip refuses")

    async def _reply(self, job: Job, content: str) -> None:
        await self._do(response(self._conversation, job, content))

    def _replies(self, event: ServerEvent | None) -> list[str]:
        if isinstance(event, AuthSuccess) and not self._conversation.is_connected:
            self._conversation.is_connected = True
            return [*self._introduction(event), *self._conversation.unacknowledged.values()]
        if isinstance(event, ServerNotice) and event.kind == "token-expiring":
            return [frame("AUTH", ref=RENEW, token=self._make_token())]
        report = self._resumption.report()
        return [] if report is None else [report]

    def _introduction(self, success: AuthSuccess) -> list[str]:
        """Return what is to be said once authenticated: nothing but a PING if the server still knows us."""
        starting_over = self._resumption.entered(success)
        if success.recovered:
            self._attempt = 0
            return [self._resumption.ping(CATCH_UP)]
        introduction = [frame("PEER_REGISTER", **self._profile), frame("DISCOVER_PEERS")]
        if starting_over is None:
            return introduction
        _show(starting_over)
        return [*introduction, frame("SESSION_LIST")]

    async def _follow_typing(self, scope: CancelScope) -> None:
        await self._has_begun.wait()
        is_terminal = sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()
        if is_terminal:
            _show("/help lists the commands; other lines are messages")
        lines = _terminal_lines(lambda: self._conversation.prompt) if is_terminal else _piped_lines()
        async with aclosing(lines):
            async for line in lines:
                if not await self._take(line):
                    break
        self._is_leaving = True
        if self._socket is None:
            scope.cancel()
        else:
            await self._socket.close()  # what the server still answers is told before `_converse` sees the end

    async def _take(self, line: str) -> bool:
        """Do what was typed; returns whether to go on."""
        turn = typed(self._conversation, line)
        if turn.job is not None and self._agent is not None:
            self._agent.take(turn.job)
        await self._do(turn)
        return not turn.quits

    async def _do(self, turn: Turn) -> None:
        for shown in turn.lines:
            _show(shown)
        if turn.frame is not None and self._socket is not None and self._conversation.is_connected:
            try:
                await self._socket.send(turn.frame)
            except ConnectionClosed:
                if turn.frame not in self._conversation.unacknowledged.values():
                    _show("that was not sent")


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


def _described(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused; is bin/serve running?"
    if isinstance(error, InvalidURI):
        return "--url may be ws://HOST:PORT/PATH or wss://HOST:PORT/PATH"
    if isinstance(error, InvalidStatus) and error.response.status_code == NO_SUCH_PATH:
        return "no socket there; WS_PATH says where it is, /ws if not set"
    return str(error) or type(error).__name__
