"""JWK sets (RFC 7517): selects an issuer's usable keys, and says why it ignores the others."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.util import base64_to_int

from app.auth.algorithms import CURVES, KEY_BITS, Key, kinds
from app.settings import Algorithm

_TYPES: dict[str, type[Key]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
_PARAMETERS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}


class IssuerError(Exception):
    """The issuer's keys are unavailable; the message says why in one line."""


class _UnusableError(Exception):
    pass


class KeySet(NamedTuple):
    """The usable keys of a set, by `kid`, and one line for each ignored key, with the reason."""

    keys: Mapping[str, Key]
    ignored: tuple[str, ...]


def parse_key_set(body: bytes, algorithms: Sequence[Algorithm] = ("RS256",)) -> KeySet:
    """Return the keys that verify these algorithms; a key without a `kid` is named by its thumbprint (RFC 7638).

    If several keys share a `kid`, the first one counts. Raises `IssuerError` if the body is not a JWK set or has no
    usable key.
    """
    keys: dict[str, Key] = {}
    ignored = []
    for number, member in enumerate(_members(body)):
        try:
            key = _import(member, algorithms)
        except _UnusableError as error:
            ignored.append(f"{member.get('kid', f'number {number}')!s:.64}: {error}")
        else:
            keys.setdefault(member.get("kid") or key.thumbprint(), key)
    if not keys:
        reasons = "; ".join(ignored) or "it is empty"
        raise IssuerError(
            f"the set has no usable key for {' or '.join(algorithms)}: {kinds(algorithms)}, "
            f"RSA with at least {KEY_BITS} bits ({reasons:.300})"
        )
    return KeySet(keys, tuple(ignored))


def _members(body: bytes) -> list[dict[str, Any]]:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise IssuerError("the response is not JSON") from None
    members = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(members, list):
        raise IssuerError('the response is not a JWK set: it has no list named "keys"')
    return [member for member in members if isinstance(member, dict)]


def _import(member: dict[str, Any], algorithms: Sequence[Algorithm]) -> Key:
    """Return the public key; raises `_UnusableError`, which says why the key is ignored."""
    algorithm = _algorithm(member)
    if algorithm not in algorithms:
        raise _UnusableError(f"its kty is {member['kty']!r}, for {algorithm}, which is not in JWT_ALGORITHMS")
    _check_purpose(member, algorithm)
    kty = member["kty"]
    try:
        bits = base64_to_int(member["n"]).bit_length() if kty == "RSA" else KEY_BITS
        if bits < KEY_BITS:
            raise _UnusableError(f"it has {bits} bits")
        return _TYPES[kty].import_key({"kty": kty, **{name: member[name] for name in _PARAMETERS[kty]}})
    except (JoseError, ValueError, TypeError, KeyError):
        raise _UnusableError(f"its parameters are not a valid {kty} key") from None


def _algorithm(member: dict[str, Any]) -> Algorithm:
    """Return the algorithm for this kind of key; raises `_UnusableError` if we support none for it."""
    kty, curve = member.get("kty"), member.get("crv")
    if not isinstance(kty, str) or kty not in _TYPES:
        raise _UnusableError(f"its kty is {kty!r:.32}")
    if kty == "RSA":
        return "RS256"
    wanted = "P-256" if kty == "EC" else "Ed25519"
    if curve != wanted:
        raise _UnusableError(f"its kty is {kty!r}, its crv {curve!r:.32}")
    return CURVES[wanted]


def _check_purpose(member: dict[str, Any], algorithm: Algorithm) -> None:
    for name, wanted in (("use", "sig"), ("alg", algorithm)):
        value = member.get(name, wanted)
        if value != wanted:
            raise _UnusableError(f"its {name} is {value!r:.32}")
    operations = member.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise _UnusableError(f"its key_ops are {operations!r:.32}")
    if not isinstance(member.get("kid", ""), str):
        raise _UnusableError("its kid is not a string")
