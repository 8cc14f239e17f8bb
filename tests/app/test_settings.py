"""Settings (docs/protocol.md section 7)."""

import re
from pathlib import Path
from typing import Any

import pytest

from app.settings import Duration, Settings, SettingsError, parse_duration, read_settings, without_secrets

ORIGINAL_ENV = """\
# Server
NODE_ENV=production
PORT=4000
HOST=0.0.0.0

# JWT
JWT_PUBLIC_KEY_PATH=./keys/public.pem
JWT_PRIVATE_KEY_PATH="./my keys/private.pem"
JWT_ISSUER=me
JWT_AUDIENCE=you
JWT_EXPIRATION=7d # a week

WS_PATH=/socket
WS_HEARTBEAT_INTERVAL=15000
CORS_ORIGIN=*
LOG_LEVEL=verbose
LOG_FORMAT=
SOMETHING_ELSE=5
"""


DEFAULTS = """\
PORT=3000 APP_ENV=development STORE_URL=sqlite:///data/peersync.db WS_PATH=/ws
WS_HEARTBEAT_INTERVAL=30000 DEV_TOKENS=auto
JWT_PUBLIC_KEY_PATH=./keys/public.pem JWT_PRIVATE_KEY_PATH=./keys/private.pem JWT_ISSUER=peersync-dev-connect
JWT_AUDIENCE=peersync-clients JWT_EXPIRATION=1h TOKEN_LEEWAY_SECONDS=5 SESSION_GRACE_SECONDS=30
MAX_MESSAGE_BYTES=1048576 MAX_UNAUTHENTICATED=1000 PRESENCE_EVERYONE=500 DIRECTORY_PAGE=1000 OUTBOX_BYTES=4194304
OUTBOX_TOTAL_BYTES=268435456 REPLAY_EVENTS=1000 REPLAY_BYTES=4194304 REPLAY_TOTAL_BYTES=268435456
MAX_CONNECTIONS=20000 MAX_CONNECTIONS_PER_ADDRESS=0 AUTH_FAILURES_PER_MINUTE=60 HTTP_REQUESTS_PER_SECOND=50
ALLOWED_ORIGINS= TRUSTED_PROXIES=
RATE_LIMIT_EVENTS_PER_SECOND=200 RATE_LIMIT_BURST=400 RATE_LIMIT_BYTES_PER_SECOND=8388608 MAX_PENDING_REQUESTS=20
MAX_SESSIONS_PER_USER=50 PLUGINS="""


def test_defaults() -> None:
    """Without any setting, or with empty ones, the defaults of the protocol hold."""
    values = dict(setting.split("=") for setting in DEFAULTS.split())
    assert read_settings({}, None) == Settings() == read_settings(values, None)
    assert read_settings(dict.fromkeys(values, ""), None) == Settings()


def test_original_env(tmp_path: Path) -> None:
    """An `.env` of the original's kind works, unknown names and empty values included."""
    dotenv = tmp_path / ".env"
    dotenv.write_text(ORIGINAL_ENV)
    settings = read_settings({}, dotenv)
    assert settings == Settings(
        app_env="production",
        port=4000,
        host="0.0.0.0",
        jwt_public_key_path=Path("keys/public.pem"),
        jwt_private_key_path=Path("my keys/private.pem"),
        jwt_issuer="me",
        jwt_audience="you",
        jwt_expiration=Duration("7d", 7 * 86400),
        ws_path="/socket",
        ws_heartbeat_interval=15000,
        cors_origin="*",
        log_level="debug",
    )


def test_the_environment_wins(tmp_path: Path) -> None:
    """The environment wins over the file, and a missing file is none."""
    dotenv = tmp_path / ".env"
    dotenv.write_text("PORT=1\nHOST=file\n")
    settings = read_settings({"PORT": " 2 "}, dotenv)
    assert (settings.port, settings.host) == (2, "file")
    assert read_settings({"PORT": "2"}, tmp_path / "none").port == 2


