"""JSON of the wire (docs/protocol.md sections 1 and 4)."""

import json
from contextlib import suppress

import msgspec
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from app.contract.events import events_of
from app.contract.samples import sample
from app.contract.shapes import Shapes
from app.gateway.dispatch import Dispatcher
from app.tables import load_routes
from app.wire.codec import decode_data, decode_envelope, encode
from handlers.context import Context
from handlers.ports import State
from schemas.connections import ConnectionRejected
from schemas.errors import Error, ErrorCode, EventError
from schemas.events import ClientEvent
from schemas.messages import MessageReceived, SendMessage
from schemas.peers import PeerRegister
from schemas.prices import SURROGATES_PER_EVENT
from tests.app.wire.test_hot_path import count_calls
from tests.support.doubles import World, refused

ROUTES = load_routes([])
EVENTS = {event.name: event for event in events_of(ROUTES) if event.sender == "client"}
SHAPES = Shapes(EVENTS.values())
LONE = r'"\ud83d"'


class Catcher:
    """Dispatches to handlers that only keep what they get."""

    def __init__(self) -> None:
        self.caught: list[ClientEvent] = []
        self.seat = World().open()
        routes = [
            msgspec.structs.replace(each, needs=State.CONNECTED, capability=None, call=self.catch, is_async=False)
            for each in ROUTES.values()
        ]
        self.dispatcher = Dispatcher({route.event: route for route in routes}, structlog.get_logger())

    def catch(self, message: ClientEvent, ctx: Context) -> None:
        self.caught.append(message)

    def dispatch(self, frame: bytes) -> list[object]:
        """Return what the handler got, or the code of the error that was answered."""
        self.caught.clear()
        self.seat.socket.sent.clear()
        self.dispatcher.dispatch(frame, self.seat)
        errors = [sent.code for sent in self.seat.socket.sent if isinstance(sent, Error)]
        return [*map(plain, self.caught), *errors]


CATCHER = Catcher()


def plain(message: ClientEvent) -> object:
    """Return what can be compared, raw fields as bytes."""
    values = msgspec.structs.asdict(message).items()
    return type(message), {name: bytes(value) if isinstance(value, msgspec.Raw) else value for name, value in values}


def decode(text: str) -> ClientEvent:
    """Decode a frame, and see that dispatch, which has a shorter way, comes to the same."""
    frame = text.encode()
    try:
        message = step_by_step(frame)
    except EventError as refusal:
        assert CATCHER.dispatch(frame) in ([refusal.code], [ErrorCode.NOT_AUTHENTICATED])  # noqa: PT017 - raised on
        raise
    assert CATCHER.dispatch(frame) == [plain(message)]
    return message


def step_by_step(frame: bytes) -> ClientEvent:
    """Decode the envelope, then the data."""
    envelope = decode_envelope(frame)
    if envelope.event not in ROUTES:
        raise EventError(ErrorCode.NOT_A_MESSAGE, "unknown event")
    route = ROUTES[envelope.event]
    return decode_data(route, msgspec.json.Decoder(route.message), envelope.data)


def decode_as(event: str, data: str) -> ClientEvent:
    return decode(f'{{"event":"{event}","data":{data}}}')


def content_of(frame: str) -> bytes:
    message = decode(frame)
    assert isinstance(message, SendMessage)
    assert message.session_id == "s"
    return bytes(message.content)


def sending(content: str) -> str:
    return f'{{"event":"SEND_MESSAGE","data":{{"sessionId":"s","content":{content}}}}}'


NO_MESSAGES = [
    *("", " ", "x", "null", "5", '"PING"', "[]", "{}", "{", '{"data":{}}', "{'event':'PING'}"),
    *('{"event":null}', '{"event":5}', '{"event":["PING"]}', f'[{{"event":{LONE}}}]'),
    *('{"event":"PING"} x', '{"event":"PING",}', '{"event":"PING"}{"event":"PING"}', '{"event":"PING"}\0'),
    *('{"event":"PING","data":{"a":01}}', '{"event":"PING","data":{"a":NaN}}', "\ufeff" + '{"event":"PING"}'),
    *('{"event":"PING","data":{"a":"\x01"}}', r'{"event":"PING","data":{"a":"\x"}}', r'{"event":"PING","x":"\ud83"}'),
    *(f'{{"event":"PING","data":{{"a":{LONE}}}', f'{{"event":"PING","data":{{"a":{LONE},}}}}'),
    f'{{"event":"PING","data":{{"a":{LONE}"\x01"}}}}',
]


