"""The doctor: finds what is wrong with a set-up, and says what to do. It changes nothing."""

import os
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from ssl import SSLContext
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import anyio
import click
from redis.exceptions import RedisError

from app.auth.algorithms import KINDS, Key, algorithm_of
from app.auth.certificate import certificate
from app.auth.keys import private_key, public_keys
from app.auth.tokens import TokenVerifier, dev_claims, sign
from app.cli.doctor_file import examine_file
from app.cli.finding import Finding, note, wrong
from app.cli.keys import makes_keys
from app.cli.port import try_port
from app.clock import SystemClock
from app.compose.stores import check_store_url
from app.misspellings import misspellings
from app.ops.audit import STDOUT
from app.ops.printable import printable
from app.settings import FILE, MEMORY, Settings, SettingsError, read_settings, without_secrets
from app.tables import load_routes
from schemas.errors import EventError
from stores.memory.stores import MemoryStores
from stores.model import User
from stores.protocols import StoreUnreachableError
from stores.redis.client import Client
from stores.redis.snapshot import latest_id

SPARE_FILES = 100
CERTIFICATE_DAYS = 14
PATIENCE_SECONDS = 3.0
NO_EVICTION = "noeviction"
DOTENV = Path(".env")


def examine(environ: Mapping[str, str], dotenv: Path = DOTENV) -> Iterator[Finding]:
    """Yield what each check finds; if the settings cannot be read, yield only that."""
    try:
        settings = read_settings(environ, dotenv)
    except SettingsError as error:
        yield wrong("settings", f"{error}; set it in the environment or in {dotenv.absolute()}")
        return
    yield from _settings(settings)
    for each in misspellings(environ, dotenv):
        if each.meant:
            yield wrong("settings", f"{each.name} is not a setting; did you mean {each.meant}?")
        else:
            yield note("settings", f"{each.name} is not a setting; remove it if it is for no other program")
    for check in (_plugins, _keys, _tls, _store, _port, _files, _audit, _clock):
        yield from check(settings)
    if dotenv.exists() and settings.jwt_private_key:
        yield from _secret("settings", dotenv)


def _settings(settings: Settings) -> Iterator[Finding]:
    yield Finding("settings", f"{settings.app_env}, on {settings.bind_address}{settings.ws_path}")
    if settings.hands_out_dev_tokens and not settings.is_loopback:
        yield wrong(
            "settings",
            "DEV_TOKENS is on, and other machines can connect: anybody can get any token; set DEV_TOKENS=auto",
        )
    if settings.app_env == "development" and not settings.is_loopback:
        yield wrong(
            "settings",
            f"APP_ENV is development, but other machines can reach HOST {settings.bind_host}; set APP_ENV=production",
        )


def _plugins(settings: Settings) -> Iterator[Finding]:
    try:
        routes = load_routes(settings.plugins)
    except SettingsError as error:
        yield wrong("plugins", f"{error}; fix it, or remove it from PLUGINS")
        return
    yield Finding("plugins", f"{', '.join(settings.plugins) or 'none'}; {len(routes)} events")


def _keys(settings: Settings) -> Iterator[Finding]:
    if makes_keys(settings):
        private, public = settings.jwt_private_key_path, settings.jwt_public_key_path
        missing = f"{public} is" if private.exists() else f"{private} and {public} are"
        yield note("keys", f"{missing} not there yet; bin/serve makes what is missing, and so does bin/genkeys")
        return
    yield from _public_key(settings)
    yield from _private_key(settings)


def _public_key(settings: Settings) -> Iterator[Finding]:
    try:
        keys = public_keys(settings)
    except SettingsError as error:
        yield wrong("keys", str(error))
        return
    names = [f"the {_kind(key)} key {key.thumbprint()[:12]}" for key in keys]
    if settings.jwt_jwks_url:
        names.append(f"the keys at {settings.jwt_jwks_url}")
    yield Finding("keys", f"tokens are verified with {', '.join(names)}")


def _kind(key: Key) -> str:
    algorithm = algorithm_of(key)
    return KINDS[algorithm] if algorithm else "unusable"


