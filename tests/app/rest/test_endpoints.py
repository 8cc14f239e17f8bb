"""The list of endpoints: what is answered is what the contract says."""

import inspect
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from msgspec.structs import replace
from starlette.testclient import TestClient

from app.auth.tokens import sign
from app.contract.endpoint import Endpoint
from app.main import create_app
from app.rest.admin import SCOPE
from app.rest.endpoints import ENDPOINTS, endpoints
from app.settings import MEMORY, Settings
from stores.memory.stores import MemoryStores
from stores.protocols import StoreUnreachableError
from tests.support.tokens import Keys

WHO = {"userId": "ann", "email": "a@b.c", "displayName": "Ann"}
DEV_TOKEN = "/api/v1/auth/dev-token"
VERIFY = "/api/v1/auth/verify"
OVERVIEW = "/api/v1/admin/overview"
LOCAL = {"Host": "localhost:3000"}


class UnreachableStores(MemoryStores):
    """Stores whose server is away."""

    async def ping(self) -> None:
        """Fail."""
        raise StoreUnreachableError("connection refused")


@pytest.fixture
def settings(keys: Keys) -> Settings:
    """Settings of a development server."""
    return Settings(
        store_url=MEMORY,
        jwt_public_key_path=keys.public_path,
        jwt_private_key_path=keys.private_path,
        log_level="error",
        host="127.0.0.1",
    )


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    """A client of a development server."""
    with TestClient(create_app(settings), base_url="http://localhost") as client:
        yield client


def ask(client: TestClient, method: str, path: str, template: str | None = None, **options: Any) -> int:
    """Ask, hold the answer to what the contract says of its path, method and status, and return the status."""
    app: Any = client.app
    document = app.state.contract.openapi
    response = client.request(method, path, **options)
    answers = document["paths"][template or path][method.lower()]["responses"]
    content = answers[str(response.status_code)]["content"]
    media_type = response.headers["content-type"].split(";")[0]
    assert set(content) == {media_type}
    if media_type == "application/json":
        schema = {**content[media_type]["schema"], "components": document["components"]}
        Draft202012Validator(schema).validate(response.json())
    return response.status_code


@pytest.mark.parametrize("path", [each.path for each in ENDPOINTS if each.method == "GET" and "{" not in each.path])
def test_get(path: str, client: TestClient) -> None:
    """Whatever is asked on this machine without a token is answered as told: with 200, or 401."""
    assert ask(client, "GET", path) == (401 if path == VERIFY else 200)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (json.dumps(WHO).encode(), 200),
        (json.dumps({**WHO, "roles": ["developer"]}).encode(), 200),
        (b"{}", 400),
        (b"\xff", 400),
        (b"[" * 5000, 400),
        (b" " * 70_000, 413),
    ],
)
def test_dev_token(body: bytes, status: int, client: TestClient) -> None:
    """A body that fits brings a token, one that does not is refused as told."""
    assert ask(client, "POST", DEV_TOKEN, content=body) == status


def test_no_private_key(settings: Settings) -> None:
    """Without a private key the answer is as told."""
    without = replace(settings, jwt_private_key_path=settings.jwt_private_key_path / "none")
    with TestClient(create_app(without), base_url="http://localhost") as client:
        assert ask(client, "POST", DEV_TOKEN, json=WHO) == 503


def test_verify(client: TestClient, keys: Keys) -> None:
    """A good token is told of as the contract says, and so is a bad one."""
    assert ask(client, "GET", VERIFY, headers={"Authorization": f"Bearer {keys.token('ann')}"}) == 200
    assert ask(client, "GET", VERIFY, headers={"Authorization": "Bearer none"}) == 401


def test_schemas(client: TestClient) -> None:
    """An event's schema, and that of none."""
    assert ask(client, "GET", "/schemas/AUTH.json", "/schemas/{event}.json") == 200
    assert ask(client, "GET", "/schemas/%00.json", "/schemas/{event}.json") == 404


