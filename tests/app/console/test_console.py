"""The console, in a real Chromium, against a real server."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from app.auth.tokens import sign
from app.rest.admin import SCOPE
from tests.support.browser import chromium, needs_chromium, visiting
from tests.support.server import Server, serving
from tests.support.tokens import Keys

pytestmark = needs_chromium

SENT_WHILE_AWAY = 3
DARK = 60
BURST, KEPT = 700, 500
WIDE = 1080
CHINESE = "王小明李" * 10
IS_ON_TOP = """it => {
  it.scrollIntoView({ block: "center" });
  const { left, right, top, bottom } = it.getBoundingClientRect();
  const found = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
  return right > left && it.contains(found) && right <= innerWidth;
}"""
NAMED = {"button", "checkbox", "combobox", "link", "radio", "searchbox", "textbox"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for all tests of this module."""
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where servers write their logs."""
    return tmp_path_factory.mktemp("console")


@pytest.fixture(scope="module")
def server(keys: Keys, folder: Path) -> Iterator[Server]:
    """A developer's server."""
    with serving(keys, folder, rate_limit_burst=2 * BURST) as running:
        yield running


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """The console of a developer's server."""
    with visiting(browser, f"{server.http}/console") as page:
        expect(page.locator("#meters b").first).not_to_be_empty()
        yield page


def seat(page: Page, peer: str) -> Locator:
    return page.locator(f"form.{peer.lower()}")


def press(page: Page, peer: str, button: str) -> None:
    seat(page, peer).get_by_role("button", name=button, exact=True).click()


def expect_state(page: Page, peer: str, state: str) -> None:
    expect(seat(page, peer).locator(".state")).to_have_text(state)


def connect(page: Page, peer: str, name: str) -> None:
    seat(page, peer).get_by_label("Name").fill(name)
    press(page, peer, "Connect")
    expect_state(page, peer, "registered")


def row(page: Page, peer: str, event: str) -> Locator:
    """Return the frames of this event in a peer's lane."""
    return page.locator(f'#timeline li.{peer.lower()}[data-event="{event}"]')


def send(page: Page, event: str, **data: object) -> None:
    """Pick an event, change its data, and send it with the keyboard."""
    page.get_by_label("Event").select_option(event)
    frame = json.loads(page.get_by_label("The frame, in JSON").input_value())
    page.get_by_label("The frame, in JSON").fill(json.dumps({**frame, "data": {**frame["data"], **data}}))
    page.keyboard.press("Control+Enter")


def meet(page: Page, first: str, second: str) -> None:
    """Have both peers in one session."""
    connect(page, "A", first)
    connect(page, "B", second)
    send(page, "CONNECTION_REQUEST")
    row(page, "B", "CONNECTION_REQUEST_RECEIVED").get_by_role("button", name="Accept").click()
    expect(row(page, "A", "CONNECTION_ACCEPTED")).to_have_count(1)


def test_a_request_that_ends_unanswered(page: Page) -> None:
    """Its buttons make room for why there is nothing to answer."""
    connect(page, "A", "ann")
    connect(page, "B", "bob")
    send(page, "CONNECTION_REQUEST")
    request = row(page, "B", "CONNECTION_REQUEST_RECEIVED")
    expect(request.get_by_role("button", name="Accept")).to_have_count(1)
    press(page, "A", "Leave")
    expect(row(page, "B", "CONNECTION_CANCELLED")).to_have_count(1)
    expect(request.get_by_role("button", name="Accept")).to_have_count(0)
    expect(request).to_contain_text("its requester is gone")


def received(page: Page) -> list[str]:
    """Return the contents of the messages that B got, in order."""
    rows = row(page, "B", "MESSAGE_RECEIVED").locator(".summary").all_inner_texts()
    return [re.findall(r"\S+", text)[0] for text in rows]


