"""Inputs for the search for the costliest one: messages, how they are framed, and what can be changed about them."""

import re
from collections.abc import Callable
from random import Random

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from app.tables import load_routes
from tests.hardening.hostile import BINARY, CONTINUATION, FIN, PING, PONG, TEXT, frame

MAX_FRAMES = 4
MAX_PARTS = 2000
TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|\btrue\b|\bfalse\b|\bnull\b')
NAME = re.compile(rb'"event" ?: ?"(\w+)"')
LITERALS = (
    *(
        b'"\\ud83d"',
        b'"\\ud83d\\ude00"',
        b'"\\u0000"',
        b'"\\u001f"',
        b'"\\\\"',
        b'"\xc3\xa9"',
        b'"\xf0\x9f\x98\x80"',
        b'""',
    ),
    *(b"null", b"true", b"0", b"-1", b"1", b"1e308", b"1e999", b"0.1", b"9" * 400, b"1." + b"0" * 400 + b"1"),
    *(b"[]", b"{}", b'{"a":1}', b'{"\\ud83d":1}', b'"online"', b'"away"', b'"busy"', b'"guest"', b'"observer"'),
    *(b'"hidden"', b'"everyone"', b'"vim"', b'"Peer number"', b'"a"', b'"1"', b'"ffffffffffffff"', b'"7d0"'),
    *(b'"s-1"', b'"s-5"', b'"s-89"', b'"s-300"', b'"s-nobody"', b'"attacker"', b'["s-1","s-2","s-3"]'),
    *(b'"ses_big0"', b'"ses_big1"', b'"ses_pair3"', b'"ses_none"'),
    *(b'"req_in0"', b'"req_in3"', b'"req_out0"', b'"req_out5"', b'"req_none"'),
)
KEYS = (b"ref", b"data", b"event", b"x", b"\\ud83d", b"")
PADDING = (b" ", b"\n", b"x", b"\\u0001", b"\\ud83d", b"\\\\", b"\\n", b"\xc3\xa9", b"\xef\xac\x83", b"[", b"1")
BY_FIELD: dict[str, bytes] = {
    "sessionId": b'"ses_big0"',
    "targetId": b'"s-5"',
    "requestId": b'"req_in0"',
    "content": b'{"a":"b"}',
    "to": b'["s-1","s-2"]',
    "offset": b"0",
    "limit": b"1000",
    "cursor": b'"1"',
    "lanOnly": b"true",
    "accepted": b"true",
    "status": b'"away"',
    "role": b'"guest"',
    "ide": b'"vim"',
    "visibility": b'"hidden"',
    "metadata": b'{"os":"x","publicKey":"k","capabilities":["a","b"]}',
    "capabilities": b'["acks","sessions"]',
    "client": b'{"name":"x","version":"1"}',
    "resume": b'{"token":"t","offset":1}',
}


class Shape(Struct, frozen=True):
    """How a message goes over the wire: as text or binary, in fragments of so many bytes, as a control frame."""

    first: int = FIN | TEXT
    fragment: int = 0


