"""Pages that list something list all of it, and nothing else."""

import re
from typing import Any

import httpx2
import pytest
import yaml

from app.settings import Settings, read_settings
from schemas.errors import CloseCode, ErrorCode
from tests.docs.blocks import PAGES, ROOT
from tests.support.server import Server

DOCS = ROOT / "docs"
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
