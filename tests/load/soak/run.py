"""A soak: many peers connect, talk, drop, resume and leave at random, while a server's memory is watched."""

import logging
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import anyio
import click
from anyio.abc import TaskStatus

from app.auth.keys import make_keys, private_key
from app.auth.tokens import dev_claims, sign
from app.settings import Settings, read_settings
from stores.model import User
from tests.load.soak.checks import Faults
from tests.load.soak.life import Life
from tests.load.soak.report import Sample, progress_line, report, troubles, verdict
from tests.load.soak.server import Server, serving
from tests.load.soak.world import Plan, World, org_of, user_id

SETTINGS = {
    "STORE_URL": "memory://",  # with a file an acknowledgement may come after the PONG to a later PING
    "SESSION_GRACE_SECONDS": "5",
    "RESUME_GRACE_SECONDS": "10",
    "WS_HEARTBEAT_INTERVAL": "5000",
    "PRESENCE_EVERYONE": "150",
    "LOG_LEVEL": "warning",
}
"""Short graces, so that many run out in a soak, and large orgs as well as small ones; the environment wins."""
OWN = dict.fromkeys(("JWT_PUBLIC_KEY", "JWT_PRIVATE_KEY", "TLS_CERT_PATH", "TLS_KEY_PATH", "AUDIT_LOG"), "")
TOKEN_SPARE_SECONDS = 3600
SAMPLE_SECONDS = 1.0
PROGRESS_SECONDS = 10.0
OUTLASTING = {"registry_entries message_keys", "registry_entries recent_appends"}  # known for a while, whoever is gone
SETTLE_ROUNDS = 2  # in the first all that was sent is acknowledged, in the second what was acknowledged is there
LINGER_SECONDS = 10.0  # after the last grace
SETTLING_AT_ONCE = 50


def run(plan: Plan) -> None:
    """Carry out the plan and print the figures. Raises `click.ClickException` if a rule was broken."""
    logging.getLogger("picows").addHandler(logging.NullHandler())  # what goes wrong is told in our words
    soak = anyio.run(_run, plan, backend_options={"use_uvloop": find_spec("uvloop") is not None})
    click.echo(soak.report())
    if broken := soak.troubles():
        raise click.ClickException("; ".join(broken))


async def _run(plan: Plan) -> "Soak":
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        keys = {"JWT_PRIVATE_KEY_PATH": str(folder / "private.pem"), "JWT_PUBLIC_KEY_PATH": str(folder / "public.pem")}
        environment = {**SETTINGS, **os.environ, **keys, **OWN}
        settings = read_settings(environment, None)
        _say("Starting a server")
        make_keys(settings.jwt_private_key_path, settings.jwt_public_key_path)
        async with serving(folder, environment) as server:
            soak = Soak(plan, settings, server)
            await soak.run()
        return soak


