"""Pages that list something list all of it, and nothing else."""

import inspect
import re
from typing import Any

import httpx2
import pytest
import yaml

from app.settings import Settings, read_settings
from handlers.context import Context
from schemas.errors import CloseCode, ErrorCode
from tests.docs.blocks import PAGES, ROOT, blocks
from tests.support.server import Server

DOCS = ROOT / "docs"
CELL = 300
SHORT = [
    "README.md",
    "docs/index.md",
    "docs/quickstart.md",
    "docs/console.md",
    "docs/writing-a-client.md",
    "docs/writing-a-handler.md",
    "docs/contract/events.md",
]
ERRORS = (DOCS / "errors.md").read_text()
DEPLOY = (DOCS / "deploy.md").read_text()


def rows(text: str) -> list[list[str]]:
    """Return the cells of all rows of tables, but for heads."""
    lines = re.findall(r"^\|(.*)\|$", text, re.MULTILINE)
    return [[cell.strip() for cell in line.split("|")] for line in lines if not set(line) <= set("-| ")]


def pages_of(nav: list[Any]) -> list[str]:
    """Return the pages that a nav names, in order."""
    return [
        page
        for entry in nav
        for below in entry.values()
        for page in (pages_of(below) if isinstance(below, list) else [below])
    ]


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    return loaded


def test_every_page_is_in_the_nav(config: dict[str, Any]) -> None:
    """A page is named once: what is in docs/, and what is taken from elsewhere."""
    named = pages_of(config["nav"])
    there = [str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")]
    assert sorted(named) == sorted([*there, *config["extra"]["elsewhere"]])


def test_pages_from_elsewhere_that_are_there_are_pages(config: dict[str, Any]) -> None:
    """Each README of a client has a page."""
    readmes = {str(path.relative_to(ROOT)) for path in ROOT.glob("clients/*/README.md")}
    assert readmes <= set(config["extra"]["elsewhere"].values())


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere_in_the_repository(page: str) -> None:
    """Pages are read there, too; the site makes its own links of these."""
    folder = (ROOT / page).parent
    for target in re.findall(r"\]\(([^)\s:#]+)(?:#[^)\s]*)?\)", (ROOT / page).read_text()):
        assert (folder / target).exists(), target


def test_every_error_has_advice() -> None:
    """Each code has one row, with what happened and what to do."""
    advice = [row for row in rows(ERRORS) if row[0].startswith("`ERR_")]
    assert sorted(row[0].strip("`") for row in advice) == sorted(ErrorCode)
    assert all(len(row) == 3 and all(row) for row in advice)


def test_every_close_code_has_advice() -> None:
    """So has each close code."""
    section = ERRORS.partition("## Close codes")[2].partition("\n## ")[0]
    advice = [row for row in rows(section) if row[0][0].isdigit()]
    assert sorted(int(row[0]) for row in advice) == sorted(CloseCode)
    assert all(len(row) == 3 and all(row) for row in advice)


def test_every_setting_is_listed() -> None:
    """Each has one row, with its default as it would be set; an empty cell is one that is not set."""
    listed = [row for row in rows((DOCS / "settings.md").read_text()) if row[0].startswith("`")]
    assert sorted(row[0].strip("`") for row in listed) == sorted(name.upper() for name in Settings.__struct_fields__)
    read = read_settings({row[0].strip("`"): row[1].strip("`") for row in listed}, dotenv=None)
    assert read == Settings()
    unset = [name for name in Settings.__struct_fields__ if getattr(Settings(), name) in {"", (), None}]
    assert sorted(row[0].strip("`") for row in listed if not row[1]) == sorted(name.upper() for name in unset)


def test_every_alert_is_listed() -> None:
    """The page on deployment names the alerts that there are."""
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text())
    alerts = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    assert sorted(re.findall(r"`(Peersync[A-Za-z]+)`", DEPLOY)) == sorted(alerts)


def test_every_metric_is_listed(sharing: Server) -> None:
    """It names the metrics that a server has, which are most where several may share a store."""
    text = httpx2.get(f"{sharing.http}/metrics").text
    told = re.findall(r"^# HELP (peersync_\w+)", text, re.MULTILINE)
    assert sorted(set(re.findall(r"`(peersync_\w+)`", DEPLOY))) == sorted(told)


def test_what_a_handler_may_use_is_listed() -> None:
    """The page on handlers lists every part of the context, and nothing else."""
    section = (
        (DOCS / "writing-a-handler.md").read_text().partition("## What a handler may use")[2].partition("\n## ")[0]
    )
    listed = [re.match(r"`(\w+)", row[0]) for row in rows(section)[1:]]
    methods = {name for name, value in vars(Context).items() if inspect.isfunction(value) and name != "__init__"}
    assert sorted(each[1] for each in listed if each) == sorted({*Context.__slots__, *methods})


def test_the_plugin_on_the_page_is_the_example() -> None:
    """What is shown as the whole of a plugin is whole."""
    shown = next(block for block in blocks("docs/writing-a-handler.md") if block.title == "shout.py")
    assert shown.text == (DOCS / "examples/shout.py").read_text()


def test_nobody_is_two_people_in_the_quickstart() -> None:
    """Each part of the page has users of its own, and README has others: what is left open throws nobody out."""
    quickstart = (DOCS / "quickstart.md").read_text()
    peers = re.findall(r"^bin/peer (\w+)$", quickstart, re.MULTILINE)
    programs = re.findall(r"^\$ .*\.(?:py|mjs) \"\$\(bin/devtoken (\w+)\)\"$", quickstart, re.MULTILINE)
    seats = re.search(r'\["(\w+)", "(\w+)"\]\[number\]', (ROOT / "app/console/static/console.js").read_text())
    assert seats is not None
    assert len(peers) == len(programs) == 2
    by_hand = re.findall(r"^bin/devtoken (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    names = [*peers, *programs, *seats.groups(), *by_hand]
    assert len(set(names)) == len(names), names
    assert all(name in quickstart for name in seats.groups())


@pytest.mark.parametrize("page", ["README.md", "docs/index.md", "docs/quickstart.md"])
def test_all_clients_are_named(page: str) -> None:
    """So is the page on editors; the first screen of the first two says what this is, what it is not, and shows it."""
    text = (ROOT / page).read_text()
    for name in ("emacs", "neovim", "typescript", "python"):
        assert f"clients/{name}/README.md)" in text, name
    assert "editors.md" in text
    assert "bin/peer" in text
    assert "console.md" in text
    if page != "docs/quickstart.md":
        assert "images/editors.svg)" in text
        assert "shared editing" in text


@pytest.mark.parametrize("page", SHORT)
def test_cells_are_short(page: str) -> None:
    """No cell of a table is a text of its own."""
    assert [cell for row in rows((ROOT / page).read_text()) for cell in row if len(cell) > CELL] == []
