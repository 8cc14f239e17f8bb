"""The plugins of Emacs and Neovim: what they do when something goes wrong, and that they are well made."""

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from websockets.asyncio.server import ServerConnection

from tests.support.authority import Authority
from tests.support.client import PATIENCE, Client, client
from tests.support.editors import (
    EMACS_PACKAGE,
    Editor,
    Emacs,
    Neovim,
    Plugin,
    editing,
    emacs,
    is_online,
    lisp,
    marked,
    until,
)
from tests.support.proxy import proxy
from tests.support.scripted import event, scripted
from tests.support.server import Server, serving
from tests.support.tokens import Keys

Kinds = tuple[type[Plugin]]

each_plugin = pytest.mark.parametrize("kinds", [marked(Emacs), marked(Neovim)])
STOPS = {1002: "bug", 1007: "UTF-8", 1009: "larger", 4002: "elsewhere"}
REGISTERED = {"id": "ann", "profile": {"displayName": "Ann", "role": "guest", "ide": "other"}, "status": "online"}


@pytest.fixture
def server(servers: dict[str, Server]) -> Server:
    return servers["peersync"]


@asynccontextmanager
async def connected(kinds: Kinds, server: Server, folder: Path, url: str = "") -> AsyncIterator[Plugin]:
    """Run an editor that is connected."""
    user = f"{kinds[0].__name__}.{folder.name}"
    async with editing(kinds[0], user, folder) as editor:
        await editor.connect(url or server.url, server.keys.token(user))
        await until(editor.status, is_online)
        yield editor


async def asks(peer: Client, editor: Editor) -> None:
    """Let a peer ask, and the editor have heard it."""
    await peer.join(f"asks {editor.user}", displayName="Eve\x1b[31m\nroot")
    await peer.send("CONNECTION_REQUEST", targetId=editor.user)
    await until(editor.requests, {f"asks {editor.user}"}.__eq__)


async def in_session(peer: Client, editor: Editor) -> str:
    """Connect a peer with the editor, and return their session's id."""
    await asks(peer, editor)
    await editor.answer(f"asks {editor.user}", accepted=True)
    accepted = await peer.until("CONNECTION_ACCEPTED")
    await until(editor.sessions, (1).__eq__)
    session_id: str = accepted["sessionId"]
    return session_id


async def shows(editor: Editor, text: str) -> None:
    """Wait until the user can read a text."""
    await until(editor.shown, lambda shown: text in shown)


def card(user: str) -> dict[str, object]:
    return {"id": user, "profile": {"displayName": user, "role": "guest", "ide": "other"}}


async def welcome(connection: ServerConnection) -> None:
    """Let a connection be that of a registered peer."""
    await connection.send(event("AUTH_SUCCESS", userId="ann", displayName="Ann"))
    await connection.send(event("PEER_REGISTERED", **REGISTERED))


@each_plugin
async def test_rejects(kinds: Kinds, server: Server, tmp_path: Path) -> None:
    """Who is rejected learns it, and the request is gone."""
    async with connected(kinds, server, tmp_path) as editor, client(server) as peer:
        await asks(peer, editor)
        await shows(editor, "Eve [31m root asks for a session")
        await editor.answer(f"asks {editor.user}", accepted=False)
        assert (await peer.until("CONNECTION_REJECTED"))["targetId"] == editor.user
        await until(editor.requests, set[str]().__eq__)


@each_plugin
async def test_a_request_that_ends_unanswered(kinds: Kinds, tmp_path: Path) -> None:
    """It vanishes, and the user is told why; so it does when the user asks back, which accepts."""
    async with scripted() as server, editing(kinds[0], "ann", tmp_path) as editor:
        await editor.connect(server.url, "token")
        connection, _ = await server.accepted()
        await welcome(connection)
        await until(editor.status, is_online)
        asked = event("CONNECTION_REQUEST_RECEIVED", requestId="req_1", **{"from": card("bob")})
        for reason, why in (("expired", "bob has expired"), ("offline", "bob is gone"), ("cancelled", "bob no longer")):
            await connection.send(asked)
            await until(editor.requests, {"bob"}.__eq__)
            await connection.send(event("CONNECTION_CANCELLED", requestId="req_1", reason=reason))
            await until(editor.requests, set[str]().__eq__)
            await shows(editor, why)
        await connection.send(asked)
        await until(editor.requests, {"bob"}.__eq__)
        await connection.send(event("SESSION_CREATED", sessionId="ses_1", peer=card("bob")))
        await until(editor.requests, set[str]().__eq__)


