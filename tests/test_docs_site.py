"""The documentation site: built strictly, complete, whole, and without a network."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from support.browsing import open_browser
from support.site_checking import Page, dead_links, foreign_files, read_site

import cryoreg
from cryoreg import registry
from cryoreg import testing as kit
from cryoreg.datasets import authoring
from cryoreg.kinds import KINDS
from cryoreg_cli.main import cryoreg as cli

pytest.importorskip("mkdocs", reason="needs mkdocs: pip install 'cryoreg[docs]'")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    env = os.environ | nowhere | {"NO_MKDOCS_2_WARNING": "1"}
    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    assert "WARNING" not in result.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site) -> dict[str, Page]:
    return read_site(site)


def builtins(group: str) -> list[str]:
    return [component.name for component in registry.components(group) if component.builtin]


@pytest.mark.slow
def test_every_page_of_the_repository_is_in_the_site_and_its_navigation(pages):
    sources = [file.stem for file in (ROOT / "docs").glob("*.md")] + ["contributing", "changelog"]
    expected = {f"{name}.html" for name in sources}
    expected |= {f"plugins/{file.parent.name}.html" for file in ROOT.glob("plugins/*/README.md")}
    assert pages.keys() == expected | {"404.html"}
    reached = {link.partition("#")[0] for link in pages["index.html"].links}
    in_tabs = {link.partition("#")[0] for page in pages.values() for link in page.links}
    assert expected - {"index.html"} <= {link.removeprefix("../") for link in reached | in_tabs}


def test_no_link_and_no_anchor_is_dead(site, pages):
    assert list(dead_links(site, pages)) == []


def test_nothing_is_loaded_from_elsewhere(site, pages):
    assert list(foreign_files(site, pages)) == []
    assert all(any("iframe-worker.js" in file for file in page.loaded) for page in pages.values())


@pytest.mark.parametrize("kind", KINDS)
def test_every_component_has_its_place(kind, pages):
    group = registry.group_of(kind)
    assert set(builtins(group)) <= pages[f"{group}.html"].anchors


@pytest.mark.parametrize("name", builtins("commands"))
def test_every_command_is_shown_with_its_help_and_all_its_options(name, pages):
    page = pages["commands.html"]
    assert f"cryoreg-{name}" in page.anchors
    shown = " ".join(page.text.split())
    for command in _with_subcommands(cli.get_command(click.Context(cli), name)):
        options = [option for param in command.params for option in param.opts if option.startswith("--")]
        assert [option for option in options if option not in shown] == []
        assert " ".join((command.help or "").replace("\b", "").split())[:40].replace("`", "") in shown


def _with_subcommands(command):
    yield command
    for each in getattr(command, "commands", {}).values():
        yield from _with_subcommands(each)


def test_commands_of_plugins_are_left_out(pages):
    commands = {anchor for anchor in pages["commands.html"].anchors if re.fullmatch(r"cryoreg-[a-z]+", anchor)}
    assert commands == {f"cryoreg-{name}" for name in builtins("commands")}


@pytest.mark.parametrize("name", [name for name in cryoreg.__all__ if name.islower() and not name.startswith("__")])
def test_every_function_of_the_package_is_in_the_python_reference(name, pages):
    assert f"cryoreg.{name}" in pages["python.html"].anchors


@pytest.mark.parametrize("module", ["contracts", "specs", "plans", "errors", "registry"])
def test_every_public_class_of_the_plugin_api_is_in_the_python_reference(module, pages):
    members = vars(importlib.import_module(f"cryoreg.{module}")).values()
    classes = [each for each in members if isinstance(each, type) and each.__module__.startswith(f"cryoreg.{module}")]
    for name in [each.__name__ for each in classes if not each.__name__.startswith("_")]:
        assert f"cryoreg.{module}.{name}" in pages["python.html"].anchors
    assert classes


@pytest.mark.parametrize("name", authoring.__all__)
def test_what_readers_are_made_of_is_in_the_python_reference(name, pages):
    assert any(anchor.endswith(f".{name}") for anchor in pages["python.html"].anchors)


@pytest.mark.parametrize("name", kit.__all__)
def test_the_kit_is_in_the_python_reference(name, pages):
    assert f"cryoreg.testing.{name}" in pages["python.html"].anchors


LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
MARKDOWN = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
MARKDOWN += [*(ROOT / "docs").glob("*.md"), *ROOT.glob("plugins/*/README.md")]


@pytest.mark.parametrize("file", MARKDOWN, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_links_between_files_of_the_repository_lead_somewhere(file):
    """As they are read where the repository is shown, without the site."""
    links = [link.partition("#")[0] for link in LINK.findall(file.read_text("utf-8")) if "://" not in link]
    assert [link for link in links if link and not (file.parent / link).exists()] == []


def test_the_checker_finds_what_is_dead_and_what_is_foreign(tmp_path):
    (tmp_path / "b.html").write_text('<h1 id="here">B</h1>')
    (tmp_path / "a.html").write_text(
        '<a href="b.html#here">1</a><a href="b.html#there">2</a><a href="c.html">3</a><a href="https://x.org">4</a>'
        '<script src="https://x.org/s.js"></script><link rel="stylesheet" href="//x.org/s.css"><img src="no.png">'
        '<link rel="canonical" href="https://x.org/a">'
    )
    (tmp_path / "s.css").write_text("@import 'https://x.org/f.css'; a { background: url(data:x) }")
    pages = read_site(tmp_path)
    assert list(dead_links(tmp_path, pages)) == ["a.html: b.html#there", "a.html: c.html", "a.html: no.png"]
    assert list(foreign_files(tmp_path, pages)) == [
        "a.html: https://x.org/s.js", "a.html: //x.org/s.css", "s.css: https://x.org/f.css"
    ]  # fmt: skip


@pytest.mark.slow
def test_search_works_in_a_site_opened_from_a_disk(site, tmp_path):
    browser = open_browser(tmp_path)
    try:
        browser.get(f"file://{site}/index.html")
        box = browser.find_element("css selector", ".md-search__input")
        browser.execute_script("arguments[0].focus()", box)
        box.send_keys("queue_size")
        found = "return [...document.querySelectorAll('.md-search-result__link')].map(link => link.href).join(' ')"
        from selenium.webdriver.support.wait import WebDriverWait

        assert WebDriverWait(browser, 30).until(lambda _: "methods.html" in browser.execute_script(found))
    finally:
        browser.quit()