class Soak:
    """One run."""

    def __init__(self, plan: Plan, settings: Settings, server: Server) -> None:
        self._server = server
        self._began = time.monotonic()
        self._plan = plan
        self._world = World(plan, settings, server.url, time.monotonic, Faults(_say))
        users = [user_id(number) for number in range(plan.peers)]
        self._lives = [Life(user, token, self._world) for user, token in _tokens(users, plan, settings)]
        self._samples: list[Sample] = []
        self._left_behind: dict[str, float] = {}

    def report(self) -> str:
        """Return the figures."""
        return report(self._samples, verdict(self._samples), self._world.faults, self._world.tally)

    def troubles(self) -> list[str]:
        """Return which rules were broken."""
        return troubles(verdict(self._samples), self._world.faults, self._left_behind)

    async def run(self) -> None:
        """Let the peers act, then settle and leave; an interrupt ends the first part.

        Raises `click.ClickException` where nothing can be measured.
        """
        first = self._server.sample(0)
        if first is None:
            raise click.ClickException("the soak reads the server's memory from /proc, which this system does not have")
        gauges = await self._gauges() | {"open files": first.files}
        self._samples = [first]
        self._began = time.monotonic()
        async with anyio.create_task_group() as watch:
            await watch.start(self._end_at_signal)
            _say(f"Soaking process {self._server.pid} with {self._plan.peers} peers")
            watch.start_soon(self._sample)
            watch.start_soon(self._show_progress)
            async with anyio.create_task_group() as lives:
                lives.start_soon(self._end_in_time)
                for life in self._lives:
                    lives.start_soon(life.live)
            watch.cancel_scope.cancel()
        if self._server.sample(0) is not None:
            _say("Waiting until every peer has what it was sent")
            await self._come_to_rest()
            seconds = self._world.longest_grace + LINGER_SECONDS
            _say(f"All peers leave; waiting up to {seconds:.0f} seconds until the server has forgotten them")
            await self._see_them_off(gauges)
        for line in self._server.errors():
            self._world.faults.note("an error in the server's log", line)

    async def _end_at_signal(self, *, task_status: TaskStatus[None]) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            async for _ in signals:
                self._world.end()
                return

    async def _end_in_time(self) -> None:
        await self._world.wait(60 * self._plan.minutes)
        self._world.end()

    async def _sample(self) -> None:
        while (sample := self._server.sample(self._now())) is not None:
            self._samples.append(sample)
            await anyio.sleep(SAMPLE_SECONDS)
        self._world.faults.note("the server ended", self._server.stop_summary())
        self._world.end()

    async def _show_progress(self) -> None:
        before = self._samples[0]
        while True:
            await anyio.sleep(PROGRESS_SECONDS)
            sessions = len({session for life in self._lives for session in life.peer.rooms})
            tally = self._world.tally.copy()
            tally.update(sessions=sessions, faults=self._world.faults.counts.total())
            now = self._samples[-1]
            _say(progress_line(now, before, await self._gauges(), tally))
            before = now

    async def _gauges(self) -> dict[str, float]:
        try:
            return await self._server.gauges()
        except OSError as error:
            self._world.faults.note("no metrics", repr(error))
            return {}

    async def _come_to_rest(self) -> None:
        for _ in range(SETTLE_ROUNDS):
            limit = anyio.Semaphore(SETTLING_AT_ONCE)
            async with anyio.create_task_group() as group:
                for life in self._lives:
                    group.start_soon(_settle, life, limit)

    async def _see_them_off(self, before: Mapping[str, float]) -> None:
        """Let half the peers leave and the others expire. Gauges above their first values show what is left."""
        for number, life in enumerate(self._lives):
            life.part(is_leaving=number % 2 == 0)
        with anyio.move_on_after(self._world.longest_grace + LINGER_SECONDS):
            while left := await self._remains(before):
                self._left_behind = left
                await anyio.sleep(SAMPLE_SECONDS)
            self._left_behind = {}

    async def _remains(self, before: Mapping[str, float]) -> dict[str, float]:
        sample = self._server.sample(0)
        now = await self._gauges() | {"open files": 0 if sample is None else sample.files}
        return {name: value for name, value in now.items() if value > before.get(name, 0) and name not in OUTLASTING}

    def _now(self) -> float:
        return time.monotonic() - self._began


def _say(line: str) -> None:
    click.echo(line, err=True)


def _tokens(users: list[str], plan: Plan, settings: Settings) -> Iterator[tuple[str, str]]:
    key, ttl = private_key(settings), int(60 * plan.minutes) + TOKEN_SPARE_SECONDS
    issuer, audience, now = settings.jwt_issuer, settings.jwt_audience, time.time()
    for user in users:
        claims = dev_claims(User(user, org_of(user)), issuer=issuer, audience=audience, now=now, ttl=ttl, name=user)
        yield user, sign(key, claims)


async def _settle(life: Life, limit: anyio.Semaphore) -> None:
    async with limit:
        await life.settle()
