"""What a person types to a peer in a terminal: a frame to send, a line to show, or both. No input or output here."""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, get_args, get_type_hints

from peersync.events import PeerStatusData, SendMessageData, SessionRoleData
from peersync.frames import Json, encode
from peersync_terminal.content import CHAT, ENVELOPED_REQUEST, REQUEST, RESPONSE, content_text, enveloped
from peersync_terminal.lines import Conversation, Job, Session

_ROLES = tuple(f" {role}" for role in get_args(get_type_hints(SessionRoleData)["role"]))
_STATUSES: tuple[str, ...] = get_args(get_type_hints(PeerStatusData)["status"])


class Turn(NamedTuple):
    """What comes of a line that was typed; `job` is for the agent, `message` is sent until it is acknowledged."""

    frame: str | None = None
    message: SendMessageData | None = None
    lines: tuple[str, ...] = ()
    job: Job | None = None
    quits: bool = False


class Command(NamedTuple):
    """What may be typed after a slash."""

    usage: str
    meaning: str
    run: Callable[[Conversation, str], Turn]
    needs_server: bool = True
    can_wait: bool = False


def typed(conversation: Conversation, line: str) -> Turn:
    """Return what a line means: a command if it begins with a slash, else a message."""
    text = line.strip().encode(errors="replace").decode()
    if not text:
        return Turn()
    word, _, rest = text.partition(" ") if text.startswith("/") else ("/say", "", text)
    command = COMMANDS.get(word)
    if command is None:
        return _local(f"no such command: {word}; /help lists them, /say TEXT sends any text")
    if not command.needs_server or conversation.is_connected:
        return command.run(conversation, rest.strip())
    if not (command.can_wait and "acks" in conversation.capabilities):
        return _local("not connected: nothing was sent")
    turn = command.run(conversation, rest.strip())
    return (
        turn._replace(lines=(*turn.lines, "not connected: it will be sent after reconnecting"))
        if turn.message
        else turn
    )


def frame(event: str, *, ref: str | None = None, **data: object) -> str:
    """Return an event as it is sent; what is None is left out."""
    return encode(event, {name: value for name, value in data.items() if value is not None}, ref)


def _say(conversation: Conversation, text: str) -> Turn:
    return _send(conversation, {"content": text, "type": CHAT})


def _say_json(conversation: Conversation, text: str) -> Turn:
    """Send content as it was typed: JSON that went through Python might not be the same."""
    try:
        content_text(text)
    except (ValueError, RecursionError) as error:
        return _local(f"not JSON: {error}")
    return _send(conversation, {"content": Json(text)})


def _send(conversation: Conversation, what: Mapping[str, Any], to: str = "") -> Turn:
    if conversation.current is None:
        return _local("nobody to talk to yet: /ask NAME")
    return _send_in(conversation, conversation.current, what, to)


def _send_in(
    conversation: Conversation, session: Session, what: Mapping[str, Any], to: str = "", *, has_envelope: bool = False
) -> Turn:
    """Send to the others in a session, or those that `what` names; just a frame if the server does not acknowledge.

    A text goes in an envelope if `has_envelope`, or if the last message of one of its receivers had one.
    """
    conversation.last_sent_to = session
    whom = f" to {to or session.peer}" if to or len(conversation.sessions) > 1 else ""
    content = what["content"]
    shown = (f"{conversation.user}{whom}: {content_text(content.text) if isinstance(content, Json) else content}",)
    is_expected = not conversation.enveloping.isdisjoint(what.get("to", session.others))
    if isinstance(content, str) and (has_envelope or is_expected):
        what = _enveloped(conversation, what)
    message: Any = {"sessionId": session.id, **what}
    if "acks" not in conversation.capabilities:
        return Turn(frame("SEND_MESSAGE", **message), lines=shown)
    return Turn(message=message, lines=shown)


def _enveloped(conversation: Conversation, what: Mapping[str, Any]) -> Mapping[str, Any]:
    """Put a text in an envelope, which has the `correlationId` of a request as its id."""
    is_request = what["type"] == REQUEST
    kind = ENVELOPED_REQUEST if is_request else what["type"]
    message_id = what["correlationId"] if is_request else conversation.new_id()
    return {**what, "content": enveloped(what["content"], kind, message_id), "type": kind}


