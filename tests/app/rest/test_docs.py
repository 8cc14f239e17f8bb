"""The contract over HTTP."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from starlette.testclient import TestClient

from app.main import create_app
from app.rest import docs
from app.rest.docs import GUIDE_PAGES
from app.settings import MEMORY, Settings
from tests.support.tokens import Keys

DOCUMENTS = [
    "/docs",
    "/asyncapi.json",
    "/openapi.json",
    "/schemas/AUTH.json",
    "/docs/static/docs.js",
    "/docs/guide.json",
    "/docs/guide/errors.md",
]


@pytest.fixture
def settings(keys: Keys) -> Settings:
    """Settings with a plugin."""
    return Settings(
        store_url=MEMORY,
        jwt_public_key_path=keys.public_path,
        jwt_private_key_path=keys.private_path,
        log_level="error",
        host="127.0.0.1",
        plugins=("docs.examples.shout",),
        ws_path="/elsewhere",
    )


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    """A client of an application with a plugin."""
    with TestClient(create_app(settings)) as client:
        yield client


def test_asyncapi(client: TestClient) -> None:
    """The document names the socket as the asker reaches it, and the plugin's events."""
    document = client.get("/asyncapi.json").json()
    assert document["servers"]["here"] == {"host": "testserver", "protocol": "ws"}
    assert document["channels"]["socket"]["address"] == "/elsewhere"
    assert {"SHOUT", "SHOUTED", "AUTH", "ERROR"} <= set(document["components"]["messages"])
    secure = client.get("https://testserver/asyncapi.json").json()
    assert secure["servers"]["here"]["protocol"] == "wss"


def test_schema(client: TestClient) -> None:
    """Each event has a schema; for a name that is none the answer is 404, in JSON."""
    assert client.get("/schemas/SHOUT.json").json()["title"] == "SHOUT"
    response = client.get("/schemas/NOTHING.json")
    assert (response.status_code, set(response.json())) == (404, {"code", "message"})


def test_page(client: TestClient) -> None:
    """The page loads nothing from elsewhere, by its text and by its policy, and all that it loads is there."""
    page = client.get("/docs")
    loaded = re.findall(r'(?:src|href)="([^"#]+)"', page.text)
    assert not [url for url in loaded if "//" in url]
    assert {client.get(f"/{url}").status_code for url in loaded if not url.startswith("data:")} == {200}
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http" not in page.headers["content-security-policy"]


def test_guide(client: TestClient) -> None:
    """The pages of the guide are there, with their headings; of the folder they are in nothing else is served."""
    pages = client.get("/docs/guide.json").json()["pages"]
    assert [page["name"] for page in pages] == list(GUIDE_PAGES)
    assert {"name": "errors", "title": "Errors and close codes"} in pages
    assert {client.get(f"/docs/guide/{page['name']}.md").status_code for page in pages} == {200}
    assert client.get("/docs/guide/images/editors.svg").status_code == 200
    for path in ("examples/shout.py", "contract/openapi.json", "theme", "", "../pyproject.toml"):
        assert client.get(f"/docs/guide/{path}").status_code == 404, path


def test_without_a_guide(client: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A server that has no `docs/` says so: there are no pages, and no routes to them."""
    monkeypatch.setattr(docs, "GUIDE", tmp_path)
    docs.guide_pages.cache_clear()
    try:
        assert client.get("/docs/guide.json").json() == {"pages": []}
        assert [mount.path for mount in docs.static_files()] == ["/docs/static"]
    finally:
        docs.guide_pages.cache_clear()


@pytest.mark.parametrize("path", ["/docs/static/none.js", "/docs/static/../docs.py", "/docs/static/%2e%2e/contract.py"])
def test_no_such_file(path: str, client: TestClient) -> None:
    """What is not among the page's files is not served, and the answer is JSON."""
    response = client.get(path)
    assert (response.status_code, set(response.json())) == (404, {"code", "message"})


@pytest.mark.parametrize("path", DOCUMENTS)
def test_off(path: str, settings: Settings) -> None:
    """With DOCS=off there is nothing of it."""
    for value, status in (("off", 404), ("on", 200)):
        with TestClient(create_app(replace(settings, docs=value))) as client:
            assert client.get(path).status_code == status
            assert client.get("/health/live").status_code == 200