def test_two_peers_meet_and_one_resumes(page: Page) -> None:
    """What is sent to a dropped peer is kept, and all of it arrives once, in order, when it resumes."""
    meet(page, "ann", "bob")
    expect(page.locator("#peers b")).to_have_text(["bob", "ann"])
    expect(page.locator("#sessions li")).to_contain_text("ann (host)")
    send(page, "SEND_MESSAGE", content="first")
    expect(row(page, "B", "MESSAGE_RECEIVED").locator(".crossing")).to_have_text(re.compile(r"^A → [\d.]+ ms$"))
    expect(row(page, "A", "OK").locator(".answer")).to_have_text(re.compile(r"^⟲ [\d.]+ ms$"))
    press(page, "B", "Drop")
    expect_state(page, "B", "dropped")
    expect(page.locator("#peers li", has_text="bob")).to_contain_text("dropped")
    for number in range(SENT_WHILE_AWAY):
        send(page, "SEND_MESSAGE", content=f"kept-{number}")
        expect(row(page, "A", "OK")).to_have_count(2 + number)
    expect(page.locator("[data-meter=queued] b")).not_to_have_text("0")
    press(page, "B", "Resume")
    expect_state(page, "B", "registered")
    expect(row(page, "B", "MESSAGE_RECEIVED")).to_have_count(1 + SENT_WHILE_AWAY)
    assert received(page) == ["first", *(f"kept-{number}" for number in range(SENT_WHILE_AWAY))]
    expect(page.locator("#timeline .note.good")).to_have_text(re.compile("resumed"))
    expect(page.locator("#outcomes tr", has_text="SEND_MESSAGE").locator("td").first).to_have_text(
        str(1 + SENT_WHILE_AWAY)
    )


def test_without_resume(page: Page) -> None:
    """Without the capability there is nothing to resume with, and leaving is no drop."""
    seat(page, "A").get_by_text("Token and capabilities").click()
    seat(page, "A").get_by_label("resume").uncheck()
    connect(page, "A", "dan")
    press(page, "A", "Drop")
    expect_state(page, "A", "dropped")
    expect(seat(page, "A").get_by_role("button", name="Resume")).to_be_disabled()
    connect(page, "A", "dan")
    press(page, "A", "Leave")
    expect_state(page, "A", "off")
    expect(page.locator("#peers li", has_text="dan")).to_have_count(0)


def test_what_does_not_fit_is_not_sent(page: Page) -> None:
    """What is wrong is told beside the frame, with the field's name, and not sent; by force the server may tell."""
    connect(page, "A", "ann")
    sent = page.locator("#timeline li.out")
    expect(sent).to_have_count(2)
    frame, verdict = page.get_by_label("The frame, in JSON"), page.locator("#verdict")
    frame.fill('{"event": "PING",}')
    frame.press("Control+Enter")
    expect(verdict).to_contain_text("not JSON")
    expect(frame).to_have_attribute("aria-invalid", "true")
    frame.fill('{"event": "SEND_MESSAGE", "data": {"content": 1, "to": 5}}')
    frame.press("Control+Enter")
    expect(verdict).to_contain_text("data.sessionId is missing")
    expect(verdict).to_contain_text("data.to must be an array")
    expect(page.locator("#fields .wrong")).to_have_text(["sessionId*", "to"])
    expect(sent).to_have_count(2)
    page.get_by_role("button", name="Send it all the same").click()
    expect(verdict).to_contain_text("the server: ERR_9003")
    expect(row(page, "A", "ERROR")).to_have_count(1)
    frame.fill('{"event": "NOTHING"}')
    expect(verdict).to_contain_text('event there is no event "NOTHING"')


def test_without_ref(page: Page) -> None:
    """Without a ref nothing but an error can be an answer, and the frame goes out as it was typed."""
    connect(page, "A", "ann")
    page.get_by_label("add ref").uncheck()
    frame, verdict = page.get_by_label("The frame, in JSON"), page.locator("#verdict")
    frame.fill('{"event":"PING"  }')
    frame.press("Control+Enter")
    expect(row(page, "A", "PONG")).to_have_count(1)
    expect(verdict).to_have_text("sent")
    row(page, "A", "PING").locator(".head").click()
    expect(row(page, "A", "PING").locator("pre")).not_to_contain_text("ref")
    send(page, "SESSION_END", sessionId="ses_none")
    expect(verdict).to_contain_text("ERR_3001")


