"""The server's certificate."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.auth.certificate import certificate
from app.settings import Settings, SettingsError, read_settings
from tests.support.certificates import make_certificate, paths


def settings(folder: Path) -> Settings:
    """Return settings that name the certificate and the key in the folder."""
    cert, key = paths(folder).values()
    return Settings(tls_cert_path=cert, tls_key_path=key)


def refusal(folder: Path) -> str:
    """Return why what is in the folder cannot be used, which is one line."""
    with pytest.raises(SettingsError) as error:
        certificate(settings(folder))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_none() -> None:
    """Without the settings there is none."""
    assert certificate(Settings()) is None


def test_expiry(tmp_path: Path) -> None:
    """Of a chain the first is the server's own."""
    (tmp_path / "other").mkdir()
    make_certificate(tmp_path / "other", days=5)
    make_certificate(tmp_path, days=30)
    with (tmp_path / "cert.pem").open("ab") as chain:
        chain.write((tmp_path / "other" / "cert.pem").read_bytes())
    own = certificate(settings(tmp_path))
    assert own is not None
    assert abs(own.expires_at - datetime.now(UTC) - timedelta(days=30)) < timedelta(minutes=1)
    assert own.pem.count("BEGIN") == 1


def test_no_file(tmp_path: Path) -> None:
    """A missing file is named, and why it cannot be read."""
    assert "TLS_CERT_PATH is" in refusal(tmp_path)
    assert "No such file" in refusal(tmp_path)
    make_certificate(tmp_path)
    (tmp_path / "key.pem").unlink()
    assert "TLS_KEY_PATH is" in refusal(tmp_path)


def test_no_pem(tmp_path: Path) -> None:
    """A file of another kind is refused."""
    make_certificate(tmp_path)
    (tmp_path / "key.pem").write_text("x")
    assert "must be a PEM file with a private key without a password" in refusal(tmp_path)
    (tmp_path / "cert.pem").write_text("x")
    assert "must be a PEM file with a certificate" in refusal(tmp_path)


def test_another_key(tmp_path: Path) -> None:
    """A key that is not the certificate's is told."""
    make_certificate(tmp_path)
    old = (tmp_path / "cert.pem").read_bytes()
    make_certificate(tmp_path)
    (tmp_path / "cert.pem").write_bytes(old)
    assert "must be the private key of" in refusal(tmp_path)


def test_a_password(tmp_path: Path) -> None:
    """A key with a password is refused, and nobody is asked for it."""
    make_certificate(tmp_path, password=b"secret")
    assert "without a password" in refusal(tmp_path)


@pytest.mark.parametrize(("given", "missing"), [("TLS_CERT_PATH", "TLS_KEY_PATH"), ("TLS_KEY_PATH", "TLS_CERT_PATH")])
def test_one_alone(given: str, missing: str) -> None:
    """Either setting needs the other."""
    with pytest.raises(SettingsError, match=f"^{missing} is not set; TLS needs both"):
        read_settings({given: "x.pem"}, None)


def test_too_weak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What OpenSSL does not take for serving is told before anything listens."""
    make_certificate(tmp_path)

    def refuse(*_: object) -> None:
        raise ssl.SSLError(1, "[SSL: EE_KEY_TOO_SMALL] ee key too small")

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", refuse)
    assert "which OpenSSL rejects" in refusal(tmp_path)
