"""The key pair that `serve` makes by itself in development."""

import click

from app.auth.algorithms import KINDS
from app.auth.keys import make_keys
from app.settings import Settings


def makes_keys(settings: Settings) -> bool:
    """Whether `serve` makes the key pair when it starts, or the half of it that is missing: only in development."""
    return settings.app_env == "development" and not (settings.jwt_private_key or _has_public_key(settings))


def make_missing_keys(settings: Settings) -> None:
    """Make the pair where the settings look for it, unless there is a key to verify with already.

    In production an issuer's keys are enough: one made here would be trusted as well.
    """
    if _has_public_key(settings) or (settings.jwt_jwks_url and settings.app_env == "production"):
        return
    private, public = settings.jwt_private_key_path, settings.jwt_public_key_path
    kind = KINDS[settings.jwt_algorithms[0]]
    click.echo(f"Making an {kind} key pair: {private}, {public}", err=True)
    make_keys(private, public, settings.jwt_algorithms)


def _has_public_key(settings: Settings) -> bool:
    return bool(settings.jwt_public_key) or settings.jwt_public_key_path.exists()
