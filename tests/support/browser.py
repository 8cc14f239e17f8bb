"""A real Chromium, for tests of pages."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Request, expect, sync_playwright

CHROMIUM = shutil.which("chromium")
PATIENCE_MS = 20_000

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None and "CI" not in os.environ, reason="no chromium; bin/_setup_debian installs Debian's"
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run Chromium, as a child of this process."""
    assert CHROMIUM is not None, "Debian's package chromium is needed"
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visiting(
    browser: Browser,
    url: str,
    *,
    width: int = 1440,
    height: int = 900,
    scheme: Literal["light", "dark"] = "light",
    fails: tuple[int, ...] = (),
) -> Iterator[Page]:
    """Visit a page. At the end see that it asked no other host, and had no error but answers of the status `fails`."""
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    asked: list[str] = []
    errors: list[str] = []

    def on_console(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not any(f" {status}" in message.text for status in fails):
            errors.append(message.text)

    def on_request(request: Request) -> None:
        asked.append(request.url)

    def on_error(error: Error) -> None:
        errors.append(str(error))

    page.on("console", on_console)
    page.on("pageerror", on_error)
    page.on("request", on_request)
    page.on("websocket", lambda socket: asked.append(socket.url))
    try:
        page.goto(url)
        yield page
    finally:
        context.close()
    hosts: set[Any] = {urlsplit(each).netloc for each in asked}
    assert hosts == {urlsplit(url).netloc}
    assert errors == []
