"""Settings: read once from the environment and `.env`, checked, frozen (docs/protocol.md section 7)."""

import os
import re
from collections.abc import Callable, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

import msgspec
from dotenv import dotenv_values
from msgspec import Meta, Struct, field

from app import origins

Port = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=1)]
CountOrOff = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0, le=31_536_000)]
Origin = Annotated[str, Meta(pattern=origins.PATTERN)]
Environment = Literal["development", "production"]
LogLevel = Literal["debug", "info", "warning", "error", "critical"]
Algorithm = Literal["RS256", "ES256", "EdDSA"]

_LEVEL_SYNONYMS = {
    "verbose": "debug",
    "trace": "debug",
    "log": "info",
    "warn": "warning",
    "fatal": "critical",
}
MEMORY = "memory://"
FILE = "sqlite:"
STORE_URLS = (
    "sqlite:///PATH, memory://, redis://HOST:PORT/0, rediss://HOST:PORT/0"
    " or redis+sentinel://HOST:PORT,HOST:PORT/MASTER/0"
)
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_NEAR = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - the names of all interfaces, and how to reach them from here
_DURATION = re.compile(r"(\d{1,9})\s*([a-z]*)", re.IGNORECASE)
_UNITS = {  # those that the original's `ms` knows
    **dict.fromkeys(("", "s", "sec", "secs", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 86_400),
    **dict.fromkeys(("w", "week", "weeks"), 604_800),
    **dict.fromkeys(("y", "yr", "yrs", "year", "years"), 31_557_600),
}
_ALGORITHM_SPELLINGS = {name.lower(): name for name in get_args(Algorithm)}
_LISTS: dict[str, Callable[[str], str]] = {
    "PLUGINS": str,
    "JWT_ALGORITHMS": lambda part: _ALGORITHM_SPELLINGS.get(part.lower(), part),
    "ALLOWED_ORIGINS": lambda part: part.lower().rstrip("/"),
}
_WORDS = {
    "JWT_ALGORITHMS": f"one or more of {', '.join(get_args(Algorithm))}, separated by commas",
    "ALLOWED_ORIGINS": origins.ALLOWED,
    "STORE_URL": STORE_URLS,
    "WS_PATH": "a path such as /ws",
    "JWT_NAME_CLAIM": "a claim such as name, or a path to one such as user_metadata.full_name",
}


class SettingsError(Exception):
    """A setting that cannot be used. The text is one line: the variable, its value, and what it must be."""


class Duration(Struct, frozen=True):
    """A time as it was written, and in seconds."""

    written: str
    seconds: int


class Settings(Struct, frozen=True, kw_only=True, rename=str.upper):
    """Every setting with its default. Names in the environment are these in capitals."""

    port: Port = 3000
    host: str = ""
    app_env: Environment = "development"
    ws_path: Annotated[str, Meta(pattern="^/[A-Za-z0-9._~/-]+$")] = "/ws"
    ws_heartbeat_interval: Annotated[int, Meta(ge=100)] = 30_000
    ws_implementation: Literal["peersync", "websockets-sansio", "wsproto"] = "peersync"

    tls_cert_path: Path | None = None
    tls_key_path: Path | None = None

    jwt_public_key_path: Path = Path("keys/public.pem")
    jwt_private_key_path: Path = Path("keys/private.pem")
    jwt_public_key: str = ""
    jwt_private_key: str = ""
    jwt_jwks_url: str = ""
    jwt_jwks_cooldown_seconds: Annotated[float, Meta(ge=1, le=3600)] = 30
    jwt_algorithms: Annotated[tuple[Algorithm, ...], Meta(min_length=1)] = ("RS256",)
    jwt_name_claim: Annotated[str, Meta(pattern=r"^[^.]+(\.[^.]+)*$")] = "name"
    jwt_issuer: Annotated[str, Meta(min_length=1)] = "peersync-dev-connect"
    jwt_audience: Annotated[str, Meta(min_length=1)] = "peersync-clients"
    jwt_expiration: Duration = Duration("1h", 3600)
    token_leeway_seconds: Seconds = 5
    token_expiry: Literal["auto", "close", "ignore"] = "auto"  # noqa: S105 - no password
    dev_tokens: Literal["auto", "on", "off"] = "auto"

    admin: Literal["on", "off"] = "off"
    revocation_seconds: Annotated[float, Meta(ge=1, le=31_536_000)] = 2_592_000

    log_level: LogLevel = "info"
    log_format: Literal["console", "json"] = "console"
    audit_log: str = ""
    tracing: Literal["on", "off"] = "off"
    cors_origin: str = ""
    docs: Literal["on", "off"] = "on"
    allowed_origins: tuple[Origin, ...] = field(default=())
    trusted_proxies: tuple[str, ...] = field(default=())

    store_url: Annotated[str, Meta(pattern=r"^(memory://|sqlite:///.+|rediss?(\+sentinel)?://.+)$")] = (
        "sqlite:///data/peersync.db"
    )
    node_lease_seconds: Annotated[float, Meta(ge=0.3, le=60)] = 9
    session_grace_seconds: Seconds = 30
    resume_grace_seconds: Seconds = 120
    presence_everyone: Annotated[int, Meta(ge=0)] = 500
    directory_page: Count = 1000
    max_sessions_per_user: Count = 50
    max_session_participants: Annotated[int, Meta(ge=2)] = 30
    max_pending_requests: Count = 20

    max_message_bytes: Annotated[int, Meta(ge=1024)] = 1_048_576
    max_connections: Count = 20_000
    max_connections_per_address: CountOrOff = 0
    max_unauthenticated: Count = 1000
    auth_failures_per_minute: CountOrOff = 60
    http_requests_per_second: CountOrOff = 50
    outbox_bytes: Count = 4_194_304
    outbox_total_bytes: Count = 268_435_456
    replay_events: Count = 1000
    replay_bytes: Count = 4_194_304
    replay_total_bytes: Count = 268_435_456
    rate_limit_events_per_second: Count = 200
    rate_limit_burst: Count = 400
    rate_limit_bytes_per_second: Count = 8_388_608

    drain_seconds: Seconds = 20

    plugins: tuple[str, ...] = field(default=())

    @property
    def bind_host(self) -> str:
        """The address to listen on: loopback in development, all interfaces in production, unless `HOST` says."""
        return self.host.strip("[]") or ("127.0.0.1" if self.app_env == "development" else "0.0.0.0")  # noqa: S104 - docs/protocol.md section 7

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return self.bind_host in _LOOPBACK or self.bind_host.startswith("127.")

    @property
    def bind_address(self) -> str:
        """Where the server listens, as in 127.0.0.1:3000 or [::1]:3000."""
        return f"{_bracketed(self.bind_host)}:{self.port}"

    @property
    def near_host(self) -> str:
        """The host of a URL by which this machine reaches the server."""
        return _bracketed(_NEAR.get(self.bind_host, self.bind_host))

    @property
    def has_tls(self) -> bool:
        """Whether it serves `https` and `wss`."""
        return self.tls_cert_path is not None

    @property
    def is_private(self) -> bool:
        """Whether this is a developer's own server: in development, and only this machine can connect."""
        return self.app_env == "development" and self.is_loopback

    @property
    def shows_overview(self) -> bool:
        """Whether `GET /api/v1/admin/overview` exists."""
        return self.is_private or self.admin == "on"

    @property
    def has_console(self) -> bool:
        """Whether `/console` exists: it needs the overview, and the documents of the contract."""
        return self.docs == "on" and self.shows_overview

    @property
    def max_http_connections(self) -> int:
        """How many connections may be there that are no sockets (yet): a quarter of MAX_CONNECTIONS, 100 at least."""
        return max(100, self.max_connections // 4)

    @property
    def hands_out_dev_tokens(self) -> bool:
        """Whether `POST /api/v1/auth/dev-token` exists (docs/protocol.md section 6)."""
        if self.dev_tokens == "auto":
            return self.is_private
        return self.dev_tokens == "on"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def read_settings(environ: Mapping[str, str] | None = None, dotenv: Path | None = Path(".env")) -> Settings:
    """Read the settings; the environment wins over the file, and an empty value in either counts as not set.

    Raises `SettingsError` for a value that cannot be used.
    """
    values = read_file(dotenv) if dotenv else {}
    values |= _given(os.environ if environ is None else environ)
    known = {name: values[name] for name in names() if name in values}
    settings = _convert(_with_node_env(known, values))
    _check_together(settings)
    return settings


def read_file(dotenv: Path) -> dict[str, str]:
    """Return the variables in a file; none if there is no file. Raises `SettingsError` if it cannot be read."""
    try:
        return _given(dotenv_values(dotenv))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{dotenv} cannot be read ({error}); it must be UTF-8 text with one NAME=value on each line"
        ) from None


def _given(values: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value.strip() for name, value in values.items() if value and value.strip()}


def names() -> list[str]:
    """Return the names of all settings."""
    return [info.encode_name for info in msgspec.structs.fields(Settings)]


def _with_node_env(known: dict[str, str], values: Mapping[str, str]) -> dict[str, str]:
    """Let the original's NODE_ENV stand in for APP_ENV; any value of it but `development` is to be safe in public."""
    node_env = values.get("NODE_ENV")
    if node_env and "APP_ENV" not in known:
        known["APP_ENV"] = "development" if node_env == "development" else "production"
    return known


def _normalise(name: str, value: str) -> object:
    if name == "LOG_LEVEL":
        return _LEVEL_SYNONYMS.get(value.lower(), value.lower())
    if name == "JWT_EXPIRATION":
        return Duration(value, parse_duration(name, value))
    if name in _LISTS:
        return tuple(dict.fromkeys(_LISTS[name](part) for part in _parts(value)))
    if name == "TRUSTED_PROXIES":
        return _networks(name, value)
    return value


def _parts(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _networks(name: str, value: str) -> tuple[str, ...]:
    try:
        return tuple(str(ip_network(part, strict=False)) for part in _parts(value))
    except ValueError:
        what = "addresses and networks such as 10.0.0.0/8, separated by commas"
        raise SettingsError(f"{name} is {value!r}; it must be {what}") from None


def parse_duration(name: str, value: str) -> int:
    """Return seconds of `3600`, `90s`, `30m`, `1h`, `7d` or `2 weeks`; raises `SettingsError`."""
    match = _DURATION.fullmatch(value)
    unit = _UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None or int(match[1]) == 0:
        raise SettingsError(f"{name} is {value!r}; it must be a time such as 90s, 30m, 1h or 7d")
    return int(match[1]) * unit


def _convert(values: dict[str, str]) -> Settings:
    normalised = {name: _normalise(name, value) for name, value in values.items()}
    try:
        return msgspec.convert(normalised, Settings, strict=False, dec_hook=lambda kind, value: kind(value))
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$.")
        name = re.split(r"[\[`.]", place)[0]
        raise SettingsError(
            f"{name} is {without_secrets(values.get(name, ''))!r}; {_allowed(name) or problem}"
        ) from None


def without_secrets(value: str) -> str:
    """Leave out users and passwords of a URL, those in its query, too; rather too much where it is written wrongly."""
    bare = re.sub(r"([?&][^=&]*(?:username|password)=)[^&]*", r"\1...", value)
    return re.sub(r"//.*@", "//...@", bare)


def _allowed(name: str) -> str:
    """Say in words what a variable must be."""
    info = next((info for info in msgspec.structs.fields(Settings) if info.encode_name == name), None)
    if info is None:
        return ""
    kind = msgspec.inspect.type_info(info.type)
    if isinstance(kind, msgspec.inspect.LiteralType):
        return "it must be " + " or ".join(str(value) for value in kind.values)
    if isinstance(kind, msgspec.inspect.IntType | msgspec.inspect.FloatType):
        what = "a whole number" if isinstance(kind, msgspec.inspect.IntType) else "a number"
        return f"it must be {what}" + _bounds(kind.ge, kind.le)
    return f"it must be {_WORDS[name]}" if name in _WORDS else "it must not be empty"


def _bounds(low: float | None, high: float | None) -> str:
    if high is not None:
        return f" from {low} to {high}"
    return "" if low is None else f" of {low} or more"


def _check_together(settings: Settings) -> None:
    _check_tls(settings)
    for origin in origins.parsed(settings.cors_origin):
        if "*" in origin and not re.search(origins.PATTERN, origin):
            raise SettingsError(f"CORS_ORIGIN is {settings.cors_origin!r}; it must be {origins.ALLOWED}")
    if settings.jwt_jwks_url and not _is_safe_url(settings.jwt_jwks_url):
        raise SettingsError(
            f"JWT_JWKS_URL is {without_secrets(settings.jwt_jwks_url)!r}; it must be the URL of a JWK set,"
            " https://..., or http://... on loopback, without user and password"
        )
    for name in ("outbox_bytes", "replay_bytes"):
        value = getattr(settings, name)
        if value < 2 * settings.max_message_bytes:
            least = 2 * settings.max_message_bytes
            raise SettingsError(f"{name.upper()} is {value}; it must be {least} (twice MAX_MESSAGE_BYTES) or more")
        total = name.replace("_bytes", "_total_bytes")
        if getattr(settings, total) < value:
            raise SettingsError(
                f"{total.upper()} is {getattr(settings, total)}; it must be {value} ({name.upper()}) or more"
            )


def _check_tls(settings: Settings) -> None:
    missing = {"TLS_CERT_PATH": settings.tls_cert_path, "TLS_KEY_PATH": settings.tls_key_path}
    names = [name for name, path in missing.items() if path is None]
    if len(names) == 1:
        raise SettingsError(f"{names[0]} is not set; TLS needs both TLS_CERT_PATH and TLS_KEY_PATH")


def _is_safe_url(url: str) -> bool:
    """Whether nobody on the way can change what is fetched, and no secret stands in it."""
    try:
        parts = urlsplit(url)
        is_clean = bool(parts.hostname) and parts.username is None and parts.port != 0 and not re.search(r"\s", url)
    except ValueError:
        return False
    return is_clean and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK))