@pytest.mark.parametrize("frame", NO_MESSAGES)
def test_not_a_message(frame: str) -> None:
    """What is no JSON object with an `event` string is ERR_5003, in one line of bounded length."""
    with refused(ErrorCode.NOT_A_MESSAGE) as info:
        decode(frame)
    assert "\n" not in info.value.message
    assert len(info.value.message) < 300


@pytest.mark.parametrize(
    "frame",
    [
        '{"event":"PING"}',
        '{"event":"PING","data":null}',
        '{"data":{},"event":"PING"}',
        ' {\n"event" :\t"PING" , "data" : {"x":[1]} , "more" : {} }\r\n',
        '{"event":"AUTH","event":"PING"}',
        f'{{"x":{LONE},"event":"PING"}}',
        f'{{{LONE}:1,"event":"PING","data":{{{LONE}:{LONE}}}}}',
        f'{{"x":{LONE},"event":"PING","data": null }}',
        r'{"\u0065vent":"P\u0049NG"}',
        '{"event":"PING","data":5,"data":{}}',
        '{"event":"AUTH","data":{"token":"x"},"event":"PING"}',
    ],
)
def test_envelope(frame: str) -> None:
    """Order, space, unknown fields and escapes do not matter, and absent or null `data` is an empty object."""
    assert decode(frame) == ROUTES["PING"].message()


def optional_fields() -> list[tuple[str, str]]:
    """Return event and field of every optional field there is."""
    fields = [(event, info) for event, route in ROUTES.items() for info in msgspec.structs.fields(route.message)]
    return [(event, info.encode_name) for event, info in fields if info.default is None]


@pytest.mark.parametrize(("event", "field"), optional_fields())
def test_null_reads_as_absent(event: str, field: str) -> None:
    """Null in an optional field reads as absent."""
    frame = sample(EVENTS[event], SHAPES)
    assert frame is not None
    absent = {name: value for name, value in frame["data"].items() if name != field}
    frames = [json.dumps({"event": event, "data": data}) for data in (absent, {**absent, field: None})]
    assert plain(decode(frames[0])) == plain(decode(frames[1]))


@pytest.mark.parametrize(
    ("event", "data", "parts"),
    [
        ("PEER_REGISTER", '{"ide":[]}', ["ide", "vscode", "cursor", "jetbrains", "neovim", "emacs", "other"]),
        ("PEER_REGISTER", '{"role":""}', ["role", "host", "guest", "observer"]),
        ("PEER_REGISTER", f'{{"role":"{"x" * 65}"}}', ["role", "host", "guest", "observer"]),
        ("PEER_REGISTER", '{"role":"full\\nstack"}', ["role", "host", "guest", "observer"]),
        ("PEER_REGISTER", '{"role":"fullstack\\n"}', ["role", "host", "guest", "observer"]),
        ("PEER_REGISTER", '{"ide":"\\u202eedocsv"}', ["ide", "vscode"]),
        ("DISCOVER_PEERS", '{"ide":"\\u009b2J"}', ["ide", "vscode"]),
        ("PEER_STATUS", '{"status":"asleep"}', ["status", "online", "away", "busy"]),
        ("PEER_REGISTER", '{"role":5}', ["role", "host", "guest", "observer"]),
        ("PEER_REGISTER", '{"displayName":""}', ["displayName", "1"]),
        ("PEER_REGISTER", f'{{"displayName":"{"x" * 129}"}}', ["displayName", "128"]),
        ("PEER_REGISTER", '{"displayName":{}}', ["displayName", "str"]),
        ("DISCOVER_PEERS", '{"lanOnly":"yes"}', ["lanOnly", "bool"]),
        ("DISCOVER_PEERS", f'{{"role":7,"x":{LONE}}}', ["role", "host", "guest", "observer"]),
        ("CONNECTION_REQUEST", "{}", ["targetId"]),
        ("CONNECTION_REQUEST", '{"targetId":null}', ["targetId"]),
        ("CONNECTION_REQUEST", '{"targetId":""}', ["targetId", "1"]),
        ("CONNECTION_REQUEST", f'{{"targetId":"{"x" * 257}"}}', ["targetId", "256"]),
        ("CONNECTION_RESPONSE", '{"requestId":"r"}', ["accepted"]),
        ("CONNECTION_RESPONSE", '{"requestId":"r","accepted":1}', ["accepted", "bool"]),
        ("SEND_MESSAGE", '{"sessionId":"s"}', ["content"]),
        ("SEND_MESSAGE", '{"content":1}', ["sessionId"]),
        ("SEND_MESSAGE", f'{{"sessionId":"s","content":1,"type":"{"x" * 257}"}}', ["type", "256"]),
        ("SEND_MESSAGE", f'{{"sessionId":5,"content":{LONE}}}', ["sessionId"]),
        ("PING", "[]", ["PING"]),
        ("PING", "5", ["PING"]),
    ],
)
def test_data_that_does_not_fit(event: str, data: str, parts: list[str]) -> None:
    """Data that does not fit is ERR_9003; the message names event and field, and the values of a field with a list."""
    with refused(ErrorCode.INVALID_DATA) as info:
        decode_as(event, data)
    assert [part for part in [event, *parts] if part not in info.value.message] == []
    assert len(info.value.message) < 400


