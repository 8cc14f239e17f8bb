"""Hostile frames, made up by dice: real ones gone wrong, and what is no frame at all."""

import json
import struct
from collections.abc import Callable
from random import Random
from typing import Any

from msgspec import Struct

from tests.support.frames import BINARY, CLOSE, CONTINUATION, MASK, PING, PONG, TEXT, head, masked

REAL: dict[str, dict[str, Any]] = {
    "AUTH": {"token": "TOKEN", "capabilities": ["resume"], "resume": {"token": "x", "offset": 1}},
    "PING": {"offset": 1},
    "PEER_REGISTER": {"displayName": "Eve", "ide": "vim", "role": "guest", "metadata": {"os": "x", "capabilities": []}},
    "PEER_STATUS": {"status": "busy"},
    "DISCOVER_PEERS": {"role": "guest", "ide": "vim", "lanOnly": True, "query": "e", "limit": 2, "cursor": "1f"},
    "CONNECTION_REQUEST": {"targetId": "FRIEND"},
    "CONNECTION_RESPONSE": {"requestId": "req_x", "accepted": True},
    "CONNECTION_CANCEL": {"requestId": "req_x"},
    "SEND_MESSAGE": {"sessionId": "SESSION", "content": {"a": [1]}, "type": "t", "to": ["FRIEND"], "messageId": "m"},
    "SESSION_INVITE": {"sessionId": "SESSION", "targetId": "FRIEND", "role": "observer"},
    "SESSION_LEAVE": {"sessionId": "SESSION"},
    "SESSION_KICK": {"sessionId": "SESSION", "targetId": "FRIEND"},
    "SESSION_ROLE": {"sessionId": "SESSION", "targetId": "FRIEND", "role": "guest"},
    "SESSION_HANDOVER": {"sessionId": "SESSION", "targetId": "FRIEND"},
    "SESSION_END": {"sessionId": "SESSION"},
    "SESSION_LIST": {},
}
RAW = {
    '"@huge"': "9" * 4000,
    '"@endless"': "1e999",
    '"@minus"': "-0",
    '"@nan"': "NaN",
    '"@infinity"': "-Infinity",
    '"@half"': '"\\ud83d"',
    '"@swapped"': '"\\ude00\\ud83d"',
    '"@deep"': "[" * 100 + "]" * 100,
    '"@abyss"': "[" * 5000 + "]" * 5000,
    '"@objects"': '{"a":' * 1500 + "1" + "}" * 1500,
    '"@open"': "[" * 3000,
    '"@twice"': '{"a":1,"a":2}',
}
WRONG: list[Any] = [
    *(None, True, False, 0, -1, 0.5, 2**31, 2**63, 2**64, -(2**63) - 1, 10**40, 1e308),
    *("", " ", "\0", "\ufeff", "x" * 257, "x" * 5000, "\u202eabc", "😀" * 100, "__proto__", "../../etc/passwd"),
    *([], [[]], [None], ["x"] * 65, {}, {"": {}}, {"data": None}, {"event": "AUTH"}),
    *(json.loads(key) for key in RAW),
]
NO_OBJECTS = [
    "",
    " ",
    "null",
    "1",
    '"AUTH"',
    "[]",
    '["AUTH",{}]',
    "{",
    "}",
    "{}",
    '{"event":}',
    "\0",
    "{'event':'PING'}",
    "\ufeff{}",
]
CLOSE_CODES = [0, 999, 1000, 1001, 1003, 1004, 1005, 1006, 1007, 1011, 1015, 1016, 2999, 3000, 4000, 4999, 5000, 65_535]


class Attack(Struct, frozen=True):
    """Bytes to send; `message` is the JSON in them if they are one message, `is_torn` whether there is more to come."""

    kind: str
    data: bytes
    message: bytes = b""
    is_torn: bool = False


