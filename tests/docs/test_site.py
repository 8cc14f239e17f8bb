"""The site is built without a network, loads nothing from other hosts, and can be read from files alone."""

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from tests.docs.blocks import ROOT, blocks
from tests.support.browser import chromium, needs_chromium, visiting

PATIENCE = 60
LOADED = {"src", "srcset", "data", "poster"}
LOADING = {("link", "href"), ("script", "src"), ("img", "src"), ("iframe", "src"), ("use", "href"), ("image", "href")}
NAMESPACES = re.compile(r"https?://www\.w3\.org/[\w./#-]*")
NO_NETWORK = """
import socket, sys
def refuse(*_, **__):
    raise OSError("the site was to be built without a network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from mkdocs.__main__ import cli
cli(["build", "--strict", "--site-dir", sys.argv[1]])
"""


class Loads(HTMLParser):
    """What a page loads, and what it links to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and ((tag, name) in LOADING or name in LOADED):
                self.loaded.append(value)
            elif value and tag == "a" and name == "href":
                self.linked.append(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built by a process for which there is no network."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-c", NO_NETWORK, str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "true", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_pages_load_what_is_there(site: Path) -> None:
    """Each script, style and picture of a page is a file of the site, by a relative path."""
    for page in site.rglob("*.html"):
        if page.name == "404.html":  # which a host shows at any path
            continue
        loaded = Loads(page).loaded
        assert loaded, f"{page} loads nothing: not even the style sheet is seen"
        for each in loaded:
            parts = urlsplit(each)
            assert (parts.scheme, parts.netloc) in {("", ""), ("data", "")}, f"{page} loads {each}"
            assert parts.scheme or (page.parent / parts.path).is_file(), f"{page} loads {each}"


def test_links_within_the_site_lead_somewhere(site: Path) -> None:
    """A page that is linked to is there, so that the site works from files, without a host."""
    for page in site.rglob("*.html"):
        if page.name == "404.html":
            continue
        linked = Loads(page).linked
        assert linked, f"{page} links nowhere"
        for each in linked:
            parts = urlsplit(each)
            if not parts.scheme and parts.path:
                assert (page.parent / parts.path).is_file(), f"{page} links to {each}"


def test_styles_load_nothing_from_elsewhere(site: Path) -> None:
    """No style sheet imports or fetches from another host."""
    sheets = list(site.rglob("*.css"))
    assert sheets
    for sheet in sheets:
        text = NAMESPACES.sub("", sheet.read_text())
        assert re.findall(r"(?:@import\s*|url\()[\"']?(?:https?:)?//[^)\"']*", text) == [], sheet


def test_scripts_of_the_theme_name_no_host(site: Path) -> None:
    """The theme would fetch some scripts and figures from other hosts; the hosts are cut out."""
    for script in (*site.glob("assets/javascripts/bundle*.js"), *site.glob("theme/*.js")):
        text = script.read_text()
        assert re.findall(r"[\"'`](?:https?:)?//[a-z][a-z0-9-]*\.[a-z0-9.-]+", NAMESPACES.sub("", text)) == [], script
    assert list(site.rglob("*.map")) == []


def test_diagrams_are_drawn(site: Path) -> None:
    """Each diagram of a page is a picture in it, and none is left for a script to draw."""
    for name in ("concepts", "resume", "errors", "architecture"):
        html = (site / f"{name}.html").read_text()
        sources = [block for block in blocks(f"docs/{name}.md") if block.language == "mermaid"]
        assert html.count('<div class="diagram"') == len(sources) > 0
        assert "mermaid" not in re.sub(r"<(style|code).*?</\1>", "", html, flags=re.DOTALL)
        assert len(set(re.findall(r'<svg id="(diagram-\w+)"', html))) == len(sources)


def test_search_works_from_files(site: Path) -> None:
    """The index is there as a script, and so is what stands in for the worker."""
    assert (site / "search" / "search_index.js").read_text().startswith("var __index = {")
    html = (site / "index.html").read_text()
    assert html.index("theme/worker.js") < html.index("assets/javascripts/bundle")


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(CHROMIUM is None and "CI" not in os.environ, reason="no Chromium")
def test_a_browser_finds_pages_without_a_host(site: Path, tmp_path: Path) -> None:
    """A browser that reaches no host searches the site from its files."""
    assert CHROMIUM is not None
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path}",
        "--virtual-time-budget=9000",
    ]
    command = [CHROMIUM, *options, "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom"]
    done = subprocess.run(
        [*command, f"file://{site}/contract/events.html?q=resume"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert re.search(r'search-result__meta">\s*[1-9]\d* matching documents', done.stdout)


@needs_chromium
@pytest.mark.parametrize(("width", "height"), [(360, 740), (1280, 800)])
def test_the_landing_page(width: int, height: int, site: Path) -> None:
    """It shows a picture, fits a phone, and its button leads to the quickstart."""
    with chromium() as browser, visiting(browser, f"file://{site}/index.html", width=width, height=height) as page:
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        picture = page.locator("main img")
        assert picture.evaluate("it => it.naturalWidth > 0 && it.getBoundingClientRect().width <= innerWidth")
        button = page.locator("main a.md-button--primary")
        assert button.evaluate("(it, height) => it.getBoundingClientRect().bottom <= height", height)
        button.click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("Quickstart")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
