"""A flood in a process of its own: `python -m tests.hardening.flood URL BYTES TOKEN TOKEN`.

The first user sends to the second, who never reads, until what is kept for it has outgrown its bound, too; then to the
second anew, until so many bytes were sent. Writes how often that was.
"""

import sys

import anyio

from tests.hardening.crowd import Peer, pair

BODY = "x" * 500_000
RECEIVER = "never-reads"


async def main(url: str, total: int, sender: str, receiver: str) -> None:
    """Send."""
    ann = await Peer().connect(url)
    await ann.join(sender)
    sent = times = 0
    while sent < total:
        bob = await Peer().connect(url)
        await bob.join(receiver)
        session_id = await pair(ann, bob, RECEIVER)
        bob.stop_reading()
        ended = ann.expect("SESSION_ENDED")
        while not ended.done():
            ann.send("SEND_MESSAGE", sessionId=session_id, content=BODY)
            await ann.ask("PONG", "PING")
            sent += len(BODY)
        assert ended.result()["reason"] == "overflow"
        times += 1
        bob.cut()
    await ann.leave()
    sys.stdout.write(f"{times}\n")


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4])