class Message(Struct, frozen=True):
    """One message, and how it is framed."""

    text: bytes
    shape: Shape = Shape()

    @property
    def wire(self) -> bytes:
        """The frames as bytes."""
        first, size = self.shape.first, self.part
        if first in {FIN | PING, FIN | PONG}:
            return frame(first, self.text[:125])
        if not size or len(self.text) <= size:
            return frame(first, self.text)
        parts = [self.text[start : start + size] for start in range(0, len(self.text), size)]
        middle = b"".join(frame(CONTINUATION, part) for part in parts[1:-1])
        return frame(first & ~FIN, parts[0]) + middle + frame(FIN | CONTINUATION, parts[-1])

    @property
    def frames(self) -> int:
        """How many frames it has."""
        if not self.part or self.shape.first in {FIN | PING, FIN | PONG}:
            return 1
        return max(1, -(-len(self.text) // self.part))

    @property
    def part(self) -> int:
        """How many bytes each fragment has; 0 if there are none."""
        return max(self.shape.fragment, len(self.text) // MAX_PARTS) if self.shape.fragment else 0


Input = tuple[Message, ...]


class Mutator:
    """Makes inputs of one class from others, or from events that would do."""

    def __init__(self, random: Random, seeds: list[bytes], max_bytes: int) -> None:
        self._random = random
        self._seeds = seeds
        self._max_bytes = max_bytes
        self._changes = (
            (self._replace, 5),
            (self._lengthen, 5),
            (self._insert, 4),
            (self._repeat, 4),
            (self._nest, 2),
            (self._fill, 3),
            (self._bytes, 1),
            (self._rename, 1),
        )

    def seed(self) -> Input:
        """Return an event that would do."""
        return (Message(self._random.choice(self._seeds)),)

    def mutate(self, input_: Input) -> Input:
        """Return an input a little different."""
        messages = list(input_)
        for _ in range(self._random.choice((1, 1, 1, 2, 3))):
            at = self._random.randrange(len(messages))
            dice = self._random.random()
            if dice < 0.1 and len(messages) < MAX_FRAMES:
                messages.insert(at, self._random.choice([messages[at], *self.seed()]))
            elif dice < 0.15 and len(messages) > 1:
                del messages[at]
            elif dice < 0.22:
                messages[at] = replace(messages[at], shape=self._shape())
            elif dice < 0.27:
                messages[at] = self.seed()[0]
            else:
                text = self._change(messages[at].text)
                messages[at] = replace(messages[at], text=text[: self._max_bytes - 20])
        return tuple(messages)

    def _shape(self) -> Shape:
        first = self._random.choice((TEXT, TEXT, TEXT, TEXT, BINARY, PING, PONG))
        return Shape(FIN | first, self._random.choice((0, 0, 0, 0, 1, 16, 1000)))

    def _change(self, text: bytes) -> bytes:
        changes, weights = zip(*self._changes, strict=True)
        change: Callable[[bytes], bytes] = self._random.choices(changes, weights)[0]
        return change(text)

    def _token(self, text: bytes, *, is_string: bool = False) -> tuple[int, int] | None:
        spots = [match.span() for match in TOKEN.finditer(text[:20_000])]
        if is_string:
            spots = [spot for spot in spots if text[spot[0]] == ord('"')]
        return self._random.choice(spots) if spots else None

    def _replace(self, text: bytes) -> bytes:
        spot = self._token(text)
        return text if spot is None else text[: spot[0]] + self._random.choice(LITERALS) + text[spot[1] :]

    def _lengthen(self, text: bytes) -> bytes:
        """Put something into a string, many times, mostly as often as it just fits a limit of its field."""
        spot = self._token(text, is_string=True)
        if spot is None:
            return text
        times = self._random.choice((1, 8, 64, 125, 250, 1000, 4000, 30_000, 500_000))
        start = spot[0] + 1
        return text[:start] + self._random.choice(PADDING) * times + text[start:]

    def _insert(self, text: bytes) -> bytes:
        """Add a member to an object, maybe one that is there already."""
        spots = [match.start() for match in re.finditer(rb"\{", text[:20_000])]
        if not spots:
            return text
        at = self._random.choice(spots) + 1
        name = self._random.choice([*KEYS, *(name.encode() for name in BY_FIELD)])
        comma = b"" if text[at : at + 1] == b"}" else b","
        value = BY_FIELD.get(name.decode(), b"") if self._random.random() < 0.5 else b""
        return text[:at] + b'"' + name + b'":' + (value or self._random.choice(LITERALS)) + comma + text[at:]

    def _repeat(self, text: bytes) -> bytes:
        """Repeat what stands between two commas, or a slice of a few bytes."""
        times = self._random.choice((2, 8, 64, 1000, 30_000))
        commas = [match.start() for match in re.finditer(rb",", text[:20_000])]
        if len(commas) > 1 and self._random.random() < 0.7:
            at = self._random.randrange(len(commas) - 1)
            start, end = commas[at], commas[at + 1]
        else:
            start = self._random.randrange(len(text) or 1)
            end = start + self._random.randint(1, 12)
        piece = text[start:end]
        times = min(times, self._max_bytes // max(1, len(piece)))
        return text[:start] + piece * times + text[end:]

    def _nest(self, text: bytes) -> bytes:
        spot = self._token(text)
        if spot is None:
            return text
        depth = self._random.choice((1, 10, 100, 400, 900, 1100, 30_000))
        opening, closing = self._random.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"[[],", b"]")))
        return text[: spot[0]] + opening * depth + text[spot[0] : spot[1]] + closing * depth + text[spot[1] :]

    def _fill(self, text: bytes) -> bytes:
        """Make a list of a value, or of several."""
        spot = self._token(text)
        if spot is None:
            return text
        times = self._random.choice((2, 30, 64, 1000, 10_000, 100_000))
        value = text[spot[0] : spot[1]]
        times = min(times, self._max_bytes // (len(value) + 1))
        return text[: spot[0]] + b"[" + b",".join([value] * times) + b"]" + text[spot[1] :]

    def _bytes(self, text: bytes) -> bytes:
        if not text:
            return b"{}"
        at = self._random.randrange(len(text))
        match self._random.randrange(3):
            case 0:
                return text[:at]
            case 1:
                return text[:at] + text[at + 1 :]
            case _:
                return text[:at] + bytes([self._random.randrange(128)]) + text[at + 1 :]

    def _rename(self, text: bytes) -> bytes:
        other = NAME.search(self._random.choice(self._seeds))
        assert other
        return NAME.sub(b'"event":"' + other[1] + b'"', text)


def seeds(token: str) -> list[bytes]:
    """Return an event of each name, with all its fields and with the required ones only."""
    made = []
    for route in load_routes(()).values():
        fields = msgspec.structs.fields(route.message)
        values = {info.encode_name: _value(info.encode_name, token) for info in fields}
        needed = {info.encode_name: values[info.encode_name] for info in fields if info.required}
        made += [_event(route.event, values), _event(route.event, needed)]
    return list(dict.fromkeys(made))


def _value(name: str, token: str) -> bytes:
    return f'"{token}"'.encode() if name == "token" else BY_FIELD.get(name, b'"m"')


def _event(name: str, values: dict[str, bytes]) -> bytes:
    members = b",".join(b'"%b":%b' % (key.encode(), value) for key, value in values.items())
    return b'{"event":"%b","data":{%b}}' % (name.encode(), members)
