"""The JSON codec: decodes a client's frames and encodes the server's."""

import re
from collections.abc import Callable, Collection
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from handlers.table import Route
from schemas.errors import ErrorCode, EventError
from schemas.events import NO_REF, ClientEvent, Envelope, Frame, ServerEvent
from schemas.fields import LISTED
from schemas.prices import SURROGATES_PER_EVENT

_LONGEST_ECHO = 200
_LONGEST_REF = 256
_QUOTE = ord('"')
_TOO_DEEP = "it is nested too deeply"
_NULL = b"null"
_EMPTY = Raw(b"{}")
_LONE_SURROGATE = re.compile(  # a single pattern that begins with a literal, which makes the search ten times as fast
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD])[c-fC-F][0-9a-fA-F]{2})"
)
_STAND_INS = tuple((rb"\u" + pair[:1], rb"\u" + pair[1:]) for pair in b"eE cC bB aA fF 01 23 45 67 89".split())
_decode_envelope = msgspec.json.Decoder(Envelope).decode
_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.Encoder().encode


def encode(event: ServerEvent) -> bytes:
    """Return the event as a frame's payload."""
    return _encode(Frame(event.event, event))


def with_ref(frame: bytes, ref: Raw) -> bytes:
    """Return a server frame with the `ref` of the client frame that it answers."""
    return b'%b,"ref":%b}' % (frame[:-1], bytes(ref))


def with_offset(frame: bytes, offset: int) -> bytes:
    """Return a server frame with its offset as the last member."""
    return frame[:-1] + b',"offset":%d}' % offset


def without_offset(frame: bytes) -> bytes:
    """Return a frame without the offset that `with_offset` added."""
    return frame[: frame.rindex(b',"offset":')] + b"}"


def decode_envelope(frame: bytes, charge: Callable[[float], None] = lambda _events: None) -> Envelope:
    """Return the event's name, its raw data and `ref`; raises `EventError` `ERR_5003` if the frame is not a message.

    Decoding an escaped lone surrogate costs extra: calls `charge` with the price before the work.
    """
    try:
        envelope = _decode_envelope(frame)
    except msgspec.ValidationError as error:
        raise _not_a_message(_described(error)) from None
    except msgspec.DecodeError as error:
        escapes = frame.count(rb"\ud") + frame.count(rb"\uD")
        if not escapes:
            raise _not_a_message(f"it is not JSON ({error})") from None
        charge(escapes / SURROGATES_PER_EVENT)
        envelope = _decode_around_surrogates(frame)
    except RecursionError:
        raise _not_a_message(_TOO_DEEP) from None
    return envelope


def ref_of(frame: bytes) -> Raw | None:
    """Return the `ref` of a client's frame; None if it has none or an invalid one."""
    try:
        ref = decode_envelope(frame).ref
        return None if ref is NO_REF else check_ref(ref)
    except EventError:
        return None


def check_ref(ref: Raw) -> Raw | None:
    """Return the `ref`, None for null; raises `EventError` `ERR_9003` unless it is a short string or an integer."""
    raw = bytes(ref)
    if len(raw) <= _LONGEST_REF and raw[0] in b'"-0123456789' and (raw[0] == _QUOTE or raw.lstrip(b"-").isdigit()):
        return ref
    if raw == _NULL:
        return None
    raise EventError(ErrorCode.INVALID_DATA, f"ref: it must be a string or an integer of at most {_LONGEST_REF} bytes")


def decode_data(
    route: Route, decoder: "msgspec.json.Decoder[ClientEvent]", data: Raw, ignored: Collection[str] = ()
) -> ClientEvent:
    """Return the event's struct; raises `EventError` `ERR_9003`, which names the invalid field.

    Drops `ignored` fields if they are invalid.
    """
    raw = bytes(data)
    try:
        return decoder.decode(_EMPTY if raw == _NULL else data)
    except msgspec.ValidationError as error:
        if ignored:
            return decode_data(route, decoder, _without_members(raw, ignored))
        raise EventError(ErrorCode.INVALID_DATA, _error_text(route, error)) from None
    except RecursionError:
        raise _not_a_message(_TOO_DEEP) from None
    except msgspec.DecodeError:
        if any(name.encode() in raw for name in ignored):
            return decode_data(route, decoder, _without_members(raw, ignored))
        event = decode_data(route, decoder, Raw(_well_formed(raw)))
        return _with_raw_fields_as_sent(event, decoder, raw)


