"""JWK sets (RFC 7517): which of an issuer's keys are used, and why not the others."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.util import base64_to_int

from app.auth.algorithms import CURVES, KEY_BITS, Key, kinds
from app.settings import Algorithm

_TYPES: dict[str, type[Key]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
_NUMBERS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}


class IssuerError(Exception):
    """The issuer's keys cannot be had; the text is one line that says why."""


class _UnusableError(Exception):
    pass


class KeySet(NamedTuple):
    """The keys of a set that verify tokens, by `kid`, and the others, each with the reason."""

    keys: Mapping[str, Key]
    ignored: tuple[str, ...]


def parse_key_set(body: bytes, algorithms: Sequence[Algorithm] = ("RS256",)) -> KeySet:
    """Return the keys that verify these algorithms; a key without `kid` is named by its thumbprint (RFC 7638).

    Of several with one `kid` the first counts. Raises `IssuerError` if this is no JWK set or has no such key.
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
            f"no key of the set is for {' or '.join(algorithms)}: {kinds(algorithms)}, "
            f"RSA of {KEY_BITS} bits or more ({reasons:.300})"
        )
    return KeySet(keys, tuple(ignored))


def _members(body: bytes) -> list[dict[str, Any]]:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise IssuerError("what came is no JSON") from None
    members = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(members, list):
        raise IssuerError('what came is no JWK set: it has no list "keys"')
    return [member for member in members if isinstance(member, dict)]


def _import(member: dict[str, Any], algorithms: Sequence[Algorithm]) -> Key:
    """Return the public key; raises `_UnusableError` that says why it is not used."""
    algorithm = _algorithm(member)
    if algorithm not in algorithms:
        raise _UnusableError(f"its kty is {member['kty']!r}, for {algorithm}, which is not in JWT_ALGORITHMS")
    _check_purpose(member, algorithm)
    kty = member["kty"]
    try:
        bits = base64_to_int(member["n"]).bit_length() if kty == "RSA" else KEY_BITS
        if bits < KEY_BITS:
            raise _UnusableError(f"it has {bits} bits")
        return _TYPES[kty].import_key({"kty": kty, **{name: member[name] for name in _NUMBERS[kty]}})
    except (JoseError, ValueError, TypeError, KeyError):
        raise _UnusableError(f"its numbers are no {kty} key") from None


def _algorithm(member: dict[str, Any]) -> Algorithm:
    """Return the one algorithm that this kind of key is good for; raises `_UnusableError` if there is none."""
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