def _say_to(conversation: Conversation, text: str) -> Turn:
    names, _, said = text.partition(" ")
    if not said:
        return _local("who is it for, and what is the text? /to NAME[,NAME] TEXT")
    to = [_peer_called(conversation, name) for name in names.split(",")]
    return _send(conversation, {"content": said, "type": CHAT, "to": to}, ", ".join(to))


def _ask_agents(conversation: Conversation, text: str) -> Turn:
    what = {"content": text, "type": REQUEST, "correlationId": conversation.new_id()}
    return _send(conversation, what)


def _run(conversation: Conversation, name: str) -> Turn:
    job = _job_of(conversation, name)
    return Turn(job=job) if job else _local("no request is waiting for the agent")


def _skip(conversation: Conversation, name: str) -> Turn:
    job = _job_of(conversation, name)
    if job is None:
        return _local("no request is waiting for the agent")
    return _turn_away(conversation, job, f"{conversation.user} does not want the agent to answer that")


def turned_away(conversation: Conversation, job: Job) -> Turn:
    """Return the refusal of a request to the agent because too many wait."""
    return _turn_away(conversation, job, "too many requests are waiting for the agent")


def _turn_away(conversation: Conversation, job: Job, why: str) -> Turn:
    return response(conversation, job, json.dumps({"error": why}))


def _job_of(conversation: Conversation, name: str) -> Job | None:
    """Take the oldest request that waits for the agent, or the oldest of this peer."""
    fitting = [job for job in conversation.jobs if name in {"", job.sender}]
    if fitting:
        conversation.jobs.remove(fitting[0])
    return fitting[0] if fitting else None


def response(conversation: Conversation, job: Job, content: str) -> Turn:
    """Return what answers a request to the agent with this content, which is JSON, in the session it came from."""
    session = conversation.sessions.get(job.session_id)
    if session is None:
        return _local(f"the session with {job.sender} is over: nothing was sent")
    correlation = {"correlationId": job.correlation_id} if job.correlation_id else {}
    said = _as_text(content) if job.has_envelope else Json(content)
    what = {"content": said, "type": RESPONSE, "to": [job.sender], **correlation}
    return _send_in(conversation, session, what, job.sender, has_envelope=job.has_envelope)


def _as_text(content: str) -> str:
    """Return the agent's response as a text: its answer, or that it failed."""
    answer = json.loads(content)
    return answer if isinstance(answer, str) else f"Error: {answer['error']}"


def _send_raw(_: Conversation, text: str) -> Turn:
    return Turn(text, lines=(f"sent {text}",))


def _ask(conversation: Conversation, name: str) -> Turn:
    if not name:
        return _local("whom do you want to ask? /ask NAME")
    target = _peer_called(conversation, name)
    ref = f"ask {target}" if "sessions" in conversation.capabilities else None
    return Turn(frame("CONNECTION_REQUEST", ref=ref, targetId=target), lines=(f"asking {target}",))


def _cancel(conversation: Conversation, name: str) -> Turn:
    fitting = [request for request, target in conversation.asked.items() if name in {"", target}]
    if not fitting:
        return _local(f"you have no open request to {name}" if name else "you have no open request")
    target = conversation.asked.pop(fitting[-1])
    return Turn(frame("CONNECTION_CANCEL", requestId=fitting[-1]), lines=(f"no longer asking {target}",))


def _invite(conversation: Conversation, words: str) -> Turn:
    return _change(conversation, "SESSION_INVITE", words, "inviting", takes_role=True)


def _kick(conversation: Conversation, name: str) -> Turn:
    return _change(conversation, "SESSION_KICK", name, "removing")


def _give_role(conversation: Conversation, words: str) -> Turn:
    return _change(conversation, "SESSION_ROLE", words, "giving a role to", takes_role=True)


def _hand_over(conversation: Conversation, name: str) -> Turn:
    return _change(conversation, "SESSION_HANDOVER", name, "handing over to")


def _leave(conversation: Conversation, _: str) -> Turn:
    return _finish(conversation, "SESSION_LEAVE", "leaving")


def _end(conversation: Conversation, _: str) -> Turn:
    return _finish(conversation, "SESSION_END", "ending")