def test_keyboard_only(page: Page) -> None:
    """Two peers meet and exchange a message without a pointer."""
    keys = page.keyboard
    for key, peer in (("1", "A"), ("2", "B")):
        keys.press(key)
        keys.press("c")
        expect_state(page, peer, "registered")
    for key in ("1", "e"):
        keys.press(key)
    keys.type("CONNECTION_REQUEST")
    keys.press("Control+Enter")
    expect(row(page, "B", "CONNECTION_REQUEST_RECEIVED")).to_have_count(1)
    page.evaluate("document.activeElement.blur()")
    keys.press("t")
    keys.press("End")
    accept = row(page, "B", "CONNECTION_REQUEST_RECEIVED").get_by_role("button", name="Accept")
    head = row(page, "B", "CONNECTION_REQUEST_RECEIVED").locator(".head")
    for _ in range(page.locator("#timeline .head").count()):
        if head.evaluate("it => it.matches(':focus')"):
            break
        keys.press("ArrowUp")
    keys.press("Tab")
    expect(accept).to_be_focused()
    keys.press("Enter")
    expect(row(page, "A", "CONNECTION_ACCEPTED")).to_have_count(1)
    keys.press("j")
    keys.press("Control+A")
    keys.type('{"event": "SEND_MESSAGE", "data": {"content": "by hand", "sessionId": ""}}')
    for _ in range(3):
        keys.press("ArrowLeft")
    keys.press("Control+Space")
    expect(page.get_by_role("listbox").get_by_role("option")).to_have_text([re.compile("^ses_")])
    keys.press("Enter")
    keys.press("Control+Enter")
    expect(row(page, "B", "MESSAGE_RECEIVED").locator(".summary")).to_contain_text("by hand")
    keys.press("Tab")
    expect(page.get_by_label("The frame, in JSON")).not_to_be_focused()
    keys.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    keys.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_choices(page: Page) -> None:
    """Names of fields, values of a list, and ids that were seen are offered where they may stand."""
    connect(page, "A", "ann")
    frame, options = page.get_by_label("The frame, in JSON"), page.get_by_role("listbox").get_by_role("option")
    frame.fill("")
    frame.press_sequentially('{"event": "PEER_ST')
    expect(options).to_have_text(["PEER_STATUS"])
    frame.press("Enter")
    frame.press_sequentially('", "data": {"')
    frame.press("Control+Space")
    expect(options).to_have_text(["status"])
    frame.press("Enter")
    frame.press_sequentially('": "')
    frame.press("Control+Space")
    expect(options).to_have_text(["away", "busy", "online"])
    frame.press("ArrowDown")
    frame.press("Enter")
    expect(frame).to_have_value('{"event": "PEER_STATUS", "data": {"status": "busy')
    frame.press("Control+Space")
    frame.press("Escape")
    expect(options).to_have_count(0)


def test_fields_and_edit_anew(page: Page) -> None:
    """A field is put into the frame from the list; a frame that was sent comes back to be edited."""
    connect(page, "A", "ann")
    page.get_by_label("Event").select_option("DISCOVER_PEERS")
    page.locator("#fields").get_by_role("button", name="status").click()
    frame = page.get_by_label("The frame, in JSON")
    assert json.loads(frame.input_value())["data"]["status"] == "away"
    frame.press("Control+Enter")
    expect(row(page, "A", "PEERS_LIST")).to_have_count(1)
    page.get_by_label("Event").select_option("PING")
    row(page, "A", "DISCOVER_PEERS").locator(".head").focus()
    page.keyboard.press("Enter")
    expect(row(page, "A", "DISCOVER_PEERS").locator("pre")).to_contain_text('"status": "away"')
    page.keyboard.press("e")
    expect(page.get_by_label("Event")).to_have_value("DISCOVER_PEERS")
    expect(frame).to_be_focused()
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#timeline li")).to_have_count(0)


FLOOD = """async ([module, url, token, count]) => {
  const { Peer } = await import(module);
  const peer = new Peer("C", () => 0);
  peer.connect(url, token, {});
  let asked = false;
  peer.addEventListener("change", () => {
    if (peer.state === "registered" && !asked) peer.sendEvent("CONNECTION_REQUEST", { targetId: "ann" });
    asked ||= peer.state === "registered";
    for (const sessionId of peer.sessions) {
      for (let sent = 0; sent < count; sent += 1) peer.sendEvent("SEND_MESSAGE", { sessionId, content: sent });
    }
  });
}"""


def test_many_frames(page: Page, server: Server) -> None:
    """However many come, the timeline holds the latest of them, and the page goes on."""
    connect(page, "A", "ann")
    seat(page, "A").get_by_label("accepts requests").check()
    page.evaluate(FLOOD, [f"{page.url}/static/peer.js", server.url, server.keys.token("flood"), BURST])
    expect(row(page, "A", "MESSAGE_RECEIVED").last.locator(".summary")).to_contain_text(str(BURST - 1))
    expect(page.locator("#timeline li")).to_have_count(KEPT)
    send(page, "DISCOVER_PEERS")
    expect(row(page, "A", "PEERS_LIST")).to_have_count(1)


