"""Every fenced block of the documentation that can run is run; what cannot says why."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import Settings, read_settings
from tests.docs import frames
from tests.docs.blocks import PAGES, ROOT, Block, blocks
from tests.docs.reader import Reader, reading

RUN = {"sh", "console", "python", "js"}
READ = {"json", "yaml", "ini"}
SHOWN = {"text", "mermaid"}  # diagrams are drawn with the site
EXAMPLES = [path.read_text() for path in (ROOT / "docs" / "examples").glob("*.py")]

BLOCKS = [block for page in PAGES for block in blocks(page)]


def is_excerpt(block: Block) -> bool:
    """Whether a block is a part of an example, which has a test; one that is to be saved is used by the page itself."""
    return block.language == "python" and block.title is None and any(block.text in example for example in EXAMPLES)


def to_run(page: str) -> list[Block]:
    return [
        block
        for block in blocks(page)
        if block.language in RUN and not block.is_left_to_others and not is_excerpt(block)
    ]


def starts_a_server(page: str) -> bool:
    return any(block.runs_on and "bin/serve" in block.text for block in to_run(page))


def values(text: str) -> list[Any]:
    """Return the JSON values of a block, one after the other."""
    decoder, found, place = json.JSONDecoder(), [], 0
    while rest := text[place:].lstrip():
        value, end = decoder.raw_decode(rest)
        found.append(value)
        place = len(text) - len(rest) + end
    return found


def test_blocks_are_found() -> None:
    assert len(BLOCKS) > 60
    assert {block.language for block in BLOCKS} >= RUN | READ


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_is_run_or_says_why_not(block: Block) -> None:
    """The comment is `<!-- not run: REASON -->` or `<!-- run by tests/FILE -->`, on the line before the fence."""
    if block.run_by is not None:
        assert Path(block.page).name in (ROOT / block.run_by).read_text(), "that test does not name the page"
    elif block.why_not is not None:
        assert len(block.why_not.split()) > 1, "give a reason"
    else:
        assert block.language in RUN | READ | SHOWN, f"a block of {block.language!r} says neither"


@pytest.mark.parametrize("page", [page for page in PAGES if any(each.language in READ for each in blocks(page))])
def test_what_is_read_is_right(page: str) -> None:
    """JSON decodes, and a frame is one of the protocol; YAML parses; settings are settings."""
    for block in blocks(page):
        if block.is_left_to_others:
            continue
        if block.language == "json":
            for value in values(block.text):
                if frames.is_frame(value):
                    frames.check(value)
        elif block.language == "yaml":
            assert yaml.safe_load(block.text), block
        elif block.language == "ini":
            check_settings(block)


def check_settings(block: Block) -> None:
    given = dict(line.split("=", 1) for line in block.text.splitlines())
    assert given.keys() <= {name.upper() for name in Settings.__struct_fields__}, block
    read_settings(given, dotenv=None)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A reader whose server runs already."""
    with reading(tmp_path_factory.mktemp("checkout")) as reader:
        reader.serve()
        yield reader


@pytest.mark.parametrize("page", [page for page in PAGES if to_run(page) and not starts_a_server(page)])
def test_what_a_page_shows_works(page: str, reader: Reader) -> None:
    """A reader does what the page says, from its beginning to its end, and sees what it shows."""
    for block in to_run(page):
        reader.follow(block)
    reader.see_the_rest()


@pytest.mark.parametrize("page", [page for page in PAGES if starts_a_server(page)])
def test_what_a_page_shows_works_from_the_start(page: str, tmp_path: Path) -> None:
    """So does one who has nothing but the checkout."""
    with reading(tmp_path) as reader:
        for block in to_run(page):
            reader.follow(block)
        reader.see_the_rest()


def test_what_is_saved_is_used() -> None:
    """A block that is to be saved as a file is run by a command of the same page."""
    for block in BLOCKS:
        if block.title is not None and not block.is_left_to_others:
            commands = [each.text for each in to_run(block.page) if each.title is None]
            assert any(block.title in text for text in commands), block