@pytest.mark.parametrize("empty", ["", " ", "\t"])
def test_what_is_empty(tmp_path: Path, empty: str) -> None:
    """An empty value counts as not set: the file's counts, and certificate and key may be empty alike."""
    dotenv = tmp_path / ".env"
    dotenv.write_text(f"PORT=1\nTLS_KEY_PATH={empty}\nNODE_ENV={empty}\n")
    settings = read_settings({"PORT": empty, "TLS_CERT_PATH": empty, "APP_ENV": empty, "NODE_ENV": empty}, dotenv)
    assert settings == Settings(port=1)
    assert not settings.has_tls


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    """An `.env` in another encoding than UTF-8 is refused in one line."""
    dotenv = tmp_path / ".env"
    dotenv.write_bytes(b"HOST=\xe9\n")
    with pytest.raises(SettingsError):
        read_settings({}, dotenv)


@pytest.mark.parametrize(
    ("environ", "app_env"),
    [
        ({"NODE_ENV": "development"}, "development"),
        ({"NODE_ENV": "production"}, "production"),
        ({"NODE_ENV": "test"}, "production"),
        ({"NODE_ENV": "production", "APP_ENV": "development"}, "development"),
        ({"NODE_ENV": "development", "APP_ENV": "production"}, "production"),
        ({"NODE_ENV": "production", "APP_ENV": " "}, "production"),
    ],
)
def test_node_env(environ: dict[str, str], app_env: str) -> None:
    """NODE_ENV stands in for a missing APP_ENV; what it says that is not `development` is production."""
    assert read_settings(environ, None).app_env == app_env


@pytest.mark.parametrize(
    ("given", "level"),
    [("DEBUG", "debug"), ("verbose", "debug"), ("log", "info"), ("Warn", "warning"), ("fatal", "critical")],
)
def test_levels(given: str, level: str) -> None:
    """Levels have synonyms, the original's among them, in any case."""
    assert read_settings({"LOG_LEVEL": given}, None).log_level == level


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("30 m", 1800),
        ("1h", 3600),
        ("7d", 604800),
        ("12 Hours", 43200),
        ("2 days", 172800),
        ("1w", 604800),
        ("1y", 31557600),
    ],
)
def test_durations(given: str, seconds: int) -> None:
    """Times have units; without one they are seconds."""
    assert parse_duration("X", given) == seconds


@pytest.mark.parametrize(
    ("environ", "host", "hands_out"),
    [
        ({}, "127.0.0.1", True),
        ({"HOST": "localhost"}, "localhost", True),
        ({"HOST": "::1"}, "::1", True),
        ({"HOST": "0.0.0.0"}, "0.0.0.0", False),
        ({"HOST": "192.0.2.1"}, "192.0.2.1", False),
        ({"APP_ENV": "production"}, "0.0.0.0", False),
        ({"APP_ENV": "production", "HOST": "127.0.0.1"}, "127.0.0.1", False),
        ({"APP_ENV": "production", "DEV_TOKENS": "on"}, "0.0.0.0", True),
        ({"DEV_TOKENS": "off"}, "127.0.0.1", False),
    ],
)
def test_dev_tokens(environ: dict[str, str], host: str, *, hands_out: bool) -> None:
    """Tokens are handed out in development on loopback only, unless DEV_TOKENS says."""
    settings = read_settings(environ, None)
    assert (settings.bind_host, settings.hands_out_dev_tokens) == (host, hands_out)


def test_plugins() -> None:
    """PLUGINS is a list."""
    assert read_settings({"PLUGINS": " a.b, c ,,"}, None).plugins == ("a.b", "c")


@pytest.mark.parametrize("given", ["ES256,EdDSA", " es256 , eddsa,ES256,", "Es256,EDDSA"])
def test_algorithms(given: str) -> None:
    """JWT_ALGORITHMS is a list, in any case, without doubles."""
    assert read_settings({"JWT_ALGORITHMS": given}, None).jwt_algorithms == ("ES256", "EdDSA")