def test_not_ready(settings: Settings) -> None:
    """With its store away the answer is as told."""
    with TestClient(create_app(settings, UnreachableStores())) as client:
        assert ask(client, "GET", "/health/ready") == 503


def test_what_is_not_served_is_not_told_of(settings: Settings) -> None:
    """The contract has what is routed with these settings, and no more."""
    paths = {endpoint.path for endpoint in endpoints(replace(settings, app_env="production", docs="off"))}
    assert DEV_TOKEN not in paths
    assert "/asyncapi.json" not in paths
    assert VERIFY in paths
    assert not {OVERVIEW, "/console"} & paths


@pytest.mark.parametrize(
    ("changed", "served"),
    [
        ({}, {OVERVIEW, "/console"}),
        ({"docs": "off"}, {OVERVIEW}),
        ({"host": "192.0.2.1"}, set()),
        ({"app_env": "production"}, set()),
        ({"app_env": "production", "admin": "on"}, {OVERVIEW, "/console"}),
    ],
)
def test_for_whom_the_console_is_there(changed: dict[str, Any], served: set[str], settings: Settings) -> None:
    """A developer on this machine has the console, and so have operators; nobody else."""
    paths = {endpoint.path for endpoint in endpoints(replace(settings, **changed))}
    assert {OVERVIEW, "/console"} & paths == served
    with TestClient(create_app(replace(settings, **changed))) as client:
        for path in ("/console", "/console/static/console.js"):
            assert client.get(path).status_code == (200 if "/console" in served else 404)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (LOCAL, 200),
        ({"Host": "127.0.0.1:3000"}, 200),
        ({"Host": "[::1]:3000"}, 200),
        ({"Host": "rebound.example:3000"}, 401),
        ({**LOCAL, "Origin": "http://localhost:8080"}, 401),
    ],
)
def test_overview_without_a_token(headers: dict[str, str], status: int, client: TestClient) -> None:
    """A developer needs no token, but no page of elsewhere gets at it through the developer's browser."""
    assert ask(client, "GET", OVERVIEW, headers=headers) == status


def test_console_page(client: TestClient) -> None:
    """The page and its parts are asked for anew each time; the page may load nothing from elsewhere, nor run text."""
    page, part = client.get("/console"), client.get("/console/static/console.js")
    assert page.headers["cache-control"] == part.headers["cache-control"] == "no-cache"
    policy = page.headers["content-security-policy"]
    assert ("default-src 'none'" in policy, "unsafe" in policy, "http" in policy) == (True, False, False)
    again = client.get("/console/static/console.js", headers={"If-None-Match": part.headers["etag"]})
    assert (again.status_code, again.headers["cache-control"]) == (304, "no-cache")


def test_overview_in_production(settings: Settings, keys: Keys) -> None:
    """Only an operator's token opens it, wherever it is asked from."""
    with TestClient(create_app(replace(settings, app_env="production", admin="on"))) as client:
        assert ask(client, "GET", OVERVIEW, headers=LOCAL) == 401
        anybody = {"Authorization": f"Bearer {keys.token('ann')}"}
        assert ask(client, "GET", OVERVIEW, headers=anybody) == 403
        operator = sign(keys.key, {**keys.claims("op"), "scope": SCOPE})
        assert ask(client, "GET", OVERVIEW, headers={"Authorization": f"Bearer {operator}"}) == 200


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x", f"query={'x' * 129}"])
def test_overview_that_does_not_fit(query: str, client: TestClient) -> None:
    """What the query may be is bounded."""
    assert ask(client, "GET", f"{OVERVIEW}?{query}", OVERVIEW, headers=LOCAL) == 400


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.path)
def test_documented(endpoint: Endpoint) -> None:
    """Every endpoint has a docstring, an example of each parameter, and says what each status means."""
    assert inspect.getdoc(endpoint.call)
    assert re.findall(r"{(\w+)}", endpoint.path) == list(endpoint.examples)
    assert all(answer.means for answer in endpoint.answers.values())
