"""Tokens that no well-behaved issuer would make."""

import base64
import json
from collections.abc import Callable

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.support.tokens import Keys

RS256 = {"alg": "RS256"}
PKCS1, SHA256 = padding.PKCS1v15(), hashes.SHA256()

Signer = Callable[[bytes], bytes]


def b64(value: object) -> str:
    """Return bytes, or anything else as JSON, in base64url without padding (RFC 7515 section 2)."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def token(header: object, payload: object, sign: Signer) -> str:
    """Return header and payload, whatever they are, signed by whatever signs."""
    signed = f"{b64(header)}.{b64(payload)}"
    return f"{signed}.{b64(sign(signed.encode()))}"


class Forge:
    """Signs anything with the server's own key."""

    def __init__(self, keys: Keys) -> None:
        private = serialization.load_pem_private_key(keys.private_path.read_bytes(), None)
        assert isinstance(private, rsa.RSAPrivateKey)
        self.private = private
        self.public_pem = keys.public_path.read_bytes()

    def sign(self, raw: bytes) -> bytes:
        """Return the signature of RS256."""
        return self.private.sign(raw, PKCS1, SHA256)
