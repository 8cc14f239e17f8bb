"""One node on a SQLite file, killed or replaced again and again under load.

Nothing acknowledged is lost, nothing comes twice or out of order, and nobody starts over.
"""

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
