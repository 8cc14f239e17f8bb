"""The keys in PEM: reads, checks and generates them."""

import base64
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias, get_args

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from app.auth.algorithms import KEY_BITS, Key, algorithm_of, kinds
from app.settings import Algorithm, Settings, SettingsError

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
_BLOCK = re.compile(rb"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----", re.DOTALL)
_GENERATE: dict[Algorithm, Callable[[], PrivateKey]] = {
    "RS256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}
_IMPORT_ERRORS = (ValueError, TypeError, JoseError)


def public_keys(settings: Settings) -> tuple[Key, ...]:
    """Return the keys that verify tokens, from the settings or their file, in the order given there.

    With `JWT_JWKS_URL` the file is optional. A key for another algorithm at the default path is then ignored, because
    `bin/serve` generated it. Raises `SettingsError` if there are no keys or one of them is unusable.
    """
    if settings.jwt_public_key:
        return parse_public_keys(_inline(settings.jwt_public_key), "JWT_PUBLIC_KEY", settings.jwt_algorithms)
    path = settings.jwt_public_key_path
    if settings.jwt_jwks_url and not path.exists():
        return ()
    is_generated = bool(settings.jwt_jwks_url) and path == Settings().jwt_public_key_path
    algorithms = get_args(Algorithm) if is_generated else settings.jwt_algorithms
    keys = parse_public_keys(read_key(path), f"JWT_PUBLIC_KEY_PATH {path}", algorithms)
    return tuple(key for key in keys if algorithm_of(key) in settings.jwt_algorithms)


def parse_public_keys(pem: bytes, source: str, algorithms: Sequence[Algorithm] = ("RS256",)) -> tuple[Key, ...]:
    """Return the public keys in one or more PEM blocks (RFC 7468); for a private key, its public half.

    Raises `SettingsError`, which names the source, if there is no key, or one is unusable or for another algorithm.
    """
    blocks = [match[0] for match in _BLOCK.finditer(pem)]
    return tuple(_import(block, source, algorithms, private=False) for block in blocks or [pem])


def private_key(settings: Settings) -> Key:
    """Return the key that signs development tokens; raises `SettingsError` if there is no usable one."""
    if settings.jwt_private_key:
        pem, source = _inline(settings.jwt_private_key), "JWT_PRIVATE_KEY"
    else:
        pem, source = (
            read_key(settings.jwt_private_key_path),
            f"JWT_PRIVATE_KEY_PATH {settings.jwt_private_key_path}",
        )
    return _import(pem, source, settings.jwt_algorithms, private=True)


def make_keys(private: Path, public: Path, algorithms: Sequence[Algorithm] = ("RS256",)) -> None:
    """Write a new key pair for the first of these algorithms; only the owner can read the private key.

    Never overwrites a file: if only the private key exists, writes its public half; if the public key exists, raises
    `FileExistsError`. Raises `SettingsError` if the existing private key is unusable.
    """
    if private.exists() and not public.exists():
        key = _import(private.read_bytes(), str(private), algorithms, private=True)
    else:
        key = _generate(private, public, algorithms[0])
    public.parent.mkdir(parents=True, exist_ok=True)
    with public.open("xb") as out:
        out.write(key.as_pem(private=False))


def _generate(private: Path, public: Path, algorithm: Algorithm) -> Key:
    for path in (private, public):
        if path.exists():
            raise FileExistsError(f"{path} exists, and is never overwritten; move it away to make a new key pair")
    key = _GENERATE[algorithm]()
    private.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
    return _import(private.read_bytes(), str(private), (algorithm,), private=True)


def _inline(value: str) -> bytes:
    r"""Return the PEM in a value: plain, with `\n` for line ends, or either of these in base64."""
    if "-----BEGIN" not in value:
        try:
            value = base64.b64decode("".join(value.split()), validate=True).decode()
        except ValueError:
            return b""
    return value.replace("\\n", "\n").encode()


def read_key(path: Path) -> bytes:
    """Return the content of a key file; raises `SettingsError` if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"the key {path} cannot be read ({error.strerror}); bin/genkeys makes a pair") from None


def _import(pem: bytes, source: str, algorithms: Sequence[Algorithm], *, private: bool) -> Key:
    kind = f"an {kinds(algorithms)} {'private' if private else 'public'} key in PEM"
    key = _load(pem)
    if key is None or algorithm_of(key) not in algorithms:
        raise SettingsError(f"{source} is not a usable key; it must be {kind}{_advice(key)}")
    if isinstance(key, RSAKey) and key.raw_value.key_size < KEY_BITS:
        raise SettingsError(f"{source} has {key.raw_value.key_size} bits; it must have at least {KEY_BITS} (RFC 7518)")
    if private and not key.is_private:
        raise SettingsError(f"{source} is a public key; it must be {kind}")
    return key if private else type(key).import_key(key.as_pem(private=False))


def _load(pem: bytes) -> Key | None:
    for kind in (RSAKey, ECKey, OKPKey):
        with suppress(*_IMPORT_ERRORS):
            key: Key = kind.import_key(pem)
            return key
    return None


def _advice(key: Key | None) -> str:
    """Return how to change the settings so that they allow this key; empty if no algorithm fits it."""
    algorithm = None if key is None else algorithm_of(key)
    return f"; for this key add {algorithm} to JWT_ALGORITHMS" if algorithm else ""
