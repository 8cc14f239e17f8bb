"""Every path over HTTP: routed by this list, and told of by it in the contract."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from app.contract.endpoint import Answer, Call, Endpoint, JsonError
from app.rest import admin, auth, console, docs, health
from app.rest.models import Bearer, Guide, Jwks, Live, Overview, PublicKey, Ready, Revoked, Token, Unavailable
from app.rest.overview import OverviewQuery
from app.rest.request import MAX_BODY_BYTES
from app.settings import Settings
from app.wire.http import Paths


def endpoints(settings: Settings) -> list[Endpoint]:
    """Return what is served with these settings."""
    return [endpoint for endpoint in ENDPOINTS if endpoint.is_served(settings)]


def paths(settings: Settings, probe: ASGIApp) -> Paths:
    """Return what the HTTP protocol must know of the paths before it routes them."""
    served = endpoints(settings)
    return Paths(
        socket=settings.ws_path,
        prices={endpoint.path: endpoint.price for endpoint in served} | _prices_of_files(settings),
        probes=frozenset(endpoint.path for endpoint in served if endpoint.is_probe),
        probe=probe,
    )


def static_files(settings: Settings) -> list[Mount]:
    """Return the routes of the files that pages load."""
    docs_files = docs.static_files() if settings.docs == "on" else []
    return [*docs_files, *(console.static_files() if settings.has_console else [])]


def _prices_of_files(settings: Settings) -> dict[str, float]:
    """Return the price of each file: the larger, the dearer."""
    return {
        f"{mount.path}/{path.relative_to(folder).as_posix()}": 1.0 + path.stat().st_size / BYTES_PER_REQUEST
        for mount in static_files(settings)
        for folder in [Path(str(cast("StaticFiles", mount.app).directory))]
        for path in folder.rglob("*")
        if path.is_file()
    }


def _error(means: str) -> Answer:
    return Answer(means, JsonError)


def _has_docs(settings: Settings) -> bool:
    return settings.docs == "on"


def _probe(path: str, call: Call, answers: Mapping[int, Answer]) -> Endpoint:
    return Endpoint(path=path, call=call, tag=HEALTH, answers=answers, is_probe=True)


def _contract(path: str, call: Call, answers: Mapping[int, Answer], **examples: str) -> Endpoint:
    return Endpoint(path=path, call=call, tag="contract", answers=answers, examples=examples, is_served=_has_docs)


HEALTH = "health"
OVERVIEW_PRICE = 10.0
BYTES_PER_REQUEST = 131_072

IS_LIVE = {200: Answer("It lives", Live)}
IS_READY = {200: Answer("It should get traffic", Ready), 503: Answer("It should not, and why", Unavailable)}
IS_PAGE = {200: Answer("A page for a browser", media_type="text/html")}
IS_DOCUMENT = {200: Answer("The document")}

NO_GOOD = "The token is missing (`ERR_1001`), invalid or revoked (`ERR_1002`), or expired (`ERR_1003`)"
NO_SCOPE = f"The token lacks the scope `{admin.SCOPE}` (`ERR_1004`)"
NO_KEYS = "The keys of `JWT_JWKS_URL` are not there yet (`ERR_9002`)"
TOO_LONG = f"The body has more than {MAX_BODY_BYTES} bytes (`ERR_9003`)"
TOO_MANY = (
    "Too many requests came from the address, or too many authentications failed (`ERR_5004`);"
    " `Retry-After` says how long to wait"
)
UNFIT = "The body does not fit (`ERR_9003`)"

ENDPOINTS = (
    _probe("/health", health.live, IS_LIVE),
    _probe("/health/live", health.live, IS_LIVE),
    _probe("/health/ready", health.ready, IS_READY),
    _probe("/api/v1/health", health.live, IS_LIVE),
    _probe("/api/v1/health/ready", health.ready, IS_READY),
    Endpoint(
        path="/metrics",
        call=health.metrics,
        tag=HEALTH,
        answers={200: Answer("Prometheus text", media_type="text/plain")},
    ),
    Endpoint(
        path="/api/v1/auth/public-key",
        call=auth.get_public_key,
        tag="authentication",
        answers={
            200: Answer("The first of the keys in PEM", PublicKey),
            404: _error("There is none: tokens are verified with the keys of `JWT_JWKS_URL`"),
        },
    ),
    Endpoint(
        path="/.well-known/jwks.json",
        call=auth.get_jwks,
        tag="authentication",
        answers={200: Answer("The keys", Jwks)},
    ),
    Endpoint(
        path="/api/v1/auth/verify",
        call=auth.verify,
        tag="authentication",
        needs_token=True,
        answers={
            200: Answer("The token is good", Bearer),
            401: _error(NO_GOOD),
            429: _error(TOO_MANY),
            503: _error(NO_KEYS),
        },
    ),
    Endpoint(
        path="/api/v1/auth/dev-token",
        call=auth.make_dev_token,
        tag="authentication",
        method="POST",
        takes=auth.TokenRequest,
        answers={
            200: Answer("The token", Token),
            400: _error(UNFIT),
            403: _error("The `Host` is not this machine, or the `Origin` is another's (`ERR_1004`)"),
            413: _error(TOO_LONG),
            503: _error("There is no private key to sign with (`ERR_9001`)"),
        },
        is_served=lambda settings: settings.hands_out_dev_tokens,
    ),
    Endpoint(
        path="/api/v1/admin/revocations",
        call=admin.revoke,
        tag="administration",
        method="POST",
        needs_token=True,
        takes=admin.RevocationRequest,
        answers={
            200: Answer("The tokens are good no more", Revoked),
            400: _error(UNFIT),
            401: _error(NO_GOOD),
            403: _error(NO_SCOPE),
            413: _error(TOO_LONG),
            429: _error(TOO_MANY),
            503: _error(NO_KEYS),
        },
        is_served=lambda settings: settings.admin == "on",
    ),
    Endpoint(
        path="/api/v1/admin/overview",
        call=admin.get_overview,
        tag="administration",
        needs_token=True,
        asks=OverviewQuery,
        price=OVERVIEW_PRICE,
        answers={
            200: Answer("What there is", Overview),
            400: _error("The query does not fit (`ERR_9003`)"),
            401: _error(NO_GOOD),
            403: _error(NO_SCOPE),
            429: _error(TOO_MANY),
            503: _error(NO_KEYS),
        },
        is_served=lambda settings: settings.shows_overview,
    ),
    _contract("/asyncapi.json", docs.get_asyncapi, IS_DOCUMENT),
    _contract("/openapi.json", docs.get_openapi, IS_DOCUMENT),
    _contract("/schemas/{event}.json", docs.get_schema, {**IS_DOCUMENT, 404: _error("No such event")}, event="AUTH"),
    _contract("/docs", docs.get_page, IS_PAGE),
    _contract("/docs/guide.json", docs.get_guide, {200: Answer("The pages", Guide)}),
    Endpoint(
        path="/console",
        call=console.get_page,
        tag="administration",
        answers=IS_PAGE,
        is_served=lambda settings: settings.has_console,
    ),
)