def test_who_is_in_front() -> None:
    """Proxies are addresses and networks, written in any way; origins are compared in lower case without a slash."""
    environ = {"TRUSTED_PROXIES": "192.0.2.1, 10.1.2.3/8,2001:DB8::/32", "ALLOWED_ORIGINS": "https://IDE.test/,null"}
    settings = read_settings(environ, None)
    assert settings.trusted_proxies == ("192.0.2.1/32", "10.0.0.0/8", "2001:db8::/32")
    assert settings.allowed_origins == ("https://ide.test", "null")


WHOLE = "a whole number of 1 or more"
COUNTS = (
    *("DIRECTORY_PAGE", "MAX_SESSIONS_PER_USER", "MAX_PENDING_REQUESTS", "MAX_UNAUTHENTICATED", "REPLAY_EVENTS"),
    *("RATE_LIMIT_EVENTS_PER_SECOND", "RATE_LIMIT_BURST", "RATE_LIMIT_BYTES_PER_SECOND"),
    *("OUTBOX_TOTAL_BYTES", "REPLAY_TOTAL_BYTES", "MAX_CONNECTIONS"),
)
BAD_VALUES = [
    ("PORT", "x", "a whole number from 0 to 65535"),
    ("PORT", "65536", "a whole number from 0 to 65535"),
    ("PORT", "-1", "a whole number from 0 to 65535"),
    ("APP_ENV", "staging", "development or production"),
    ("WS_PATH", "ws", "a path such as /ws"),
    ("WS_HEARTBEAT_INTERVAL", "99", "a whole number of 100 or more"),
    ("WS_IMPLEMENTATION", "ws", "peersync"),
    ("JWT_EXPIRATION", "soon", "a time such as 90s, 30m, 1h or 7d"),
    ("JWT_EXPIRATION", "0", "a time such as"),
    ("JWT_EXPIRATION", "-1h", "a time such as"),
    ("JWT_EXPIRATION", "1 fortnight", "a time such as"),
    ("JWT_NAME_CLAIM", "..", "a claim such as name"),
    ("JWT_NAME_CLAIM", "a..b", "a claim such as name"),
    ("JWT_ALGORITHMS", "HS256", "one or more of RS256, ES256, EdDSA"),
    ("JWT_ALGORITHMS", "RS256,none", "RS256, ES256, EdDSA"),
    ("JWT_ALGORITHMS", "RS256 ES256", "RS256, ES256, EdDSA"),
    ("JWT_ALGORITHMS", ",", "RS256, ES256, EdDSA"),
    ("JWT_JWKS_COOLDOWN_SECONDS", "0.5", "a number from 1 to 3600"),
    ("TOKEN_LEEWAY_SECONDS", "-1", "a number from 0 to 31536000"),
    ("TOKEN_LEEWAY_SECONDS", "nan", "a number from 0 to 31536000"),
    ("SESSION_GRACE_SECONDS", "30s", "a number from 0 to 31536000"),
    ("DEV_TOKENS", "yes", "auto"),
    ("ADMIN", "yes", "off or on"),
    ("REVOCATION_SECONDS", "0", "a number from 1 to 31536000"),
    ("LOG_LEVEL", "LOUD", "critical or debug or error or info or warning"),
    ("LOG_FORMAT", "xml", "console or json"),
    ("STORE_URL", "mysql://x", "memory://"),
    ("PRESENCE_EVERYONE", "-1", "a whole number of 0 or more"),
    ("MAX_CONNECTIONS_PER_ADDRESS", "-1", "a whole number of 0 or more"),
    ("AUTH_FAILURES_PER_MINUTE", "x", "a whole number of 0 or more"),
    ("HTTP_REQUESTS_PER_SECOND", "-1", "a whole number of 0 or more"),
    ("TRUSTED_PROXIES", "10.0.0.0/8,proxy", "addresses and networks such as 10.0.0.0/8"),
    ("ALLOWED_ORIGINS", "ide.example.com", "origins such as https://ide.example.com"),
    ("ALLOWED_ORIGINS", "https://ide.example.com/path", "origins such as https://ide.example.com"),
    *[
        (name, value, "a * matches one label, as in https://*.example.com")
        for name in ("ALLOWED_ORIGINS", "CORS_ORIGIN")
        for value in (
            "https://*example.com",
            "https://ide.*.com",
            "http://localhost:*",
            "https://*.*",
            "*://a",
            "*.com",
        )
    ],
    ("MAX_MESSAGE_BYTES", "1023", "a whole number of 1024 or more"),
    ("OUTBOX_BYTES", "2097151", "2097152 (twice MAX_MESSAGE_BYTES) or more"),
    ("REPLAY_BYTES", "2097151", "2097152 (twice MAX_MESSAGE_BYTES) or more"),
    *[(name, value, WHOLE) for name in COUNTS for value in ("0", "1.5")],
]


