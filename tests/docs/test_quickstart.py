"""The quickstart, done to the letter by somebody who leaves open all that they start."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.docs.blocks import blocks
from tests.docs.reader import Reader, reading
from tests.support.browser import chromium, needs_chromium, visiting

PAGE = "docs/quickstart.md"
TAKEN_OVER = "4002"


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """A reader whose server runs already."""
    with reading(tmp_path) as reader:
        reader.serve()
        yield reader


def start_peers(reader: Reader, stack: ExitStack) -> list[Path]:
    """Start the terminal peers of the page, which wait for what is typed; return where they write."""
    commands = [block.text.strip() for block in blocks(PAGE) if block.text.startswith("bin/peer ")]
    assert len(commands) > 1
    outputs = [reader.folder / f"peer-{number}" for number in range(len(commands))]
    for command, output in zip(commands, outputs, strict=True):
        process = stack.enter_context(
            subprocess.Popen(
                command.split(),
                cwd=reader.folder,
                env=reader.environment,
                stdin=subprocess.PIPE,
                stdout=stack.enter_context(output.open("wb")),
                stderr=subprocess.STDOUT,
            )
        )
        stack.callback(process.terminate)
    return outputs


def talk_in_the_console(page: Page) -> None:
    """Press what the page says, in that order."""
    for number in range(2):
        page.get_by_role("button", name="Connect").nth(number).click()
        expect(page.locator(".state").nth(number)).to_have_text("registered")
    expect(page.get_by_label("The frame, in JSON")).to_have_value(re.compile("dave"))
    page.get_by_role("button", name="Send Ctrl").click()
    page.get_by_role("button", name="Accept").click()
    expect(page.locator('[data-event="CONNECTION_ACCEPTED"]')).to_have_count(1)
    page.get_by_label("Event").select_option("SEND_MESSAGE")
    page.get_by_role("button", name="Send Ctrl").click()
    expect(page.locator('.b[data-event="MESSAGE_RECEIVED"]')).to_have_count(1)


@needs_chromium
def test_nobody_is_thrown_out(reader: Reader) -> None:
    """Terminals, console and programs talk beside each other, each to the end."""
    with ExitStack() as stack:
        outputs = start_peers(reader, stack)
        browser = stack.enter_context(chromium())
        page = stack.enter_context(visiting(browser, f"http://127.0.0.1:{reader.port}/console"))
        talk_in_the_console(page)
        for block in blocks(PAGE):
            if block.title is not None or (
                block.language == "console" and block.text.startswith(("$ .venv", "$ node"))
            ):
                reader.follow(block)
        reader.see_the_rest()
        expect(page.locator(".note")).to_have_count(0)
        expect(page.locator(".state")).to_have_text(["registered", "registered"])
        assert not [output for output in outputs if TAKEN_OVER in output.read_text()]
        assert all(output.read_text() for output in outputs)
