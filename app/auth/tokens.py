"""Access tokens (RFC 7519): verifies them by the rules of RFC 8725, and signs development tokens."""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.util import urlsafe_b64decode, urlsafe_b64encode

from app.auth.algorithms import Key, algorithm_of, is_signature, make_signature
from app.settings import Algorithm
from handlers.ports import Clock, Identity
from schemas.errors import ErrorCode, EventError
from schemas.fields import DISPLAY_NAME_MAX, ID_MAX
from stores.model import User
from stores.protocols import Revocations

MAX_TIME = 10**12  # a larger time, or NaN, is invalid
_WITHOUT_KID = "no key here verifies its signature, and it has no kid to select one"
_SPACE = " \t\r\n"
_BEARER = re.compile(rf"[{_SPACE}]*bearer[{_SPACE}]+", re.IGNORECASE)
_PARSE_ERRORS = (JoseError, ValueError, TypeError, KeyError, RecursionError)


class Keys(Protocol):
    """The public keys that verify tokens."""

    async def candidates(self, kid: str | None) -> Sequence[Key]:
        """Return the keys that may have signed a token with this `kid` (None: without a `kid`); may be empty."""


class TokenVerifier:
    """See `handlers.ports.Tokens`."""

    def __init__(
        self,
        keys: Keys,
        revocations: Revocations,
        *,
        issuer: str,
        audience: str,
        leeway: float,
        clock: Clock,
        algorithms: Sequence[Algorithm] = ("RS256",),
        name_claim: str = "name",
    ) -> None:
        self._keys = keys
        self._revocations = revocations
        self._registry = jws.JWSRegistry(strict_check_header=False)  # ignores unknown members: RFC 7515 section 4
        self._algorithms = {str(each): each for each in algorithms}
        self._name_claim = name_claim
        self._issuer = issuer
        self._audience = audience
        self._leeway = leeway
        self._clock = clock

    async def verify(self, token: object, look: Callable[[], None] = lambda: None) -> Identity:
        """See `Tokens`."""
        signed = self._parse(_without_bearer(token))
        look()
        await self._check_signature(signed)
        identity = self._identity(_claims(signed.payload))
        await self._check_revocations(identity)
        return identity

    def _identity(self, claims: dict[str, Any]) -> Identity:
        user = _user(claims)
        self._check_issuer_and_audience(claims)
        return Identity(
            user=user,
            display_name=_display_name(claims, self._name_claim) or user.id[:DISPLAY_NAME_MAX],
            email=_text(claims.get("email")),
            roles=_roles(claims),
            expires_at=self._check_times(claims),
            issued_at=claims.get("iat", 0),
            token_id=_token_id(claims),
            scopes=tuple((_text(claims.get("scope")) or "").split()),
        )

    async def _check_revocations(self, identity: Identity) -> None:
        now = self._clock.now()
        if await self._revocations.cover(identity.user, identity.token_id, identity.issued_at, now):
            raise _invalid("it was revoked")

    def _parse(self, token: str) -> jws.CompactSignature:
        """Return the parts of a token after checking its header; does not verify its signature."""
        try:
            signed = jws.extract_compact(token.encode(), None, self._registry)
            header = _members(urlsafe_b64decode(signed.segments["header"]))
            self._registry.check_header(header)
            is_known = header["alg"] in self._algorithms
        except (*_PARSE_ERRORS, AttributeError):  # AttributeError: the header is not an object
            raise _invalid(f"it is malformed, or not {' or '.join(self._algorithms)}") from None
        if not is_known:
            raise _invalid(f"its alg is not {' or '.join(self._algorithms)}")
        if "crit" in header:
            raise _invalid("its header has crit, but no critical extension is supported")
        if not _is_access_token(header.get("typ", "JWT")):
            raise _invalid("its typ is for another kind of token")
        return signed

    async def _check_signature(self, signed: jws.CompactSignature) -> None:
        """Raise `EventError` unless a key for the token's algorithm signed it.

        Each key is for one algorithm: whatever the header says, an RSA key verifies only RS256.
        """
        header = signed.headers()
        kid, algorithm = header.get("kid"), self._algorithms[header["alg"]]
        known = await self._keys.candidates(kid)
        keys = [key for key in known if algorithm_of(key) == algorithm]
        if any(_is_signed(signed, key, algorithm) for key in keys):
            return
        if known and not keys:
            raise _invalid(f"none of its candidate keys is for {algorithm}")
        if kid is None:
            raise _invalid(_WITHOUT_KID if len(keys) != 1 else "its signature is wrong")
        raise _invalid("its signature is wrong" if keys else "no key here has its kid")

    def _check_issuer_and_audience(self, claims: dict[str, Any]) -> None:
        if claims.get("iss") != self._issuer:
            raise _invalid("its iss is not the issuer that this server trusts")
        audience = claims.get("aud")
        if self._audience not in (audience if isinstance(audience, list) else [audience]):
            raise _invalid("its aud does not name this server")

    def _check_times(self, claims: dict[str, Any]) -> float:
        now = self._clock.now()
        for name in ("nbf", "iat"):
            if name in claims and _time(claims, name) > now + self._leeway:
                raise _invalid(f"its {name} is in the future")
        expires_at = _time(claims, "exp")
        if expires_at <= now - self._leeway:
            raise EventError(ErrorCode.TOKEN_EXPIRED, "The access token has expired; get a new one")
        return expires_at