@pytest.mark.parametrize("place", ["content", "unknown", "token"])
@pytest.mark.parametrize("beside", ["1", LONE])
@pytest.mark.parametrize("depth", [20_000, 200_000])
def test_nesting_too_deep(place: str, beside: str, depth: int) -> None:
    """Nesting too deep to check is ERR_5003, wherever it is."""
    deep = "[" * depth + "]" * depth
    frame = {
        "content": sending(f'{beside},"content":{deep}'),
        "unknown": sending(f'{beside},"x":{deep}'),
        "token": f'{{"event":"AUTH","data":{{"x":{beside},"token":{deep}}}}}',
    }[place]
    with refused(ErrorCode.NOT_A_MESSAGE):
        decode(frame)


@pytest.mark.parametrize("leaf", ["1", LONE])
def test_nesting_that_is_fine(leaf: str) -> None:
    """Some hundreds of levels pass."""
    deep = "[" * 300 + leaf + "]" * 300
    assert content_of(sending(deep)) == deep.encode()


@pytest.mark.parametrize(
    "content",
    [
        LONE,
        r'"\uDE00\ud83d"',
        r'"\ud83d\ud83d\ude00"',
        r'"\\ud83d\ud83d"',
        r'"\\\ud83d"',
        r'{"\ud83d":1,"\ud83d":2}',
        r'["\ud83d" , 1E400, -0.0, "\/", "\u0041"]',
        "9" * 5000,
        '{"a":1,"a":2}',
        "null",
        '" 😀\u2028"',
    ],
)
@pytest.mark.parametrize("around", ["{}", " {}\n", '0,"content":{}', r'{},"x":"\udead"', r'"\udead","content" : {} '])
def test_content_passes_byte_for_byte(content: str, around: str) -> None:
    """Content arrives as it was sent, half surrogate pairs included, and of several the last counts."""
    assert content_of(sending(around.replace("{}", content))) == content.encode()


@pytest.mark.parametrize("text", [r"\ud83d", r"a\udc00"])
def test_half_a_pair_elsewhere(text: str) -> None:
    """In fields that are decoded, half a surrogate pair becomes U+FFFD."""
    message = decode_as("PEER_REGISTER", f'{{"displayName":"{text}"}}')
    assert isinstance(message, PeerRegister)
    assert message.display_name == text[: text.index("\\")] + "\ufffd"


@pytest.mark.parametrize(
    "content",
    [
        LONE[:-1] + r"\ude00" * 50_000 + '"',
        LONE[:-1] + r"\\" * 100_000 + '"',
        f"[{LONE},{'[],' * 100_000}0]",
        "{" + ",".join(rf'"\ud83d{number}":0' for number in range(30_000)) + "}",
    ],
)
def test_a_lone_surrogate_costs_few_calls(content: str) -> None:
    """A large frame with a lone surrogate takes a fixed number of calls: no Python runs for each of its parts."""
    frame = sending(content).encode()
    assert count_calls(lambda: step_by_step(frame)) < 150