def _decode_around_surrogates(frame: bytes) -> Envelope:
    """Decode a frame that msgspec rejects for an escaped lone surrogate, which is valid JSON (RFC 8259 section 8.2)."""
    stand_in = _stand_in(frame)
    try:
        envelope = _decode_envelope(_substitute(frame, stand_in))
    except msgspec.ValidationError as error:
        raise _not_a_message(_described(error)) from None
    except msgspec.DecodeError as error:
        raise _not_a_message(f"it is not JSON ({error})") from None
    except RecursionError:
        raise _not_a_message(_TOO_DEEP) from None
    return Envelope(envelope.event, _original(envelope.data, stand_in), _original(envelope.ref, stand_in))


def _with_raw_fields_as_sent(
    event: ClientEvent, decoder: "msgspec.json.Decoder[ClientEvent]", data: bytes
) -> ClientEvent:
    """Return an event, decoded from well-formed text, with its raw fields byte for byte as in `data`."""
    names = [name for name in event.__struct_fields__ if isinstance(getattr(event, name), Raw)]
    if not names:
        return event
    stand_in = _stand_in(data)
    substituted = decoder.decode(_substitute(data, stand_in))
    return replace(event, **{name: _original(getattr(substituted, name), stand_in) for name in names})


def _well_formed(data: bytes) -> bytes:
    """Replace each lone surrogate with U+FFFD, as JavaScript's `String.toWellFormed` does.

    First masks escaped backslashes, because what follows one is not an escape. The mask is U+0001, which valid JSON
    never contains.
    """
    masked = data.replace(rb"\\", b"\x01\x01")
    return _LONE_SURROGATE.sub(rb"\\ufffd", masked).replace(b"\x01\x01", rb"\\")


def _stand_in(frame: bytes) -> tuple[bytes, bytes]:
    r"""Return two prefixes of escapes that the frame does not contain, to stand in for `\\ud` and `\\uD`."""
    for lower, upper in _STAND_INS:
        if lower not in frame and upper not in frame:
            return lower, upper
    raise _not_a_message("it has a lone surrogate among too many other escapes")


def _substitute(frame: bytes, stand_in: tuple[bytes, bytes]) -> bytes:
    return frame.replace(rb"\ud", stand_in[0]).replace(rb"\uD", stand_in[1])


def _original(raw: Raw, stand_in: tuple[bytes, bytes]) -> Raw:
    if raw is NO_REF:
        return raw
    return Raw(bytes(raw).replace(stand_in[0], rb"\ud").replace(stand_in[1], rb"\uD"))


def _without_members(raw: bytes, names: Collection[str]) -> Raw:
    """Return a JSON object without these members; the others, and any other JSON, stay as written."""
    try:
        members = _members(raw)
    except (msgspec.DecodeError, RecursionError):
        return Raw(raw)
    kept = (b"%b:%b" % (_encode(name), bytes(value)) for name, value in members.items() if name not in names)
    return Raw(b"{%b}" % b",".join(kept))


def _members(raw: bytes) -> dict[str, Raw]:
    try:
        return _decode_members(raw)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        stand_in = _stand_in(raw)
        members = _decode_members(_substitute(raw, stand_in))
        return {name: _original(value, stand_in) for name, value in members.items()}


def _not_a_message(why: str) -> EventError:
    return EventError(ErrorCode.NOT_A_MESSAGE, f"Not a message: {why[:_LONGEST_ECHO]}")


def _described(error: msgspec.ValidationError) -> str:
    problem, _, place = str(error).partition(" - at `$.")
    return f"{place.rstrip('`')}: {problem}" if place else problem


def _error_text(route: Route, error: msgspec.ValidationError) -> str:
    described = _described(error)[:_LONGEST_ECHO]
    if described.startswith("Expected"):
        described = f"data: {described}"
    allowed = _allowed(route.message, described.partition(":")[0])
    return f"{route.event}: {described}{allowed}"


def _allowed(message: type[ClientEvent], field: str) -> str:
    """Return text that lists the allowed values of a field; empty if any value is allowed."""
    info: Any = next((info for info in msgspec.structs.fields(message) if info.encode_name == field), None)
    if info is None:
        return ""
    kind: Any = msgspec.inspect.type_info(info.type)
    choices = [value for part in getattr(kind, "types", (kind,)) for value in _listed(part)]
    return f"; allowed are {', '.join(map(str, choices))}" if choices else ""


def _listed(kind: object) -> list[object]:
    """Return the values that a type lists; none for other types."""
    if isinstance(kind, msgspec.inspect.Metadata):
        return list((kind.extra_json_schema or {}).get(LISTED, ()))
    return list(getattr(kind, "values", ()))
