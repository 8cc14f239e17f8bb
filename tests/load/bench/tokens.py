"""The tokens of a load run's peers."""

import secrets
from pathlib import Path

import click

from app.auth.keys import private_key
from app.cli.tokens import dev_token
from app.settings import Settings
from stores.model import User

TOKEN_SECONDS = 3600
MANY_TOKENS = 2000  # about a second's work


def make_tokens(settings: Settings, count: int) -> list[str]:
    """Return tokens of new users, in an org of their own: nobody else at the server meets them."""
    key, run = private_key(settings), f"bench-{secrets.token_hex(4)}"
    if count >= MANY_TOKENS:
        click.echo(f"Signing {count} tokens", err=True)
    return [dev_token(settings, User(f"{run}-{number}", run), TOKEN_SECONDS, key=key) for number in range(count)]


def read_tokens(path: Path, count: int) -> list[str]:
    """Return the tokens in a file, one a line; raises `click.ClickException` if there are fewer than `count`."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    tokens = [line.strip() for line in lines if line.strip()]
    if len(tokens) < count:
        raise click.ClickException(
            f"--token-file: {path} has {len(tokens)} tokens, but {count // 2} pairs need {count}"
        )
    return tokens