@each_plugin
async def test_any_content(kinds: Kinds, server: Server, tmp_path: Path) -> None:
    """Whatever JSON another plugin sends is shown, half an emoji included."""
    async with connected(kinds, server, tmp_path) as editor, client(server) as peer:
        session = await in_session(peer, editor)
        for content in ('"half \\ud83d"', '{"a":[1,null,false]}', "12345678901234567890", '{"text":"```\\nfence"}'):
            await peer.raw(f'{{"event":"SEND_MESSAGE","data":{{"sessionId":"{session}","content":{content}}}}}')
        await shows(editor, "half")
        await shows(editor, '{"a":[1,null,false]}')
        await shows(editor, "fence")


@each_plugin
async def test_an_extension_of_the_original(kinds: Kinds, server: Server, tmp_path: Path) -> None:
    """What it puts in an envelope is read; what it is sent has one, since it cannot read anything else."""
    async with connected(kinds, server, tmp_path) as editor, client(server) as peer:
        session = await in_session(peer, editor)
        await peer.send("SEND_MESSAGE", sessionId=session, content="plainly", type="ai-prompt")
        await shows(editor, "[ai-prompt]: plainly")
        await editor.send("one\ntwo")
        assert (await peer.until("MESSAGE_RECEIVED"))["content"]["text"] == "one\ntwo"
        content = {"messageId": "msg_1", "content": "why so?", "type": "ai-prompt"}
        await peer.send("SEND_MESSAGE", sessionId=session, content=content)
        await shows(editor, "[ai-prompt]: why so?")
        assert "msg_1" not in await editor.shown()
        await editor.send("one\ntwo")
        received = await peer.until("MESSAGE_RECEIVED")
        assert received["content"].pop("messageId").startswith("msg_")
        assert (received["type"], received["content"]["type"]) == ("chat", "chat")
        assert "\none\ntwo\n```" in received["content"]["content"]


@each_plugin
async def test_large_selection(kinds: Kinds, server: Server, tmp_path: Path) -> None:
    """A selection of several frames' size arrives whole."""
    lines = "\n".join(f"line {number} of äöü" for number in range(4000))
    async with connected(kinds, server, tmp_path) as editor, client(server) as peer:
        session = await in_session(peer, editor)
        await editor.send(lines)
        received = await peer.until("MESSAGE_RECEIVED")
        assert received["type"] == "code"
        assert received["content"]["text"] == lines
        assert {"language", "file", "line"} <= received["content"].keys()
        await peer.send("SEND_MESSAGE", sessionId=session, content=lines)
        await until(editor.shown, lambda shown: shown.count("line 3999 of äöü") == 2)


@each_plugin
async def test_comes_back(kinds: Kinds, keys: Keys, tmp_path: Path) -> None:
    """After a lost connection the session goes on, and what was sent meanwhile is shown."""
    with serving(keys, tmp_path) as server:  # which waits for longer than the editor may, as those others do not
        await comes_back(kinds, server, tmp_path)


async def comes_back(kinds: Kinds, server: Server, tmp_path: Path) -> None:
    """See it come back to a server that waits for it."""
    async with proxy(server.port) as network:
        url = f"ws://127.0.0.1:{network.port}/ws"
        async with connected(kinds, server, tmp_path, url) as editor, client(server) as peer:
            session = await in_session(peer, editor)
            await network.cut()
            await until(editor.status, lambda status: status != "online")
            while await peer.next_event() != f"{editor.user} offline":  # the server may notice it later
                pass
            await peer.send("SEND_MESSAGE", sessionId=session, content="while you were away")
            network.mend()
            await shows(editor, "while you were away")
            await until(editor.status, is_online)
            assert await editor.sessions() == 1


