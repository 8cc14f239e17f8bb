"""What cites the specification cites a section that it has, and its lists agree with the code."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.settings import Settings
from schemas.errors import CloseCode, ErrorCode
from tests.docs.blocks import ROOT

SPECIFICATION = (ROOT / "docs" / "protocol.md").read_text()
SECTIONS = {
    int(number): text
    for number, text in re.findall(r"^## (\d+)\. (.*?)(?=^## |\Z)", SPECIFICATION, re.MULTILINE | re.DOTALL)
}
SUFFIXES = {".py", ".md", ".json", ".ts", ".js", ".el", ".lua", ".vim", ".yaml", ".toml"}
NOT_OURS = {"node_modules", "site", "build", "dist", "__pycache__"}
CITATION = re.compile(r"(docs/)?protocol\.md(?:\)?\s+sections?(?:\s+((?:\d+(?:, | and )?)+))?)?")
LITERAL = re.compile(r"`([A-Z][A-Z0-9_]+)`")


def texts() -> Iterator[tuple[Path, str]]:
    """Return the files of the checkout that are text, but for those that only this test has business with."""
    for folder, below, names in os.walk(ROOT):
        below[:] = [name for name in below if not name.startswith(".") and name not in NOT_OURS]
        for path in (Path(folder, name) for name in names):
            if path != Path(__file__) and path.suffix in SUFFIXES:
                yield path, path.read_text()


def not_served(section: str) -> set[str]:
    """Return the names on the lines that say what is not served yet."""
    return {name for line in re.findall(r"^Not served yet.*$", section, re.MULTILINE) for name in LITERAL.findall(line)}


def settings_of(section: str) -> set[str]:
    """Return the names that the list of settings has; what stands in parentheses is no setting of its own."""
    listed = re.sub(r"\([^)]*\)", "", section.partition("\n\n")[0])
    return set(LITERAL.findall(listed))


@pytest.fixture(scope="module")
def citations() -> list[tuple[Path, re.Match[str]]]:
    return [(path, citation) for path, text in texts() for citation in CITATION.finditer(text)]


def test_citations_are_found(citations: list[tuple[Path, re.Match[str]]]) -> None:
    assert len({path for path, _ in citations}) > 40


def test_citations_name_sections_that_there_are(citations: list[tuple[Path, re.Match[str]]]) -> None:
    """Each cites the page by its path, and sections by numbers that the page has."""
    for path, citation in citations:
        assert citation[1] or path.suffix == ".md", f"{path}: {citation[0]!r} does not say where the page is"
        cited = {int(number) for number in re.findall(r"\d+", citation[2] or "")}
        assert cited <= SECTIONS.keys(), f"{path}: {citation[0]!r}"
        assert cited or "section" not in citation[0], f"{path}: {citation[0]!r} names no section"


def test_settings_are_those_of_the_server() -> None:
    """A setting of section 7 is one of the server, unless the page says that it is not served yet."""
    settings = {name.upper() for name in Settings.__struct_fields__}
    assert len(settings_of(SECTIONS[7])) > 40
    assert settings_of(SECTIONS[7]) - settings == not_served(SECTIONS[7])


def test_errors_are_those_of_the_server() -> None:
    """A code of section 4 is one of the server, unless its row says that it is not served yet; and the other way."""
    rows = re.findall(r"^\| `(ERR_\d{4})` \|(.*)\|$", SECTIONS[4], re.MULTILINE)
    assert {code for code, when in rows if "Not served yet" not in when} == set(ErrorCode)


def test_close_codes_are_those_of_the_server() -> None:
    """Section 5 has every code that a close frame may carry: 1005 and 1006 stand for its absence."""
    told = {int(code) for code in re.findall(r"\b[14]\d{3}\b", SECTIONS[5])}
    assert told == set(CloseCode) - {CloseCode.NO_STATUS, CloseCode.ABNORMAL}
