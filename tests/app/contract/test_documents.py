"""The documents: official validators pass them, and the committed copies are what would be written."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from app.contract.contract import Contract
from app.contract.envelope import ENVELOPE, HEARTBEAT
from app.contract.files import rendered, write
from app.rest.endpoints import endpoints
from app.settings import Settings
from app.tables import load_routes
from schemas.errors import AFTER_CLOSE, CloseCode

ROOT = Path(__file__).resolve().parents[3]
VALIDATOR = ROOT / "tests/asyncapi"
INFORMATION = 2  # as Spectral counts: 0 is an error, 1 a warning
NUMBERED = (
    "CONNECTION_REQUEST_RECEIVED",
    "CONNECTION_ACCEPTED",
    "CONNECTION_REJECTED",
    "CONNECTION_CANCELLED",
    "SESSION_CREATED",
    "SESSION_UPDATED",
    "SESSION_ENDED",
    "MESSAGE_RECEIVED",
)
PLUGIN = "docs.examples.shout"

needs_validator = pytest.mark.skipif(
    not (VALIDATOR / "node_modules").is_dir() and "CI" not in os.environ, reason="bin/_setup_node tests/asyncapi"
)


def contract(*plugins: str) -> Contract:
    return Contract(load_routes(plugins), endpoints(Settings()), "/ws")


@pytest.mark.parametrize("plugins", [(), (PLUGIN,)])
def test_openapi(plugins: tuple[str, ...]) -> None:
    """openapi-spec-validator finds nothing wrong."""
    document: Any = contract(*plugins).openapi
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []
    assert document["openapi"].startswith("3.1")


@needs_validator
@pytest.mark.parametrize("plugins", [(), (PLUGIN,)])
def test_asyncapi(plugins: tuple[str, ...]) -> None:
    """AsyncAPI's own parser finds nothing wrong."""
    found = validated(contract(*plugins).asyncapi("localhost:3000"))
    assert found["isValid"], found
    assert [each for each in found["found"] if each["severity"] < INFORMATION] == []
    assert found["anonymous"] == [], "a code generator would call these AnonymousSchema_1, AnonymousSchema_2"


@needs_validator
def test_asyncapi_that_is_wrong() -> None:
    """The same finds an example that does not fit, and a message that is not there."""
    document = json.loads(json.dumps(contract().asyncapi("localhost:3000")))
    document["components"]["messages"]["SEND_MESSAGE"]["examples"][0]["payload"]["data"]["sessionId"] = 5
    document["operations"]["PING"]["messages"] = [{"$ref": "#/channels/socket/messages/NOTHING"}]
    found = validated(document)
    assert not found["isValid"]
    paths = [each["path"] for each in found["found"] if each["severity"] < INFORMATION]
    assert any(path.startswith("operations.PING.messages") for path in paths), paths


