"""The audit log: what a line looks like, and that nothing waits for the disk."""

import json
import stat
import sys
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest

from app.auth.keys import public_keys
from app.compose.lifespan import running
from app.compose.plan import Plan
from app.main import create_app
from app.ops.audit import AuditLog, NoAudit, open_audit_log
from app.ops.logs import make_logger
from app.settings import MEMORY, Settings, SettingsError
from app.tables import load_routes
from stores.memory.stores import MemoryStores
from stores.model import User
from tests.support.tokens import Keys

ANN = User("ann", "acme")


class Log:
    """Keeps what the other log is told."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []

    def warning(self, event: str, **values: object) -> None:
        self.lines.append((event, values))

    debug = info = exception = warning


class Disk:
    """Takes what is appended, unless it is full."""

    def __init__(self) -> None:
        self.data = b""
        self.is_full = False

    def __call__(self, data: bytes) -> None:
        if self.is_full:
            raise OSError(28, "No space left on device")
        self.data += data

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.data.splitlines()]


async def test_a_line() -> None:
    """A line has the time and the event first, the user, and what is known; of an address, a part of its hash."""
    disk = Disk()
    audit = AuditLog(disk, Log())
    audit.note("authenticated", ANN, token_id=None, socket_id=5, address=bytes(16), client='Vim\n"9"')
    await audit.flush()
    (line,) = disk.lines()
    assert list(line)[:2] == ["timestamp", "event"]
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "authenticated",
        "user_id": "ann",
        "org": "acme",
        "socket_id": 5,
        "address": "000000000000",
        "client": 'Vim\n"9"',
    }


async def test_any_text() -> None:
    """A user id may have half a surrogate pair, as JSON can say it; the line is still text."""
    disk = Disk()
    audit = AuditLog(disk, Log())
    audit.note("registered", User("\ud800"))
    await audit.flush()
    assert disk.lines()[0]["event"] == "registered"


async def test_nobody_waits_for_the_disk() -> None:
    """While a write hangs, lines are taken as ever; they are written together once it is over."""
    is_writing, may_go_on = threading.Event(), threading.Event()
    written: list[bytes] = []

    def hang(data: bytes) -> None:
        is_writing.set()
        may_go_on.wait(10)
        written.append(data)

    audit = AuditLog(hang, Log())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(audit.run)
        audit.note("registered", ANN)
        await anyio.to_thread.run_sync(is_writing.wait, 10)
        for _ in range(100):
            audit.note("registered", ANN)
        assert written == []
        may_go_on.set()
        with anyio.fail_after(10):
            while len(written) < 2:  # noqa: ASYNC110 - a thread
                await anyio.sleep(0.001)
        tasks.cancel_scope.cancel()
    assert [data.count(b"\n") for data in written] == [1, 100]


async def test_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be written is kept, up to a bound, and written later; the log tells of both, and of what was lost."""
    monkeypatch.setattr("app.ops.audit.RETRY_SECONDS", 0.001)
    disk, log = Disk(), Log()
    disk.is_full = True
    audit = AuditLog(disk, log, most=3)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(audit.run)
        audit.note("registered", ANN, socket_id=1)
        with anyio.fail_after(10):
            while len(log.lines) < 2:  # noqa: ASYNC110 - a thread
                await anyio.sleep(0.001)
        for number in (2, 3, 4, 5):
            audit.note("registered", ANN, socket_id=number)
        disk.is_full = False
        with anyio.fail_after(10):
            while len(disk.lines()) < 4:  # noqa: ASYNC110 - a thread
                await anyio.sleep(0.001)
        tasks.cancel_scope.cancel()
    assert log.lines[0][1]["reason"] == "[Errno 28] No space left on device"
    assert [line.get("socket_id", line.get("lines")) for line in disk.lines()] == [1, 2, 3, 2]
    assert disk.lines()[-1]["event"] == "lost"
    assert audit.lost == 2


async def test_the_end(keys: Keys) -> None:
    """What is noted last is written before the application has ended."""
    settings, disk = Settings(store_url=MEMORY, jwt_public_key_path=keys.public_path, log_level="critical"), Disk()
    plan = Plan(settings, public_keys(settings), load_routes(()), make_logger(settings), disk)
    async with running(plan, MemoryStores()) as runtime:
        runtime.audit.note("registered", ANN)
        assert disk.lines() == []
    assert disk.lines()[0]["user_id"] == "ann"


@pytest.mark.parametrize("rotate", ["rename", "truncate"])
async def test_rotation(rotate: str, tmp_path: Path) -> None:
    """The file may be renamed or truncated at any time; the next line is the first of the file."""
    path = tmp_path / "audit.log"
    append = open_audit_log(str(path))
    assert append is not None
    audit = AuditLog(append, Log())
    audit.note("registered", ANN, socket_id=1)
    await audit.flush()
    if rotate == "rename":
        path.rename(tmp_path / "audit.log.1")
    else:
        path.write_bytes(b"")
    audit.note("closed", ANN, socket_id=2)
    await audit.flush()
    (line,) = path.read_text().splitlines()
    assert json.loads(line)["socket_id"] == 2


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
def test_the_file_is_private(tmp_path: Path) -> None:
    """A new file can be read by its owner only; one that is there keeps its mode."""
    new, old = tmp_path / "new.log", tmp_path / "old.log"
    old.touch(0o640)
    for path, mode in ((new, 0o600), (old, 0o640)):
        open_audit_log(str(path))
        assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize("where", ["-", "stdout"])
async def test_standard_output(where: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """It can go to standard output."""
    append = open_audit_log(where)
    assert append is not None
    audit = AuditLog(append, Log())
    audit.note("registered", ANN)
    await audit.flush()
    assert json.loads(capfdbinary.readouterr().out)["user_id"] == "ann"


async def test_off() -> None:
    """It is off unless set; then nothing is kept."""
    assert open_audit_log("") is None
    audit = NoAudit()
    audit.note("registered", ANN)
    await audit.run()
    assert (await audit.flush(), audit.lost) == (True, 0)


def test_a_place_that_cannot_be_written(keys: Keys, tmp_path: Path) -> None:
    """The start is refused in one line that says what is allowed."""
    settings = Settings(
        store_url=MEMORY, jwt_public_key_path=keys.public_path, audit_log=str(tmp_path / "no" / "audit.log")
    )
    with pytest.raises(SettingsError, match=r"^AUDIT_LOG is '.*'; it must be empty, - for .*\(No such file.*\)$"):
        create_app(settings)