def test_a_lone_surrogate_has_its_price() -> None:
    """The price is by the number of escapes, and taken before the work is done; other frames cost nothing more."""
    charged: list[float] = []
    decode_envelope(sending('"' + r"\ud83d" * 1000 + '"').encode(), charged.append)
    assert charged == [1000 / SURROGATES_PER_EVENT]
    for frame in (sending(r'"\ud83d\ude00"'), sending("1"), "{"):
        with suppress(EventError):
            decode_envelope(frame.encode(), charged.append)
    assert len(charged) == 1

    def refuse(_events: float) -> None:
        raise EventError(ErrorCode.RATE_LIMITED, "too much")

    with refused(ErrorCode.RATE_LIMITED):
        decode_envelope(sending(LONE).encode(), refuse)


def test_text_that_looks_like_a_stand_in_passes() -> None:
    """Escapes of every kind beside a lone surrogate pass byte for byte, and too many of them are refused in words."""
    content = '"' + "".join(rf"\u{digit}abc" for digit in "0123456789abcd") + r'\ud83d\\ue000"'
    assert content_of(sending(content)) == content.encode()
    with refused(ErrorCode.NOT_A_MESSAGE):
        decode(sending('"' + "".join(rf"\u{digit}abc" for digit in "0123456789abcdef") + r'\ud83d"'))


SPACE = st.text(" \t\r\n", max_size=2)
ESCAPES = st.sampled_from([r"\"", r"\\", r"\/", r"\b", r"\n"]) | st.integers(0, 0xFFFF).map("\\u{:04x}".format)
HALVES = st.integers(0xD800, 0xDFFF).map("\\u{:04X}".format)
PLAIN = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='"\\')
STRINGS = st.lists(PLAIN | ESCAPES | HALVES, max_size=6).map(lambda parts: '"' + "".join(parts) + '"')
NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?", fullmatch=True)
LEAVES = st.sampled_from(["null", "true", "false"]) | STRINGS | NUMBERS


def grown(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return arrays and objects of these, spaced anyhow, keys repeated now and then."""
    keys = st.sampled_from(['"a"', r'"\ud83d"']) | STRINGS
    members = st.tuples(SPACE, keys, SPACE, SPACE, values).map(lambda p: f"{p[0]}{p[1]}{p[2]}:{p[3]}{p[4]}")
    elements = st.tuples(SPACE, values, SPACE).map("".join)
    arrays = st.lists(elements, max_size=4).map(lambda parts: f"[{','.join(parts)}]")
    objects = st.lists(members, max_size=4).map(lambda parts: f"{{{','.join(parts)}}}")
    return arrays | objects


@given(content=st.recursive(LEAVES, grown, max_leaves=8), space=SPACE, other=LEAVES)
def test_any_content_passes_byte_for_byte(content: str, space: str, other: str) -> None:
    """Any JSON text arrives as content byte for byte, and goes out again so."""
    frame = sending(f'{space}{content}{space},"other":{other}')
    passed = content_of(frame)
    assert passed == content.encode()
    received = MessageReceived(session_id="s", sender="a", content=msgspec.Raw(passed), timestamp="t")
    payload = encode(received)
    assert b'"content":' + content.encode() + b',"timestamp"' in payload
    json.loads(payload)


@given(text=st.text(max_size=30) | st.text('{}[]",:\\ud83dent0', max_size=40) | LEAVES | grown(LEAVES))
def test_any_text(text: str) -> None:
    """Any text at all is decoded or refused in order."""
    text = text.encode("utf-8", "replace").decode()
    for frame in (text, sending(text), f'{{"event":"PING","data":{text}}}'):
        try:
            decode(frame)
        except EventError as refusal:
            assert refusal.code in {ErrorCode.NOT_A_MESSAGE, ErrorCode.INVALID_DATA}  # noqa: PT017 - both ends are good


def test_encoding() -> None:
    """A frame has event, then data, in the order of the fields; absent fields are left out, and nothing is null."""
    assert encode(ConnectionRejected(request_id="r", target_id="t")) == (
        b'{"event":"CONNECTION_REJECTED","data":{"requestId":"r","targetId":"t"}}'
    )
    message = MessageReceived(session_id="s", sender="é", content=msgspec.Raw(b"null"), type="t", timestamp="now")
    assert encode(message).decode() == (
        '{"event":"MESSAGE_RECEIVED","data":{"sessionId":"s","from":"é","content":null,"type":"t","timestamp":"now"}}'
    )
