"""What `cryoreg doctor` finds in packages: each condition is made for real, in a folder on Python's path."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import cryoreg
from cryoreg import registry
from cryoreg.diagnosis import installation, plugins
from cryoreg.diagnosis.finding import Finding
from cryoreg.errors import UnknownComponentError
from cryoreg.registry import discovery, plugin_api

Install = Callable[..., Path]
TINY = "[cryoreg.encoders]\n{0} = {1}_specs:Tiny\n"


class Lab:
    """Installs packages into the folder ``site``."""

    def __init__(self, site: Path, install: Install, tmp_path: Path) -> None:
        self.site, self._install, self.sources = site, install, tmp_path / "sources"

    def plugin(self, dist: str = "one", name: str = "tiny", requires: str = "cryoreg>=0.1", **options: str) -> Path:
        """Install a plugin with an encoder; returns its metadata folder."""
        points = options.pop("entry_points", TINY.format(name, dist.replace("-", "_")))
        info = self._install(dist, points, **options)
        with (info / "METADATA").open("a") as file:
            file.write(f"Requires-Dist: {requires}\n" if requires else "")
        return info

    def editable(self, dist: str = "one", declared: str | None = None, **options: str) -> Path:
        """Install a plugin in place; ``declared`` are the lines of its pyproject.toml; returns its source folder."""
        info, source = self.plugin(dist, **options), self.sources / dist
        source.mkdir(parents=True)
        record = {"url": source.as_uri(), "dir_info": {"editable": True}}
        (info / "direct_url.json").write_text(json.dumps(record))
        points = f'[project.entry-points."cryoreg.encoders"]\ntiny = "{dist}_specs:Tiny"\n'
        (source / "pyproject.toml").write_text(
            f'[project]\nname = "{dist}"\n{points}' if declared is None else declared
        )
        return source


@pytest.fixture
def lab(site: Path, fake_plugin: Install, tmp_path: Path) -> Lab:
    return Lab(site, fake_plugin, tmp_path)


def findings(lab: Lab) -> list[Finding]:
    """Return what is found; findings about packages of this machine that the test did not install are left out."""
    registry.refresh()
    found = [*installation.check(), *plugins.check()]
    ours = ("one", "two", "cryoreg ", "CRYOREG_PLUGINS", str(lab.site), str(lab.sources), "'tiny'", "'rb3d'")
    return [finding for finding in found if any(name in finding.text for name in ours)]


def faults(lab: Lab) -> list[Finding]:
    return [finding for finding in findings(lab) if finding.status != "ok"]


@pytest.mark.slow
def test_a_healthy_plugin_is_described_and_nothing_is_wrong(lab: Lab) -> None:
    source = lab.editable("one", version="2.1")
    assert faults(lab) == []
    [line] = [finding.text for finding in findings(lab) if finding.text.startswith("one")]
    assert line == f"one 2.1, editable, in {source}: encoder tiny"


def test_without_plugins_it_says_so(lab: Lab) -> None:
    if registry.plugins():
        pytest.skip("plugins are installed here")
    assert "no plugins are installed" in [finding.text for finding in plugins.check()]


# name -> (what is done, status, what the text says, what the fix says)
CONDITIONS: dict[str, tuple[Callable[[Lab], object], str, str, str]] = {
    "missing module": (
        lambda lab: lab.plugin(entry_points="[cryoreg.methods]\nm = absent:X\n"),
        "problem",
        "method 'm' of one 1.0 cannot be loaded: ModuleNotFoundError: No module named 'absent'",
        "update or uninstall one",
    ),
    "not a spec": (
        lambda lab: lab.plugin(entry_points="[cryoreg.encoders]\nm = one_specs:Method\n"),
        "problem",
        "one_specs:Method is not a subclass of EncoderSpec",
        "update or uninstall one",
    ),
    "field without validator": (
        lambda lab: lab.plugin(
            module="from cryoreg.specs import *\nclass O: pass\nclass Tiny(EncoderSpec):\n    o: O\n    def build(s): 1"
        ),
        "problem",
        "PydanticSchemaGenerationError",
        "update or uninstall one",
    ),
    "not a command": (
        lambda lab: lab.plugin(entry_points="[cryoreg.commands]\ngo = one_specs:Tiny\n"),
        "problem",
        "one_specs:Tiny is not a click command",
        "update or uninstall one",
    ),
    "ends Python": (
        lambda lab: lab.plugin(module="import os; os._exit(0)"),
        "problem",
        "one 1.0 cannot be loaded: it ends Python (it ended without an answer)",
        "update or uninstall one",
    ),
    "crashes Python": (
        lambda lab: lab.plugin(module="import os; os.abort()"),
        "problem",
        "one 1.0 cannot be loaded: it ends Python (killed by signal 6)",
        "update or uninstall one",
    ),
    "needs a newer cryoreg": (
        lambda lab: lab.plugin(requires="cryoreg>=9"),
        "problem",
        f"it needs cryoreg>=9, but this is cryoreg {cryoreg.__version__} (plugin API 1)",
        "python -m pip install --upgrade 'cryoreg>=9'",
    ),
    "needs an older cryoreg": (
        lambda lab: lab.plugin(requires="cryoreg<0.1"),
        "problem",
        "it needs cryoreg<0.1, but this is cryoreg",
        "python -m pip install --upgrade one",
    ),
    "says nothing of cryoreg": (
        lambda lab: lab.plugin(requires=""),
        "warning",
        "one 1.0 does not say which cryoreg it was built for",
        "'cryoreg>=0.1' to its dependencies",
    ),
    "two plugins, one name": (
        lambda lab: (lab.plugin("one"), lab.plugin("two")),
        "warning",
        "encoder 'tiny' is offered by 2 packages, so the bare name is refused",
        "say one:tiny or two:tiny, or uninstall all but one",
    ),
    "name of a built-in": (
        lambda lab: lab.plugin("one", "rb3d"),
        "warning",
        "encoder 'rb3d' of one has the name of a built-in, which goes first",
        "say one:rb3d",
    ),
    "unreadable metadata": (
        lambda lab: lab.plugin(entry_points=b"\xff"),
        "problem",
        "one-1.0.dist-info/entry_points.txt cannot be read, so its package is left out: ",
        "python -m pip install --force-reinstall --no-deps one; where pip stumbles",
    ),
    "source folder gone": (
        lambda lab: shutil.rmtree(lab.editable()),
        "problem",
        "sources/one, which is gone",
        "python -m pip uninstall one, or install it again from where it is now",
    ),
    "entry point added since": (
        lambda lab: lab.editable(
            declared='[project]\nname="one"\n[project.entry-points."cryoreg.encoders"]\n'
            'tiny = "one_specs:Tiny"\nnew = "one_specs:Tiny"\n'
        ),
        "problem",
        "sources/one: new encoders.new",
        "python -m pip install -e ",
    ),
    "entry point removed since": (
        lambda lab: lab.editable(declared='[project]\nname="one"\n'),
        "problem",
        "sources/one: gone encoders.tiny",
        "python -m pip install -e ",
    ),
    "entry point moved since": (
        lambda lab: lab.editable(
            declared='[project]\nname="one"\n[project.entry-points."cryoreg.encoders"]\ntiny = "other:Tiny"\n'
        ),
        "problem",
        "sources/one: moved encoders.tiny",
        "python -m pip install -e ",
    ),
    "recorded twice": (
        lambda lab: (lab.plugin(version="1.0"), lab.plugin(version="2.0")),
        "problem",
        "one is recorded more than once in",
        "python -m pip uninstall one, once for each",
    ),
    "path that is gone": (
        lambda lab: (lab.site / "dead.pth").write_text("# a comment\nimport sys; sys\n/nowhere/at/all\n.\n"),
        "warning",
        "dead.pth adds /nowhere/at/all to Python's path, which is gone",
        "delete that file",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("make", "status", "text", "fix"), CONDITIONS.values(), ids=CONDITIONS)
def test_each_condition_is_found_with_its_fix(
    lab: Lab, make: Callable[[Lab], object], status: str, text: str, fix: str
) -> None:
    make(lab)
    [fault] = [finding for finding in faults(lab) if text in finding.text]
    assert fault.status == status
    assert fix in fault.fix
    assert "\n" not in fault.text + fault.fix


@pytest.mark.slow
def test_a_plugin_for_an_older_api_is_loaded_and_told(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin_api, "BEGAN", {1: "0.0.1", 2: "0.1"})
    monkeypatch.setattr(plugins, "PLUGIN_API", 2)
    lab.plugin("one", requires="cryoreg>=0.0.5")
    lab.plugin("two", "other", requires="cryoreg>=0.1")
    [fault] = faults(lab)
    assert fault.status == "warning"
    assert fault.text == "one 1.0 was built for plugin API 1 (cryoreg>=0.0.5); this is 2"


def test_a_hidden_copy_of_a_plugin_is_told(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.plugin("one", version="1.0")
    front = tmp_path / "front"
    shutil.copytree(lab.site / "one-1.0.dist-info", front / "one-2.0.dist-info")
    monkeypatch.syspath_prepend(str(front))
    [fault] = faults(lab)
    assert (fault.status, fault.text) == ("warning", f"one 2.0 in {front} hides 1.0 in {lab.site}")


@pytest.mark.parametrize(
    "declared",
    ["", "[tool.poetry]", "= damaged", '[project]\ndynamic = ["entry-points"]', "project = 3"],
)
def test_a_pyproject_that_does_not_decide_entry_points_is_no_fault(lab: Lab, declared: str) -> None:
    lab.editable(declared=declared)
    assert faults(lab) == []


def test_cryoregs_own_entry_points_may_be_stale(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a `git pull` that adds a command: the checkout declares it, the installed metadata does not."""
    monkeypatch.setattr(discovery, "RUNNING", lab.sources / "cryoreg")
    lab.editable(
        "cryoreg", entry_points="[cryoreg.encoders]\nrb3d = cryoreg.encoders.specs:RB3DSpec\n", version="0.0.9"
    )
    texts = {finding.text: finding.fix for finding in faults(lab)}
    [stale] = [text for text in texts if text.startswith("the entry points of cryoreg 0.0.9 are not those of")]
    assert stale.endswith("sources/cryoreg: new encoders.tiny, gone encoders.rb3d")
    assert texts[stale] == f"python -m pip install -e {lab.sources / 'cryoreg'}"
    [old] = [text for text in texts if text.startswith("the code of cryoreg in")]
    assert old.endswith(f"is {cryoreg.__version__}, but 0.0.9 is installed")


