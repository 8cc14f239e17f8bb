"""The page of the contract, in a real Chromium, on a phone and on a desk."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.support.browser import chromium, needs_chromium, visiting
from tests.support.server import Server, serving
from tests.support.tokens import Keys

pytestmark = needs_chromium

SIZES = [(360, 740), (1280, 800)]
TALLEST = 10_000
DARK = 60
FRAME = "The frame, in JSON"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for all tests of this module."""
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def server(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A developer's server, with a plugin."""
    with serving(keys, tmp_path_factory.mktemp("docs"), plugins="docs.examples.shout") as running:
        yield running


@pytest.fixture(params=SIZES, ids=str)
def page(request: pytest.FixtureRequest, browser: Browser, server: Server) -> Iterator[Page]:
    """The page, on a phone and on a desk."""
    width, height = request.param
    with visiting(browser, f"{server.http}/docs", width=width, height=height) as page:
        expect(page.get_by_role("heading", level=1)).to_have_text("The socket")
        yield page


def heading(page: Page) -> Locator:
    return page.get_by_role("heading", level=1)


def go(page: Page, anchor: str, title: str) -> None:
    page.evaluate("anchor => { location.hash = anchor; }", anchor)
    expect(heading(page)).to_have_text(title)


def fits(page: Page) -> bool:
    """Whether nothing stands out to the side."""
    fitting: bool = page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    return fitting


def test_every_event_has_a_page(page: Page, server: Server) -> None:
    """Each tells of its fields, its answer, its errors and an example, says nothing twice, and fits the window."""
    document = server.get("/asyncapi.json").json()
    for key, message in document["components"]["messages"].items():
        go(page, key, message["name"])
        assert fits(page), key
        assert page.evaluate("document.documentElement.scrollHeight") < TALLEST
        main = page.locator("main")
        titles = main.get_by_role("heading", level=2).all_inner_texts()
        assert {"Fields", "Example"} <= set(titles)
        is_sent = message.get("x-sender") != "server"
        assert ("Answer" in titles) == ("Errors" in titles) == is_sent
        assert json.loads(main.locator("pre.frame").inner_text()) == message["examples"][0]["payload"]
        said = [text for text in main.locator("p").all_inner_texts() if len(text.split()) > 3]
        assert len(said) == len(set(said)), key


def test_every_endpoint_has_a_page(page: Page, server: Server) -> None:
    """So has each endpoint, and what is there over HTTP is reached from the tab without a reload."""
    page.get_by_role("link", name="HTTP", exact=True).click()
    expect(heading(page)).to_have_text("Over HTTP")
    expect(page.locator("#index").get_by_role("link", name="/health/ready").first).to_be_visible()
    for path, methods in server.get("/openapi.json").json()["paths"].items():
        for method, operation in methods.items():
            go(page, operation["operationId"], f"{method.upper()} {path}")
            assert fits(page), path
    page.get_by_role("link", name="Socket", exact=True).click()
    expect(heading(page)).to_have_text("The socket")
    assert fits(page)


def test_every_page_of_the_guide_is_shown(page: Page, server: Server) -> None:
    """The guide is a part of the page; its links lead within it."""
    page.get_by_role("link", name="Guide", exact=True).click()
    for each in server.get("/docs/guide.json").json()["pages"]:
        go(page, f"guide/{each['name']}", each["title"])
        assert fits(page), each
    go(page, "guide/errors", "Errors and close codes")
    page.locator("main").get_by_role("link", name="close code", exact=True).click()
    expect(page.locator("[data-anchor=close-codes]")).to_be_in_viewport()
    assert page.locator("main a").evaluate_all("links => links.filter((each) => /\\.md/.test(each.href)).length") == 0


def test_the_index(page: Page) -> None:
    """Events stand by their domain; what is typed narrows the index; one is chosen, and the back button goes back."""
    index = page.locator("#index")
    expect(index.locator("h2").filter(has_text="sessions")).to_be_visible()
    expect(index.get_by_role("link", name=re.compile(r"^\W*SHOUT\b"))).to_be_visible()
    page.get_by_label("Find in the index").fill("send_m")
    expect(index.get_by_role("link")).to_have_count(1)
    index.get_by_role("link", name="SEND_MESSAGE").click()
    expect(heading(page)).to_have_text("SEND_MESSAGE")
    expect(heading(page)).to_be_in_viewport()
    assert page.url.endswith("#SEND_MESSAGE")
    page.locator("main").get_by_role("link", name="MESSAGE_ACK").click()
    expect(heading(page)).to_have_text("MESSAGE_ACK")
    page.go_back()
    expect(heading(page)).to_have_text("SEND_MESSAGE")
    page.go_back()
    expect(heading(page)).to_have_text("The socket")


def test_a_deep_link(page: Page, server: Server) -> None:
    """An address with an event opens at it; one with nothing that there is says so."""
    page.goto("about:blank")
    page.goto(f"{server.http}/docs#SEND_MESSAGE")
    expect(heading(page)).to_have_text("SEND_MESSAGE")
    expect(page.locator("main")).to_contain_text("MESSAGE_ACK if the socket has the capability acks")
    go(page, "NOTHING", "Not here")


def test_an_example_opens_in_the_console(page: Page) -> None:
    """The link fills the console in, and sends nothing."""
    go(page, "SEND_MESSAGE", "SEND_MESSAGE")
    shown = json.loads(page.locator("main pre.frame").inner_text())
    page.get_by_role("link", name="Try it in the console").click()
    frame = page.get_by_label(FRAME)
    expect(frame).to_be_focused()
    assert json.loads(frame.input_value()) == shown
    expect(page.get_by_label("Event")).to_have_value("SEND_MESSAGE")
    expect(page.locator("#timeline li")).to_have_count(0)
    assert fits(page)


def test_what_the_server_sends_is_not_tried(page: Page) -> None:
    """Only a client's event has that link."""
    go(page, "MESSAGE_RECEIVED", "MESSAGE_RECEIVED")
    expect(page.get_by_role("link", name="Try it in the console")).to_have_count(0)


def test_keyboard_only(page: Page) -> None:
    """Without a pointer one comes from the top of the page to an event."""
    keys = page.keyboard
    for _ in range(8):
        keys.press("Tab")
        if page.get_by_label("Find in the index").evaluate("it => it.matches(':focus')"):
            break
    keys.type("PEER_STATUS")
    keys.press("Tab")
    keys.press("Enter")
    expect(heading(page)).to_have_text("PEER_STATUS")
    expect(page.locator("main")).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(scheme: Any, browser: Browser, server: Server) -> None:
    """The page is as the system has it, until the button chooses; the console follows that choice."""

    def is_dark(page: Page) -> bool:
        color = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return max(int(part) for part in color.strip("rgb()").split(",")[:3]) < DARK

    with visiting(browser, f"{server.http}/docs#AUTH", scheme=scheme) as page:
        expect(heading(page)).to_have_text("AUTH")
        assert is_dark(page) == (scheme == "dark")
        page.get_by_role("button", name="Switch to").click()
        assert is_dark(page) == (scheme == "light")
        page.get_by_role("link", name="Console", exact=True).click()
        expect(page.get_by_label(FRAME)).to_be_visible()
        assert is_dark(page) == (scheme == "light")


def test_where_there_is_no_console(browser: Browser, keys: Keys, tmp_path: Path) -> None:
    """In production nothing leads to the console, which is not there."""
    with (
        serving(keys, tmp_path, app_env="production") as server,
        visiting(browser, f"{server.http}/docs#SEND_MESSAGE") as page,
    ):
        expect(heading(page)).to_have_text("SEND_MESSAGE")
        expect(page.get_by_role("link", name="Console", exact=True)).to_be_hidden()
        expect(page.get_by_role("link", name="Try it in the console")).to_have_count(0)
