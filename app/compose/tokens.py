"""Wires access tokens: the sources of keys, and the verifier that uses them."""

from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from app.auth.issuer import Fetcher, IssuerKeys
from app.auth.keyfile import KeyFile
from app.auth.keyring import KeyRing
from app.auth.tokens import TokenVerifier
from app.compose.plan import Plan
from app.settings import Settings
from stores.protocols import Revocations


class TokenParts:
    """The key file, the issuer's keys if `JWT_JWKS_URL` is set, and the verifier."""

    def __init__(self, plan: Plan, revocations: Revocations) -> None:
        settings, sources = plan.settings, plan.sources
        self.key_file = KeyFile(settings, plan.keys, plan.log)
        self.issuer = _issuer(settings, sources.monotonic, plan.log)
        self.keys = KeyRing(self.key_file, self.issuer)
        self.verifier = TokenVerifier(
            self.keys,
            revocations,
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
            leeway=settings.token_leeway_seconds,
            clock=sources.clock,
            algorithms=settings.jwt_algorithms,
            name_claim=settings.jwt_name_claim,
        )


def _issuer(settings: Settings, monotonic: Callable[[], float], log: FilteringBoundLogger) -> IssuerKeys | None:
    if not settings.jwt_jwks_url:
        return None
    fetch, interval = Fetcher(settings.jwt_jwks_url), settings.jwt_jwks_cooldown_seconds
    return IssuerKeys(fetch, interval, monotonic, log, settings.jwt_algorithms)