def test_other_peers(page: Page, server: Server, browser: Browser) -> None:
    """A peer that is chosen in the list is the one that frames are addressed to; the list can be searched."""
    with visiting(browser, f"{server.http}/console") as other:
        connect(other, "A", "plugin")
        seat(other, "A").get_by_label("accepts requests").check()
        connect(page, "A", "ann")
        page.locator("#peers").get_by_role("button", name="plugin").click()
        page.get_by_label("Event").select_option("CONNECTION_REQUEST")
        page.get_by_role("button", name="Send Ctrl").click()
        expect(row(page, "A", "CONNECTION_ACCEPTED")).to_have_count(1)
        page.get_by_label("Find peers and sessions").fill("PLUG")
        expect(page.locator("#peers b")).to_have_text(["plugin"])
        expect(page.locator("#peer-count")).to_have_text(re.compile(r"^1 of \d+$"))


def test_in_production(browser: Browser, keys: Keys, folder: Path) -> None:
    """There the overview needs an operator's token, and peers need tokens that are pasted."""
    with (
        serving(keys, folder, app_env="production", admin="on", allowed_origins="*") as server,
        visiting(browser, f"{server.http}/console", fails=(401, 403, 404)) as page,
    ):
        token = page.get_by_label("Operator's token")
        for wrong, code in (("nonsense", "ERR_1002"), (keys.token("ann"), "ERR_1004")):
            token.fill(wrong)
            token.press("Enter")
            expect(page.locator("#operator-problem")).to_contain_text(code)
        token.fill(sign(keys.key, {**keys.claims("op"), "scope": SCOPE}))
        token.press("Enter")
        expect(token).to_be_hidden()
        expect(page.locator("#peer-count")).to_have_text("0")
        press(page, "A", "Connect")
        expect(seat(page, "A").get_by_role("alert")).to_contain_text("paste a token")
        seat(page, "A").get_by_text("Token and capabilities").click()
        seat(page, "A").get_by_label("Token", exact=True).fill(keys.token("ann"))
        connect(page, "A", "ann")


def test_refused_origin(browser: Browser, keys: Keys, folder: Path) -> None:
    """A page whose sockets the server refuses is told what to look at."""
    with (
        serving(keys, folder, allowed_origins="https://elsewhere.example") as server,
        visiting(browser, f"{server.http}/console", fails=(403,)) as page,
    ):
        press(page, "A", "Connect")
        expect(page.locator("#timeline .note.a")).to_contain_text("ALLOWED_ORIGINS")


def test_with_a_pasted_token(page: Page, keys: Keys) -> None:
    """A token of one's own is used as it is; a bad one is told of, and what the close code means."""
    seat(page, "A").get_by_text("Token and capabilities").click()
    seat(page, "A").get_by_label("Token", exact=True).fill(keys.token("eve", "acme"))
    connect(page, "A", "any")
    expect(seat(page, "A")).to_contain_text("eve")
    expect(page.locator("#peers li", has_text="acme")).to_have_count(1)
    seat(page, "B").get_by_text("Token and capabilities").click()
    seat(page, "B").get_by_label("Token", exact=True).fill("nonsense")
    press(page, "B", "Connect")
    expect(page.locator("#timeline .note.b")).to_contain_text("4001")
    expect(page.locator("#timeline .note.b")).to_contain_text("get a new token")
    expect_state(page, "B", "dropped")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(scheme: Any, browser: Browser, server: Server) -> None:
    """The page is as the system has it, until the button chooses; that stays over a reload."""

    def is_dark(page: Page) -> bool:
        color = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return max(int(part) for part in re.findall(r"\d+", color)[:3]) < DARK

    with visiting(browser, f"{server.http}/console", scheme=scheme) as page:
        assert is_dark(page) == (scheme == "dark")
        page.get_by_role("button", name="Switch to").click()
        assert is_dark(page) == (scheme == "light")
        page.reload()
        assert is_dark(page) == (scheme == "light")


@pytest.mark.parametrize("width", [360, 800, 1280, 1920])
def test_width(width: int, browser: Browser, server: Server) -> None:
    """Nothing stands out to the side, however narrow the window."""
    with visiting(browser, f"{server.http}/console", width=width) as page:
        connect(page, "A", "ann")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize(("width", "height"), [(360, 740), (1280, 800), (1920, 1080)])
