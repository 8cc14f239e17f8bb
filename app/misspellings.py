"""Variables that look like settings but are none: mostly settings with a mistyped name."""

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

from msgspec import Struct

from app.settings import names, read_file

LIKENESS = 0.75
SHORT = 8
FOREIGN = re.compile(
    r"(OTEL|COMPOSE|DOCKER|PYTHON|UV|PIP|SSL|LC|XDG|KUBERNETES|PEERSYNC)_?.*"  # of other programs
    r"|.*_(SERVICE_(HOST|PORT).*|PORT(_\d+_.*)?)"  # of other services in Kubernetes
    r"|(HTTPS?|ALL|NO)_PROXY|NODE_ENV|HOSTNAME|HOSTTYPE|HOME|PATH|TZ|LANG|TERM|SHELL|USER|PWD|MAIL|EDITOR|PAGER",
    re.IGNORECASE,
)


class Misspelling(Struct, frozen=True):
    """A variable that is not a setting, and the setting that was probably meant; None if no name is close."""

    name: str
    meant: str | None


def misspellings(environ: Mapping[str, str], dotenv: Path = Path(".env")) -> Iterator[Misspelling]:
    """Yield the variables that are not settings: all in the file, and in the environment those close to a setting.

    Raises `SettingsError` if the file cannot be read. Empty values count as not set.
    """
    settings = names()
    for name in _unknown(read_file(dotenv), settings):
        yield Misspelling(name, _meant(name, settings))
    for name in _unknown(environ, settings):
        meant = _meant(name, settings)
        if meant is not None:
            yield Misspelling(name, meant)


def _unknown(values: Mapping[str, str], settings: Iterable[str]) -> list[str]:
    known = frozenset(settings)
    return [
        name for name, value in values.items() if value.strip() and name not in known and not FOREIGN.fullmatch(name)
    ]


def _meant(name: str, settings: Iterable[str]) -> str | None:
    """Return the setting that a name misspells: one edit off, two if long, or similar with the same first word."""
    upper = name.upper()
    for setting in get_close_matches(upper, settings, n=3, cutoff=LIKENESS):
        slips = 1 if len(setting) < SHORT else 2
        is_family = "_" in upper and upper.partition("_")[0] == setting.partition("_")[0]
        if is_family or distance(upper, setting) <= slips:
            return setting
    return None


def distance(one: str, other: str) -> int:
    """Return the edit distance: how many letters must be inserted, deleted, changed, or swapped with the next one."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for at, letter in enumerate(one, start=1):
        last, before, row = before, row, [at]
        for column, wanted in enumerate(other, start=1):
            cost = min(before[column] + 1, row[-1] + 1, before[column - 1] + (letter != wanted))
            if at > 1 and column > 1 and letter == other[column - 2] and one[at - 2] == wanted:
                cost = min(cost, last[column - 2] + 1)
            row.append(cost)
    return row[-1]
