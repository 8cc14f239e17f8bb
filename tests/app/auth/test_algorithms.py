"""Algorithms beside RS256, and that a key is good for the one of its kind."""

import hashlib
import hmac
from collections.abc import Sequence
from pathlib import Path

import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey

from app.auth.algorithms import ALGORITHMS, Key, algorithm_of, make_signature
from app.auth.keys import make_keys, private_key, public_keys
from app.auth.tokens import TokenVerifier, sign
from app.rest.auth import jwk
from app.rest.models import Jwk
from app.settings import Algorithm, Settings, SettingsError
from schemas.errors import ErrorCode
from stores.memory.stores import MemoryRevocations
from tests.support.doubles import ANN, START, ManualClock, refused
from tests.support.forge import b64, token
from tests.support.tokens import AUDIENCE, ISSUER

CLAIMS = {"sub": "ann", "iss": ISSUER, "aud": AUDIENCE, "exp": START + 60}
KEYS: dict[Algorithm, Key] = {
    "RS256": RSAKey.generate_key(2048),
    "ES256": ECKey.generate_key("P-256"),
    "EdDSA": OKPKey.generate_key("Ed25519"),
}
SAID = [*ALGORITHMS, "RS512", "PS256", "ES384", "ES256K", "Ed25519", "HS256", "none", "es256"]
MADE_UP = [b"", bytes(64), b"\xff" * 64, bytes(63), bytes(65), bytes(31) + b"\1" + bytes(31) + b"\1"]


class FixedKeys:
    """The same keys for every token."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self.keys = keys

    async def candidates(self, _kid: str | None) -> Sequence[Key]:
        return self.keys


def verifier(algorithms: Sequence[Algorithm] = ALGORITHMS, keys: Sequence[Key] = tuple(KEYS.values())) -> TokenVerifier:
    return TokenVerifier(
        FixedKeys(keys),
        MemoryRevocations(),
        issuer=ISSUER,
        audience=AUDIENCE,
        leeway=5,
        clock=ManualClock(),
        algorithms=algorithms,
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.filterwarnings("error")
async def test_each(algorithm: Algorithm) -> None:
    """A token of each algorithm is good where that is allowed, and refused where it is not."""
    signed = sign(KEYS[algorithm], CLAIMS)
    assert (await verifier().verify(signed)).user == ANN
    assert (await verifier([algorithm]).verify(signed)).user == ANN
    with refused(ErrorCode.TOKEN_INVALID) as refusal:
        await verifier([each for each in ALGORITHMS if each != algorithm]).verify(signed)
    assert "its alg is not" in refusal.value.message


@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_confusion(algorithm: Algorithm, said: str) -> None:
    """A signature over a header that names another algorithm than the key's counts for nothing."""
    if said == algorithm:
        return
    key = KEYS[algorithm]
    by_key = {"RS256": "EdDSA", "ES256": "RS256", "EdDSA": "ES256"}
    honest = sign(key, CLAIMS).split(".")
    lying = ".".join([b64({"alg": said, "kid": key.thumbprint()}), *honest[1:]])
    for attempt in (lying, token({"alg": said}, CLAIMS, lambda raw: signed_by(key, raw))):
        for keys in ([key], list(KEYS.values()), [KEYS[by_key[algorithm]]]):  # type: ignore[index]
            with refused(ErrorCode.TOKEN_INVALID):
                await verifier(keys=keys).verify(attempt)


def signed_by(key: Key, raw: bytes) -> bytes:
    algorithm = algorithm_of(key)
    assert algorithm
    return make_signature(raw, key, algorithm)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_public_keys_are_no_secrets(algorithm: Algorithm) -> None:
    """A public key, as anybody can get it, never verifies an HMAC."""
    for secret in (KEYS[algorithm].as_pem(private=False), KEYS[algorithm].as_der(private=False)):
        by = hmac.new(secret, digestmod=hashlib.sha256)

        def sign_by(raw: bytes, by: hmac.HMAC = by) -> bytes:
            by.update(raw)
            return by.digest()

        with refused(ErrorCode.TOKEN_INVALID):
            await verifier().verify(token({"alg": "HS256"}, CLAIMS, sign_by))


@pytest.mark.parametrize("signature", MADE_UP)
@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
async def test_made_up_signatures(algorithm: Algorithm, signature: bytes) -> None:
    """Signatures of zeros, of ones or of a wrong length are no good (CVE-2022-21449)."""
    with refused(ErrorCode.TOKEN_INVALID):
        await verifier().verify(token({"alg": algorithm}, CLAIMS, lambda _: signature))


async def test_another_key_of_the_kind() -> None:
    """A stranger's key of the same kind is no good."""
    for stranger in (ECKey.generate_key("P-256"), OKPKey.generate_key("Ed25519")):
        with refused(ErrorCode.TOKEN_INVALID):
            await verifier().verify(sign(stranger, CLAIMS))


def test_useless_keys() -> None:
    """A key of another curve is good for nothing."""
    for key in (ECKey.generate_key("P-384"), OKPKey.generate_key("Ed448"), OKPKey.generate_key("X25519")):
        assert algorithm_of(key) is None
        with pytest.raises(ValueError, match="no algorithm"):
            sign(key, CLAIMS)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_own_keys(tmp_path: Path, algorithm: Algorithm) -> None:
    """A pair for each algorithm can be made, read, signed with, verified with and shown."""
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    make_keys(private, public, [algorithm])
    settings = Settings(jwt_private_key_path=private, jwt_public_key_path=public, jwt_algorithms=(algorithm,))
    (own,) = public_keys(settings)
    assert not own.is_private
    assert (await verifier([algorithm], [own]).verify(sign(private_key(settings), CLAIMS))).user == ANN
    public.unlink()
    make_keys(private, public, [algorithm])
    assert [key.thumbprint() for key in public_keys(settings)] == [own.thumbprint()]
    others = tuple(each for each in ALGORITHMS if each != algorithm)
    with pytest.raises(SettingsError, match=f"; for this key add {algorithm} to JWT_ALGORITHMS"):
        public_keys(Settings(jwt_public_key_path=public, jwt_algorithms=others))


@pytest.mark.parametrize(
    ("algorithm", "members"),
    [("RS256", {"kty", "n", "e"}), ("ES256", {"kty", "crv", "x", "y"}), ("EdDSA", {"kty", "crv", "x"})],
)
def test_shown(algorithm: Algorithm, members: set[str]) -> None:
    """A key is shown as a JWK of its kind, never with its private part, and as the contract has it."""
    shown = jwk(KEYS[algorithm])
    assert set(shown) == members | {"kid", "use", "alg"}
    assert (shown["alg"], shown["kid"]) == (algorithm, KEYS[algorithm].thumbprint())
    assert set(shown) <= set(Jwk.__struct_fields__)
