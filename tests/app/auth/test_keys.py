"""Key files and keys in settings."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from app.auth.keys import make_keys, parse_public_keys, private_key, public_keys
from app.settings import Settings, SettingsError
from tests.support.tokens import Keys

PEM, PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
EC_PEM = ec.generate_private_key(ec.SECP256R1()).private_bytes(PEM, PKCS8, serialization.NoEncryption()).decode()
LOCKED_PEM = (
    rsa.generate_private_key(public_exponent=65537, key_size=2048)
    .private_bytes(PEM, PKCS8, serialization.BestAvailableEncryption(b"x"))
    .decode()
)
INLINE: dict[str, Callable[[str], str]] = {
    "pem": lambda pem: pem,
    "escaped": lambda pem: pem.replace("\n", "\\n"),
    "crlf": lambda pem: pem.replace("\n", "\r\n"),
    "base64": lambda pem: base64.b64encode(pem.encode()).decode(),
    "base64 of escaped": lambda pem: base64.b64encode(pem.replace("\n", "\\n").encode()).decode(),
    "base64 in lines": lambda pem: base64.encodebytes(pem.encode()).decode(),
}


def test_made(tmp_path: Path) -> None:
    """A pair is made in folders that are made too; the private key is its owner's only."""
    private, public = tmp_path / "a" / "private.pem", tmp_path / "b" / "public.pem"
    make_keys(private, public)
    assert private.stat().st_mode & 0o777 == 0o600
    settings = Settings(jwt_private_key_path=private, jwt_public_key_path=public)
    (public_key,) = public_keys(settings)
    assert private_key(settings).thumbprint() == public_key.thumbprint()
    assert private_key(settings).is_private
    assert not public_key.is_private
    assert b"PRIVATE" not in public.read_bytes()


@pytest.mark.parametrize("existing", [("private", "public"), ("public",)])
def test_never_overwritten(tmp_path: Path, existing: tuple[str, ...]) -> None:
    """What exists is never overwritten, and nothing is written beside it."""
    for name in existing:
        (tmp_path / name).write_text("mine")
    with pytest.raises(FileExistsError):
        make_keys(tmp_path / "private", tmp_path / "public")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(existing, "mine")


def test_public_half(tmp_path: Path, keys: Keys) -> None:
    """Where only the private key exists, its public half is written and it stays as it is."""
    private = tmp_path / "private.pem"
    private.write_bytes(keys.private_path.read_bytes())
    make_keys(private, tmp_path / "public.pem")
    assert private.read_bytes() == keys.private_path.read_bytes()
    assert (tmp_path / "public.pem").read_bytes() == keys.public_path.read_bytes()


@pytest.mark.parametrize("pem", ["junk", EC_PEM, LOCKED_PEM], ids=["junk", "EC", "locked"])
def test_public_half_of_no_key(tmp_path: Path, pem: str) -> None:
    """Where the private key is unusable, one line says so and nothing is written."""
    private = tmp_path / "private.pem"
    private.write_text(pem)
    with pytest.raises(SettingsError) as info:
        make_keys(private, tmp_path / "public.pem")
    assert "\n" not in str(info.value)
    assert not (tmp_path / "public.pem").exists()


@pytest.mark.parametrize("form", INLINE)
def test_inline(keys: Keys, form: str) -> None:
    """Keys may stand in the settings themselves, which win over the files; a private key has its public half."""
    private = INLINE[form](keys.private_path.read_text())
    public = INLINE[form](keys.public_path.read_text())
    nowhere = Path("/nowhere")
    for each in (private, public):
        settings = Settings(jwt_public_key=each, jwt_public_key_path=nowhere)
        (public_key,) = public_keys(settings)
        assert public_key.thumbprint() == keys.key.thumbprint()
        assert not public_key.is_private
    assert private_key(Settings(jwt_private_key=private, jwt_private_key_path=nowhere)).is_private