def test_frames_get_most_of_the_height(width: int, height: int, browser: Browser, server: Server) -> None:
    """The frames are what the page is for."""
    with visiting(browser, f"{server.http}/console", width=width, height=height) as page:
        connect(page, "A", "ann")
        frames = page.locator("#frames").bounding_box()
        assert frames is not None
        assert frames["height"] > height / 2
        assert width < WIDE or page.evaluate("document.documentElement.scrollHeight <= innerHeight")


@pytest.mark.parametrize(("width", "height"), [(360, 740), (1280, 800)])
def test_nothing_covers_who_asks(width: int, height: int, browser: Browser, server: Server) -> None:
    """The request says who asks, and neither that nor its buttons are covered or cut."""
    with visiting(browser, f"{server.http}/console", width=width, height=height) as page:
        connect(page, "A", CHINESE)
        connect(page, "B", "bob")
        send(page, "CONNECTION_REQUEST")
        request = row(page, "B", "CONNECTION_REQUEST_RECEIVED")
        expect(request.locator(".summary")).to_contain_text(f"from {CHINESE}")
        for part in (request.locator("b"), request.locator(".summary"), *request.get_by_role("button").all()):
            assert part.evaluate(IS_ON_TOP), part
        for name in ("Accept", "Decline"):
            button = request.get_by_role("button", name=name)
            assert button.evaluate("it => it.scrollWidth <= it.clientWidth"), name


def test_lists_scroll(page: Page) -> None:
    """What does not fit a list can be scrolled to, with a bar that is there."""
    connect(page, "A", "ann")
    send(page, "CONNECTION_REQUEST", targetId="nobody")
    for name in ("#fields", "#timeline", "#peers", "#sessions"):
        style = page.locator(name).evaluate(
            "it => [getComputedStyle(it).overflowY, getComputedStyle(it).scrollbarWidth]"
        )
        assert style == ["auto", "thin"], name
    page.get_by_label("Event").select_option("SEND_MESSAGE")
    fields = page.locator("#fields")
    assert fields.evaluate(
        "it => it.scrollHeight > it.clientHeight && it.getBoundingClientRect().bottom <= innerHeight"
    )


def test_json_is_coloured_and_expanded(page: Page) -> None:
    """A frame that is opened is indented and coloured; all can be opened at once, and the ones that come."""
    connect(page, "A", "ann")
    row(page, "A", "AUTH_SUCCESS").locator(".head").click()
    shown = row(page, "A", "AUTH_SUCCESS").locator("pre")
    expect(shown.locator(".json-key").first).to_have_text('"event"')
    expect(shown.locator(".json-string").first).to_have_text('"AUTH_SUCCESS"')
    assert json.loads(shown.inner_text())["data"]["userId"] == "ann"
    assert shown.inner_text().startswith('{\n  "event": "AUTH_SUCCESS",\n')
    page.get_by_label("expand").check()
    expect(page.locator("#timeline pre")).to_have_count(page.locator("#timeline .head").count())
    send(page, "DISCOVER_PEERS")
    expect(row(page, "A", "PEERS_LIST").locator("pre")).to_have_count(1)
    page.get_by_label("expand").uncheck()
    expect(page.locator("#timeline pre")).to_have_count(0)


def test_a_frame_from_a_link(page: Page) -> None:
    """It stands in the editor and is not sent; known ids come into it later. What is no frame changes nothing."""
    page.evaluate(
        """location.hash = "frame=" + encodeURIComponent('{"event": "SESSION_LEAVE", "data": {"sessionId": "x"}}')"""
    )
    frame = page.get_by_label("The frame, in JSON")
    expect(frame).to_have_value(re.compile('"sessionId": "x"'))
    expect(page.get_by_label("Event")).to_have_value("SESSION_LEAVE")
    page.evaluate("location.hash = 'frame=%7Bnonsense'")
    expect(frame).to_have_value(re.compile('"sessionId": "x"'))
    expect(page.locator("#timeline li")).to_have_count(0)


def test_a_long_name(page: Page) -> None:
    """A name of 40 Chinese characters is a name like any other."""
    connect(page, "A", CHINESE)
    expect(page.locator("#peers b")).to_have_text([CHINESE])


def test_names(page: Page) -> None:
    """Whatever can be used has a name for who does not see it."""
    connect(page, "A", "ann")
    for summary in page.locator("summary").all():
        summary.click()
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    used = [node for node in nodes if not node["ignored"] and node["role"]["value"].lower() in NAMED]
    assert len(used) > len(NAMED)
    assert [node for node in used if not node.get("name", {}).get("value")] == []
