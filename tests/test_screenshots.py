"""The pictures of the docs: a script makes each, a page shows each, with words for who does not see it."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
from PIL import Image

DOCS = Path(__file__).parents[1] / "docs"
PICTURES = runpy.run_path(str(DOCS / "screenshots.py"))["PICTURES"]
SHOWN = re.compile(r"!\[([^\]]*)\]\(assets/([\w.]+)\)")
MOST_BYTES = 150_000


@pytest.fixture(scope="module")
def shown():
    """File -> the words of each place that shows it."""
    found = {}
    for page in DOCS.glob("*.md"):
        for words, name in SHOWN.findall(page.read_text("utf-8")):
            found.setdefault(name, []).append(words)
    return found


@pytest.mark.parametrize("name", PICTURES)
def test_each_picture_is_small_and_in_a_page_with_words(name, shown):
    assert 1_000 < (DOCS / "assets" / name).stat().st_size < MOST_BYTES
    assert shown[name], "make it seen, or take it out"
    assert all(len(words.split()) >= 5 for words in shown[name])


@pytest.mark.parametrize("name", [name for name in PICTURES if name.endswith(".webp")])
def test_pictures_show_something(name):
    image = Image.open(DOCS / "assets" / name)
    assert 500 < image.width <= 1280
    assert len(image.convert("L").getcolors(256)) > 50


def test_what_a_terminal_shows_fetches_nothing_and_names_the_commands():
    text = (DOCS / "assets/help.svg").read_text("utf-8")
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    said = re.sub(r"<[^>]*>", "", text).replace("&#160;", " ")
    assert all(word in said for word in ("cryoreg --help", "label", "finetune", "predict"))


def test_pages_show_no_pictures_that_are_not_there(shown):
    assert [name for name in shown if not (DOCS / "assets" / name).exists()] == []
    made = {file.name for file in (DOCS / "assets").glob("*.webp")}
    assert made <= PICTURES.keys(), "nothing makes them anew"
