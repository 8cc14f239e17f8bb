"""JWK sets (RFC 7517): which of an issuer's keys are used, and why not the others."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from joserfc.util import base64_to_int

from app.auth.keys import KEY_BITS
from app.auth.tokens import ALGORITHM


class IssuerError(Exception):
    """The issuer's keys cannot be had; the text is one line that says why."""


class _UnusableError(Exception):
    pass


class KeySet(NamedTuple):
    """The keys of a set that verify tokens, by `kid`, and the others, each with the reason."""

    keys: Mapping[str, RSAKey]
    ignored: tuple[str, ...]


def parse_key_set(body: bytes) -> KeySet:
    """Return the RSA keys for signatures by RS256; one without `kid` is named by its thumbprint (RFC 7638).

    Of several with one `kid` the first counts. Raises `IssuerError` if this is no JWK set or has no such key.
    """
    keys: dict[str, RSAKey] = {}
    ignored = []
    for number, member in enumerate(_members(body)):
        try:
            key = _import(member)
        except _UnusableError as error:
            ignored.append(f"{member.get('kid', f'number {number}')!s:.64}: {error}")
        else:
            keys.setdefault(member.get("kid") or key.thumbprint(), key)
    if not keys:
        reasons = "; ".join(ignored) or "it is empty"
        raise IssuerError(
            f"no key of the set is an RSA key for {ALGORITHM} of {KEY_BITS} bits or more ({reasons:.300})"
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


def _import(member: dict[str, Any]) -> RSAKey:
    """Return the public key; raises `_UnusableError` that says why it is not used."""
    _check_purpose(member)
    try:
        bits = base64_to_int(member["n"]).bit_length()
        if bits < KEY_BITS:
            raise _UnusableError(f"it has {bits} bits")
        return RSAKey.import_key({"kty": "RSA", "n": member["n"], "e": member["e"]})
    except (JoseError, ValueError, TypeError, KeyError):
        raise _UnusableError("its numbers are no RSA key") from None


def _check_purpose(member: dict[str, Any]) -> None:
    for name, wanted in (("kty", "RSA"), ("use", "sig"), ("alg", ALGORITHM)):
        value = member.get(name, wanted if name != "kty" else None)
        if value != wanted:
            raise _UnusableError(f"its {name} is {value!r:.32}")
    operations = member.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise _UnusableError(f"its key_ops are {operations!r:.32}")
    if not isinstance(member.get("kid", ""), str):
        raise _UnusableError("its kid is no string")