def _private_key(settings: Settings) -> Iterator[Finding]:
    """Check the key that development tokens are signed with: by signing one and verifying it."""
    path = settings.jwt_private_key_path
    if not (settings.jwt_private_key or path.exists()):
        if settings.hands_out_dev_tokens:
            yield wrong(
                "keys",
                f"there is no private key {path} for development tokens; run bin/genkeys, or set DEV_TOKENS=off",
            )
        return
    try:
        _verify_own_token(settings)
    except SettingsError as error:
        yield wrong("keys", str(error))
    except EventError as error:
        yield wrong(
            "keys", f"a token signed with the private key is refused ({error}); do the two keys belong together?"
        )
    else:
        yield Finding("keys", "a token signed with the private key is accepted")
    if not settings.jwt_private_key:
        yield from _secret("keys", path)


class _Keys:
    """See `app.auth.tokens.Keys`."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = keys

    async def candidates(self, _kid: str | None) -> Sequence[Key]:
        """Return them all."""
        return self._keys


def _verify_own_token(settings: Settings) -> None:
    issuer, audience = settings.jwt_issuer, settings.jwt_audience
    claims = dev_claims(User("doctor"), issuer=issuer, audience=audience, now=time.time(), ttl=60)
    token = sign(private_key(settings), claims)
    leeway = settings.token_leeway_seconds
    keys, revocations = _Keys(public_keys(settings)), MemoryStores().revocations
    verifier = TokenVerifier(
        keys,
        revocations,
        issuer=issuer,
        audience=audience,
        leeway=leeway,
        clock=SystemClock(),
        algorithms=settings.jwt_algorithms,
    )
    anyio.run(verifier.verify, token)


def _secret(subject: str, path: Path) -> Iterator[Finding]:
    mode = stat.S_IMODE(path.stat().st_mode)
    if sys.platform != "win32" and mode & 0o077:
        yield wrong(subject, f"other users can read {path} (mode {mode:o}); run chmod 600 {path}")


def _tls(settings: Settings) -> Iterator[Finding]:
    """Check that certificate and key belong together, and how long the certificate is good."""
    try:
        own = certificate(settings)
    except SettingsError as error:
        yield wrong("tls", f"{error}; fix it, or unset TLS_CERT_PATH and TLS_KEY_PATH")
        return
    if own is None or settings.tls_key_path is None:
        return
    days = (own.expires_at.timestamp() - time.time()) / 86_400
    when = f"{own.expires_at:%Y-%m-%d %H:%M} UTC"
    if days < 0:
        yield wrong("tls", f"the certificate expired at {when}; get a new one and restart")
    elif days < CERTIFICATE_DAYS:
        yield wrong("tls", f"the certificate expires in {int(days)} days, at {when}; get a new one and restart")
    else:
        yield Finding(
            "tls", f"certificate and key belong together; the certificate expires in {int(days)} days, at {when}"
        )
    yield from _secret("tls", settings.tls_key_path)


def _store(settings: Settings) -> Iterator[Finding]:
    url = without_secrets(settings.store_url)
    if settings.store_url == MEMORY:
        yield Finding("store", f"{url}: one process keeps everything in memory, and all is lost when it ends")
        return
    try:
        check_store_url(settings.store_url)
        if settings.store_url.startswith(FILE):
            yield from examine_file(settings.store_url)
            return
        policy = anyio.run(_eviction_policy, settings.store_url)
    except SettingsError as error:
        yield wrong("store", str(error))
    except StoreUnreachableError as error:
        yield wrong("store", f"{url} cannot be reached ({error}); is it running, and is the URL right?")
    else:
        yield Finding("store", f"{url} answers; all nodes with this URL share it")
        if policy != NO_EVICTION:
            yield wrong(
                "store",
                f"when Redis is full, it drops data that is needed; set maxmemory-policy {NO_EVICTION}, not {policy}",
            )


async def _eviction_policy(url: str) -> str:
    """Ask Redis what it evicts when it is full; if it does not say, assume nothing.

    Raises `StoreUnreachableError`, also if our keys and channels are not accessible.
    """
    client = Client(url, "doctor", PATIENCE_SECONDS)
    try:
        _ = await client.ask(latest_id(client.keys.changes(0)))
        async with client.subscribed(client.keys.node(client.node)):
            pass
        with suppress(RedisError):
            memory = await client.redis.info("memory")
            return str(memory["maxmemory_policy"])
        return NO_EVICTION
    finally:
        await client.close()


def _port(settings: Settings) -> Iterator[Finding]:
    where = settings.bind_address
    try:
        try_port(settings)
    except OSError as error:
        if _is_alive(settings):
            yield Finding("port", f"a server already answers on {where}")
        else:
            yield wrong(
                "port",
                f"the server cannot listen on {where} ({error.strerror}); stop what uses it, or set PORT or HOST",
            )
        return
    yield Finding("port", f"{where} is free")


def _is_alive(settings: Settings) -> bool:
    try:
        own = certificate(settings)
        url = f"{'http' if own is None else 'https'}://{settings.near_host}:{settings.port}/health/live"
        return _ask(url, None if own is None else own.trust()).get("content-type") == "application/json"
    except (OSError, ValueError, SettingsError):
        return False


def _files(settings: Settings) -> Iterator[Finding]:
    """Check that enough files can be open for MAX_CONNECTIONS; `serve` raises its limit as far as it can."""
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 - Windows has none

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = settings.max_connections + settings.max_http_connections + SPARE_FILES
    if hard == resource.RLIM_INFINITY or hard >= needed:
        yield Finding("files", f"enough can be open for {settings.max_connections} connections")
        return
    room = max(1, (hard - SPARE_FILES) * 4 // 5)
    found = wrong if settings.app_env == "production" else note
    yield found(
        "files",
        f"the limit of open files is {hard}, enough for {room} connections, not for MAX_CONNECTIONS"
        f" ({settings.max_connections}); raise it to {needed} (ulimit -Hn, LimitNOFILE), or set MAX_CONNECTIONS={room}",
    )


def _audit(settings: Settings) -> Iterator[Finding]:
    if not settings.audit_log or settings.audit_log in STDOUT:
        return
    path = Path(settings.audit_log).absolute()
    if os.access(path if path.exists() else path.parent, os.W_OK) and not path.is_dir():
        yield Finding("audit", f"{path} is writable")
    else:
        yield wrong("audit", f"{path} is not writable; make its folder, or set AUDIT_LOG to another file or to -")


def _clock(settings: Settings) -> Iterator[Finding]:
    """Check the clock, by which tokens expire: against our files, and against the issuer if there is one."""
    now, leeway = time.time(), settings.token_leeway_seconds
    written = max(path.stat().st_mtime for path in (Path(__file__), settings.jwt_public_key_path) if path.exists())
    if written > now + leeway:
        yield wrong("clock", f"it is {written - now:.0f} s behind the newest file of the server; set it (NTP)")
        return
    url = settings.jwt_jwks_url
    if not url:
        yield Finding(
            "clock", f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(now))}; there is no issuer to compare it with"
        )
        return
    yield from _issuers_clock(url, leeway, time.time)


def _issuers_clock(url: str, leeway: float, clock: Callable[[], float]) -> Iterator[Finding]:
    try:
        ahead = clock() - parsedate_to_datetime(_ask(url)["date"]).timestamp()
    except (OSError, ValueError, TypeError, KeyError) as error:
        yield wrong("clock", f"the issuer at {url} does not send the time ({error}); is JWT_JWKS_URL right?")
        return
    if abs(ahead) > leeway + 1:
        what = "set it (NTP), or raise TOKEN_LEEWAY_SECONDS"
        yield wrong(
            "clock", f"it is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the issuer's clock; {what}"
        )
    else:
        yield Finding("clock", "it agrees with the issuer's clock")


def _ask(url: str, tls: SSLContext | None = None) -> Mapping[str, str]:
    """Return the headers of the response, with names in lower case. Raises `OSError` or `ValueError`."""
    if not url.startswith(("http://", "https://")):
        raise ValueError("it is not an HTTP URL")
    try:
        with urlopen(Request(url), timeout=PATIENCE_SECONDS, context=tls) as answer:  # noqa: S310 - the scheme is checked above
            headers = answer.headers
    except HTTPError as error:
        headers = error.headers
    except URLError as error:
        raise OSError(str(error.reason)) from None
    return {name.lower(): value for name, value in headers.items()}


def run() -> bool:
    """Print one line for each finding. Return whether nothing is wrong."""
    is_well = True
    for finding in examine(os.environ):
        is_well &= not finding.is_wrong
        click.echo(printable(str(finding)))
    return is_well