@each_plugin
async def test_quits(kinds: Kinds, server: Server, tmp_path: Path) -> None:
    """Ending the editor is leaving: the session is over at once, not after a time of waiting."""
    async with client(server) as peer:
        async with connected(kinds, server, tmp_path) as editor:
            await in_session(peer, editor)
        assert (await peer.until("SESSION_ENDED"))["reason"] == "left"


@each_plugin
async def test_refused_token(kinds: Kinds, server: Server, tmp_path: Path) -> None:
    """A token that the server does not take is not presented again."""
    async with editing(kinds[0], "ann", tmp_path) as editor:
        await editor.connect(server.url, "no token")
        await shows(editor, "The server does not take this token")
        assert await editor.status() == "offline"


@each_plugin
async def test_stops_after_some_codes(kinds: Kinds, tmp_path: Path) -> None:
    """After a close code that says so it stays away, and tells why."""
    async with scripted() as server, editing(kinds[0], "ann", tmp_path) as editor:
        for code, why in STOPS.items():
            await editor.connect(server.url, "token")
            connection, _ = await server.accepted()
            await welcome(connection)
            await until(editor.status, is_online)
            await connection.close(code, "qa~")
            await shows(editor, why)
            assert await editor.status() == "offline"


@each_plugin
async def test_returns_after_others(kinds: Kinds, tmp_path: Path) -> None:
    """After a restart it comes back at once; after exceeding the rate limit it waits several seconds."""
    async with scripted() as server, editing(kinds[0], "ann", tmp_path) as editor:
        await editor.connect(server.url, "token")
        connection, _ = await server.accepted()
        await connection.close(1012)
        connection, _ = await server.accepted()
        await connection.close(4029)
        await until(editor.shown, lambda shown: shown.count("again in") == 2)
        pauses = [float(line.split("again in ")[1].split()[0]) for line in (await editor.shown()).splitlines()]
        assert 0.5 <= pauses[0] <= 1
        assert 7.5 <= pauses[1] <= 15


@each_plugin
async def test_a_server_without_its_store(kinds: Kinds, tmp_path: Path) -> None:
    """Neither let in nor registered for now it comes back, not as one who left, until it is."""
    async with scripted() as server, editing(kinds[0], "ann", tmp_path) as editor:
        if kinds[0] is Emacs:  # or it would cut the connection by itself at the end of the test's patience
            await editor.run("(setq peersync--patience 60)")
        await editor.connect(server.url, "token")
        for frames in ([], [event("AUTH_SUCCESS", userId="ann", displayName="Ann")]):
            connection, _ = await server.accepted()
            for frame in [*frames, event("ERROR", code="ERR_9002", message="later")]:
                await connection.send(frame)
            with anyio.fail_after(PATIENCE):
                await connection.wait_closed()
            assert connection.close_code == 1006
        connection, hello = await server.accepted()
        assert hello["token"] == "token"
        await welcome(connection)
        await until(editor.status, is_online)
        await connection.send(event("ERROR", code="ERR_9002", message="not now"))
        await shows(editor, "not now")
        assert await editor.status() == "online"


@each_plugin
async def test_what_trying_again_does_not_mend(kinds: Kinds, tmp_path: Path) -> None:
    """A refusal that is followed by its close code leaves the decision to that."""
    async with scripted() as server, editing(kinds[0], "ann", tmp_path) as editor:
        await editor.connect(server.url, "token")
        connection, _ = await server.accepted()
        await connection.send(event("ERROR", code="ERR_2005", message="superseded"))
        await shows(editor, "superseded")
        await connection.close(4002)
        await shows(editor, "elsewhere")
        assert await editor.status() == "offline"


@each_plugin
async def test_presents_a_fresh_token(kinds: Kinds, tmp_path: Path) -> None:
    """After the token expired it asks the token's command again."""
    token = tmp_path / "token"
    token.write_text("first\n")
    async with scripted() as server, editing(kinds[0], "ann", tmp_path) as editor:
        await editor.connect_with_command(server.url, ["cat", str(token)])
        connection, hello = await server.accepted()
        assert hello["token"] == "first"
        token.write_text("second\n")
        await connection.close(4003)
        connection, hello = await server.accepted()
        assert hello["token"] == "second"
        await connection.close(4003)
        await shows(editor, "does not take this token")