def validated(document: object) -> Any:
    node = shutil.which("node")
    assert node is not None, "Node is needed for AsyncAPI's own validator"
    run = subprocess.run(
        [node, "validate.mjs"],
        cwd=VALIDATOR,
        input=json.dumps(document),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_asyncapi_tells_of_every_event() -> None:
    """Every message has a description, an example, and what it needs, answers and may be refused with."""
    document = contract(PLUGIN).asyncapi("example.com", is_secure=True)
    assert document["servers"] == {"here": {"host": "example.com", "protocol": "wss"}}
    messages = document["components"]["messages"]
    assert all(each["description"] and each["examples"] for each in messages.values())
    assert messages["SESSION_KICK"]["x-needs"] == "registered"
    assert messages["SESSION_KICK"]["x-capability"] == messages["SESSION_UPDATED"]["x-capability"] == "sessions"
    assert {"ERR_3001", "ERR_3008", "ERR_1004"} <= set(messages["SESSION_KICK"]["x-errors"])
    assert messages["PING"]["x-answers"] == ["PONG"]
    operation = document["operations"]["PING"]
    replies = [each["$ref"].rsplit("/", 1)[1] for each in operation["reply"]["messages"]]
    assert (operation["action"], replies) == ("receive", ["PONG", "OK", "ERROR"])
    assert document["operations"]["SHOUTED"]["action"] == "send"


def test_answers_in_words() -> None:
    """What depends on a capability says so, and what only a `ref` brings says that."""
    messages = contract(PLUGIN).asyncapi("example.com")["components"]["messages"]
    assert messages["PING"]["x-answered"] == "`PONG`."
    assert messages["SESSION_KICK"]["x-answered"] == "none, or `OK` if it has a `ref`."
    assert messages["SEND_MESSAGE"]["x-answered"] == (
        "`MESSAGE_ACK` if the socket has the capability `acks` and the frame has a `messageId`;"
        " otherwise none, or `OK` if it has a `ref`."
    )
    assert messages["SEND_MESSAGE"]["x-answers"] == ["MESSAGE_ACK", "OK"]
    assert messages["SEND_MESSAGE"]["tags"] == messages["MESSAGE_ACK"]["tags"] == [{"name": "messages"}]
    assert messages["OK"]["tags"] == messages["ERROR"]["tags"] == [{"name": "general"}]


def test_where_offset_and_ref_stand() -> None:
    """`offset` stands at the events that the protocol says are numbered, `ref` at those that may be an answer."""
    messages = contract().asyncapi("example.com")["components"]["messages"]
    server = {key: each["payload"]["properties"] for key, each in messages.items() if each.get("x-sender") == "server"}
    numbered = {key for key, properties in server.items() if "offset" in properties}
    section = (
        (ROOT / "docs/protocol.md")
        .read_text()
        .partition("has a top-level `offset`")[0]
        .rpartition("something that happened")[2]
    )
    assert numbered == set(NUMBERED)
    assert all(name.rpartition("_")[2] in section for name in NUMBERED)
    refs = {key for key, properties in server.items() if "ref" in properties}
    assert not refs & {"MESSAGE_RECEIVED", "SESSION_ENDED", "SERVER_NOTICE", "PEER_STATUS_UPDATE"}
    assert {"OK", "ERROR", "PONG", "MESSAGE_ACK", "SESSION_CREATED"} <= refs


@pytest.mark.parametrize("page", ["docs/protocol.md", "docs/errors.md", "docs/resume.md"])
def test_close_codes_are_told_in_one_way(page: str) -> None:
    """Pages for authors say of 1001 and 4001 what the contract says."""
    text = " ".join((ROOT / page).read_text().split())
    for code in (CloseCode.GOING_AWAY, CloseCode.UNAUTHENTICATED):
        assert AFTER_CLOSE[code] in text, f"{page} says something else of {code.value}"


def test_schemas() -> None:
    """Each event has a schema of its own, with all that it refers to."""
    schemas = contract(PLUGIN).schemas
    assert {"SHOUT", "SHOUTED", "AUTH"} <= set(schemas)
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
        assert "#/components" not in json.dumps(schema)


def test_committed_copies() -> None:
    """What is in docs/contract is what `bin/schema` writes; if not, run it."""
    folder = ROOT / "docs/contract"
    committed = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert committed == rendered(contract(), "localhost:3000")


def test_page_of_events() -> None:
    """The page in Markdown has every event with its example, and links only to what is on it."""
    page = rendered(contract(PLUGIN), "localhost:3000")["events.md"]
    heads = {line.removeprefix("### ").lower() for line in page.splitlines() if line.startswith("### ")}
    links = {part.split(")")[0] for part in page.split("](#")[1:]}
    assert links <= heads
    assert {"shout", "auth", "error"} <= heads
    assert page.count("```json") == len(contract(PLUGIN).events) + ENVELOPE.count("```json")
    assert "| `status` | `away`, `busy`, `online` |" in page


def test_write(tmp_path: Path) -> None:
    """The files are written into folders made for them; what cannot be written is an `OSError`."""
    count = write(contract(), "localhost:3000", tmp_path / "new")
    assert len([path for path in (tmp_path / "new").rglob("*") if path.is_file()]) == count
    with pytest.raises(OSError, match="new"):
        write(contract(), "localhost:3000", tmp_path / "new/asyncapi.json")


def test_the_page_for_authors_says_the_same() -> None:
    """It tells of the envelope and of dead lines in the words of the contract."""
    page = (ROOT / "docs/writing-a-client.md").read_text()
    assert ENVELOPE in page
    assert HEARTBEAT in page
