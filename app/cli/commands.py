"""The commands. A mistake is one line on standard error and exit code 1 or 2, never a traceback."""

import json
import shlex
import shutil
from pathlib import Path
from typing import get_args

import click
import msgspec

from app import VERSION
from app.auth.keys import make_keys
from app.cli import server
from app.cli.address import address
from app.cli.group import OneLineErrors
from app.cli.keys import make_missing_keys
from app.cli.tokens import dev_token
from app.contract.contract import Contract
from app.contract.files import write
from app.contract.typescript import module
from app.rest.endpoints import endpoints
from app.settings import parse_duration, read_settings
from app.tables import load_routes
from schemas.fields import Ide, Role
from stores.model import User


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """PeerSync Dev Connect: real-time collaboration between developers in different editors."""


@main.command()
@click.option("--host", help="The address to listen on (HOST).")
@click.option("--port", type=click.IntRange(0, 65535), help="The port to listen on (PORT).")
@click.option("--reload", is_flag=True, help="Restart when a source file changes.")
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="The number of processes; it must be 1. To run several, start each with the same Redis (STORE_URL).",
)
@click.option("--make-keys", is_flag=True, help="Make a key pair if there is none. In development this is always done.")
def serve(host: str | None, port: int | None, workers: int, *, reload: bool, make_keys: bool) -> None:
    """Run the server until it is told to stop."""
    settings = read_settings()
    changes = {"host": host, "port": port}
    settings = msgspec.structs.replace(
        settings, **{name: value for name, value in changes.items() if value is not None}
    )
    if workers > 1:
        raise click.ClickException(
            f"--workers is {workers}; it must be 1. To run several processes, start each with STORE_URL=redis://..."
        )
    if make_keys or settings.app_env == "development":
        make_missing_keys(settings)
    server.run(settings, reload=reload)


@main.command()
@click.option("--private", type=click.Path(path_type=Path), help="The file for the private key (JWT_PRIVATE_KEY_PATH).")
@click.option("--public", type=click.Path(path_type=Path), help="The file for the public key (JWT_PUBLIC_KEY_PATH).")
def genkeys(private: Path | None, public: Path | None) -> None:
    """Make a key pair for the first algorithm in JWT_ALGORITHMS. Files that exist are never overwritten."""
    settings = read_settings()
    private = private or settings.jwt_private_key_path
    public = public or settings.jwt_public_key_path
    make_keys(private, public, settings.jwt_algorithms)
    click.echo(f"private key (keep it secret): {private}\npublic key: {public}")


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path("docs/contract"))
@click.option("--python", type=click.Path(path_type=Path, dir_okay=False), help="A file to write Python types to.")
@click.option(
    "--typescript", type=click.Path(path_type=Path, dir_okay=False), help="A file to write TypeScript types to."
)
def schema(folder: Path, python: Path | None, typescript: Path | None) -> None:
    """Write the contract to FOLDER (default docs/contract).

    It consists of AsyncAPI, OpenAPI, a JSON Schema for each event, and events.md, and includes the events of PLUGINS.
    No server needs to run.
    """
    settings = read_settings()
    contract = Contract(load_routes(settings.plugins), endpoints(settings), settings.ws_path)
    count = write(contract, f"localhost:{settings.port}", folder)
    click.echo(f"{count} files in {folder}")
    if python is not None:
        python.write_text(contract.python, encoding="utf-8")
        click.echo(f"types in {python}")
    if typescript is not None:
        typescript.write_text(module(contract.events, contract.shapes), encoding="utf-8")
        click.echo(f"types in {typescript}")


@main.command()
def doctor() -> None:
    """Check settings, keys, store, port, open files and clock, and say what to do. Changes nothing."""
    from app.cli.doctor import run  # noqa: PLC0415 - the libraries of the server, for which no other command should wait

    if not run():
        raise SystemExit(1)


@main.command()
@click.argument("user")
@click.option("--email", help="The e-mail address; USER@example.com by default.")
@click.option("--name", help="The display name; USER by default.")
@click.option("--role", "roles", multiple=True, help="A role for the token; can be repeated.")
@click.option("--scope", help="The scope of the token, such as peersync:admin.")
@click.option("--org", help="The organisation. Users of different organisations never see each other.")
@click.option("--ttl", help="How long the token is valid, such as 30m or 8h (JWT_EXPIRATION).")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object with the token and its lifetime.")
def devtoken(  # noqa: PLR0917 - click passes them by name
    user: str,
    email: str | None,
    name: str | None,
    roles: tuple[str, ...],
    scope: str | None,
    org: str | None,
    ttl: str | None,
    *,
    as_json: bool,
) -> None:
    """Print an access token for USER, signed with the private key. No server needs to run."""
    settings = read_settings()
    if ttl and ttl.strip().isdecimal():
        raise click.ClickException(f"--ttl is {ttl!r}; it needs a unit, such as {ttl.strip()}h or {ttl.strip()}m")
    seconds = parse_duration("--ttl", ttl) if ttl else settings.jwt_expiration.seconds
    token = dev_token(settings, User(user, org), seconds, name=name, email=email, roles=roles, scope=scope)
    body = {"token": token, "expiresIn": seconds, "userId": user}
    click.echo(json.dumps(body, separators=(",", ":")) if as_json else token)


@main.command()
@click.argument("user")
@click.option("--url", help="The URL of the server's socket; by default, the server of the settings on this machine.")
@click.option("--name", help="The display name; USER by default.")
@click.option("--ide", type=click.Choice(get_args(Ide)), help="The editor to show to others.")
@click.option("--role", type=click.Choice(get_args(Role)), help="The role to register with.")
@click.option("--token", help="An access token; by default, one is signed with the private key.")
@click.option(
    "--agent",
    help="A command that answers requests of others (/ai): it reads one from standard input and prints the answer.",
)
@click.option(
    "--agent-seconds", type=click.FloatRange(0.1), default=120, show_default=True, help="The time limit of the agent."
)
@click.option("--agent-env", multiple=True, help="An environment variable to pass to the agent; can be repeated.")
@click.option("--yes", is_flag=True, help="Let the agent answer without asking you. Use it only with people you trust.")
def peer(  # noqa: PLR0917 - click passes them by name
    user: str,
    url: str | None,
    name: str | None,
    ide: str | None,
    role: str | None,
    token: str | None,
    agent: str | None,
    agent_seconds: float,
    agent_env: tuple[str, ...],
    *,
    yes: bool,
) -> None:
    """Connect this terminal as USER: see what happens, ask others to connect, and send messages."""
    try:
        from peersync_terminal.peer import Helper, Server, run  # noqa: PLC0415 - a fifth of a second, for which no other command waits
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"{error.name} was not found; add clients/python to PYTHONPATH, as bin/peer does"
        ) from None

    settings = read_settings()
    profile = {"displayName": name, "ide": ide, "role": role}

    def make_token() -> str:
        return dev_token(settings, User(user), settings.jwt_expiration.seconds, name=name)

    helper = Helper(_words("--agent", agent), agent_seconds, yes, agent_env) if agent else None
    run(Server(*address(url, settings)), user, profile, token or make_token, version=VERSION, helper=helper)


def _words(option: str, command: str) -> tuple[str, ...]:
    """Return the words of a command, split as a shell does. Raise `click.ClickException` if there is none."""
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise click.ClickException(f"{option} is {command!r}; it must be a command ({error})") from None
    if not words or shutil.which(words[0]) is None:
        raise click.ClickException(f"{option} is {command!r}; there is no such command")
    return words