@each_plugin
async def test_fragments_and_pings(kinds: Kinds, tmp_path: Path) -> None:
    """A ping is answered, between the fragments of a message too; the message is joined."""
    async with scripted() as server, editing(kinds[0], "ann", tmp_path) as editor:
        await editor.connect(server.url, "token")
        connection, _ = await server.accepted()
        await welcome(connection)
        with anyio.fail_after(PATIENCE):
            await (await connection.ping(b"\x88 are you there"))
        message = event("MESSAGE_RECEIVED", **{"from": "bob"}, sessionId="ses_1", content="x" * 70000 + "end")
        if kinds[0] is Emacs:  # its library does not join fragments, and the server sends none
            await connection.send(message)
        else:
            await connection.send([message[:10], message[10:66000], message[66000:]])
        await shows(editor, "x" * 70000 + "end")


@each_plugin
async def test_tls(kinds: Kinds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over wss:// it talks to a server whose certificate is trusted, closes properly, and shuns any other."""
    trusted, other = Authority(tmp_path / "trusted.pem"), Authority(tmp_path / "other.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted.path))
    async with editing(kinds[0], "ann", tmp_path) as editor:
        if kinds[0] is Emacs:
            await editor.run(f"(progn (setq gnutls-trustfiles '({lisp(str(trusted.path))})) nil)")
        async with scripted(other.serving()) as server:
            await editor.connect(server.secure_url, "token")
            await shows(editor, "again in")
            assert server.waiting == 0
        await editor.disconnect()
        async with scripted(trusted.serving()) as server:
            await editor.connect(server.secure_url, "token")
            connection, _ = await server.accepted()
            await welcome(connection)
            await until(editor.status, is_online)
            await connection.send(event("MESSAGE_RECEIVED", **{"from": "bob"}, sessionId="ses_1", content="in secret"))
            await shows(editor, "in secret")
            await editor.disconnect()
            await until(editor.status, "offline".__eq__)
            with anyio.fail_after(PATIENCE):
                await connection.wait_closed()
            assert connection.close_code == 1000


@each_plugin
async def test_no_websocket(kinds: Kinds, server: Server, tmp_path: Path) -> None:
    """An address without a WebSocket is tried again, and it is told what was wrong."""
    async with editing(kinds[0], "ann", tmp_path) as editor:
        await editor.connect(f"{server.url}/nothing", "token")
        await shows(editor, "404")
        await until(editor.status, "waiting".__eq__)


@pytest.mark.parametrize("kinds", [marked(Emacs)])
def test_package_is_clean(kinds: Kinds, tmp_path: Path) -> None:
    """The package is compiled without a warning, and its documentation is as Emacs wants it."""
    source = tmp_path / "peersync.el"
    source.write_text((EMACS_PACKAGE / "peersync.el").read_text())
    strict = "(setq byte-compile-error-on-warn t)"
    compiled = subprocess.run(
        emacs("--eval", strict, "-f", "batch-byte-compile", source), capture_output=True, text=True, check=False
    )
    assert (compiled.returncode, compiled.stderr) == (0, "")
    checked = subprocess.run(
        emacs("--eval", f'(checkdoc-file "{source}")'), capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("kinds", [marked(Neovim)])
async def test_completion(kinds: Kinds, server: Server, tmp_path: Path) -> None:
    """The command's words and the peers can be completed, and an unknown word is named."""
    async with connected(kinds, server, tmp_path) as editor, client(server) as peer:
        await asks(peer, editor)
        assert await editor.run("return vim.fn.getcompletion('PeerSync re', 'cmdline')") == ["reject", "request"]
        found = await editor.run("return vim.fn.getcompletion('PeerSync accept ', 'cmdline')")
        assert found == [f"asks {editor.user}"]
        said = await editor.run("return tostring(select(2, pcall(vim.cmd, 'PeerSync dance')))")
        assert "there is no dance; there are accept, connect" in said
