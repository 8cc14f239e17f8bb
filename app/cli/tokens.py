"""Development tokens that commands sign with the private key."""

import time

import click

from app.auth.algorithms import Key
from app.auth.keys import private_key
from app.auth.tokens import dev_claims, sign
from app.settings import Settings
from schemas.fields import ID_MAX
from stores.model import User


def dev_token(
    settings: Settings,
    user: User,
    ttl: int,
    *,
    key: Key | None = None,
    name: str | None = None,
    email: str | None = None,
    roles: tuple[str, ...] = (),
    scope: str | None = None,
) -> str:
    """Return an access token signed with the private key; raises `click.ClickException` for an unusable user id."""
    if not 1 <= len(user.id) <= ID_MAX:
        raise click.ClickException(f"USER has {len(user.id)} characters; it must have 1 to {ID_MAX}")
    claims = dev_claims(
        user,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        now=time.time(),
        ttl=ttl,
        name=name or user.id,
        email=email or f"{user.id}@example.com",
        roles=list(roles) or None,
        scope=scope,
    )
    return sign(key or private_key(settings), claims)
