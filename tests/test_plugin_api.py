"""Which cryoreg a plugin needs, and where it came from: read from its metadata, never by importing it."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import cryoreg
from cryoreg import registry
from cryoreg.errors import BrokenComponentError
from cryoreg.registry import plugin_api
from cryoreg.registry.provenance import Source, source_of

Install = Callable[..., Path]
ROOT = Path(__file__).parents[1]
TINY = "[cryoreg.encoders]\ntiny = one_specs:Tiny\n"


def require(info: Path, *requirements: str) -> None:
    """Declare dependencies, as a build backend writes them."""
    text = (info / "METADATA").read_text() + "".join(f"Requires-Dist: {each}\n" for each in requirements)
    (info / "METADATA").write_text(f"{text}\nRequires-Dist: cryoreg>=99 (a description)\n")


def test_the_newest_plugin_api_is_ours() -> None:
    assert max(plugin_api.BEGAN) == cryoreg.PLUGIN_API
    assert sorted(plugin_api.BEGAN) == list(range(1, cryoreg.PLUGIN_API + 1))


MET = ["cryoreg", "cryoreg>=0.1", "Cryoreg>=0.1,<1", "cryoreg (>=0.1)", "cryoreg[docs]~=0.1", "cryoreg==0.1.*"]


@pytest.mark.parametrize("requirement", [*MET, "torch>=2", "cryoreg>=9; extra == 'x'", "no requirement"])
def test_a_plugin_for_this_cryoreg_loads(fake_plugin: Install, requirement: str) -> None:
    require(fake_plugin("one", TINY), requirement)
    assert registry.find_spec("encoder", "tiny")[1].__name__ == "Tiny"


@pytest.mark.parametrize(
    ("requirement", "advice"),
    [
        ("cryoreg>=9", "update cryoreg: python -m pip install --upgrade 'cryoreg>=9'"),
        ("cryoreg>=0.1,>=9.1", "update cryoreg: python -m pip install --upgrade 'cryoreg>=0.1,>=9.1'"),
        ("cryoreg<0.1", "update one: python -m pip install --upgrade one"),
        ("cryoreg==0.0.*", "update one: python -m pip install --upgrade one"),
        ("cryoreg ~= 0.0.1", "update one: python -m pip install --upgrade one"),
    ],
)
def test_a_plugin_for_another_cryoreg_is_broken_and_not_imported(
    fake_plugin: Install, requirement: str, advice: str
) -> None:
    require(fake_plugin("one", TINY, version="2.0"), "torch>=2", requirement)
    with pytest.raises(BrokenComponentError) as error:
        registry.find_spec("encoder", "tiny")
    message, _, fix = str(error.value).rpartition("; ")
    assert message.startswith("encoder 'tiny' of one 2.0 cannot be loaded: it needs cryoreg")
    assert message.endswith(f"but this is cryoreg {cryoreg.__version__} (plugin API {cryoreg.PLUGIN_API})")
    assert fix == advice
    assert "one_specs" not in sys.modules


def test_commands_are_checked_as_well(fake_plugin: Install) -> None:
    require(fake_plugin("one", "[cryoreg.commands]\ngreet = one_specs:greet\n"), "cryoreg>=9")
    with pytest.raises(BrokenComponentError, match=r"command 'greet' of one 1\.0 .* needs cryoreg>=9"):
        registry.find("commands", "greet").load()


@pytest.mark.parametrize("version", ["0.5.0.dev3", "0.5.0rc1", "0.5.0+local"])
def test_a_development_version_counts_as_its_release(
    fake_plugin: Install, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr("cryoreg.version.__version__", version)
    info = fake_plugin("one", TINY)
    require(info, "cryoreg>=0.5")
    assert plugin_api.need_of(str(info)).met
    assert registry.find_spec("encoder", "tiny")


@pytest.mark.parametrize(
    ("requirement", "api"),
    [("cryoreg", 1), ("cryoreg>=0.1", 1), ("cryoreg>=0.5.9,<2", 1), ("cryoreg>=0.6", 2), ("cryoreg==0.7.*", 2),
     ("cryoreg~=1.3", 3), ("cryoreg<3,>0.6", 2), ("cryoreg!=1.0", 1)],
)  # fmt: skip
def test_the_lower_bound_tells_the_plugin_api(
    fake_plugin: Install, monkeypatch: pytest.MonkeyPatch, requirement: str, api: int
) -> None:
    monkeypatch.setattr(plugin_api, "BEGAN", {1: "0.1", 2: "0.6", 3: "1.0"})
    info = fake_plugin("one", TINY)
    require(info, requirement)
    assert plugin_api.need_of(str(info)).api == api


@pytest.mark.parametrize("requirements", [(), ("torch",), ("cryoreg !! 3",), ("cryoreg; extra == 'x'",)])
def test_a_plugin_may_say_nothing(fake_plugin: Install, requirements: tuple[str, ...]) -> None:
    info = fake_plugin("one", TINY)
    require(info, *requirements)
    assert plugin_api.need_of(str(info)) is None
    (info / "METADATA").unlink()
    assert plugin_api.need_of(str(info)) is None


# ---- where a package came from: examples of PEP 610

COMMIT = "7921be1537eac1e97bc40179a57f0349c2aee67d"
RECORDS = {
    "editable": ({"url": "file:///a/my%20plugin", "dir_info": {"editable": True}}, ("editable", "/a/my plugin")),
    "folder": ({"url": "file:///a/plugin", "dir_info": {}}, ("folder", "/a/plugin")),
    "wheel": ({"url": "file:///a/x-1.0.whl", "archive_info": {"hash": "sha256=0"}}, ("archive", "/a/x-1.0.whl")),
    "address": (
        {"url": "https://u:secret@example.org/x.zip?token=secret#secret", "archive_info": {}},
        ("archive", "https://example.org/x.zip"),
    ),
    "repository": (
        {"url": "https://secret@example.org/x.git", "vcs_info": {"vcs": "git", "commit_id": COMMIT}},
        ("repository", f"git+https://example.org/x.git@{COMMIT}"),
    ),
}


@pytest.mark.parametrize(("record", "expected"), RECORDS.values(), ids=RECORDS)
def test_where_a_package_came_from(tmp_path: Path, record: dict, expected: tuple[str, str]) -> None:
    (tmp_path / "direct_url.json").write_text(json.dumps(record))
    found = source_of(str(tmp_path))
    assert found == Source(*expected)
    assert "secret" not in str(found)
    assert expected[1] in str(found)


def test_a_package_of_an_index_has_no_record(tmp_path: Path) -> None:
    assert source_of(str(tmp_path)).how == "unknown"
    (tmp_path / "INSTALLER").write_text("pip\n")
    assert source_of(str(tmp_path)) == Source("index")


@pytest.mark.parametrize("text", ["", "[]", "{", "{}", '{"url": 3}', '{"url": "x", "vcs_info": {}}', "\x00", "3"])
def test_a_damaged_record_tells_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "direct_url.json").write_text(text)
    (tmp_path / "INSTALLER").write_text("pip\n")
    assert source_of(str(tmp_path)) == Source("unknown")


def test_cryoregs_own_origin_is_known() -> None:
    """Installed from this checkout, or from a wheel of it."""
    [info] = {component.info for component in registry.components("encoders") if component.builtin}
    assert Path(info, "METADATA").is_file()
    assert source_of(info).how in ("editable", "archive", "folder", "index")


def granted() -> set[str]:
    """Return the modules that the page on the plugin API grants."""
    table = re.findall(r"^\|.*\|(.*)\|$", (ROOT / "docs/plugin-api.md").read_text("utf-8"), re.MULTILINE)
    return {name.removesuffix(".__all__") for row in table for name in re.findall(r"`(cryoreg[\w.]*)`", row)}


def imports_of(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


OURS = [file for file in ROOT.glob("plugins/*/src/**/*.py") if file.name != "__init__.py"]
GROUPS = {f"cryoreg.{group}" for group in registry.GROUPS}
TEMPLATES = sorted(ROOT.glob("cryoreg/scaffold/templates/**/*.py.j2"))


@pytest.mark.parametrize("file", OURS, ids=lambda file: file.relative_to(ROOT / "plugins").as_posix())
def test_our_own_plugins_import_what_the_page_grants_and_nothing_else(file: Path) -> None:
    used = {name for name in imports_of(file) if name.split(".")[0] in ("cryoreg", "cryoreg_cli")}
    assert used <= granted()


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_what_scaffolds_import_is_granted(file: Path) -> None:
    used = set(re.findall(r"^\s*(?:from|import) (cryoreg(?:_cli)?[\w.]*) ?", file.read_text("utf-8"), re.MULTILINE))
    assert used <= granted()


def test_granted_modules_exist() -> None:
    modules = {name for name in granted() if name not in GROUPS}
    assert "cryoreg.datasets.authoring" in modules
    assert [name for name in modules if importlib.util.find_spec(name) is None] == []


@pytest.mark.parametrize(("page", "column"), [("plugin-api.md", 1), ("extending.md", 1)])
def test_every_group_is_on_the_page(page: str, column: int) -> None:
    rows = [line.split("|") for line in (ROOT / "docs" / page).read_text("utf-8").splitlines() if line.startswith("| ")]
    named = {name for row in rows for name in re.findall(r"`(cryoreg\.\w+)`", row[column])}
    assert named == GROUPS
