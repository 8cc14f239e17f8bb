"""The server's TLS certificate: reads and checks it, and lets local clients trust it."""

import ssl
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from msgspec import Struct

from app.settings import Settings, SettingsError


class Certificate(Struct, frozen=True):
    """The server's own certificate, without the rest of its chain; `expires_at` is in UTC."""

    pem: str
    expires_at: datetime

    def trust(self) -> ssl.SSLContext:
        """Return a client context that trusts only this certificate, whatever host name it is for."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=self.pem)
        return context


def certificate(settings: Settings) -> Certificate | None:
    """Return the certificate to serve with; None without TLS.

    Raises `SettingsError` if the certificate or its private key is unusable. Does not check validity dates.
    """
    if settings.tls_cert_path is None or settings.tls_key_path is None:
        return None
    cert, key = settings.tls_cert_path, settings.tls_key_path
    try:
        own = x509.load_pem_x509_certificates(cert.read_bytes())[0]
    except (OSError, ValueError) as error:
        raise SettingsError(_unusable("TLS_CERT_PATH", cert, "a certificate", error)) from None
    try:
        private = load_pem_private_key(key.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SettingsError(_unusable("TLS_KEY_PATH", key, "a private key without a password", error)) from None
    if private.public_key() != own.public_key():
        raise SettingsError(f"TLS_KEY_PATH is {str(key)!r}; it must be the private key of TLS_CERT_PATH {str(cert)!r}")
    _check_use(cert, key)
    return Certificate(own.public_bytes(Encoding.PEM).decode(), own.not_valid_after_utc)


def _check_use(cert: Path, key: Path) -> None:
    """Load both files as the server will; the system's OpenSSL policy may reject them as too weak."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
    except ssl.SSLError as error:
        raise SettingsError(f"TLS_CERT_PATH is {str(cert)!r}, which OpenSSL rejects ({error.strerror})") from None


def _unusable(name: str, path: Path, what: str, error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) else "it holds none"
    return f"{name} is {str(path)!r}; it must be a PEM file with {what} ({reason})"