@pytest.mark.parametrize("bad", ["junk", "é", "bm8=", EC_PEM, LOCKED_PEM], ids=["junk", "é", "base64", "EC", "locked"])
@pytest.mark.parametrize("read", [public_keys, private_key])
def test_unusable(tmp_path: Path, read: Callable[[Settings], Any], bad: str) -> None:
    """An unusable key is named in one line, without a bit of it."""
    name = "JWT_PUBLIC_KEY" if read is public_keys else "JWT_PRIVATE_KEY"
    path = tmp_path / "key.pem"
    path.write_text(bad)
    inline: dict[str, Any] = {name.lower(): bad}
    from_file: dict[str, Any] = {f"{name.lower()}_path": path}
    for settings, place in ((Settings(**inline), name), (Settings(**from_file), f"{name}_PATH {path}")):
        with pytest.raises(SettingsError) as info:
            read(settings)
        assert str(info.value).startswith(f"{place} is not a usable key; it must be an RSA p")
        assert "\n" not in str(info.value)


def test_public_for_private(keys: Keys) -> None:
    """A public key where a private one is needed is said to be that."""
    with pytest.raises(SettingsError, match="JWT_PRIVATE_KEY is a public key"):
        private_key(Settings(jwt_private_key=keys.public_path.read_text()))


@pytest.mark.parametrize("read", [public_keys, private_key])
def test_no_file(tmp_path: Path, read: Callable[[Settings], Any]) -> None:
    """A key file that cannot be read is named, with the way to make one."""
    for path in (tmp_path / "none.pem", tmp_path):
        with pytest.raises(SettingsError, match=rf"{path}.*bin/genkeys"):
            read(Settings(jwt_public_key_path=path, jwt_private_key_path=path))


def test_several(tmp_path: Path, keys: Keys) -> None:
    """A file, or a setting, may hold several keys in PEM, with text around them; their order is kept."""
    private, other = tmp_path / "private.pem", tmp_path / "other.pem"
    make_keys(private, other)
    both = f"# new\n{other.read_text()}\n# old\n{keys.public_path.read_text()}"
    (tmp_path / "both.pem").write_text(both)
    wanted = [private_key(Settings(jwt_private_key_path=private)).thumbprint(), keys.key.thumbprint()]
    for settings in (Settings(jwt_public_key_path=tmp_path / "both.pem"), Settings(jwt_public_key=both)):
        assert [key.thumbprint() for key in public_keys(settings)] == wanted


def test_one_of_several_unusable(keys: Keys) -> None:
    """One key that cannot be used makes all of them unusable: a mistake does not pass unseen."""
    with pytest.raises(SettingsError, match="THE FILE is not a usable key"):
        parse_public_keys(keys.public_path.read_bytes() + EC_PEM.encode(), "THE FILE")


def test_none_needed(tmp_path: Path, keys: Keys) -> None:
    """With JWT_JWKS_URL there need not be a key here, but one that is here counts."""
    url = "https://id.example.com/jwks"
    assert public_keys(Settings(jwt_jwks_url=url, jwt_public_key_path=tmp_path / "none.pem")) == ()
    assert len(public_keys(Settings(jwt_jwks_url=url, jwt_public_key_path=keys.public_path))) == 1


def test_a_made_key_beside_an_issuer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pair that `bin/serve` once made does not keep a server from an issuer that signs otherwise.

    A file that a setting names has to be usable all the same, and so has the made one where there is no issuer.
    """
    monkeypatch.chdir(tmp_path)
    made = Settings(jwt_algorithms=("ES256",))
    make_keys(made.jwt_private_key_path, made.jwt_public_key_path)
    named = tmp_path / "named.pem"
    named.write_bytes(made.jwt_public_key_path.read_bytes())
    url = "https://id.example.com/jwks"
    assert public_keys(Settings(jwt_algorithms=("ES256",), jwt_jwks_url=url)) == ()
    assert len(public_keys(Settings(jwt_algorithms=("ES256", "RS256"), jwt_jwks_url=url))) == 1
    for settings in (made, Settings(jwt_algorithms=("ES256",), jwt_jwks_url=url, jwt_public_key_path=named)):
        with pytest.raises(SettingsError):
            public_keys(settings)
