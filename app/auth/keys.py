"""The RSA keys: reading, checking and making them."""

import base64
import os
import re
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from app.settings import Settings, SettingsError

KEY_BITS = 2048
_BLOCK = re.compile(rb"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----", re.DOTALL)
_REFUSED = (ValueError, TypeError, JoseError)


def public_keys(settings: Settings) -> tuple[RSAKey, ...]:
    """Return the keys that tokens are verified with, as they stand in the settings or their file, in that order.

    With `JWT_JWKS_URL` there need not be a file. Raises `SettingsError` if there is none or one of them is unusable.
    """
    if settings.jwt_public_key:
        return parse_public_keys(_inline(settings.jwt_public_key), "JWT_PUBLIC_KEY")
    path = settings.jwt_public_key_path
    if settings.jwt_jwks_url and not path.exists():
        return ()
    return parse_public_keys(read_key(path), f"JWT_PUBLIC_KEY_PATH {path}")


def parse_public_keys(pem: bytes, source: str) -> tuple[RSAKey, ...]:
    """Return the keys of one or several PEM blocks (RFC 7468); of a private key, its public half.

    Raises `SettingsError`, which names the source, if there is none or one of them is unusable.
    """
    blocks = [match[0] for match in _BLOCK.finditer(pem)]
    return tuple(_import(block, source, private=False) for block in blocks or [pem])


def private_key(settings: Settings) -> RSAKey:
    """Return the key that development tokens are signed with; raises `SettingsError` if there is none."""
    if settings.jwt_private_key:
        pem, source = _inline(settings.jwt_private_key), "JWT_PRIVATE_KEY"
    else:
        pem, source = (
            read_key(settings.jwt_private_key_path),
            f"JWT_PRIVATE_KEY_PATH {settings.jwt_private_key_path}",
        )
    return _import(pem, source, private=True)


def make_keys(private: Path, public: Path) -> None:
    """Write a new key pair, the private one readable by its owner only.

    Nothing is overwritten: where only the private key exists, its public half is written; else raises
    `FileExistsError`. Raises `SettingsError` if the private key there is unusable.
    """
    if private.exists() and not public.exists():
        key = _import(private.read_bytes(), str(private), private=True)
    else:
        key = _generate(private, public)
    public.parent.mkdir(parents=True, exist_ok=True)
    with public.open("xb") as out:
        out.write(key.as_pem(private=False))


def _generate(private: Path, public: Path) -> RSAKey:
    for path in (private, public):
        if path.exists():
            raise FileExistsError(f"{path} exists and is never overwritten")
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
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
    return RSAKey.import_key(private.read_bytes())


def _inline(value: str) -> bytes:
    r"""Return the PEM of a value that is PEM, PEM with `\n` for line ends, or either in base64."""
    if "-----BEGIN" not in value:
        try:
            value = base64.b64decode("".join(value.split()), validate=True).decode()
        except ValueError:
            return b""
    return value.replace("\\n", "\n").encode()


def read_key(path: Path) -> bytes:
    """Return what a key file holds; raises `SettingsError` if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"The key {path} cannot be read ({error.strerror}); bin/genkeys makes a pair") from None


def _import(pem: bytes, source: str, *, private: bool) -> RSAKey:
    kind = "private" if private else "public"
    try:
        key = RSAKey.import_key(pem)
    except _REFUSED:
        raise SettingsError(f"{source} is not a usable key; it may be an RSA {kind} key in PEM") from None
    if key.raw_value.key_size < KEY_BITS:
        raise SettingsError(f"{source} has {key.raw_value.key_size} bits; it may have {KEY_BITS} or more (RFC 7518)")
    if private and not key.is_private:
        raise SettingsError(f"{source} is a public key; it may be an RSA private key in PEM")
    return key if private else RSAKey.import_key(key.as_pem(private=False))
