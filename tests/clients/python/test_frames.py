"""Frames, as text and as events."""

import json

import pytest

from peersync.events import KINDS, MessageReceived
from peersync.frames import Event, Json, decode, encode


def test_encode() -> None:
    """Members are in the order of the protocol, and half a surrogate pair is escaped."""
    assert encode("PING") == '{"event":"PING","data":{}}'
    text = encode("SAY", {"what": [1, None, "half \ud83d"], "as": Json('{"a" : 1.10}')}, "r")
    assert text == '{"event":"SAY","data":{"what":[1,null,"half \\ud83d"],"as":{"a" : 1.10}},"ref":"r"}'


@pytest.mark.parametrize("value", [float("nan"), object(), {"deep": Json("1")}])
def test_what_is_no_json(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        encode("SAY", {"what": value})


def test_decode() -> None:
    text = json.dumps({"event": "MESSAGE_RECEIVED", "data": {"content": 1}, "ref": 5, "offset": 7})
    event = decode(text, KINDS)
    assert isinstance(event, MessageReceived)
    assert (event.data["content"], event.ref, event.offset, event.text) == (1, 5, 7, text)


def test_an_event_of_a_plugin() -> None:
    event = decode('{"event":"SHOUTED","data":{"loud":true}}', KINDS)
    assert (type(event), event.name, event.data, event.offset) == (Event, "SHOUTED", {"loud": True}, None)


@pytest.mark.parametrize("text", ["", "[]", "1", "null", "{}", '{"event":[]}', "[" * 100_000])
def test_what_is_no_event(text: str) -> None:
    assert decode(text, KINDS) == Event("", None, None, None, text)


def test_numbers_of_any_size() -> None:
    """A number that Python does not read hides neither the event nor its offset."""
    event = decode(f'{{"event":"MESSAGE_RECEIVED","data":{{"content":{"9" * 5000}}},"offset":7}}', KINDS)
    assert (event.name, event.offset, event.data["content"]) == ("MESSAGE_RECEIVED", 7, float("inf"))
