"""The fenced blocks of the documentation, and what is said of them in a comment on the line before."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("README.md", "SECURITY.md", "docs/**/*.md", "deploy/*.md", "clients/*/README.md")
    for path in ROOT.glob(pattern)
)
_FENCE = re.compile(
    r"(?:^ *<!-- (?P<mark>[^\n]*?) -->\n)?"
    r"^(?P<indent> *)```(?P<language>[\w+-]*)(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """A fenced block; `title` is the name of the file that the reader is to save it as."""

    page: str
    line: int
    language: str
    title: str | None
    mark: str
    text: str

    @property
    def why_not(self) -> str | None:
        """Why it cannot be run here."""
        return self.mark.removeprefix("not run: ") if self.mark.startswith("not run: ") else None

    @property
    def run_by(self) -> str | None:
        """The test that runs it, if that is one of its own."""
        return self.mark.removeprefix("run by ") if self.mark.startswith("run by ") else None

    @property
    def runs_on(self) -> bool:
        """Whether the reader leaves it running."""
        return self.mark == "runs on"

    @property
    def is_left_to_others(self) -> bool:
        """Whether nothing is to be done about it here."""
        return self.why_not is not None or self.run_by is not None

    def __str__(self) -> str:
        """Return where it is."""
        return f"{self.page}:{self.line}"


def blocks(page: str) -> list[Block]:
    """Return the blocks of a page, in order."""
    return list(_read(page, (ROOT / page).read_text()))


def _read(page: str, text: str) -> Iterator[Block]:
    for fence in _FENCE.finditer(text):
        title = re.search(r'title="([\w.-]+)"', fence["info"])
        yield Block(
            page,
            text.count("\n", 0, fence.start("indent")) + 1,
            fence["language"],
            title[1] if title else None,
            fence["mark"] or "",
            fence["text"],
        )
