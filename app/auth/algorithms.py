"""Signature algorithms and the kind of key each one needs (RFC 8725 section 3.1).

The key determines the algorithm, never the token: an RSA key verifies RS256, a P-256 key ES256, an Ed25519 key EdDSA.
"""

from collections.abc import Collection
from typing import TypeAlias, get_args

from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from app.settings import Algorithm

Key: TypeAlias = RSAKey | ECKey | OKPKey

ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)
KEY_BITS = 2048
CURVES: dict[str, Algorithm] = {"P-256": "ES256", "Ed25519": "EdDSA"}
KINDS: dict[Algorithm, str] = {"RS256": "RSA", "ES256": "EC (P-256)", "EdDSA": "Ed25519"}
_MODELS = {name: JWSRegistry.algorithms[name] for name in ALGORITHMS}


def algorithm_of(key: Key) -> Algorithm | None:
    """Return the algorithm of a key; None if we support none for it, as for a P-384 or an X25519 key."""
    return "RS256" if isinstance(key, RSAKey) else CURVES.get(key.curve_name)


def kinds(algorithms: Collection[Algorithm]) -> str:
    """Return the kinds of keys that these algorithms need, for a message: `RSA or Ed25519`."""
    return " or ".join(KINDS[each] for each in algorithms)


def make_signature(message: bytes, key: Key, algorithm: Algorithm) -> bytes:
    """Return the signature of a message."""
    return _MODELS[algorithm].sign(message, key)


def is_signature(message: bytes, signature: bytes, key: Key, algorithm: Algorithm) -> bool:
    """Whether the key signed this message; may raise `ValueError` for a malformed signature."""
    return algorithm_of(key) == algorithm and _MODELS[algorithm].verify(message, signature, key)
