"""A flood for receivers that never read: `python -m tests.hardening.flood PORT BYTES`, the tokens on standard input.

A sender and a receiver make a session, the receiver stops reading, and the sender goes on until the session is over;
then the next receiver comes, until as many bytes were sent. Prints how many receivers there were.
"""

import sys

import anyio

from tests.hardening.crowd import Peer

BODY = "x" * 60_000
FRAMES_BETWEEN_LOOKS = 8


async def main(port: int, total: int, ann_token: str, bob_tokens: list[str]) -> None:
    """Send all of it."""
    url = f"ws://127.0.0.1:{port}/ws"
    ann = await Peer().connect(url)
    await ann.join(ann_token)
    hung: list[Peer] = []
    sent = 0
    while sent < total:
        bob = await Peer().connect(url)
        target = await _join(bob, bob_tokens[len(hung) % len(bob_tokens)])
        session_id = await _pair(ann, bob, target)
        bob.stop_reading()
        hung.append(bob)
        over = ann.expect("SESSION_ENDED")
        while sent < total and not over.done():
            for _ in range(FRAMES_BETWEEN_LOOKS):
                ann.send("SEND_MESSAGE", sessionId=session_id, content=BODY)
                sent += len(BODY)
            await ann.ask("PONG", "PING")
    sys.stdout.write(f"{len(hung)}\n")
    sys.stdout.flush()
    await anyio.sleep_forever()


async def _join(peer: Peer, token: str) -> str:
    await peer.ask("AUTH_SUCCESS", "AUTH", token=token)
    user_id: str = (await peer.ask("PEER_REGISTERED", "PEER_REGISTER"))["id"]
    return user_id


async def _pair(ann: Peer, bob: Peer, target: str) -> str:
    asked, accepted = bob.expect("CONNECTION_REQUEST_RECEIVED"), ann.expect("CONNECTION_ACCEPTED")
    ann.send("CONNECTION_REQUEST", targetId=target)
    bob.send("CONNECTION_RESPONSE", requestId=(await bob.received(asked))["requestId"], accepted=True)
    session_id: str = (await ann.received(accepted))["sessionId"]
    return session_id


if __name__ == "__main__":
    anyio.run(main, int(sys.argv[1]), int(sys.argv[2]), sys.stdin.readline().strip(), sys.stdin.readline().split())
