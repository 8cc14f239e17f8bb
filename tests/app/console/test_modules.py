"""The console's modules that know no element, imported by a real Chromium."""

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from playwright.sync_api import Page

from app.contract.contract import Contract
from app.rest.endpoints import endpoints
from app.settings import Settings
from app.tables import load_routes
from tests.support.browser import chromium, needs_chromium, visiting
from tests.support.server import serving
from tests.support.tokens import Keys

pytestmark = needs_chromium

CONTRACT = Contract(load_routes(["docs.examples.shout"]), endpoints(Settings()), "/ws")
SHARED = {"schema", "json", "markdown"}
ODD: list[Any] = [None, 0, -1, 1.5, True, "", "x" * 5000, "é", [], ["x"], [1], ["x"] * 65, {}, {"x": 1}]


@pytest.fixture(scope="module")
def page(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A page that may import the modules."""
    with (
        serving(keys, tmp_path_factory.mktemp("modules")) as server,
        chromium() as browser,
        visiting(browser, f"{server.http}/console") as page,
    ):
        yield page


def run(page: Page, module: str, body: str, argument: object) -> Any:
    """Run a function's body with a module as `it` and an argument as `given`."""
    folder = "docs" if module in SHARED else "console"
    path = f"{page.url.removesuffix('console')}{folder}/static/{module}.js"
    code = f"async ([path, given]) => {{ const it = await import(path); {body} }}"
    return page.evaluate(code, [path, argument])


def altered(frame: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return a frame, and it with each of its parts left out or replaced by something odd."""
    yield frame
    for name in frame:
        yield {key: value for key, value in frame.items() if key != name}
        yield from ({**frame, name: odd} for odd in ODD)
    data = frame.get("data", {})
    for name in data:
        yield {**frame, "data": {key: value for key, value in data.items() if key != name}}
        yield from ({**frame, "data": {**data, name: odd}} for odd in ODD)


@pytest.mark.parametrize("name", sorted(load_routes(["docs.examples.shout"])))
def test_the_validator_agrees(name: str, page: Page) -> None:
    """What our own validator finds wrong is what jsonschema does, for whatever a frame is altered to."""
    schema = CONTRACT.schemas[name]
    example = CONTRACT.asyncapi("here")["components"]["messages"][name]["examples"][0]["payload"]
    samples = list(altered({"ref": 1, **example}))
    body = "return given[1].map((frame) => it.problems(frame, given[0], given[0]).length === 0);"
    validator = Draft202012Validator(schema)
    assert run(page, "schema", body, [schema, samples]) == [validator.is_valid(frame) for frame in samples]


@pytest.mark.parametrize(
    ("value", "schema", "found"),
    [
        ({}, {"type": "object", "required": ["a"]}, "a is missing"),
        ({"a": [1, "x"]}, {"properties": {"a": {"items": {"type": "integer"}}}}, "a[1] must be an integer"),
        ("c", {"enum": ["a", "b", None]}, 'must be one of "a", "b"'),
        ("", {"type": "string", "minLength": 1}, "must not be empty"),
        ("😀😀", {"type": "string", "maxLength": 1}, "has 2 characters, 1 at most"),
        (-1, {"type": ["integer", "null"], "minimum": 0}, "must be 0 or more"),
        ("x", {"type": "string", "pattern": "^[0-9]$"}, "must match ^[0-9]$"),
        ({"a": {}}, {"properties": {"a": {"anyOf": [{"$ref": "#/d"}, {"type": "null"}]}}}, "a.b is missing"),
        (5, {"type": ["string", "array"]}, "must be a string or an array"),
    ],
)
def test_what_is_wrong_is_named(value: object, schema: dict[str, Any], found: str, page: Page) -> None:
    """A problem names the field, and says what it may be."""
    document = {**schema, "d": {"type": "object", "required": ["b"]}}
    body = "return it.problems(given[0], given[1], given[1]).map((each) => `${each.path} ${each.message}`.trim());"
    assert run(page, "schema", body, [value, document]) == [found]


@pytest.mark.parametrize(
    ("text", "path", "is_key", "before"),
    [
        ('{"|', [], True, ""),
        ('{"event": "PI|NG"}', ["event"], False, "PI"),
        ('{"data": {"se|', ["data"], True, "se"),
        ('{"data": {"to": ["a", "b|"]}}', ["data", "to", 1], False, "b"),
        ('{"a": {"b": 1}, "c": tr|ue}', ["c"], False, "tr"),
        ('{"a": "x\\"y|"}', ["a"], False, 'x\\"y'),
        ('{"a": "open\n, "b": "|', ["b"], False, ""),
        ('{"a": "}", |', [], True, ""),
    ],
)
def test_where_the_caret_is(text: str, path: list[object], is_key: bool, before: str, page: Page) -> None:
    """The place is found in JSON that is not finished yet."""
    caret = text.index("|")
    place = run(page, "caret", "return it.placeOf(given[0], given[1]);", [text.replace("|", ""), caret])
    assert (place["path"], place["isKey"], place["before"]) == (path, is_key, before)


def test_no_place(page: Page) -> None:
    """Outside of the object there is nothing to choose."""
    assert run(page, "caret", 'return it.placeOf("{}", 2);', None) is None


def test_metrics(page: Page) -> None:
    """Samples are found by name and labels."""
    text = '# HELP a b\na{x="1",y="q\\"}"} 2.0\na{x="2",y="z"} 3e0\nb 4\n'
    body = """
      const found = new it.Metrics(given);
      return [found.sum("a"), found.sum("a", {x: "2"}), found.sum("b"), found.sum("c")];
    """
    assert run(page, "metrics", body, text) == [5, 3, 4, 0]


def test_latency(page: Page) -> None:
    """Answers are found by ref, messages at the other peer in the order sent; a refused one is not waited for."""
    body = """
      const [a, b] = [{ name: "A", id: "ann" }, { name: "B", id: "bob" }];
      const message = (ref) => ({ event: "SEND_MESSAGE", ref, data: { sessionId: "s", content: ref } });
      const arrived = { event: "MESSAGE_RECEIVED", data: { sessionId: "s", from: "ann" } };
      const latency = new it.Latency();
      [1, 2, 3].forEach((ref) => latency.sent(a, message(ref), ref * 10));
      const refused = latency.received(a, { event: "ERROR", ref: 1, data: {} }, 15);
      const crossings = [40, 50, 60].map((at) => latency.received(b, arrived, at)?.ms ?? null);
      return [refused.kind, refused.ms, ...crossings, latency.received(a, arrived, 70)];
    """
    assert run(page, "latency", body, None) == ["answer", 5, 20, 20, None, None]


@pytest.mark.parametrize(
    ("data", "opened"),
    [
        ({"content": "hi", "type": "chat"}, {"content": "hi", "type": "chat"}),
        ({"content": {"messageId": "m", "content": "hi", "type": "ai-prompt"}}, {"content": "hi", "type": "ai-prompt"}),
        ({"content": {"messageId": "m", "content": [1]}, "type": "chat"}, {"content": [1], "type": "chat"}),
        (
            {"content": {"messageId": "m", "content": "hi", "type": "chat"}, "type": "ai-request"},
            {"content": "hi", "type": "ai-request"},
        ),
        ({"content": {"messageId": 1, "content": "hi"}}, {"content": {"messageId": 1, "content": "hi"}}),
        ({"content": None}, {"content": None}),
        ({"peers": []}, {"peers": []}),
    ],
)
def test_envelopes_are_opened(data: object, opened: object, page: Page) -> None:
    """What an extension of the original says is seen without its envelope."""
    assert run(page, "content", "return it.unwrapped(given);", data) == opened


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            '{"a":[1,-2.50e3,null],"b":{},"c":[],"d":"x: {"}',
            '{\n  "a": [\n    1,\n    -2.50e3,\n    null\n  ],\n  "b": {},\n  "c": [],\n  "d": "x: {"\n}',
        ),
        ("12345678901234567890", "12345678901234567890"),
        ('{"a":', '{"a":'),
    ],
)
def test_json_is_indented_as_it_is(text: str, shown: str, page: Page) -> None:
    """Numbers and texts stay as they came; what is no JSON is left alone."""
    assert run(page, "json", "return it.indented(given);", text) == shown


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("# A `b`", '<h1 data-anchor="a-b" tabindex="-1">A <code>b</code></h1>'),
        ("a <b> *c* **d**", "<p>a &lt;b&gt; <em>c</em> <strong>d</strong></p>"),
        ("- a\n  b\n- c", "<ul><li>a b</li><li>c</li></ul>"),
        ("1. a\n2. b", "<ol><li>a</li><li>b</li></ol>"),
        ("[a](b.md) ![c](d.svg)", '<p><a href="b.md">a</a> c</p>'),
        ("<!-- runs on -->\n```sh\nls\n```", '<pre tabindex="0" class="code sh"><code>ls</code></pre>'),
        ("[a](javascript:alert)", "<p><span>a</span></p>"),
    ],
)
def test_markdown(text: str, html: str, page: Page) -> None:
    """The part of Markdown that our pages use; markup is shown as text, and no link runs a script."""
    assert run(page, "markdown", "return it.rendered(given).map((each) => each.outerHTML).join('');", text) == html