def _change(conversation: Conversation, event: str, words: str, doing: str, *, takes_role: bool = False) -> Turn:
    """Change the current session for one peer: its name, and if it `takes_role` the role after it."""
    session = conversation.current
    name, _, role = words.rpartition(" ") if takes_role and words.endswith(_ROLES) else (words, "", "")
    if session is None or not name:
        return _local(f"{doing} whom?" if session else "you are in no session: /ask NAME")
    target = _peer_called(conversation, name)
    return Turn(frame(event, sessionId=session.id, targetId=target, role=role or None), lines=(f"{doing} {target}",))


def _finish(conversation: Conversation, event: str, doing: str) -> Turn:
    session = conversation.current
    if session is None:
        return _local("you are in no session: /ask NAME")
    if event == "SESSION_LEAVE":
        conversation.forget(session.id)
    return Turn(frame(event, sessionId=session.id), lines=(f"{doing} the session with {session.peer}",))


def _set_status(_: Conversation, status: str) -> Turn:
    if status not in _STATUSES:
        return _local(f"/status {'|'.join(_STATUSES)}")
    return Turn(frame("PEER_STATUS", status=status), lines=(f"you are {status}",))


def _peer_called(conversation: Conversation, name: str) -> str:
    """Return the id of the one peer with this display name, unless the name is an id already."""
    named = [peer for peer, profile in conversation.peers.items() if profile["displayName"] == name]
    return named[0] if len(named) == 1 and name not in conversation.peers else name


def _accept(conversation: Conversation, which: str) -> Turn:
    return _answer(conversation, which, accepted=True)


def _refuse(conversation: Conversation, which: str) -> Turn:
    return _answer(conversation, which, accepted=False)


def _answer(conversation: Conversation, which: str, *, accepted: bool) -> Turn:
    fitting = [request for request in conversation.requests.items() if not which or which in request]
    if not fitting:
        return _local(f"{which} has not asked to connect" if which else "nobody has asked to connect")
    request, peer = fitting[-1]
    del conversation.requests[request]
    answer = frame("CONNECTION_RESPONSE", requestId=request, accepted=accepted)
    return Turn(answer, lines=(f"{'accepting' if accepted else 'refusing'} {peer}",))


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
    "/peers": Command("", "list who is online", _list_peers),
    "/ask": Command("NAME", "ask to connect", _ask),
    "/accept": Command("[NAME|ID]", "accept the latest request, or this one", _accept),
    "/refuse": Command("[NAME|ID]", "refuse the latest request, or this one", _refuse),
    "/cancel": Command("[NAME]", "withdraw your latest request, or the one to NAME", _cancel),
    "/sessions": Command("", "list your sessions", _list_sessions, needs_server=False),
    "/use": Command("N|NAME", "send lines to this session; a new session is used at once", _use, needs_server=False),
    "/say": Command("TEXT", "send text; a line without a slash does the same", _say, can_wait=True),
    "/to": Command("NAME[,NAME] TEXT", "send text to some participants of the session", _say_to, can_wait=True),
    "/json": Command("JSON", "send any JSON as content", _say_json, can_wait=True),
    "/ai": Command("TEXT", "ask the other participants' agents", _ask_agents, can_wait=True),
    "/run": Command("[NAME]", "let your agent answer the oldest request, or the oldest from NAME", _run),
    "/skip": Command("[NAME]", "refuse that request", _skip),
    "/invite": Command("NAME [guest|observer]", "invite a peer to this session", _invite),
    "/role": Command("NAME guest|observer", "let a participant write (guest), or only read (observer)", _give_role),
    "/handover": Command("NAME", "make a participant the host", _hand_over),
    "/kick": Command("NAME", "remove a participant", _kick),
    "/leave": Command("", "leave this session", _leave),
    "/end": Command("", "end this session for all", _end),
    "/status": Command("online|away|busy", "tell others whether you have time", _set_status),
    "/raw": Command("FRAME", "send a frame as it is", _send_raw),
    "/ping": Command("", "check that the server answers", _ping),
    "/help": Command("", "list the commands", _help, needs_server=False),
    "/quit": Command("", "leave; so do Ctrl-C and Ctrl-D", _quit, needs_server=False),
}
