"""Records as they are written."""

import os
import subprocess
import sys

CODE = """
from schemas.peers import Profile
from stores.model import Peer, User
from stores.redis.rows import row
spoken = frozenset({"resume", "acks", "sessions", "notices", "ref"})
print(row(Peer(User("ann"), Profile("x", "guest", "vim"), "online", b"a", spoken=spoken)))
"""


def test_equal_records_are_written_alike() -> None:
    """By every process, whatever order it has for what has none."""
    rows = set()
    for seed in ("1", "2", "3", "4"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        ran = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True)
        rows.add(ran.stdout)
    assert len(rows) == 1