class Dice:
    """Throws attacks; `names` are what TOKEN, FRIEND and SESSION stand for."""

    def __init__(self, seed: str, names: dict[str, str]) -> None:
        self._random = Random(seed)
        self._names = names

    def attack(self) -> Attack:
        """Return the next."""
        kinds: list[Callable[[], Attack]] = [self._event, self._text, self._text, self._bytes, self._wire]
        return self._random.choices(kinds, [5, 2, 1, 1, 2])[0]()

    def _message(self) -> bytes:
        """Return a real frame with some of it gone wrong."""
        event = self._random.choice(list(REAL))
        frame: dict[str, Any] = {"event": event, "data": json.loads(json.dumps(REAL[event]))}
        if self._random.random() < 0.5:
            frame["ref"] = self._random.choice(["r", 7, *WRONG])
        for _ in range(self._random.choice([0, 1, 1, 1, 2, 3])):
            self._spoil(frame)
        text = json.dumps(frame, ensure_ascii=self._random.random() < 0.5)
        for name, meaning in (RAW | self._names).items():
            text = text.replace(name, meaning)
        return text.encode()

    def _spoil(self, frame: dict[str, Any]) -> None:
        """Change, add or remove a member, somewhere."""
        inside = frame
        while (inner := [value for value in inside.values() if isinstance(value, dict) and value]) and (
            self._random.random() < 0.8
        ):
            inside = self._random.choice(inner)
        name = self._random.choice(list(inside))
        what = self._random.randrange(4)
        if what == 0:
            del inside[name]
        elif what == 1:
            inside[self._random.choice(["", "event", "data", "constructor", "x" * 300])] = self._random.choice(WRONG)
        else:
            inside[name] = self._random.choice(WRONG)
        if not frame:
            frame["event"] = "AUTH"

    def _event(self) -> Attack:
        message = self._message()
        opcode = self._random.choice([TEXT, TEXT, TEXT, BINARY])
        return Attack("event", masked(opcode, message), message)

    def _text(self) -> Attack:
        """Cut, repeat or interleave JSON, or send none."""
        message = self._message().decode()
        place = self._random.randrange(len(message) + 1)
        text = self._random.choice(
            [
                message[:place],
                message[place:],
                message + message,
                message[:place] + self._random.choice(["\0", ",", '"', "\\", "{", "\ud7ff", "/*"]) + message[place:],
                self._random.choice(NO_OBJECTS),
            ]
        )
        return Attack("text", masked(TEXT, text.encode()), text.encode())

    def _bytes(self) -> Attack:
        """Put bytes where there is text: some are not UTF-8."""
        message = bytearray(self._message())
        place = self._random.randrange(len(message))
        message[place : place + self._random.randrange(3)] = self._random.choice(
            [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", self._random.randbytes(4)]
        )
        return Attack("bytes", masked(self._random.choice([TEXT, BINARY]), bytes(message)), bytes(message))

    def _wire(self) -> Attack:
        """Break RFC 6455, or go to its limits."""
        made = self._random.choice(
            [
                self._fragments,
                self._control,
                self._close,
                self._broken_control,
                self._broken_head,
                self._torn,
                self._noise,
            ]
        )
        return made()

    def _fragments(self) -> Attack:
        message = self._message()
        cuts = sorted(self._random.randrange(len(message) + 1) for _ in range(self._random.randrange(1, 6)))
        pieces = [message[start:end] for start, end in zip([0, *cuts], [*cuts, len(message)], strict=True)]
        frames = [masked(CONTINUATION if at else TEXT, piece, fin=at == len(cuts)) for at, piece in enumerate(pieces)]
        between = self._random.choice([b"", masked(PING, b"?"), masked(PONG, b"")])
        return Attack("fragments", between.join(frames), message)

    def _control(self) -> Attack:
        payload = self._random.randbytes(self._random.randrange(126))
        return Attack("control", masked(self._random.choice([PING, PONG]), payload))

    def _close(self) -> Attack:
        code = struct.pack("!H", self._random.choice(CLOSE_CODES))
        payload = self._random.choice([b"", b"\x03", code, code + b"bye", code + b"\xff", code + b"x" * 123])
        return Attack("close", masked(CLOSE, payload))

    def _broken_control(self) -> Attack:
        opcode = self._random.choice([CLOSE, PING, PONG])
        length, is_fin = self._random.choice([(126, True), (5000, True), (5, False), (0, False)])
        return Attack("broken control", masked(opcode, b"\0" * length, fin=is_fin))

    def _broken_head(self) -> Attack:
        message = self._message()
        made = self._random.choice(
            [
                masked(self._random.choice([3, 4, 5, 6, 7, 11, 12, 13, 14, 15]), message),
                masked(TEXT, message, reserved=self._random.randrange(1, 8)),
                masked(CONTINUATION, message, fin=self._random.random() < 0.5),
                masked(TEXT, message[:5], fin=False) + masked(TEXT, message),
                bytes((0x81, 5)) + b"plain",
                bytes((0x81, 0xFE, 0, 5)) + MASK + b"short",
                bytes((0x81, 0xFF)) + struct.pack("!Q", 5) + MASK + b"short",
                bytes((0x81, 0xFF)) + struct.pack("!Q", 2**63) + MASK,
                head(self._random.choice([TEXT, BINARY]), self._random.choice([2**21, 2**40, 2**63 - 1])),
            ]
        )
        return Attack("broken head", made)

    def _torn(self) -> Attack:
        whole = masked(TEXT, self._message())
        return Attack("torn", whole[: self._random.randrange(1, len(whole))], is_torn=True)

    def _noise(self) -> Attack:
        return Attack("noise", bytes((0x70 | self._random.randrange(16),)) + self._random.randbytes(60))
