"""An agent at a peer's side: a command that answers the requests of others, one after the other."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

import anyio
from anyio.abc import ByteReceiveStream, Process

from peersync_terminal.lines import Job

PROGRESS_SECONDS = 10.0
MAX_OUTPUT_BYTES = 262_144
MAX_WAITING = 100
PASSED_ON = frozenset(
    (
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD", "TZ", "TMPDIR", "TMP", "TEMP"),
        *("LANG", "LANGUAGE", "TERM", "COLORTERM", "NO_COLOR"),
        *("PYTHONIOENCODING", "PYTHONUNBUFFERED", "PYTHONUTF8"),
        *("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"),
        *("SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT", "APPDATA", "LOCALAPPDATA"),
        *("USERNAME", "USERPROFILE", "HOMEDRIVE", "HOMEPATH"),
    )
)
"""The environment variables that a command gets, besides those whose names begin with `LC_`."""
_Reply = Callable[[Job, str], Awaitable[None]]


class Agent:
    """Runs the command for each job, with the request on its standard input, and replies with what it prints.

    The reply is JSON: a string, or `{"error": …}` if the command failed or took more than `seconds`. The command gets
    the environment variables `PEERSYNC_FROM`, `PEERSYNC_SESSION` and `PEERSYNC_CORRELATION_ID`. Of this process's own
    variables it gets only `PASSED_ON` and those that `passed` names: the others may hold secrets.
    """

    def __init__(
        self,
        command: Sequence[str],
        seconds: float,
        show: Callable[[str], None],
        reply: _Reply,
        passed: Collection[str] = (),
    ) -> None:
        self._command = command
        self._seconds = seconds
        self._passed = passed
        self._show = show
        self._reply = reply
        self._send, self._jobs = anyio.create_memory_object_stream[Job](MAX_WAITING)

    def take(self, job: Job) -> bool:
        """Queue a job; return False if too many wait."""
        try:
            self._send.send_nowait(job)
        except anyio.WouldBlock:
            return False
        return True

    async def run(self) -> None:
        """Work until cancelled."""
        with self._send, self._jobs:
            async for job in self._jobs:
                await self._reply(job, await self._work(job))

    async def _work(self, job: Job) -> str:
        self._show(f"the agent starts on {job.sender}'s request")
        try:
            process = await anyio.open_process(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**_passed_on(os.environ, self._passed), **_environment(job)},
                start_new_session=True,  # so that what it starts ends with it, and Ctrl-C is ours alone
            )
        except (OSError, ValueError) as error:  # ValueError if `command` or a variable has a NUL
            return _failure(f"the agent cannot be run: {error}")
        try:
            return await self._attend(process, job)
        finally:
            _end(process)
            with anyio.CancelScope(shield=True):
                await process.aclose()

    async def _attend(self, process: Process, job: Job) -> str:
        with anyio.move_on_after(self._seconds):
            async with anyio.create_task_group() as group:
                group.start_soon(self._tell_progress)
                group.start_soon(_feed, process, job.content)
                output = await _read(process.stdout)
                code = await process.wait()
                group.cancel_scope.cancel()
            return _result(output, code)
        return _failure(f"the agent took more than {self._seconds:g} seconds")

    async def _tell_progress(self) -> None:
        seconds = 0.0
        while True:
            await anyio.sleep(PROGRESS_SECONDS)
            seconds += PROGRESS_SECONDS
            self._show(f"the agent has worked for {seconds:.0f} of {self._seconds:g} seconds")


def _passed_on(environ: Mapping[str, str], more: Collection[str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environ.items()
        if name.upper() in PASSED_ON or name.startswith("LC_") or name in more
    }


def _environment(job: Job) -> dict[str, str]:
    """Return a job's environment variables. Others choose these texts: what no environment can hold is replaced."""
    told = {
        "PEERSYNC_FROM": job.sender,
        "PEERSYNC_SESSION": job.session_id,
        "PEERSYNC_CORRELATION_ID": job.correlation_id or "",
    }
    encoding = sys.getfilesystemencoding()
    return {
        name: text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(encoding, "replace").decode(encoding)
        for name, text in told.items()
    }


async def _feed(process: Process, content: str) -> None:
    if process.stdin is not None:
        try:
            await process.stdin.send(content.encode(errors="replace"))
            await process.stdin.aclose()
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            return  # it does not want to know


async def _read(stream: ByteReceiveStream | None) -> bytes:
    """Return what comes, but no more than may be sent; the rest is read, so that the command does not hang."""
    output = b""
    if stream is not None:
        async for chunk in stream:
            output += chunk[: MAX_OUTPUT_BYTES - len(output)]
    return output


def _result(output: bytes, code: int) -> str:
    text = output.decode(errors="replace").strip()
    if code:
        return _failure(f"the agent ended with {code}: {text.splitlines()[-1] if text else 'no output'}")
    return json.dumps(text)


def _failure(reason: str) -> str:
    return json.dumps({"error": reason})


def _end(process: Process) -> None:
    """End the command and what it started; where there are no process groups, the command alone."""
    if process.returncode is not None:
        return
    try:
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
