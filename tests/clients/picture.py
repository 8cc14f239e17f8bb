"""Draws docs/images/editors.svg: the screens of Neovim and Emacs after a real conversation. `bin/picture` runs it."""

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import anyio

from tests.support.editors import DRIVERS, EMACS_PACKAGE, Driven, editing, lua, neovim, until, websocket_el
from tests.support.server import ROOT, Server, serving
from tests.support.tokens import Keys

COLUMNS, ROWS = 74, 25
WIDTH, HEIGHT, FONT = 7.8, 17, 13
MARGIN, TITLE = 12, 26
PICTURE = ROOT / "docs/images/editors.svg"
SETTINGS = """(progn
  (global-set-key (kbd "C-c y") peersync-command-map)
  (setq peersync-display-name "Bob" frame-background-mode 'dark)
  (mapc #'frame-set-background-mode (frame-list)))"""
GREET = """local M = {}

--- Return a greeting.
function M.greet(name)
  return ("Hello, %s!"):format(name)
end

return M
"""
GROUND = 0x1E222A
LIGHTS = ("#ff5f57", "#febc2e", "#28c840")

Cell = tuple[str, int, int, bool, bool]


class Terminal(Driven):
    """A terminal with a program in it: Neovim is a terminal, too."""

    @classmethod
    def command(cls) -> tuple[Sequence[str | Path], Mapping[str, str]]:
        driver = DRIVERS / "neovim/driver.lua"
        return ["nvim", "--headless", "-u", "NONE", "-i", "NONE", "-n", "-c", f"luafile {driver}"], {}

    async def open(self, command: Sequence[str | Path], environment: Mapping[str, str]) -> None:
        """Run a program in it."""
        words = ", ".join(lua(str(each)) for each in command)
        settings = ", ".join(f"{name} = {lua(value)}" for name, value in environment.items())
        screen = lua(str(DRIVERS / "neovim/screen.lua"))
        await self.run(f"Screen = dofile({screen}) Screen.open({{ {words} }}, {{ {settings} }}, {COLUMNS}, {ROWS})")

    async def text(self) -> str:
        """Return the text on the screen."""
        text: str = await self.run("return Screen.text()")
        return text

    async def type(self, keys: str, then: str) -> None:
        """Type keys, and wait until a text is on the screen."""
        await self.run(f"Screen.type({lua(keys)})")
        await until(self.text, lambda text: then in text)

    async def cells(self) -> Any:
        """Return the rows of the screen."""
        return await self.run("return Screen.cells()")


async def conversation(server: Server, folder: Path) -> list[tuple[str, list[list[Cell]]]]:
    """Let ann in Neovim and bob in Emacs talk, and return the titles and rows of their screens."""
    async with editing(Terminal, "ann", folder) as ann, editing(Terminal, "bob", folder) as bob:
        (folder / "greet.lua").write_text(GREET)
        named = "lua require('peersync').setup({ display_name = 'Ann' })"
        await ann.open(neovim("-c", "syntax on", "-c", named, "greet.lua"), told(server, "ann"))
        libraries: list[str | Path] = [each for path in websocket_el() for each in ("-L", path)]
        package: list[str | Path] = ["--load", EMACS_PACKAGE / "peersync.el", "--eval", SETTINGS]
        await bob.open(["emacs", "-nw", "-Q", *libraries, *package], told(server, "bob"))
        await until(bob.text, lambda text: "*scratch*" in text)
        await bob.type("<C-c>yc", "Connected as Bob")
        await ann.type(":PeerSync connect<CR>", "Connected as Ann")
        await ann.type(":PeerSync request bob<CR>", "Asked Bob")
        await until(bob.text, lambda text: "asks for a session" in text)
        await bob.type("<C-c>ya", "In session with")
        await until(ann.text, lambda text: "accepted" in text)
        await ann.type(":3,6PeerSync send<CR>", "You:")
        await until(bob.text, lambda text: "greet.lua:3" in text)
        await bob.type("<C-c>ymShould an empty name not be refused?<CR>", "You: Should an empty name")
        await until(ann.text, lambda text: "Bob: Should" in text)
        return [("Ann in Neovim", await ann.cells()), ("Bob in Emacs", await bob.cells())]


