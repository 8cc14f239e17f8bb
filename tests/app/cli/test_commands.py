"""The commands, as a person types them. What goes wrong is one line on standard error."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from joserfc import jwt

from app.cli.commands import main
from app.cli.group import LAUNCHER
from tests.support.server import ROOT
from tests.support.tokens import Keys


def run(keys: Keys, *arguments: str, **environment: str) -> Result:
    """Run a command with these keys."""
    return CliRunner().invoke(main, arguments, env={**keys.environment(), **environment})


def test_devtoken(keys: Keys) -> None:
    """A token alone is on standard output, and carries what was asked for."""
    options = (
        "--email",
        "a@b.c",
        "--name",
        "Ann",
        "--role",
        "developer",
        "--role",
        "admin",
        "--org",
        "acme",
        "--ttl",
        "2h",
        "--scope",
        "peersync:admin",
    )
    done = run(keys, "devtoken", "ann", *options)
    (token,) = done.stdout.splitlines()
    claims = jwt.decode(token, keys.key, algorithms=["RS256"]).claims
    assert claims["exp"] - claims["iat"] == 7200
    named = {name: claims[name] for name in ("sub", "email", "name", "roles", "org", "scope")}
    roles = ["developer", "admin"]
    given = {"sub": "ann", "email": "a@b.c", "name": "Ann", "roles": roles, "org": "acme", "scope": "peersync:admin"}
    assert named == given


def test_devtoken_as_json(keys: Keys) -> None:
    """With --json the token comes with its expiry."""
    body = json.loads(run(keys, "devtoken", "ann", "--json").stdout)
    assert (body["userId"], body["expiresIn"], body["token"].count(".")) == ("ann", 3600, 2)


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        (("devtoken", "ann", "--ttl", "soon"), {}, "--ttl is 'soon'; it must be a time such as 90s, 30m, 1h or 7d"),
        (("devtoken", "ann", "--ttl", "8"), {}, "--ttl is '8'; it needs a unit, such as 8h or 8m"),
        (("devtoken", ""), {}, "USER has 0 characters; it must have 1 to 256"),
        (("devtoken", "\udcff"), {}, "is not UTF-8 text"),
        (("devtoken", "ann"), {"JWT_PRIVATE_KEY_PATH": "nowhere.pem"}, "bin/genkeys"),
        (("serve",), {"PORT": "many"}, "PORT is 'many'; it must be a whole number from 0 to 65535"),
        (("serve",), {"PLUGINS": "no.such.module"}, "PLUGINS names 'no.such.module'"),
        (("serve",), {"APP_ENV": "production", "JWT_PUBLIC_KEY_PATH": "nowhere.pem"}, "bin/genkeys"),
        (("serve", "--workers", "2"), {}, "redis://"),
    ],
)
def test_mistakes(arguments: tuple[str, ...], environment: dict[str, str], says: str, keys: Keys) -> None:
    """A mistake is one line that says what may be, and exit code 1."""
    done = run(keys, *arguments, **environment)
    assert (done.exit_code, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert says in done.stderr


@pytest.mark.parametrize(
    ("arguments", "launcher", "says"),
    [
        (("peer",), "bin", "Missing argument 'USER'; bin/peer --help says more"),
        (("peer",), "", "Missing argument 'USER'; python -m app peer --help says more"),
        (("devtoken", "ann", "--til", "1h"), "bin", "; bin/devtoken --help says more"),
        (("nonsense",), "", "No such command 'nonsense'; python -m app --help says more"),
    ],
)
def test_a_mistake_on_the_command_line(arguments: tuple[str, ...], launcher: str, says: str) -> None:
    """It is one line, too, and names the command as it was typed."""
    done = CliRunner().invoke(main, arguments, env={LAUNCHER: launcher}, prog_name="python -m app")
    assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1)
    assert says in done.stderr


@pytest.mark.parametrize(("launcher", "usage"), [("bin", "bin/serve"), ("", "python -m app serve")])
def test_usage(launcher: str, usage: str) -> None:
    """It names the command as it was typed."""
    done = CliRunner().invoke(main, ["serve", "--help"], env={LAUNCHER: launcher}, prog_name="python -m app")
    assert done.stdout.splitlines()[0] == f"Usage: {usage} [OPTIONS]"


def test_load_tools_are_elsewhere() -> None:
    """They are no commands of the server."""
    assert set(main.commands) == {"serve", "genkeys", "schema", "doctor", "devtoken", "peer"}


def test_a_port_that_is_taken(keys: Keys) -> None:
    """It is told in one line, before anything starts."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(keys, "serve", PORT=str(port))
    assert (done.exit_code, len(done.stderr.splitlines())) == (1, 1)
    assert f"cannot listen on PORT {port} of HOST 127.0.0.1" in done.stderr
    assert "PORT=3001" in done.stderr


@pytest.mark.parametrize(("app_env", "is_made"), [("development", True), ("production", False)])
def test_keys_beside_an_issuer(app_env: str, is_made: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an issuer a key pair is made for development only: in production it would be trusted besides."""
    monkeypatch.setattr("app.cli.commands.server.run", lambda *_, **__: None)
    paths = {f"JWT_{kind.upper()}_KEY_PATH": str(tmp_path / f"{kind}.pem") for kind in ("private", "public")}
    environment = {**paths, "APP_ENV": app_env, "JWT_JWKS_URL": "https://id.example.com/jwks"}
    done = CliRunner().invoke(main, ["serve", "--make-keys"], env=environment)
    assert (done.exit_code, (tmp_path / "public.pem").exists()) == (0, is_made)


def test_peer_without_the_client(keys: Keys) -> None:
    """Where clients/python is not on the path, that is said in one line."""
    done = subprocess.run(
        [sys.executable, "-m", "app", "peer", "ann"],
        env={**os.environ, **keys.environment(), "PYTHONPATH": ""},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: peersync_terminal was not found; add clients/python to PYTHONPATH, as bin/peer does\n"


def test_genkeys(tmp_path: Path) -> None:
    """A pair is made, the private key for its owner alone; a second time nothing is overwritten."""
    private, public = tmp_path / "keys" / "private.pem", tmp_path / "keys" / "public.pem"
    arguments = ["genkeys", "--private", str(private), "--public", str(public)]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert private.stat().st_mode & 0o777 == 0o600
    before = private.read_bytes()
    again = CliRunner().invoke(main, arguments)
    assert (again.exit_code, private.read_bytes()) == (1, before)
    assert "never overwritten" in again.stderr


def test_schema(keys: Keys, tmp_path: Path) -> None:
    """The contract is written to the folder, with the events of plugins; a file in its place is told of in one line."""
    types, python = tmp_path / "events.ts", tmp_path / "events.py"
    arguments = (str(tmp_path / "contract"), "--typescript", str(types), "--python", str(python))
    result = run(keys, "schema", *arguments, PLUGINS="docs.examples.shout", PORT="4000")
    assert result.exit_code == 0, result.output
    assert "interface Shout " in types.read_text()
    document = json.loads((tmp_path / "contract/asyncapi.json").read_text())
    assert document["servers"]["here"]["host"] == "localhost:4000"
    assert (tmp_path / "contract/schemas/SHOUT.json").is_file()
    assert "async def shout(" in python.read_text()
    (tmp_path / "file").touch()
    for folder in ("file", "file/within"):
        result = run(keys, "schema", str(tmp_path / folder))
        assert (result.exit_code, "Traceback" in result.output) != (0, True)
        assert "file" in result.output.splitlines()[-1]
