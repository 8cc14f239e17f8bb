"""What attackers send, by kind: bytes made beforehand, to be sent again and again."""

import json
from collections.abc import Iterator

from tests.hardening.hostile import BINARY, CONTINUATION, FIN, PING, PONG, TEXT, frame

BLOB_BYTES = 65_536
STRANGERS_LIMIT = 65_536
MEBIBYTE = 1_048_576
MASK = b"\x12\x34\x56\x78"


def many(wire: bytes) -> bytes:
    """Return it as often as fills a write."""
    return wire * max(1, BLOB_BYTES // len(wire))


def text(message: str | bytes) -> bytes:
    """Return it as a text frame."""
    return frame(FIN | TEXT, message.encode() if isinstance(message, str) else message, MASK)


def event(name: str, **data: object) -> bytes:
    """Return an event as a text frame."""
    return text(json.dumps({"event": name, "data": data}))


def fragments(size: int, whole: int = 60_000) -> bytes:
    """Return a message in fragments of this size."""
    count = max(3, whole // max(1, size))
    middle = frame(CONTINUATION, b" " * size, MASK) * (count - 2)
    return frame(TEXT, b" " * size, MASK) + middle + frame(FIN | CONTINUATION, b" " * size, MASK)


def padded(head: bytes, unit: bytes, tail: bytes, size: int) -> bytes:
    """Return a message of this size."""
    return head + unit * ((size - len(head) - len(tail)) // len(unit)) + tail


def surrogates(size: int, head: bytes = b'{"event":"PING","data":{"a":') -> bytes:
    """Return a message with one escaped half of a pair, and nested arrays."""
    return padded(head + b'["\\ud83d",', b"[[]],", b"0]}}", size)


def strangers(bad_token: str) -> Iterator[tuple[str, bytes]]:
    """Return what strangers send: a name, and the bytes."""
    for size in (0, 16, 125):
        yield f"pings of {size}", many(frame(FIN | PING, b"x" * size, MASK))
        yield f"pongs of {size}", many(frame(FIN | PONG, b"x" * size, MASK))
    for size in (0, 1, 16, 1000):
        yield f"fragments of {size}", many(fragments(size))
    yield (
        "fragments of 16, pings between",
        many(
            frame(TEXT, b"", MASK) + (frame(CONTINUATION, b" " * 16, MASK) + frame(FIN | PING, b"x" * 16, MASK)) * 1000
        ),
    )
    for size in (2, 16, 1000, STRANGERS_LIMIT):
        yield f"binary of {size:,}", many(frame(FIN | BINARY, b" " * size, MASK))
        yield f"texts of {size:,}", many(text(b" " * size))
    yield "events of no name", many(event("NO_SUCH_EVENT"))
    yield "events out of turn", many(event("DISCOVER_PEERS", query="x"))
    yield "deep nesting", many(text(b'{"event":' + b"[" * 32_000 + b"]" * 32_000 + b"}"))
    yield "escaped surrogates, 200", many(text(surrogates(200)))
    yield "escaped surrogates, 65,536", many(text(surrogates(STRANGERS_LIMIT)))
    yield "nothing but surrogates, 65,536", many(text(padded(b'{"event":"', b"\\ud83d", b'"}', STRANGERS_LIMIT)))
    yield "not JSON, 65,536", many(text(padded(b'{"event":"', b"\\n", b'",}', STRANGERS_LIMIT)))
    yield "bad UTF-8", many(text(b'{"event":"\xff"}'))
    yield "a reserved bit", many(b"\xf1" + text("{}")[1:])
    yield "too long", many(frame(FIN | TEXT, b" " * (STRANGERS_LIMIT + 1), MASK))
    yield "close frames", many(frame(0x88, b"\x03\xe8", MASK))
    yield "AUTH without a token", many(event("AUTH"))
    yield "AUTH with a long token", many(event("AUTH", token="a" * 60_000))
    yield "AUTH with a forged token", many(event("AUTH", token=bad_token))


LARGEST_METADATA = {
    "os": "o" * 256,
    "timezone": "t" * 256,
    "ideVersion": "i" * 256,
    "extensionVersion": "e" * 256,
    "publicKey": "k" * 4096,
    "capabilities": ["c" * 60 for _ in range(12)],
}
"""As much as `PEER_REGISTER` takes: 2 KiB as encoded, and a key of 4 KiB."""


def one_token(token: str, session: str, big: str, target: str) -> Iterator[tuple[str, bytes, float]]:
    """Return what somebody with one token sends: a name, the bytes, and how many times a second.

    What is sent 0 times a second is sent as fast as it is taken.
    """
    paced = 195.0
    yield "PING", event("PING"), paced
    yield "DISCOVER_PEERS", event("DISCOVER_PEERS"), paced
    yield "DISCOVER_PEERS, one after the other", many(event("DISCOVER_PEERS")), 0
    yield "DISCOVER_PEERS with a query that nobody matches", event("DISCOVER_PEERS", query="q" * 128), paced
    yield "DISCOVER_PEERS from a cursor near the end", event("DISCOVER_PEERS", cursor="7fffff", limit=1), paced
    yield "PEER_REGISTER with the largest profile", event("PEER_REGISTER", metadata=LARGEST_METADATA), paced
    yield (
        "hiding and showing",
        event("PEER_REGISTER", visibility="hidden", metadata=LARGEST_METADATA)
        + event("PEER_REGISTER", visibility="everyone", metadata=LARGEST_METADATA),
        paced / 2,
    )
    yield "PEER_STATUS to and fro", event("PEER_STATUS", status="away") + event("PEER_STATUS", status="busy"), paced / 2
    yield "SESSION_LIST", event("SESSION_LIST"), paced
    yield (
        "SESSION_ROLE to and fro, 30 in the session",
        event("SESSION_ROLE", sessionId=big, targetId=target, role="observer")
        + event("SESSION_ROLE", sessionId=big, targetId=target, role="guest"),
        paced / 2,
    )
    yield "SEND_MESSAGE to 30", event("SEND_MESSAGE", sessionId=big, content="x", messageId="m"), paced
    yield "SEND_MESSAGE of 40 KB to 30", event("SEND_MESSAGE", sessionId=big, content="x" * 40_000), paced
    yield "SEND_MESSAGE of 1 MiB to 30", event("SEND_MESSAGE", sessionId=big, content="x" * (MEBIBYTE - 500)), 0
    head = b'{"event":"SEND_MESSAGE","data":{"sessionId":"%b","content":' % session.encode()
    yield "SEND_MESSAGE of 1 MiB, a surrogate and nested arrays", text(surrogates(MEBIBYTE - 100, head)), 0
    yield "SEND_MESSAGE of 40 KB, a surrogate and nested arrays", text(surrogates(40_000, head)), paced
    yield "not JSON, 1 MiB", text(padded(b'{"event":"', b"\\ud83d", b'",}', MEBIBYTE)), 0
    yield "unknown event with a ref", text('{"event":"X","ref":"' + "r" * 200 + '"}'), paced
    yield (
        "members twice, 40 KB",
        text(padded(b'{"event":"PING","data":{', b'"offset":1,', b'"offset":2}}', 40_000)),
        paced,
    )
    asks = event("CONNECTION_REQUEST", targetId=target)
    yield "CONNECTION_REQUEST", asks, paced
    yield "AUTH again", event("AUTH", token=token), paced
    yield "pings of 125", many(frame(FIN | PING, b"x" * 125, MASK)), 0
    yield "fragments of 16", many(fragments(16)), 0
    yield "binary of 16", many(frame(FIN | BINARY, b" " * 16, MASK)), 0
    yield "PING as fast as may be", many(event("PING")), 0


Told = tuple[str, dict[str, object], bytes, float]
"""What makes the server tell many: a name, the profile to begin with, the bytes, and how many times a second."""

PACES = (0.5, 2, 97)


def told_to_all() -> Iterator[Told]:
    """Return what everybody in the org is told."""
    large: dict[str, object] = {"metadata": LARGEST_METADATA}
    flap = event("PEER_STATUS", status="away") + event("PEER_STATUS", status="busy")
    profiles = [
        event("PEER_REGISTER", displayName=name, metadata={**LARGEST_METADATA, "os": name * 256}) for name in "ab"
    ]
    names = [event("PEER_REGISTER", displayName=name * 128) for name in "ab"]
    hide = event("PEER_REGISTER", visibility="hidden") + event("PEER_REGISTER", visibility="everyone", **large)
    for pace in PACES:
        yield f"status to and fro, the largest profile, {pace:g} pairs a second", large, flap, pace
        yield f"status to and fro, {pace:g} pairs a second", {}, flap, pace
        yield f"two largest profiles in turn, {pace:g} pairs a second", {}, b"".join(profiles), pace
        yield f"two long names in turn, {pace:g} pairs a second", {}, b"".join(names), pace
        yield f"hiding and showing the largest profile, {pace:g} pairs a second", large, hide, pace


def handing_over(session: str, target: str, pace: float) -> tuple[str, bytes]:
    """Return what hands a session over; a resident hands it back."""
    handover = event("SESSION_HANDOVER", sessionId=session, targetId=target)
    return f"handing over and back, 30 large profiles, {pace:g} a second", handover


def changing_roles(session: str, target: str, pace: float) -> tuple[str, bytes]:
    """Return what changes somebody's role to and fro."""
    roles = [event("SESSION_ROLE", sessionId=session, targetId=target, role=role) for role in ("observer", "guest")]
    return f"roles to and fro, 30 large profiles, {pace:g} pairs a second", b"".join(roles)
