"""Administration: revokes tokens and shows the overview. Both need a token with the scope `peersync:admin`."""

from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from app.clock import iso
from app.rest.overview import OverviewQuery, overview
from app.rest.request import body_of, identify, query_of, runtime_of
from app.rest.responses import json
from app.rest.trusted_origin import is_trusted
from handlers.domain import disconnects
from handlers.ports import Identity
from schemas.errors import ErrorCode, EventError
from schemas.fields import Id
from stores.model import Revocation, User

SCOPE = "peersync:admin"


class RevocationRequest(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """Which tokens to revoke: the one with this `jti`, or those of a user issued before a given time.

    `issued_before` is in seconds since 1970; it defaults to now.
    """

    token_id: Id | None = None
    user_id: Id | None = None
    org: Id | None = None
    issued_before: Annotated[float, Meta(ge=0)] | None = None


async def revoke(request: Request) -> Response:
    """Revoke tokens: close the sockets that use them, end those users' sessions and reject the tokens from now on."""
    runtime = runtime_of(request)
    await _operator(request)
    wanted = await body_of(request, RevocationRequest)
    operator = await _operator(request)  # again: the token may have expired or been revoked while the body arrived
    revocation = _revocation(
        wanted,
        now=runtime.services.clock.now(),
        seconds=runtime.settings.revocation_seconds,
    )
    closed = await disconnects.revoke(revocation, runtime.services)
    details = _details(revocation)
    runtime.log.warning("tokens revoked", by=operator.user.id, sockets=closed, **details)
    audited = {f"revoked_{name}": value for name, value in details.items()}
    runtime.audit.note("revoked", operator.user, sockets=closed, **audited)
    return json({"closedSockets": closed, "keptUntil": iso(revocation.expires_at)})


async def get_overview(request: Request) -> Response:
    """Return counts, and the newest peers and sessions.

    In development with a loopback `HOST`, requests to a loopback host name need no token.
    """
    runtime = runtime_of(request)
    if not (runtime.settings.is_private and is_trusted(request, runtime.settings)):
        await _operator(request)
    return json(await overview(runtime, query_of(request, OverviewQuery)))


async def _operator(request: Request) -> Identity:
    identity = await identify(request)
    if SCOPE not in identity.scopes:
        raise EventError(ErrorCode.NOT_ALLOWED, f"The token's scope claim must include {SCOPE}")
    return identity


def _revocation(wanted: RevocationRequest, *, now: float, seconds: float) -> Revocation:
    if (wanted.token_id is None) == (wanted.user_id is None):
        raise EventError(ErrorCode.INVALID_DATA, "The body must have either tokenId or userId")
    if wanted.token_id is not None:
        if wanted.org is not None or wanted.issued_before is not None:
            raise EventError(ErrorCode.INVALID_DATA, "org and issuedBefore are allowed only with userId")
        return Revocation(expires_at=now + seconds, token_id=wanted.token_id)
    if wanted.issued_before is not None and wanted.issued_before > now:
        raise EventError(ErrorCode.INVALID_DATA, "issuedBefore is in the future")
    user = User(wanted.user_id or "", wanted.org)
    issued_before = now if wanted.issued_before is None else wanted.issued_before
    return Revocation(expires_at=now + seconds, user=user, issued_before=issued_before)


def _details(revocation: Revocation) -> dict[str, str | None]:
    """Return a revocation as values of a log line."""
    if revocation.user is None:
        return {"token_id": revocation.token_id}
    id_, org = revocation.user
    return {"user_id": id_, "org": org, "issued_before": iso(revocation.issued_before)}
