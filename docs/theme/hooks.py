"""What mkdocs does besides to build the site: draws diagrams, adds pages from elsewhere, cuts other hosts off."""

import html
import json
import posixpath
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import mmdr
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_LINK = re.compile(r"(!?)\[([^\]\[]+)\]\(([^)\s:]+?)(#[^)\s]*)?\)")
_HOST = re.compile(r"https://(unpkg\.com|api\.github\.com)/")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Have diagrams drawn, and leave pages from elsewhere out of the nav that are not there."""
    fence = {"name": "mermaid", "class": "diagram", "format": draw}
    config.mdx_configs["pymdownx.superfences"] = {"custom_fences": [fence]}
    absent = set(config.extra["elsewhere"]) - set(_elsewhere(config))
    config.nav = _without(config.nav or [], absent)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from elsewhere."""
    for page, path in _elsewhere(config).items():
        files.append(File.generated(config, page, abs_src_path=str(_root(config) / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links and pictures lead within the site; of links to what it lacks only the text stays."""
    elsewhere = _elsewhere(config)
    pages = {path: page for page, path in elsewhere.items()}
    here = page.file.src_uri
    folder = posixpath.dirname(elsewhere.get(here, f"docs/{here}"))

    def within(link: re.Match[str]) -> str:
        mark, label, target, anchor = link[1], link[2], link[3], link[4] or ""
        path = posixpath.normpath(posixpath.join(folder, target))
        there = pages.get(path, path.removeprefix("docs/"))
        if files.get_file_from_path(there) is None:  # mkdocs complains of what is nowhere
            return label if (_root(config) / path).exists() else link[0]
        return f"{mark}[{label}]({posixpath.relpath(there, posixpath.dirname(here) or '.')}{anchor})"

    return _LINK.sub(within, markdown)


def on_post_build(config: MkDocsConfig) -> None:
    """Take other hosts out of the theme's scripts, and put the search index where a page from file:// finds it."""
    site = Path(config.site_dir)
    for script in site.rglob("*.js"):
        text = script.read_text()
        if _HOST.search(text):
            script.write_text(_HOST.sub("", text))
    for names in site.rglob("*.map"):
        names.unlink()
    index = (site / "search" / "search_index.json").read_text()
    (site / "search" / "search_index.js").write_text(f"var __index = {json.dumps(json.loads(index))}")


def draw(source: str, *_: object, **__: object) -> str:
    """Return a diagram as an SVG that stands in the page, with ids of its own."""
    name = f"diagram-{sha256(source.encode()).hexdigest()[:8]}"
    svg = mmdr.render(source, backend="merman", theme="neutral").svg().replace("merman", name)
    label = html.escape(source.split(maxsplit=1)[0])
    return f'<div class="diagram" role="img" aria-label="{label}">{svg}</div>'


def _root(config: MkDocsConfig) -> Path:
    return Path(config.config_file_path).parent


def _elsewhere(config: MkDocsConfig) -> Mapping[str, str]:
    return {page: path for page, path in config.extra["elsewhere"].items() if (_root(config) / path).is_file()}


def _without(nav: list[Any], absent: set[str]) -> list[Any]:
    """Return a nav without these pages, nor sections that are empty then."""
    kept = []
    for entry in nav:
        ((title, below),) = entry.items()
        if isinstance(below, list):
            below = _without(below, absent)
        if below and (isinstance(below, list) or below not in absent):
            kept.append({title: below})
    return kept
