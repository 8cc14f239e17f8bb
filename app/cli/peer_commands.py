"""What a person types to a peer in a terminal: a frame to send, a line to show, or both. No input or output here."""

import json
from collections.abc import Callable
from typing import NamedTuple

from app.cli.peer_lines import Conversation, content_text


class Turn(NamedTuple):
    """What comes of a line that was typed."""

    frame: str | None = None
    lines: tuple[str, ...] = ()
    quits: bool = False


class Command(NamedTuple):
    """What may be typed after a slash."""

    usage: str
    meaning: str
    run: Callable[[Conversation, str], Turn]
    needs_server: bool = True


def typed(conversation: Conversation, line: str) -> Turn:
    """Return what a line means: a command if it begins with a slash, else a message."""
    text = line.strip().encode(errors="replace").decode()
    if not text:
        return Turn()
    word, _, rest = text.partition(" ") if text.startswith("/") else ("/say", "", text)
    command = COMMANDS.get(word)
    if command is None:
        return _local(f"no such command: {word}; /help lists them, /say TEXT sends any text")
    if command.needs_server and not conversation.is_connected:
        return _local("not connected: nothing was sent")
    return command.run(conversation, rest.strip())


def frame(event: str, **data: object) -> str:
    """Return an event as it is sent; what is None is left out."""
    return json.dumps({"event": event, "data": {name: value for name, value in data.items() if value is not None}})


def _say(conversation: Conversation, text: str) -> Turn:
    return _send(conversation, json.dumps(text), ', "type": "chat"')


def _say_json(conversation: Conversation, text: str) -> Turn:
    try:
        content_text(text)
    except (ValueError, RecursionError) as error:
        return _local(f"not JSON: {error}")
    return _send(conversation, text)


def _send(conversation: Conversation, content: str, more: str = "") -> Turn:
    """Send content as it was typed: JSON that went through Python might not be the same."""
    session = conversation.current
    if session is None:
        return _local("nobody to talk to yet: /ask NAME")
    conversation.last_sent_to = session
    whom = f" to {session.peer}" if len(conversation.sessions) > 1 else ""
    return Turn(
        f'{{"event": "SEND_MESSAGE", "data": {{"sessionId": {json.dumps(session.id)}, "content": {content}{more}}}}}',
        (f"{conversation.user}{whom}: {content_text(content)}",),
    )


def _send_raw(_: Conversation, text: str) -> Turn:
    return Turn(text, (f"sent {text}",))


def _ask(conversation: Conversation, name: str) -> Turn:
    if not name:
        return _local("ask whom? /ask NAME")
    target = _peer_called(conversation, name)
    return Turn(frame("CONNECTION_REQUEST", targetId=target), (f"asking {target}",))


def _peer_called(conversation: Conversation, name: str) -> str:
    """Return the id of the one peer with this display name, unless the name is an id already."""
    named = [peer for peer, profile in conversation.peers.items() if profile.display_name == name]
    return named[0] if len(named) == 1 and name not in conversation.peers else name


def _accept(conversation: Conversation, which: str) -> Turn:
    return _answer(conversation, which, accepted=True)


def _refuse(conversation: Conversation, which: str) -> Turn:
    return _answer(conversation, which, accepted=False)


def _answer(conversation: Conversation, which: str, *, accepted: bool) -> Turn:
    fitting = [request for request in conversation.requests.items() if not which or which in request]
    if not fitting:
        return _local(f"{which} does not ask to connect" if which else "nobody asks to connect")
    request, peer = fitting[-1]
    del conversation.requests[request]
    answer = frame("CONNECTION_RESPONSE", requestId=request, accepted=accepted)
    return Turn(answer, (f"{'accepting' if accepted else 'refusing'} {peer}",))


def _list_sessions(conversation: Conversation, _: str) -> Turn:
    listed = [f"{session.number} {session.peer}" for session in conversation.sessions.values()]
    current = f"; lines go to {conversation.current.number}" if conversation.current else ""
    return _local(f"sessions: {', '.join(listed) or 'none'}{current}")


def _use(conversation: Conversation, which: str) -> Turn:
    fitting = [session for session in conversation.sessions.values() if which in {str(session.number), session.peer}]
    if not fitting:
        return _local("no such session; /sessions lists them")
    conversation.current = session = fitting[-1]
    return _local(f"talking to {session.peer} (session {session.number})")


def _list_peers(_: Conversation, __: str) -> Turn:
    return Turn(frame("DISCOVER_PEERS"))


def _ping(_: Conversation, __: str) -> Turn:
    return Turn(frame("PING"))


def _help(_: Conversation, __: str) -> Turn:
    width = max(len(f"{word} {command.usage}") for word, command in COMMANDS.items())
    return _local(*(f"{f'{word} {command.usage}':{width}}  {command.meaning}" for word, command in COMMANDS.items()))


def _quit(_: Conversation, __: str) -> Turn:
    return Turn(quits=True)


def _local(*lines: str) -> Turn:
    return Turn(lines=lines)


COMMANDS = {
    "/peers": Command("", "who is online", _list_peers),
    "/ask": Command("NAME", "ask to connect", _ask),
    "/accept": Command("[NAME|ID]", "accept who asked last, or this one", _accept),
    "/refuse": Command("[NAME|ID]", "refuse who asked last, or this one", _refuse),
    "/sessions": Command("", "whom you are connected with", _list_sessions, needs_server=False),
    "/use": Command("N|NAME", "talk here; a new session is used at once", _use, needs_server=False),
    "/say": Command("TEXT", "send text, as a line without a slash does", _say),
    "/json": Command("JSON", "send any JSON as content", _say_json),
    "/raw": Command("FRAME", "send a frame as it is", _send_raw),
    "/ping": Command("", "ask the server for a sign of life", _ping),
    "/help": Command("", "list the commands", _help, needs_server=False),
    "/quit": Command("", "leave; so do Ctrl-C and Ctrl-D", _quit, needs_server=False),
}
