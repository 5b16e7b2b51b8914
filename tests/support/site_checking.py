"""Read a built site: what each page links to, what it loads, and the places that it has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "embed": "src",
}
LOADED |= {"object": "data", "link": "href"}
_NOT_LOADED = {"canonical", "prev", "next", "alternate", "author"}
"""Kinds of <link> that a browser does not fetch."""
_STYLE_ADDRESS = re.compile(r"""(?:url\(\s*|@import\s+)["']?([^"')\s]+)""")


class Page(HTMLParser):
    """The links, loaded files, anchors and text of one page."""

    def __init__(self, html: str) -> None:
        """Read it."""
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors = {""}
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element links to, loads, and is called."""
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        fetched = tag != "link" or given.get("rel") not in _NOT_LOADED
        if LOADED.get(tag) in given and fetched:
            self.loaded.append(given[LOADED[tag]])
        self.loaded += _STYLE_ADDRESS.findall(given.get("style", ""))

    def handle_data(self, data: str) -> None:
        """Collect the text."""
        self.text += data


def read_site(folder: Path) -> dict[str, Page]:
    """Return the pages of a site by their paths in it."""
    files = sorted(folder.rglob("*.html"))
    return {file.relative_to(folder).as_posix(): Page(file.read_text("utf-8")) for file in files}


def dead_links(folder: Path, pages: dict[str, Page]) -> Iterator[str]:
    """Yield the links and loaded files that lead nowhere inside the site."""
    for path, page in pages.items():
        for link in [*page.links, *page.loaded]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            start = folder if parts.path.startswith("/") else (folder / path).parent
            target = start / unquote(parts.path).lstrip("/") if parts.path else folder / path
            target = target / "index.html" if target.is_dir() else target
            known = pages.get(target.resolve().relative_to(folder.resolve()).as_posix())
            if not target.is_file() or (known and unquote(parts.fragment) not in known.anchors):
                yield f"{path}: {link}"


def foreign_files(folder: Path, pages: dict[str, Page]) -> Iterator[str]:
    """Yield what a page or style sheet loads from elsewhere."""
    loaded = [(path, address) for path, page in pages.items() for address in page.loaded]
    for sheet in folder.rglob("*.css"):
        loaded += [(sheet.name, address) for address in _STYLE_ADDRESS.findall(sheet.read_text("utf-8"))]
    for path, address in loaded:
        if urlsplit(address).scheme not in ("", "data") or urlsplit(address).netloc:
            yield f"{path}: {address}"