def test_cryoreg_without_metadata_is_told(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "packages", dict)
    [fault] = faults(lab)
    assert fault.status == "problem"
    assert "without being installed" in fault.text


# ---- the allow-list


@pytest.mark.slow
def test_without_an_allow_list_it_is_offered(lab: Lab) -> None:
    lab.plugin("one")
    lab.plugin("two", "other")
    [line] = [finding.text for finding in findings(lab) if "CRYOREG_PLUGINS" in finding.text]
    assert "plugins run code as you" in line
    assert "export CRYOREG_PLUGINS=" in line
    assert {"one", "two"} <= set(line.partition("CRYOREG_PLUGINS=")[2].split()[0].split(","))


@pytest.mark.slow
def test_a_plugin_that_is_left_out_is_never_loaded(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = tmp_path / "loaded"
    lab.plugin("one", module=f"open({str(marker)!r}, 'w')")
    monkeypatch.setenv("CRYOREG_PLUGINS", "tow")
    lab.plugin("two", "other")
    texts = [finding.text for finding in findings(lab)]
    assert "one 1.0, from an unrecorded place: encoder tiny; not loaded, as CRYOREG_PLUGINS leaves it out" in texts
    assert "CRYOREG_PLUGINS allows tow" in texts
    assert not marker.exists()
    [fault] = faults(lab)
    assert fault.text == "CRYOREG_PLUGINS allows tow, which is not installed; did you mean 'two'?"
    monkeypatch.delenv("CRYOREG_PLUGINS")
    list(plugins.check())
    assert marker.exists(), "the plugin would not have told of its loading"


def test_an_empty_allow_list_allows_none(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYOREG_PLUGINS", "")
    lab.plugin("one", entry_points="[cryoreg.encoders]\nx = absent:X\n")
    assert faults(lab) == []
    assert "CRYOREG_PLUGINS allows no plugin" in [finding.text for finding in findings(lab)]


# ---- groups that do not exist


@pytest.mark.slow
@pytest.mark.parametrize("group", ["encoder", "Encoders", "encoderz"])
def test_doctor_and_registry_agree_on_misspelt_groups(lab: Lab, group: str) -> None:
    lab.plugin("one", entry_points=f"[cryoreg.{group}]\ntiny = one_specs:Tiny\n")
    [fault] = faults(lab)
    assert fault.status == "problem"
    assert fault.text.startswith(f"one 1.0 declares tiny in the group 'cryoreg.{group}', which does not exist; did you")
    assert "'encoders'" in fault.text
    assert "write 'cryoreg.encoders'" in fault.fix
    assert "one 1.0, from an unrecorded place: nothing" in [finding.text for finding in findings(lab)]
    with pytest.raises(UnknownComponentError) as error:
        registry.find("encoders", "tiny")
    assert f"unknown encoder 'tiny': one declares it in 'cryoreg.{group}', not in 'cryoreg.encoders'" in str(
        error.value
    )


def test_a_group_unlike_any_other_is_told(lab: Lab) -> None:
    lab.plugin("one", entry_points="[cryoreg.xyz]\ntiny = one_specs:Tiny\n")
    [fault] = faults(lab)
    assert "in the group 'cryoreg.xyz', which does not exist" in fault.text
    assert "cryoreg.encoders" in fault.fix
