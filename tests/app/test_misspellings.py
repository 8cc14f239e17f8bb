"""Variables that look like a setting and are none."""

from pathlib import Path

import pytest

from app.misspellings import Misspelling, distance, misspellings
from app.settings import names

SLIPS = [
    ("PROT", "PORT"),
    ("PRT", "PORT"),
    ("POORT", "PORT"),
    ("HSOT", "HOST"),
    ("HOSTS", "HOST"),
    ("PLUGIN", "PLUGINS"),
    ("APP_EVN", "APP_ENV"),
    ("LOG_LEVLE", "LOG_LEVEL"),
    ("JWT_ALGORITHM", "JWT_ALGORITHMS"),
    ("JWT_ISUER", "JWT_ISSUER"),
    ("JWT_JWKS_URI", "JWT_JWKS_URL"),
    ("MAX_MESSAGE_SIZE", "MAX_MESSAGE_BYTES"),
    ("MAX_CONNECTION", "MAX_CONNECTIONS"),
    ("RATE_LIMIT_EVENTS", "RATE_LIMIT_EVENTS_PER_SECOND"),
    ("WS_HEARTBEAT_INTERVAL_MS", "WS_HEARTBEAT_INTERVAL"),
    ("TRUSTED_PROXY", "TRUSTED_PROXIES"),
    ("ALLOWED_ORIGIN", "ALLOWED_ORIGINS"),
    ("CORS_ORIGINS", "CORS_ORIGIN"),
    ("Jwt_Issuer", "JWT_ISSUER"),
]
COMMON = """\
PATH HOME HOST_IP HOSTNAME HOSTTYPE PWD OLDPWD USER LOGNAME SHELL SHLVL TERM LANG LC_ALL TZ TMPDIR EDITOR PAGER MAIL
DISPLAY COLORTERM SSH_AUTH_SOCK SSH_CONNECTION XDG_RUNTIME_DIR XDG_SESSION_TYPE XDG_SESSION_ID DBUS_SESSION_BUS_ADDRESS
SESSION_MANAGER VIRTUAL_ENV PYTHONPATH PYTHONUNBUFFERED
PIP_CACHE_DIR UV_CACHE_DIR NODE_ENV NODE_OPTIONS NVM_DIR JAVA_HOME
GOPATH CARGO_HOME HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy SSL_CERT_FILE SSL_CERT_DIR CI
GITHUB_ACTIONS GITHUB_TOKEN RUNNER_OS DATABASE_URL REDIS_URL REDIS_HOST REDIS_PORT POSTGRES_PASSWORD AWS_REGION PS1 _
KUBERNETES_SERVICE_HOST KUBERNETES_PORT KUBERNETES_PORT_443_TCP_ADDR STORE_PORT STORE_SERVICE_HOST WS_PORT
WS_SERVICE_PORT PEERSYNC_PORT PEERSYNC_SERVICE_PORT_HTTP WS_PORT_3000_TCP OTEL_EXPORTER_OTLP_ENDPOINT OTEL_SERVICE_NAME
COMPOSE_PROJECT_NAME MAX_JOBS MAKEFLAGS WINDOWID WSL_DISTRO_NAME WSLENV WSL_INTEROP LOGS_DIRECTORY INVOCATION_ID
DOCKER_HOST JOURNAL_STREAM MEMORY_PRESSURE_WATCH NOTIFY_SOCKET LS_COLORS LESSOPEN DEBIAN_FRONTEND container
HOSTALIASES TERM_PROGRAM
"""


@pytest.mark.parametrize(("name", "meant"), SLIPS)
def test_slips(tmp_path: Path, name: str, meant: str) -> None:
    """A slip of a setting's name is told with the setting, wherever it stands."""
    dotenv = tmp_path / ".env"
    assert list(misspellings({name: "5"}, dotenv)) == [Misspelling(name, meant)]
    dotenv.write_text(f"{name}=5\n")
    assert list(misspellings({}, dotenv)) == [Misspelling(name, meant)]


def test_common(tmp_path: Path) -> None:
    """What is in an environment anyway is no slip, nor is a setting, nor what is empty."""
    environ = dict.fromkeys([*COMMON.split(), *names()], "5") | {"PROT": "", "JWT_ISUER": " "}
    assert list(misspellings(environ, tmp_path / "none")) == []


def test_a_file(tmp_path: Path) -> None:
    """In the file whatever is unknown is told, but for what other programs read from there."""
    dotenv = tmp_path / ".env"
    dotenv.write_text(
        "PORT=1\nSOMETHING=5\nNOTHING=\nOTEL_SERVICE_NAME=x\nCOMPOSE_PROJECT_NAME=x\nNODE_ENV=production\n"
    )
    assert list(misspellings({"SOMETHING_ELSE": "5"}, dotenv)) == [Misspelling("SOMETHING", None)]


@pytest.mark.parametrize(
    ("one", "other", "letters"),
    [
        ("PORT", "PORT", 0),
        ("PROT", "PORT", 1),
        ("PRT", "PORT", 1),
        ("HOME", "HOST", 2),
        ("", "PORT", 4),
        ("AB", "BCA", 3),
    ],
)
def test_distance(one: str, other: str, letters: int) -> None:
    """Letters put in, left out, changed and swapped count one each."""
    assert distance(one, other) == distance(other, one) == letters
