"""JSON of the wire: decoding a client's frames, encoding the server's."""

import re
from json import JSONDecoder
from typing import Any

import msgspec
from msgspec import Raw

from handlers.table import Route
from schemas.errors import ErrorCode, EventError
from schemas.events import NO_REF, ClientEvent, Envelope, Frame, ServerEvent

_LONGEST_ECHO = 200
_LONGEST_REF = 256
_QUOTE = ord('"')
_TOO_DEEP = "it is nested too deep"
_NULL = b"null"
_EMPTY = Raw(b"{}")
_WHITESPACE = re.compile(r"[ \t\n\r]*")
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile(  # many kept escapes are one match, since a call for each would be slow
    rb"(?P<kept>(?:\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|[^u])[^\\]*)+)"
    rb"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)
_decode_envelope = msgspec.json.Decoder(Envelope).decode
_encode = msgspec.json.Encoder().encode


def encode(event: ServerEvent) -> bytes:
    """Return the event as a frame's payload."""
    return _encode(Frame(event.event, event))


def with_ref(frame: bytes, ref: Raw) -> bytes:
    """Return the server's frame with the `ref` of the client's frame that it answers."""
    return b'%b,"ref":%b}' % (frame[:-1], bytes(ref))


def with_offset(frame: bytes, offset: int) -> bytes:
    """Return the server's frame with its number, after all other members."""
    return frame[:-1] + b',"offset":%d}' % offset


def without_offset(frame: bytes) -> bytes:
    """Return a frame as it was before it got its number."""
    return frame[: frame.rindex(b',"offset":')] + b"}"


def decode_envelope(frame: bytes) -> Envelope:
    """Return the event's name, its raw data and `ref`; raises `EventError` `ERR_5003` for what is no message."""
    try:
        envelope = _decode_envelope(frame)
    except msgspec.ValidationError as error:
        raise _not_a_message(_described(error)) from None
    except msgspec.DecodeError as error:
        envelope = _with_lone_surrogates(frame, error)
    except RecursionError:
        raise _not_a_message(_TOO_DEEP) from None
    return envelope


def ref_of(frame: bytes) -> Raw | None:
    """Return the `ref` of a client's frame, if it has one that is good."""
    try:
        ref = decode_envelope(frame).ref
        return None if ref is NO_REF else check_ref(ref)
    except EventError:
        return None


def check_ref(ref: Raw) -> Raw | None:
    """Return the `ref`, None for null; raises `EventError` `ERR_9003` if it is neither string nor integer."""
    raw = bytes(ref)
    if len(raw) <= _LONGEST_REF and raw[0] in b'"-0123456789' and (raw[0] == _QUOTE or raw.lstrip(b"-").isdigit()):
        return ref
    if raw == _NULL:
        return None
    raise EventError(ErrorCode.INVALID_DATA, f"ref: it may be a string or an integer, of {_LONGEST_REF} bytes at most")


def decode_data(route: Route, decoder: "msgspec.json.Decoder[ClientEvent]", data: Raw) -> ClientEvent:
    """Return the event's struct; raises `EventError` `ERR_9003` naming the field that does not fit."""
    raw = bytes(data)
    try:
        return decoder.decode(_EMPTY if raw == _NULL else data)
    except msgspec.ValidationError as error:
        raise EventError(ErrorCode.INVALID_DATA, _complaint(route, error)) from None
    except RecursionError:
        raise _not_a_message(_TOO_DEEP) from None
    except msgspec.DecodeError:
        patched = _without_lone_surrogates(raw)
        return _restored(decode_data(route, decoder, Raw(patched)), raw)


def _with_lone_surrogates(frame: bytes, error: msgspec.DecodeError) -> Envelope:
    """Decode a frame that msgspec refuses only for an escaped half of a surrogate pair, which is valid JSON."""
    patched = _without_lone_surrogates(frame)
    if patched == frame:
        raise _not_a_message(f"it is not JSON ({error})") from None
    envelope = decode_envelope(patched)
    members = {name: Raw(value.encode()) for name, value in _members(frame.decode()).items()}
    return Envelope(envelope.event, members.get("data", envelope.data), members.get("ref", envelope.ref))


def _without_lone_surrogates(frame: bytes) -> bytes:
    """Replace each escaped half of a pair by U+FFFD, as a browser does where text must be well-formed."""
    if _HALF.search(frame) is None:
        return frame
    return _SURROGATE.sub(lambda match: match["kept"] or rb"\ufffd", frame)


def _restored(event: ClientEvent, raw: bytes) -> ClientEvent:
    """Put the raw fields back as they came: they are passed on byte for byte."""
    members = _members(raw.decode())
    raws = {
        info.name: Raw(members[info.encode_name].encode())
        for info in msgspec.structs.fields(event)
        if isinstance(getattr(event, info.name), Raw) and info.encode_name in members
    }
    return msgspec.structs.replace(event, **raws)


def _members(text: str) -> dict[str, str]:
    """Return the members of a valid JSON object, each value as it was written."""
    scan = JSONDecoder(parse_int=str, parse_float=str).raw_decode
    members: dict[str, str] = {}
    position = _skip(text, 0)
    while text[position] != "}":
        name, end = scan(text, _skip(text, position + 1))
        start = _skip(text, _skip(text, end) + 1)
        try:
            _, end = scan(text, start)
        except RecursionError:
            raise _not_a_message(_TOO_DEEP) from None
        members[name] = text[start:end]
        position = _skip(text, end)
    return members


def _skip(text: str, position: int) -> int:
    match = _WHITESPACE.match(text, position)
    return match.end() if match else position


def _not_a_message(why: str) -> EventError:
    return EventError(ErrorCode.NOT_A_MESSAGE, f"Not a message: {why[:_LONGEST_ECHO]}")


def _described(error: msgspec.ValidationError) -> str:
    problem, _, place = str(error).partition(" - at `$.")
    return f"{place.rstrip('`')}: {problem}" if place else problem


def _complaint(route: Route, error: msgspec.ValidationError) -> str:
    described = _described(error)[:_LONGEST_ECHO]
    if described.startswith("Expected"):
        described = f"data: {described}"
    allowed = _allowed(route.message, described.partition(":")[0])
    return f"{route.event}: {described}{allowed}"


def _allowed(message: type[ClientEvent], field: str) -> str:
    """List the values that a field may have, where it has a list."""
    info: Any = next((info for info in msgspec.structs.fields(message) if info.encode_name == field), None)
    if info is None:
        return ""
    kind: Any = msgspec.inspect.type_info(info.type)
    choices = [value for part in getattr(kind, "types", (kind,)) for value in getattr(part, "values", ())]
    return f"; allowed are {', '.join(map(str, choices))}" if choices else ""
