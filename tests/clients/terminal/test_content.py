"""The two shapes of content, and what the terminal's conversation makes of them."""

import json

import pytest

from peersync_terminal.commands import Turn, response, typed
from peersync_terminal.content import Said, enveloped, read
from peersync_terminal.lines import Conversation
from tests.clients.terminal.test_peer import BOB, sent, told

MESSAGE = {"sessionId": "ses_1", "from": "bob", "timestamp": "2026-01-01T00:00:00.000Z"}
ENVELOPE = {"messageId": "m1", "content": "why?", "type": "ai-prompt"}


@pytest.fixture
def conversation() -> Conversation:
    """Ann's, who has an agent and a session with bob."""
    conversation = Conversation("ann", lambda: "new", has_agent=True)
    conversation.is_connected = True
    told(conversation, "SESSION_CREATED", sessionId="ses_1", peer={"id": "bob", "profile": BOB})
    return conversation


def says(conversation: Conversation, content: object, **fields: object) -> str:
    return told(conversation, "MESSAGE_RECEIVED", **MESSAGE, content=content, **fields)


def data(turn: Turn) -> dict[str, object]:
    """Return what a turn says, without the session."""
    found: dict[str, object] = sent(turn)["data"]
    assert found.pop("sessionId") == "ses_1"
    return found


@pytest.mark.parametrize(
    ("content", "kind", "said"),
    [
        ('"hi"', "chat", Said("hi", "chat")),
        ('{"a": 1}', None, Said('{"a":1}', None)),
        ('{"messageId":"m","content":"hi","type":"chat"}', None, Said("hi", "chat", True, "m")),
        ('{"messageId":"m","content":"hi","type":"ai-prompt"}', "chat", Said("hi", "ai-prompt", True, "m")),
        ('{"messageId":"m","content":"hi","type":"chat"}', "ai-request", Said("hi", "ai-request", True, "m")),
        ('{"messageId":"m","content":"hi"}', "chat", Said("hi", "chat", True, "m")),
        (' {"content":{"a": [1]},"x":0,"messageId":"m","type":7}', None, Said('{"a":[1]}', None, True, "m")),
        ('{"messageId":"m","content":"half \\ud83d"}', None, Said('{"messageId":"m","content":"half \ud83d"}', None)),
        ('{"messageId":5,"content":"hi"}', None, Said('{"messageId":5,"content":"hi"}', None)),
        ('{"content":"hi","type":"chat"}', None, Said('{"content":"hi","type":"chat"}', None)),
        ('{"messageId":"m","type":"chat"}', None, Said('{"messageId":"m","type":"chat"}', None)),
        ("9" * 5000, None, Said("9" * 5000, None)),
        (f'["\\ud83d",{"9" * 5000}]', None, Said(f'["\\ud83d",{"9" * 5000}]', None)),
        ("[" * 9999 + "]" * 9999, "chat", Said("[" * 9999 + "]" * 9999, "chat")),
    ],
)
def test_reading(content: str, kind: str | None, said: Said) -> None:
    """An envelope has an id and content; its type counts where the message has none, or says chat."""
    assert read(content, kind) == said


def test_writing() -> None:
    assert json.loads(enveloped('a "b"\n', "chat", "m").text) == {
        "messageId": "m",
        "content": 'a "b"\n',
        "type": "chat",
    }


def test_both_shapes_are_told_alike(conversation: Conversation) -> None:
    assert says(conversation, {"messageId": "m1", "content": "hi", "type": "chat"}) == "bob: hi"
    assert says(conversation, ENVELOPE) == says(conversation, "why?", type="ai-prompt") == "bob [ai-prompt]: why?"
    assert [job.content for job in conversation.jobs] == ["why?", "why?"]


def test_text_goes_in_the_shape_that_a_peer_spoke_last(conversation: Conversation) -> None:
    """An extension of the original is answered in its shape; so is its request, by its name."""
    assert data(typed(conversation, "hello")) == {"content": "hello", "type": "chat"}
    says(conversation, ENVELOPE)
    wrapped = {"messageId": "new", "content": "hello", "type": "chat"}
    turn = typed(conversation, "hello")
    assert (data(turn), turn.lines) == ({"content": wrapped, "type": "chat"}, ("ann: hello",))
    assert data(typed(conversation, "/to bob hello"))["content"] == wrapped
    assert data(typed(conversation, "/to cat hello"))["content"] == "hello"
    assert data(typed(conversation, '/json {"a":1}')) == {"content": {"a": 1}}
    request = {"messageId": "new", "content": "why?", "type": "ai-prompt"}
    assert data(typed(conversation, "/ai why?")) == {"content": request, "type": "ai-prompt", "correlationId": "new"}
    says(conversation, "plain")
    assert data(typed(conversation, "hello"))["content"] == "hello"


def test_the_shape_is_remembered_beyond_a_session(conversation: Conversation) -> None:
    says(conversation, ENVELOPE)
    told(conversation, "SESSION_ENDED", sessionId="ses_1", reason="left")
    told(conversation, "SESSION_CREATED", sessionId="ses_2", peer={"id": "bob", "profile": BOB})
    assert sent(typed(conversation, "hello"))["data"]["content"]["content"] == "hello"


@pytest.mark.parametrize(("answer", "text"), [('"because"', "because"), ('{"error":"no time"}', "Error: no time")])
def test_an_answer_goes_in_the_shape_of_its_request(conversation: Conversation, answer: str, text: str) -> None:
    """Known by the correlation id, or without one by the envelope's."""
    says(conversation, ENVELOPE)
    says(conversation, "plain", type="ai-request", correlationId="cor_1")
    first, second = (response(conversation, job, answer) for job in conversation.jobs)
    wrapped = {"messageId": "new", "content": text, "type": "ai-response"}
    assert data(first) == {"content": wrapped, "type": "ai-response", "to": ["bob"], "correlationId": "m1"}
    assert first.lines == (f"ann to bob: {text}",)
    plain = {"content": json.loads(answer), "type": "ai-response", "to": ["bob"], "correlationId": "cor_1"}
    assert data(second) == plain