def told(server: Server, user: str) -> dict[str, str]:
    """Return the environment of a user's editor."""
    return {"PEERSYNC_URL": server.url, "PEERSYNC_TOKEN": server.keys.token(user), "TERM": "xterm-256color"}


def drawn(screens: Sequence[tuple[str, list[list[Cell]]]]) -> str:
    """Return screens side by side, as SVG."""
    width, height = COLUMNS * WIDTH + 2 * MARGIN, ROWS * HEIGHT + TITLE + MARGIN
    whole = f"{len(screens) * (width + MARGIN) - MARGIN:.0f}"
    size = f'viewBox="0 0 {whole} {height}" font-size="{FONT}"'
    title = f"{' and '.join(title for title, _ in screens)}, in a session"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" font-family="ui-monospace, Menlo, monospace">',
        f"<title>{escape(title)}</title>",
    ]
    for number, (name, rows) in enumerate(screens):
        lines.append(f'<g transform="translate({number * (width + MARGIN):.1f} 0)">')
        lines += [*frame(name, width, height), *(shape for at, row in enumerate(rows) for shape in row_of(at, row))]
        lines.append("</g>")
    return "\n".join([*lines, "</svg>", ""])


def frame(title: str, width: float, height: float) -> Iterator[str]:
    """Return a window's shapes."""
    yield f'<rect width="{width:.1f}" height="{height}" rx="8" fill="#1e222a" stroke="#4c566a"/>'
    for number, light in enumerate(LIGHTS):
        yield f'<circle cx="{16 + 16 * number}" cy="14" r="5" fill="{light}"/>'
    yield f'<text x="{width / 2:.1f}" y="18" fill="#9aa5b8" text-anchor="middle">{escape(title)}</text>'


def row_of(at: int, row: Sequence[Cell]) -> Iterator[str]:
    """Return the shapes of a row: its grounds, then its texts."""
    runs = list(runs_of(row))
    top = TITLE + at * HEIGHT
    for left, text, (_, back, _, _) in runs:
        if back != GROUND:
            yield (
                f'<rect x="{MARGIN + left * WIDTH:.1f}" y="{top}" width="{len(text) * WIDTH:.1f}" height="{HEIGHT}"'
                f' fill="#{back:06x}"/>'
            )
    for left, text, (front, _, is_bold, is_italic) in runs:
        if text.strip():
            yield word(left, top, text, front, is_bold=is_bold, is_italic=is_italic)


def runs_of(row: Sequence[Cell]) -> Iterator[tuple[int, str, tuple[int, int, bool, bool]]]:
    """Return the runs of cells that look alike: where each begins, its text, and its look."""
    left = 0
    for look, cells in groupby(row, key=lambda cell: (cell[1], cell[2], cell[3], cell[4])):
        text = "".join(cell[0] or " " for cell in cells)
        yield left, text, look
        left += len(text)


def word(left: int, top: int, text: str, front: int, *, is_bold: bool, is_italic: bool) -> str:
    """Return a run of text, as wide as its cells."""
    indent = len(text) - len(text.lstrip())
    shown = text.strip()
    style = (' font-weight="bold"' if is_bold else "") + (' font-style="italic"' if is_italic else "")
    return (
        f'<text x="{MARGIN + (left + indent) * WIDTH:.1f}" y="{top + 13}" fill="#{front:06x}"{style}'
        f' textLength="{len(shown) * WIDTH:.1f}" xml:space="preserve">{escape(shown)}</text>'
    )


async def main() -> None:
    """Draw the picture."""
    if not websocket_el():
        sys.exit("bin/picture: websocket.el: not found. On Debian: apt-get install elpa-websocket")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with serving(Keys(folder), folder) as server:
            screens = await conversation(server, folder)
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(drawn(screens))
    sys.stdout.write(f"{PICTURE.relative_to(ROOT)}\n")


if __name__ == "__main__":
    anyio.run(main)
