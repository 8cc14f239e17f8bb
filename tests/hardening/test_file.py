"""One node on a SQLite file, killed again and again under load, and started on the file as it was at a power cut.

Nothing acknowledged is lost, nothing comes twice or out of order, and nobody starts over.
"""

import shutil
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from tests.hardening.cluster import talking
from tests.hardening.conftest import Report, Scale
from tests.hardening.faults import running
from tests.hardening.test_nodes import BACK_SECONDS, FEWEST, PAIRS, RATE, check, outcome
from tests.support.tokens import Keys

PAUSE = 1.5


@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "replaced"])
async def test_restarts(keys: Keys, tmp_path: Path, scale: Scale, report: Report, *, is_killed: bool) -> None:
    """The node is killed, or drained and replaced: its users are back at once, and all that was kept is there."""
    count, url = scale(30), f"sqlite:///{tmp_path}/store.db"
    with running(keys, tmp_path, [0], store_url=url) as cluster:
        await cluster.start(0)
        async with talking(cluster, max(FEWEST, scale(PAIRS)), RATE) as crowd:
            for _ in range(count):
                await anyio.sleep(PAUSE)
                await (cluster.kill if is_killed else cluster.stop)(0)
                await cluster.start(0)
            await cluster.ready()
            await crowd.settle()
            report(f"the one node on SQLite {'killed' if is_killed else 'drained and replaced'}", count, outcome(crowd))
            check(crowd)
            if scale(10) == 10:  # beside other tests a start takes as long as it takes
                assert max(crowd.tally.returns) < BACK_SECONDS
        await anyio.to_thread.run_sync(cluster.close)


@pytest.mark.long
async def test_power_cuts(keys: Keys, tmp_path: Path, scale: Scale, report: Report) -> None:
    """The file goes back to what the disk had when the power went, which with `sync=full` is all that was committed.

    What is on the disk is what a copy of the file and of its log has while the server stands still.
    """
    count, file = scale(10), tmp_path / "store.db"
    with running(keys, tmp_path, [0], store_url=f"sqlite:///{file}?sync=full") as cluster:
        await cluster.start(0)
        async with talking(cluster, max(FEWEST, scale(PAIRS)), RATE) as crowd:
            for number in range(count):
                await anyio.sleep(PAUSE)
                cluster.freeze(0)
                saved = await anyio.to_thread.run_sync(_copied, file, tmp_path / f"disk-{number}")
                await cluster.kill(0)
                await anyio.to_thread.run_sync(_put_back, saved, file)
                await cluster.start(0)
            await cluster.ready()
            await crowd.settle()
            report("the power of the one node on SQLite cut, sync=full", count, outcome(crowd))
            check(crowd)
        await anyio.to_thread.run_sync(cluster.close)


def _copied(file: Path, folder: Path) -> Path:
    folder.mkdir()
    for each in (file, file.with_name(f"{file.name}-wal")):
        shutil.copy(each, folder)
    return folder


def _put_back(folder: Path, file: Path) -> None:
    for each in file.parent.glob(f"{file.name}*"):
        each.unlink()
    for each in folder.iterdir():
        shutil.copy(each, file.parent)
