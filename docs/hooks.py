"""What mkdocs is told beyond mkdocs.yml: pages that live outside docs, and that plugins are left out."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PLUGINS = {
    f"plugins/{file.parent.name}/README.md": f"plugins/{file.parent.name}.md"
    for file in ROOT.glob("plugins/*/README.md")
}
ELSEWHERE = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", **PLUGINS}
"""File of the repository -> page of the site."""
LINKS = {**ELSEWHERE, "README.md": "index.md"}

os.environ["CRYOREG_PLUGINS"] = ""  # the reference of commands must not depend on what else is installed


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Append the plugins of this repository to the reference."""
    [reference] = (section["Reference"] for section in config.nav or [] if "Reference" in section)
    reference.append({"Plugins of this repository": sorted(PLUGINS.values())})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that live outside docs."""
    for source, page in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages."""
    here = page.file.src_uri
    source = next((source for source, made in ELSEWHERE.items() if made == here), f"docs/{here}")
    return re.sub(r"(?<=\]\()([\w./-]+)", lambda found: _moved(found[1], source, here), markdown)


def _moved(link: str, source: str, here: str) -> str:
    """Return where a link of the file ``source`` leads on the page ``here``."""
    target = normpath(f"{PurePosixPath(source).parent}/{link}")
    page = LINKS.get(target) or LINKS.get(f"{target}/README.md")
    if page is None and target.startswith("docs/"):
        page = target.removeprefix("docs/")
    return relpath(page, PurePosixPath(here).parent) if page else link