@pytest.mark.parametrize(("name", "value", "allowed"), BAD_VALUES)
def test_bad_values(name: str, value: str, allowed: str) -> None:
    """A bad value is refused in one line with the variable, what it was and what it may be."""
    with pytest.raises(SettingsError) as info:
        read_settings({name: value}, None)
    message = str(info.value)
    assert message.startswith(f"{name} is ")
    assert value in message.partition(";")[0]
    assert allowed in message.partition(";")[2]
    assert "\n" not in message


@pytest.mark.parametrize(
    "url",
    ["https://id.example.com/jwks", "https://id.example.com:8443/a?b=c", "http://127.0.0.1:1/", "http://[::1]/jwks"],
)
def test_jwks_url(url: str) -> None:
    """The issuer's keys come over TLS, or from this machine."""
    assert read_settings({"JWT_JWKS_URL": url}, None).jwt_jwks_url == url


BAD_URLS = [
    *("http://id.example.com/jwks", "http://127.0.0.1.example.com/", "ftp://127.0.0.1/", "file:///etc/passwd", "junk"),
    *("https://", "https:///jwks", "https://[::1/", "https://h:99999/", "https://a b/", "//id.example.com/jwks"),
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_bad_jwks_url(url: str) -> None:
    """Keys that somebody on the way could change are not fetched; a line says what the URL may be."""
    with pytest.raises(SettingsError) as info:
        read_settings({"JWT_JWKS_URL": url}, None)
    assert str(info.value).startswith(f"JWT_JWKS_URL is {url!r}; it must be the URL of a JWK set, https://...")


def documented() -> list[str]:
    """Return the settings of each provider in docs/identity.md."""
    text = (Path(__file__).parents[2] / "docs" / "identity.md").read_text()
    return re.findall(r"```ini\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("lines", documented(), ids=["Keycloak", "Auth0", "Supabase"])
def test_documented_providers(lines: str) -> None:
    """The settings that the documentation gives for a provider can be used, and say all that is needed."""
    given = dict(line.split("=", 1) for line in lines.splitlines())
    assert set(given) == {"JWT_JWKS_URL", "JWT_ISSUER", "JWT_AUDIENCE"}
    settings = read_settings(given, None)
    assert settings.jwt_jwks_url.startswith(settings.jwt_issuer)


def test_no_secrets_in_the_jwks_url() -> None:
    """A URL with user and password is refused, and the line does not repeat them."""
    with pytest.raises(SettingsError, match="without user and password") as info:
        read_settings({"JWT_JWKS_URL": "https://me:secret@id.example.com/jwks"}, None)
    assert "secret" not in str(info.value)


def test_frozen() -> None:
    """Settings are read once and do not change."""
    settings: Any = Settings()
    with pytest.raises(AttributeError):
        settings.port = 1


def test_secrets_of_a_url() -> None:
    """What is shown of a URL has neither user nor password, nor those of its query."""
    assert without_secrets("rediss://user:secret@example.com:6379/0") == "rediss://...@example.com:6379/0"
    assert without_secrets("redis://:sec@r/et@h/0") == "redis://...@h/0"
    shown = without_secrets(
        "redis+sentinel://h/main?sentinel_username=ann&sentinel_password=secret&ssl_ca_certs=ca.pem"
    )
    assert shown == "redis+sentinel://h/main?sentinel_username=...&sentinel_password=...&ssl_ca_certs=ca.pem"
    assert without_secrets("redis://h/0?password=sec@ret") == "redis://h/0?password=..."
