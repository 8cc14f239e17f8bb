"""JWK sets: which keys are used."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.util import int_to_base64

from app.auth.jwks import IssuerError, parse_key_set
from app.settings import Algorithm
from tests.support.tokens import Keys


@pytest.fixture(scope="module")
def numbers(keys: Keys) -> dict[str, Any]:
    """The bare members of a good key."""
    return dict(keys.key.as_dict(private=False))


def a_set(*members: object) -> bytes:
    return json.dumps({"keys": members}).encode()


@pytest.mark.parametrize(
    "extra",
    [{}, {"use": "sig"}, {"alg": "RS256"}, {"key_ops": ["verify"]}, {"x5c": ["junk"], "x5t": 5, "more": {}}],
)
def test_used(extra: dict[str, Any], numbers: dict[str, Any], keys: Keys) -> None:
    """RSA keys for signatures are used; whatever else is said of them does no harm."""
    found = parse_key_set(a_set({**numbers, "kid": "a", **extra}))
    assert found.ignored == ()
    assert {kid: key.thumbprint() for kid, key in found.keys.items()} == {"a": keys.key.thumbprint()}


@pytest.mark.parametrize("kid", [{}, {"kid": ""}])
def test_without_kid(kid: dict[str, str], numbers: dict[str, Any], keys: Keys) -> None:
    """A key without kid is named by its thumbprint."""
    assert list(parse_key_set(a_set({**numbers, **kid})).keys) == [keys.key.thumbprint()]


def test_private(keys: Keys) -> None:
    """A private key that an issuer shows by mistake is used as a public one."""
    (key,) = parse_key_set(a_set({**keys.key.as_dict(private=True), "kid": "a"})).keys.values()
    assert not key.is_private


SMALL = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key().public_numbers()
UNUSED: list[tuple[str, dict[str, Any], str]] = [
    ("use", {"use": "enc"}, "its use is 'enc'"),
    ("alg", {"alg": "RS512"}, "its alg is 'RS512'"),
    ("alg of encryption", {"alg": "RSA-OAEP"}, "its alg is 'RSA-OAEP'"),
    ("alg null", {"alg": None}, "its alg is None"),
    ("ops", {"key_ops": ["encrypt"]}, "its key_ops are"),
    ("ops no list", {"key_ops": "verify it"}, "its key_ops are"),
    ("kid", {"kid": 5}, "its kid is not a string"),
    ("kty", {"kty": "EC"}, "its kty is 'EC'"),
    ("kty missing", {"kty": None}, "its kty is None"),
    ("n", {"n": "AQAB"}, ""),
    ("n no string", {"n": 5}, "its parameters are not a valid RSA key"),
    ("n missing", {"n": None}, "its parameters are not a valid RSA key"),
    ("e", {"e": "AQ"}, "its parameters are not a valid RSA key"),
    ("small", {"n": int_to_base64(SMALL.n)}, "it has 1024 bits"),
]


@pytest.mark.parametrize(("change", "why"), [case[1:] for case in UNUSED], ids=[case[0] for case in UNUSED])
def test_ignored(change: dict[str, Any], why: str, numbers: dict[str, Any]) -> None:
    """A key for something else, or too weak, is ignored, with the reason; the others are used."""
    found = parse_key_set(a_set({**numbers, "kid": "bad", **change}, {**numbers, "kid": "good"}))
    assert list(found.keys) == ["good"]
    (reason,) = found.ignored
    assert reason.startswith(("bad: ", "5: "))
    assert why in reason


ALL: tuple[Algorithm, ...] = ("RS256", "ES256", "EdDSA")
OTHERS: dict[str, dict[str, Any]] = {
    "EC": dict(ECKey.generate_key("P-256").as_dict(private=False)),
    "OKP": dict(OKPKey.generate_key("Ed25519").as_dict(private=False)),
}


@pytest.mark.parametrize("kty", OTHERS)
def test_other_algorithms(kty: str, numbers: dict[str, Any]) -> None:
    """Keys of P-256 and Ed25519 are used where their algorithm is allowed, else left out with the reason."""
    algorithm = {"EC": "ES256", "OKP": "EdDSA"}[kty]
    members = a_set({**OTHERS[kty], "kid": "a", "alg": algorithm, "use": "sig"}, {**numbers, "kid": "b"})
    assert list(parse_key_set(members, ALL).keys) == ["a", "b"]
    found = parse_key_set(members)
    assert (list(found.keys), found.ignored) == (
        ["b"],
        (f"a: its kty is {kty!r}, for {algorithm}, which is not in JWT_ALGORITHMS",),
    )


UNUSED_OTHERS: list[tuple[str, dict[str, Any], str]] = [
    ("EC", dict(ECKey.generate_key("P-384").as_dict(private=False)), "its kty is 'EC', its crv 'P-384'"),
    ("EC", dict(ECKey.generate_key("secp256k1").as_dict(private=False)), "its crv 'secp256k1'"),
    ("EC", {"crv": None}, "its crv None"),
    ("EC", {"crv": ["P-256"]}, "its crv ['P-256']"),
    ("EC", {"y": "AQ"}, "its parameters are not a valid EC key"),
    ("EC", {"x": None}, "its parameters are not a valid EC key"),
    ("EC", {"alg": "ES384"}, "its alg is 'ES384'"),
    ("EC", {"alg": "RS256"}, "its alg is 'RS256'"),
    ("EC", {"use": "enc"}, "its use is 'enc'"),
    ("EC", {"key_ops": ["deriveKey"]}, "its key_ops are"),
    ("OKP", dict(OKPKey.generate_key("X25519").as_dict(private=False)), "its kty is 'OKP', its crv 'X25519'"),
    ("OKP", dict(OKPKey.generate_key("Ed448").as_dict(private=False)), "its crv 'Ed448'"),
    ("OKP", {"x": "AQ"}, "its parameters are not a valid OKP key"),
    ("OKP", {"key_ops": []}, "its key_ops are"),
    ("OKP", {"kty": "RSA"}, "its parameters are not a valid RSA key"),
    ("OKP", {"kty": ["OKP"]}, "its kty is ['OKP']"),
    ("OKP", {"kty": "oct", "k": "c2VjcmV0"}, "its kty is 'oct'"),
]


@pytest.mark.parametrize(("kty", "change", "why"), UNUSED_OTHERS)
def test_unusable_of_other_algorithms(kty: str, change: dict[str, Any], why: str, numbers: dict[str, Any]) -> None:
    """A key of another curve, for something else, or that is none, is left out with the reason."""
    found = parse_key_set(a_set({**OTHERS[kty], "kid": "bad", **change}, {**numbers, "kid": "good"}), ALL)
    assert list(found.keys) == ["good"]
    (reason,) = found.ignored
    assert why in reason


def test_other_kinds(numbers: dict[str, Any]) -> None:
    """A shared secret in a set, or an elliptic key, never verifies anything."""
    others = [OctKey.generate_key(256).as_dict(), ECKey.generate_key("P-256").as_dict(private=False)]
    assert list(parse_key_set(a_set(*others, {**numbers, "kid": "a"}, 5, "x", None)).keys) == ["a"]


def test_the_first_of_a_name_counts(numbers: dict[str, Any], keys: Keys) -> None:
    """Of two keys with one kid the first counts."""
    other = RSAKey.generate_key(2048).as_dict(private=False)
    (key,) = parse_key_set(a_set({**numbers, "kid": "a"}, {**other, "kid": "a"})).keys.values()
    assert key.thumbprint() == keys.key.thumbprint()


BROKEN = [b"", b"junk", b"\xff", b"[]", b"5", b"{}", b'{"keys":5}', b'{"keys":[]}', b"[" * 100_000, b'{"keys":[{}]}']


@pytest.mark.parametrize("body", BROKEN, ids=lambda body: f"{body!r:.20}")
def test_no_set(body: bytes) -> None:
    """What is no JWK set, or has no usable key, is refused in one line."""
    with pytest.raises(IssuerError) as info:
        parse_key_set(body)
    assert "\n" not in str(info.value)