def sign(key: Key, claims: dict[str, Any]) -> str:
    """Return a signed token with exactly these claims; raises `ValueError` if no algorithm fits the key."""
    algorithm = algorithm_of(key)
    if algorithm is None:
        raise ValueError("no algorithm fits this key")
    header = {"typ": "JWT", "alg": algorithm, "kid": key.thumbprint()}
    message = _segment(header) + b"." + _segment(claims)
    return (message + b"." + urlsafe_b64encode(make_signature(message, key, algorithm))).decode()


def _segment(value: dict[str, Any]) -> bytes:
    return urlsafe_b64encode(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def dev_claims(user: User, *, issuer: str, audience: str, now: float, ttl: int, **profile: object) -> dict[str, Any]:
    """Return the claims of a development token, without those that are None."""
    claims = {
        "sub": user.id,
        "org": user.org,
        **profile,
        "iss": issuer,
        "aud": audience,
        "iat": int(now),
        "exp": int(now) + ttl,
    }
    return {name: value for name, value in claims.items() if value is not None}


def _is_signed(signed: jws.CompactSignature, key: Key, algorithm: Algorithm) -> bool:
    message = signed.segments["header"] + b"." + signed.segments["payload"]
    try:
        return is_signature(message, urlsafe_b64decode(signed.segments["signature"]), key, algorithm)
    except _PARSE_ERRORS:
        return False


def _is_access_token(typ: str) -> bool:
    """Whether a token with this `typ` in its header may be an access token.

    Rejects tokens of another explicit type (`logout+jwt`, `dpop+jwt`), even if the same key signed them (RFC 8725
    section 3.11).
    """
    kind = typ.lower().removeprefix("application/")
    return not kind.endswith("+jwt") or kind == "at+jwt"


def _without_bearer(token: object) -> str:
    if token is None or token == "":
        raise EventError(ErrorCode.TOKEN_MISSING, "An access token is required: data.token")
    if not isinstance(token, str):
        raise _invalid("it is not a string")
    prefix = _BEARER.match(token)
    bare = token[prefix.end() if prefix else 0 :].strip(_SPACE)
    if not bare:
        raise EventError(ErrorCode.TOKEN_MISSING, "An access token is required: data.token")
    return bare


def _claims(payload: bytes) -> dict[str, Any]:
    try:
        return _members(payload)
    except (ValueError, RecursionError):
        raise _invalid("its payload is not a JSON object, or has a claim twice") from None


def _members(raw: bytes) -> dict[str, Any]:
    """Return the members of a JSON object in UTF-8; raises `ValueError` for anything else."""
    document = json.loads(raw.decode(), object_pairs_hook=_unique)
    if not isinstance(document, dict):
        raise ValueError("not an object")  # noqa: TRY004 - callers catch `ValueError` for all malformed input
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; raises `ValueError` if a name occurs twice (RFC 7515 and 7519, section 4)."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a name occurs twice")
    return members


def _user(claims: dict[str, Any]) -> User:
    sub, org = _text(claims.get("sub")), claims.get("org")
    if not sub or len(sub) > ID_MAX:
        raise _invalid(f"its sub is not a string of 1 to {ID_MAX} characters")
    if org is not None and (not _text(org) or len(org) > ID_MAX):
        raise _invalid(f"its org is not a string of 1 to {ID_MAX} characters")
    return User(sub, org)


def _display_name(claims: dict[str, Any], name_claim: str) -> str | None:
    """Return the name in this claim, or else in the claim `name`; None if both are absent or blank."""
    for value in (_claim(claims, name_claim), claims.get("name")):
        name = _text(value)
        if name and not name.isspace():
            return name[:DISPLAY_NAME_MAX]
    return None


def _claim(claims: dict[str, Any], path: str) -> object:
    """Return the claim with this exact name, dots included; else the value at this dotted path; else None."""
    if path in claims:
        return claims[path]
    value: object = claims
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _token_id(claims: dict[str, Any]) -> str | None:
    """Return the token's `jti`; None if it has none, or one too long for a revocation to name."""
    token_id = _text(claims.get("jti"))
    return token_id if token_id and len(token_id) <= ID_MAX else None


def _roles(claims: dict[str, Any]) -> tuple[str, ...]:
    roles = claims.get("roles")
    return tuple(role for role in roles if _text(role)) if isinstance(roles, list) else ()


def _text(value: object) -> str | None:
    """Return a claim if it is a string that UTF-8 can encode; else None. JSON allows lone surrogates."""
    if not isinstance(value, str):
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return None
    return value


def _time(claims: dict[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < MAX_TIME:
        raise _invalid(f"its {name} is not a number of seconds since 1970")
    return value


def _invalid(why: str) -> EventError:
    return EventError(ErrorCode.TOKEN_INVALID, f"The access token is invalid: {why}")
