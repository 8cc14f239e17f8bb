"""Hostile input, made by a seeded generator: what goes over the wire, and of which kind it is."""

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgspec

from app.tables import load_routes
from handlers.table import Route

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FIN, MASKED = 0x80, 0x80
LIMIT = 65_536
ENDS_THE_SESSION = {"SESSION_END", "SESSION_LEAVE"}
HARMLESS = {"SESSION_KICK": {"targetId": "nobody"}, "SESSION_HANDOVER": {"targetId": "nobody"}}
"""What keeps an attacker in its state: data of events that would cost it its partner or its role."""
ORDINARY: dict[str, Any] = {
    "capabilities": ["acks", "sessions", "notices"],
    "client": {"name": "x"},
    "offset": 1,
    "displayName": "A",
    "ide": "vim",
    "role": "guest",
    "metadata": {"os": "x", "capabilities": ["a"]},
    "visibility": "everyone",
    "status": "busy",
    "query": "a",
    "limit": 3,
    "lanOnly": False,
    "cursor": "x",
    "content": {"a": 1},
    "messageId": "m",
}
"""Values of fields, by their names on the wire."""
NAMES = ("", "constructor", "__proto__", "\ud83d", "é" * 50, "\0", "event", "data", "ref")
BAD_UTF8 = (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\x80", b"\xf0\x9f\x98")
LITERALS = (
    "NaN",
    "-Infinity",
    "1e999",
    "-0",
    "0e-400",
    "1" * 5000,
    "-" + "9" * 40,
    "1." + "0" * 3000 + "1",
    "01",
    "+1",
)
NO_JSON = (
    "",
    " ",
    "\ufeff{}",
    "nul",
    "{",
    '{"event"',
    '"',
    "\\",
    "[1,]",
    "{'event':1}",
    '{"event":"PING",}',
    "{}{}",
    "//",
)


@dataclass
class Known:
    """What a hostile client knows: it authenticated, has a peer that it talks with, and sees ids."""

    token: str
    foreign_token: str
    partner: str
    session_id: str = "ses_none"
    request_id: str = "req_none"
    events: dict[str, dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        self.learn(self.session_id)

    def learn(self, session_id: str) -> None:
        """Take note of a session, and of events that would do in it."""
        known: dict[str, Any] = {
            **ORDINARY,
            "token": self.token,
            "targetId": self.partner,
            "to": [self.partner],
            "sessionId": session_id,
            "requestId": self.request_id,
        }
        self.events = {
            event: {**_ordinary(route, known), **HARMLESS.get(event, {})}
            for event, route in load_routes(()).items()
            if event not in ENDS_THE_SESSION
        }


def _ordinary(route: Route, known: dict[str, Any]) -> dict[str, Any]:
    """Return data that would do for an event: what is known of its fields, and what its example has for the others."""
    names = [info.encode_name for info in msgspec.structs.fields(route.message)]
    return {**(route.message.example or {}), **{name: known[name] for name in names if name in known}}


@dataclass(frozen=True)
class Attack:
    """Bytes for the wire. `text` is the message if it is one whole text, which then must have an answer."""

    kind: str
    wire: bytes
    text: bytes | None = None


class Hostile:
    """Makes attacks; the same seed makes the same ones."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._kinds: list[tuple[str, Callable[[Known], Attack], int]] = [
            ("real event", self._real, 4),
            ("wrong types", self._wrong_types, 20),
            ("changed bytes", self._changed_bytes, 14),
            ("deep nesting", self._deep, 8),
            ("huge or odd numbers", self._numbers, 8),
            ("surrogates", self._surrogates, 8),
            ("bad UTF-8", self._bad_utf8, 4),
            ("not JSON", self._not_json, 8),
            ("binary", self._binary, 6),
            ("fragments", self._fragments, 8),
            ("control frames", self._control, 5),
            ("broken framing", self._broken, 4),
            ("too long", self._too_long, 1),
            ("torn", self._torn, 2),
        ]

    def attack(self, known: Known) -> Attack:
        """Return the next attack."""
        _, make, _ = self._random.choices(self._kinds, [weight for *_, weight in self._kinds])[0]
        return make(known)

    def _mask(self) -> bytes:
        return self._random.randbytes(4)

    def _text(self, kind: str, message: bytes) -> Attack:
        return Attack(kind, frame(FIN | TEXT, message, self._mask()), message)

    def _event(self, known: Known) -> tuple[str, dict[str, Any]]:
        name = self._random.choice(list(known.events))
        return name, dict(known.events[name])

    def _message(self, event: object, data: object) -> bytes:
        message = {"event": event, "data": data}
        if self._random.random() < 0.5:
            message["ref"] = self._random.choice((1, "r", None, "é", -(2**70), 1.5, [], "x" * 300))
        return json.dumps(message).encode()

    def _real(self, known: Known) -> Attack:
        return self._text("real event", self._message(*self._event(known)))

    def _wrong_types(self, known: Known) -> Attack:
        name, data = self._event(known)
        for _ in range(self._random.randint(1, 3)):
            key = self._random.choice([*data, *NAMES]) if self._random.random() < 0.9 else self._random.choice(NAMES)
            data[key] = self._value(3)
        event: object = name if self._random.random() < 0.9 else self._value(2)
        return self._text("wrong types", self._message(event, data if self._random.random() < 0.9 else self._value(3)))

    def _value(self, depth: int) -> object:
        random = self._random
        leaves = (None, True, False, 0, -1, 2**64, 10**30, 0.5, "", "\0", "x" * 257, "\ud83d", "2026-11-24", "online")
        if depth == 0 or random.random() < 0.6:
            return random.choice(leaves)
        if random.random() < 0.5:
            return [self._value(depth - 1) for _ in range(random.randint(0, 4))]
        return {
            random.choice(NAMES) + str(random.randint(0, 3)): self._value(depth - 1)
            for _ in range(random.randint(0, 4))
        }

    def _changed_bytes(self, known: Known) -> Attack:
        message = bytearray(self._message(*self._event(known)))
        for _ in range(self._random.randint(1, 4)):
            at = self._random.randrange(len(message))
            piece = message[at : at + self._random.randint(1, 9)]
            match self._random.randrange(4):
                case 0:
                    message[at] = self._random.randrange(128)
                case 1:
                    message[at:at] = piece * self._random.randint(1, 5)
                case 2 if len(piece) < len(message):
                    del message[at : at + len(piece)]
                case _:
                    message[at] ^= 1 << self._random.randrange(7)
        return self._text("changed bytes", bytes(message))

    def _literal(self, known: Known, literal: str) -> bytes:
        """Return a message that has this text in the place of a value, of all data, or of the whole."""
        name, data = self._event(known)
        place = self._random.choice([*data, "extra", "data", "whole", "ref"])
        if place == "whole":
            return literal.encode(errors="surrogatepass")
        message: dict[str, Any] = {"event": name, "data": {**data, place: "@@"}}
        if place in {"data", "ref"}:
            message = {"event": name, "data": data, place: "@@"}
        return json.dumps(message).replace('"@@"', literal).encode(errors="surrogatepass")

    def _deep(self, known: Known) -> Attack:
        depth = self._random.choice((2, 50, 200, 500, 1000, 1100, 5000, 20_000))
        opening, closing = self._random.choice((("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")))
        depth = min(depth, 30_000 // len(opening))
        inner = self._random.choice(("", "1", '"é"')) if opening == "[" else "1"
        end = closing * self._random.choice((depth, depth, depth, depth - 1, 0))
        return self._text("deep nesting", self._literal(known, opening * depth + inner + end))

    def _numbers(self, known: Known) -> Attack:
        return self._text("huge or odd numbers", self._literal(known, self._random.choice(LITERALS)))

    def _surrogates(self, known: Known) -> Attack:
        escape = self._random.choice(("\\ud83d", "\\ude00", "\\ude00\\ud83d", "\\ud83dx", "\\uD800\\uD800", "\\ud83"))
        literal = self._random.choice((f'"{escape}"', f'{{"{escape}":1}}', f'["{escape}",{{"a":"{escape}"}}]'))
        message = self._literal(known, literal)
        if self._random.random() < 0.2:
            message = message.replace(b'"event": "', b'"event": "' + escape.encode())
        return self._text("surrogates", message)

    def _bad_utf8(self, known: Known) -> Attack:
        message = bytearray(self._message(*self._event(known)))
        at = self._random.randrange(len(message) + 1)
        message[at:at] = self._random.choice(BAD_UTF8)
        opcode = self._random.choice((TEXT, BINARY))
        return Attack("bad UTF-8", frame(FIN | opcode, bytes(message), self._mask()))

    def _not_json(self, known: Known) -> Attack:
        if self._random.random() < 0.5:
            return self._text("not JSON", self._random.choice(NO_JSON).encode())
        message = self._message(*self._event(known))
        return self._text("not JSON", message[: self._random.randrange(len(message))])

    def _binary(self, known: Known) -> Attack:
        if self._random.random() < 0.1:
            return Attack(
                "binary", frame(FIN | BINARY, self._random.randbytes(self._random.randint(0, 300)), self._mask())
            )
        message = self._message(*self._event(known))
        return Attack("binary", frame(FIN | BINARY, message, self._mask()), message)

    def _fragments(self, known: Known) -> Attack:
        """A message in pieces, some empty, with pings between them, cut anywhere, also within a character."""
        name, data = self._event(known)
        message = json.dumps({"event": name, "data": {**data, "extra": "é😀"}}, ensure_ascii=False).encode()
        cuts = sorted(self._random.randint(0, len(message)) for _ in range(self._random.randint(1, 6)))
        wire, opcode = b"", self._random.choice((TEXT, BINARY))
        for start, end in zip([0, *cuts], [*cuts, len(message)], strict=True):
            is_last = end == len(message) and start == cuts[-1]
            wire += frame((FIN if is_last else 0) | opcode, message[start:end], self._mask())
            opcode = CONTINUATION
            if is_last:
                break
            if self._random.random() < 0.2:
                wire += frame(FIN | PING, b"between", self._mask())
        return Attack("fragments", wire, message)

    def _control(self, _known: Known) -> Attack:
        random = self._random
        payload = random.randbytes(random.choice((0, 1, 2, 50, 125)))
        code = random.choice((0, 999, 1000, 1001, 1004, 1005, 1006, 1012, 1015, 2999, 3000, 4002, 4999, 5000, 65535))
        choices = [
            frame(FIN | PING, payload, self._mask()),
            frame(FIN | PONG, payload, self._mask()),
            frame(FIN | PING, payload, self._mask()) * 20,
            frame(FIN | CLOSE, struct.pack("!H", code) + random.choice((b"", b"bye", b"\xff")), self._mask()),
            frame(FIN | CLOSE, random.choice((b"", b"\x03")), self._mask()),
        ]
        return Attack("control frames", random.choices(choices, (6, 6, 3, 2, 1))[0])

    def _broken(self, known: Known) -> Attack:
        """Frames that RFC 6455 forbids."""
        random, message = self._random, self._message(*self._event(known))
        text = frame(FIN | TEXT, message, self._mask())
        choices = [
            bytes([text[0] | random.choice((0x10, 0x20, 0x40, 0x70))]) + text[1:],
            bytes([FIN | random.choice((3, 4, 5, 6, 7, 0xB, 0xC, 0xF))]) + text[1:],
            bytes([text[0], text[1] & 0x7F]) + text[2:],
            frame(FIN | CONTINUATION, message, self._mask()),
            frame(TEXT, message, self._mask()) + text,
            frame(PING, b"", self._mask()),
            frame(FIN | random.choice((PING, CLOSE)), b"x" * 126, self._mask()),
            bytes([FIN | TEXT, MASKED | 126]) + struct.pack("!H", 5) + self._mask() + b"x" * 5,
            bytes([FIN | TEXT, MASKED | 127]) + struct.pack("!Q", 5) + self._mask() + b"x" * 5,
            bytes([FIN | TEXT, MASKED | 127]) + struct.pack("!Q", 2**63 + 5) + self._mask(),
        ]
        return Attack("broken framing", random.choice(choices))

    def _too_long(self, _known: Known) -> Attack:
        announced = self._random.choice((LIMIT + 1, 2**31, 2**32, 2**62, 2**63 - 1))
        if self._random.random() < 0.5:
            return Attack("too long", struct.pack("!BBQ", FIN | TEXT, MASKED | 127, announced) + self._mask())
        return Attack("too long", frame(TEXT, b" " * 40_000, self._mask()) + frame(FIN, b" " * 30_000, self._mask()))

    def _torn(self, known: Known) -> Attack:
        """Part of a frame, or any bytes; what completes it is no frame."""
        text = frame(FIN | TEXT, self._message(*self._event(known)), self._mask())
        part = text[: self._random.randrange(1, len(text))]
        if self._random.random() < 0.3:
            part = self._random.randbytes(self._random.randint(1, 200))
        return Attack("torn", part + b"\0" * (LIMIT + 200))


def frame(first: int, payload: bytes, mask: bytes = b"\0" * 4) -> bytes:
    """Return a frame of a client; `first` is its first byte."""
    length = len(payload)
    if length < 126:
        head = struct.pack("!BB", first, MASKED | length)
    elif length < 65_536:
        head = struct.pack("!BBH", first, MASKED | 126, length)
    else:
        head = struct.pack("!BBQ", first, MASKED | 127, length)
    key = int.from_bytes((mask * (length // 4 + 1))[:length], "big")
    return head + mask + (int.from_bytes(payload, "big") ^ key).to_bytes(length, "big")
