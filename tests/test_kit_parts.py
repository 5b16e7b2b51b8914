"""The kit on what has no spec: what cryoreg brings passes, and each check catches its fault alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from cryoreg import registry
from cryoreg.datasets.conversion.formats import FilesFormat
from cryoreg.kinds import SEAMS
from cryoreg.seams import Part, Viewer, Writer
from cryoreg.testing import run_checks
from cryoreg.testing.checks import checks_of_parts
from cryoreg.testing.runner import to_check
from cryoreg_cli.main import cryoreg

Install = Callable[..., Path]
BUILTINS = [(seam, c) for seam in SEAMS for c in registry.components(registry.group_of(seam)) if c.builtin]


@pytest.mark.slow
@pytest.mark.parametrize(("seam", "component"), BUILTINS, ids=[f"{seam}-{c.name}" for seam, c in BUILTINS])
def test_what_cryoreg_brings_passes(seam: str, component: registry.Component) -> None:
    results = list(run_checks(to_check(seam, component, {})))
    assert {result.outcome for result in results} <= {"passed", "skipped"}
    assert sum(result.outcome == "passed" for result in results) >= 2


class Shouting(Writer):
    """Has an ending that no file is asked for by."""

    suffix = ".TXT"

    def prepare(self, output, dataset, classes):
        return lambda predictions: ""


class Wordy(FilesFormat):
    """Makes no bytes."""

    suffix = ".txt"

    def content(self, volume, voxel_size):
        return str(volume)


class Nameless(Viewer):
    """Names its program by letters."""

    programs = "3dmod"
    install = "install it"

    def prepare(self, shown, folder):
        return []


def signs(groups, lr, momentum):
    """Steps up where it should step down."""
    return torch.optim.SGD(groups, lr=lr, maximize=True)


class Forgetful(torch.optim.SGD):
    """Keeps its momentum where nobody saves it."""

    def state_dict(self):
        return super().state_dict() | {"state": {}}


def forgetful(groups, lr, momentum):
    """As said."""
    return Forgetful(groups, lr=lr, momentum=momentum)


def returns_nothing(groups, lr, momentum):
    """As said."""


def uphill(progress):
    """Ends below nothing."""
    return 0.5 - progress


@dataclasses.dataclass
class Counting:
    """Falls each time that it is asked."""

    asked: int = 0

    def __call__(self, progress):
        self.asked += 1
        return 1 / self.asked


def undocumented(progress):
    return 1.0


def recipe(folder: Path, text: str) -> Path:
    file = folder / "recipe.toml"
    file.write_text(f"# Of a test.\n{text}")
    return file


FAULTY = {
    "no summary": ("schedule", lambda folder: undocumented, "check_part_has_a_summary", "does not say what it is"),
    "suffix": ("writer", lambda folder: Shouting, "check_writer_has_a_suffix", "the suffix is '.TXT'"),
    "words": ("format", lambda folder: Wordy, "check_format_makes_bytes", "content returns str; make it bytes"),
    "program": (
        "viewer",
        lambda folder: Nameless,
        "check_viewer_names_its_program",
        "programs is '3dmod'",
    ),
    "uphill": ("optimizer", lambda folder: signs, "check_optimizer_moves_and_goes_on", "do not lower it"),
    "forgetful": ("optimizer", lambda folder: forgetful, "check_optimizer_moves_and_goes_on", "resumed one steps"),
    "nothing": ("optimizer", lambda folder: returns_nothing, "check_optimizer_moves_and_goes_on", "no Optimizer"),
    "negative": ("schedule", lambda folder: uphill, "check_schedule_is_a_factor", "the factor is -0.499"),
    "counting": ("schedule", lambda folder: Counting(), "check_schedule_is_a_factor", "may have no state"),
    "task": ("recipe", lambda folder: recipe(folder, "[train]\n"), "check_recipe_resolves", "tables are train"),
    "setting": (
        *("recipe", lambda folder: recipe(folder, '[pretrain]\nmethod = {name = "moko"}\n'), "check_recipe_resolves"),
        "[pretrain] cannot be used: unknown method 'moko'",
    ),
}


@pytest.mark.parametrize(("seam", "make", "check", "message"), FAULTY.values(), ids=FAULTY)
def test_a_fault_is_caught_by_its_check_alone(
    tmp_path: Path, seam: str, make: Callable[[Path], object], check: str, message: str
) -> None:
    part = Part(seam, "mine", make(tmp_path), "cryoreg.seams")
    failed = {result.check.name: result.message for result in run_checks(part) if result.outcome == "failed"}
    assert set(failed) == {check}
    assert message in failed[check]


def test_every_check_has_a_fault() -> None:
    caught = {check for _, _, check, _ in FAULTY.values()}
    assert {check.name for check in checks_of_parts()} - caught == {"check_part_imports_light"}


@pytest.mark.slow
def test_a_module_that_is_heavy_is_caught() -> None:
    [result] = run_checks(Part("schedule", "mine", uphill, "support.broken_heavy_specs"), "part_imports_light")
    assert result.outcome == "failed"
    assert "imports numpy" in result.message


def test_on_the_command_line_by_name_and_by_package(fake_plugin: Install) -> None:
    module = 'def steady(progress):\n    """Steady."""\n    return 1.0\n\n\ndef bad(progress):\n    return -1.0\n'
    points = "[cryoreg.schedules]\nsteady = mine_specs:steady\nbad = mine_specs:bad\n[cryoreg.loger]\nx = y:z\n"
    fake_plugin("mine", points, module=module)
    found = CliRunner().invoke(cryoreg, ["check", "steady", "--check", "schedule_is_a_factor"])
    assert found.exit_code == 0, found.output
    assert "1 checks, 0 failed" in found.output
    found = CliRunner().invoke(cryoreg, ["check", "mine", "--check", "schedule_is_a_factor"])
    assert found.exit_code == 1
    assert "at 0.0 the factor is -1.0" in found.output


def test_a_package_all_of_whose_groups_are_misspelt_is_told_so(fake_plugin: Install) -> None:
    fake_plugin("mine", "[cryoreg.loger]\nx = y:z\n")
    found = CliRunner().invoke(cryoreg, ["check", "mine"])
    assert found.exit_code == 1
    assert found.stderr == (
        "Error: mine 1.0 declares x in the group 'cryoreg.loger', which does not exist; did you mean 'loggers'?\n"
    )
