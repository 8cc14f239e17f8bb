"""SECURITY.md names settings, files and tests that exist."""

import re
from pathlib import Path

import msgspec
import pytest

from app.settings import Settings
from schemas.prices import PRICES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "SECURITY.md").read_text()
NAMED = set(re.findall(r"`([^`\n]+)`", PAGE))
SETTINGS = {info.encode_name for info in msgspec.structs.fields(Settings)}
SECTIONS = PAGE.split("## Threats")[1].split("\n## ")[0].split("\n### ")[1:]


def test_settings_exist() -> None:
    """What is written in capitals is a setting of that name, or an error code."""
    capitals = {re.split("=", name)[0] for name in NAMED if re.fullmatch(r"[A-Z][A-Z_]+(=\S+)?", name)}
    assert len(capitals) > 30
    assert capitals - SETTINGS == set()


def test_values_are_good() -> None:
    """A setting shown with a value may have it."""
    pairs = [pair.split("=") for pair in NAMED if re.fullmatch(r"[A-Z_]+=\S+", pair)]
    assert pairs
    for name, value in pairs:
        msgspec.convert({name: value}, Settings, strict=False)


def test_files_exist() -> None:
    """Each path is one of this repository."""
    paths = {name for name in NAMED if re.fullmatch(r"[a-z]+/[\w./-]+|Dockerfile", name)}
    assert len(paths) > 40
    assert {path for path in paths if not (ROOT / path).exists()} == set()


def test_the_price_list_is_the_codes() -> None:
    """The table of prices has the rows of the code, in order."""
    section = PAGE.split("## Prices")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (.*?) \| (.*?) \| (.*?) \|$", section, re.MULTILINE)
    assert rows[1:] == [(price.what, price.price, price.budget) for price in PRICES]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.split("\n")[0])
def test_each_defence_is_shown(section: str) -> None:
    """Each row says which test shows it; each attacker has something that is not stopped, but for those to come."""
    rows = [row.strip("| ") for row in section.splitlines() if row.startswith("|")][2:]
    for row in rows:
        assert re.search(r"`tests/[\w/]+\.py`$", row), row
    assert ("Not stopped: " in section) == bool(rows)


def test_all_attackers() -> None:
    """Nobody is forgotten."""
    assert len(SECTIONS) == 8
