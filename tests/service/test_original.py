"""Frames recorded from the original server replay to the same frames from ours."""

import json
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Client, client
from tests.support.server import Server, serving
from tests.support.tokens import Keys

SCENES = json.loads((Path(__file__).parent / "original-v1.json").read_text())["scenes"]
TIMES = {"$ISO_MS": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "$EPOCH_MS": r"\d{13}"}
IDS = re.compile(r"\$(REQ|SES)\d")


class Scene:
    """The people of a scene, and the ids that came up in it. A name's second AUTH is a second socket."""

    def __init__(self, server: Server, stack: AsyncExitStack) -> None:
        self.server = server
        self.stack = stack
        self.sockets: dict[str, list[Client]] = {}
        self.ids: dict[str, str] = {}
        self.authenticating: set[str] = set()

    async def speak(self, who: str, frame: str) -> None:
        """Send a recorded frame."""
        sockets = self.sockets.setdefault(who, [])
        if not sockets or ('"AUTH"' in frame and who in self.authenticating):
            sockets.append(await self.stack.enter_async_context(client(self.server)))
        if '"AUTH"' in frame:
            self.authenticating.add(who)
        for placeholder, value in self.ids.items():
            frame = frame.replace(placeholder, value)
        await sockets[-1].raw(frame.replace("$TOKEN", self.server.keys.token(who)))

    async def hear(self, socket: Client, expected: str) -> None:
        """Receive a frame and compare it with the recorded one."""
        actual = await socket.receive()
        pattern = re.escape(_without_texts(expected))
        for name, time in TIMES.items():
            pattern = pattern.replace(re.escape(name), time)
        pattern = IDS.sub(r"(?P<\g<1>>(req|ses)_[A-Za-z0-9_-]{22})", pattern.replace(r"\$", "$"))
        match = re.fullmatch(pattern, _without_texts(actual))
        assert match, f"expected {expected}, got {actual}"
        for placeholder in IDS.finditer(expected):
            assert self.ids.setdefault(placeholder[0], match[placeholder[1]]) == match[placeholder[1]]


def _without_texts(frame: str) -> str:
    """Leave out the texts of errors, and escapes: content is equal as JSON."""
    frame = re.sub(r'("code":"ERR_\d+","message":)"[^"]*"', r'\1""', frame)
    return frame.replace("\\u00e9", "é")


@pytest.fixture(scope="module", params=["peersync", "websockets-sansio"])
def stage(keys: Keys, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Server]:
    """Run a server that no other test leaves anybody on."""
    with serving(keys, tmp_path_factory.mktemp("stage"), ws_implementation=request.param) as server:
        yield server


@pytest.mark.parametrize("scene", SCENES, ids=[scene["title"] for scene in SCENES])
async def test_scene(scene: dict[str, Any], stage: Server) -> None:
    """A recorded scene plays the same, frame by frame."""
    async with AsyncExitStack() as stack:
        play = Scene(stage, stack)
        for step in scene["steps"]:
            if "from" in step:
                await play.speak(step["from"], step["frame"])
                continue
            sockets = play.sockets[step["to"]]
            is_for_the_old = len(sockets) > 1 and "AUTH_SUCCESS" not in step.get("frame", "")
            socket = sockets[0] if is_for_the_old else sockets[-1]
            if "close" in step:
                await socket.expect_close(step["close"])
            else:
                await play.hear(socket, step["frame"])
