"""The kit as plugins and users meet it: under pytest, on the command line, and what it does with processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from support.broken_specs import FAULTY, SoundAugmentation, SoundDataset, SoundEncoder
from torch import distributed, nn

from cryoreg import registry
from cryoreg.augmentations.specs import NoAugmentationSpec
from cryoreg.contracts import Encoder
from cryoreg.encoders.specs import RB3DSpec
from cryoreg.errors import AmbiguousComponentError, ConfigError, UnknownComponentError
from cryoreg.testing import (
    Check,
    CheckFailed,
    checks_for,
    elsewhere,
    encoder_checks,
    fake_plugin,
    parametrize_with_checks,
    run_checks,
)
from cryoreg.testing.method_checks import output_of
from cryoreg.testing.runner import select
from cryoreg_cli.main import cryoreg as command

FAULTY_NOISE = FAULTY[SoundAugmentation, "check_shape_and_dtype_stay"]

SUITE = """
from support.broken_specs import FAULTY, SoundAugmentation
from cryoreg.testing import parametrize_with_checks

doubles = FAULTY[SoundAugmentation, "check_shape_and_dtype_stay"]

@parametrize_with_checks([doubles], expected_failed_checks={"check_shape_and_dtype_stay": "doubles on purpose"})
def test_expected(spec, check):
    check(spec)

@parametrize_with_checks([SoundAugmentation], expected_failed_checks={"check_views_are_finite": "out of date"})
def test_out_of_date(spec, check):
    check(spec)

@parametrize_with_checks([doubles])
def test_unexpected(spec, check):
    check(spec)
"""


def check_that_shouts(spec: object) -> None:
    """Raise what a component's own code may raise."""
    raise RuntimeError("two\nlines")


def check_that_is_interrupted(spec: object) -> None:
    """Raise what Ctrl-C raises."""
    raise KeyboardInterrupt


@pytest.mark.slow
def test_under_pytest_an_expected_failure_is_a_strict_xfail(tmp_path: Path) -> None:
    (tmp_path / "test_suite.py").write_text(SUITE)
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    options = ["-q", "-rfx", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", "shape_and_dtype or views_are_finite"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, tmp_path],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path, "COLUMNS": "300"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    lines = [line for line in run.stdout.splitlines() if line.startswith(("FAILED", "XFAIL"))]
    assert len(lines) == 3, run.stdout
    for pattern in (
        r"XFAIL .*test_expected\[.*-check_shape_and_dtype_stay\].*doubles on purpose",
        r"FAILED .*test_out_of_date\[.*-check_views_are_finite\].*XPASS\(strict\)",
        r"FAILED .*test_unexpected\[.*-check_shape_and_dtype_stay\].*float64",
    ):
        assert any(re.search(pattern, line) for line in lines), run.stdout


def test_specs_and_classes_make_a_case_of_each_check() -> None:
    mark = parametrize_with_checks([SoundEncoder(width=4), NoAugmentationSpec])
    names, cases = mark.args
    assert names == ("spec", "check")
    expected = [("SoundEncoder", c.name) for c in checks_for(SoundEncoder)]
    expected += [("NoAugmentationSpec", c.name) for c in checks_for(NoAugmentationSpec)]
    assert [tuple(case.id.split("-")) for case in cases] == expected
    assert [(type(case.values[0]).__name__, case.values[1].name) for case in cases] == expected
    assert cases[0].values[0].width == 4


def test_the_reason_may_depend_on_the_spec() -> None:
    def expected(spec: object) -> dict[str, str]:
        return {"check_compiles": "wide"} if getattr(spec, "width", 0) > 4 else {}

    mark = parametrize_with_checks([SoundEncoder(width=4), SoundEncoder(width=5)], expected_failed_checks=expected)
    marked = [case.values[0].width for case in mark.args[1] if case.marks]
    assert marked == [5]


@pytest.mark.parametrize(
    ("specs", "expected", "message"),
    [
        ([SoundDataset], {}, "SoundDataset has no default for root; pass an instance"),
        ([SoundEncoder], {"check_compile": "x"}, "no check is called check_compile;"),
        ([int], {}, "int is not a spec of a component; pass"),
        ([SoundEncoder().build], {}, "method is not a spec of a component; pass"),
    ],
)
def test_mistakes_are_one_line(specs: list, expected: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parametrize_with_checks(specs, expected_failed_checks=expected)
    assert "\n" not in str(caught.value)


def test_what_a_component_raises_is_one_line_that_names_it() -> None:
    with pytest.raises(CheckFailed, match=r"SoundEncoder raises RuntimeError .* two lines; ") as caught:
        Check(check_that_shouts)(SoundEncoder())
    assert "\n" not in str(caught.value)


def test_an_interrupt_passes_through() -> None:
    with pytest.raises(KeyboardInterrupt):
        Check(check_that_is_interrupted)(SoundEncoder())


def test_every_check_says_what_it_promises() -> None:
    for spec in (SoundEncoder, SoundAugmentation, SoundDataset):
        assert all(check.promise.endswith(".") for check in checks_for(spec))


class DefaultInitialised(RB3DSpec):
    def build(self) -> Encoder:
        network = super().build()
        for layer in network.modules():
            if isinstance(layer, nn.Conv3d):
                layer.reset_parameters()
        return network


def test_the_known_case_of_an_initialisation_from_which_nothing_trains() -> None:
    encoder_checks.check_fresh_features_differ(RB3DSpec())
    with pytest.raises(CheckFailed, match="initialise the weights"):
        encoder_checks.check_fresh_features_differ(DefaultInitialised())


@pytest.mark.slow
def test_declared_exceptions_are_skipped_with_a_reason() -> None:
    class Branching(SoundEncoder):
        compiles = False

    outcomes = {result.check.name: (result.outcome, result.message) for result in run_checks(Branching())}
    assert outcomes["check_compiles"] == ("skipped", "the spec declares that torch.compile cannot take the network")
    assert outcomes["check_feature_vector_shape"] == ("passed", "")


def test_the_kit_imports_neither_pytest_nor_torch() -> None:
    code = "import sys, cryoreg.testing; print({'pytest', 'torch', 'numpy'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout.strip() == "set()", run.stderr


# ---- the command ----


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, ["check", *arguments])


def rows(result: Result) -> dict[tuple[str, str], list[str]]:
    """Return (component, check) -> the rest of its row."""
    cells = [re.split(r"\s{2,}", line.strip()) for line in result.stdout.splitlines()]
    return {(row[0], row[1]): row[2:] for row in cells if len(row) > 2 and row[1].startswith("check_")}


def test_the_command_prints_a_row_for_each_check() -> None:
    result = run("none")
    assert result.exit_code == 0, result.output
    table = rows(result)
    assert list(table) == [("augmentation none", check.name) for check in checks_for(NoAugmentationSpec)]
    assert table.pop(("augmentation none", "check_other_seed_other_result"))[0] == "skipped"
    assert all(row == ["passed"] for row in table.values())
    assert f"{len(table) + 1} checks, 0 failed" in result.stdout


def test_a_failed_check_is_exit_status_1(tmp_path: Path) -> None:
    entry_points = f"[cryoreg.augmentations]\nnoise = support.broken_specs:{FAULTY_NOISE.__name__}\n"
    with fake_plugin(tmp_path, "my.plugin", entry_points=entry_points, modules={}):
        result = run("My-Plugin", "--set", "augmentation.strength=0.5")
    assert result.exit_code == 1
    failed = {key: row for key, row in rows(result).items() if row[0] == "failed"}
    assert list(failed) == [("augmentation noise", "check_shape_and_dtype_stay")]
    assert "float64" in result.stdout
    assert "1 failed" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent"], "no component and no package is called 'absent'; `cryoreg list` shows what is installed"),
        (["nonne"], "; did you mean 'none'?"),
        (["none", "--kind", "method"], "no method and no package is called 'none'"),
        (["mrc_folder"], "dataset.root: needed and not given; say --set dataset.root=..."),
        (["none", "--set", "augmentation.p=1"], "augmentation.p (argument): not a parameter of"),
        (["none", "--set", "training.epochs=1"], "--set training.epochs=1: begins with none of encoder, method"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    assert message in result.output
    assert result.output.count("\n") == 1


def test_a_name_or_a_package_is_selected(tmp_path: Path) -> None:
    home = "support.broken_specs"
    both = f"[cryoreg.encoders]\nnet = {home}:SoundEncoder\n[cryoreg.methods]\nnet = {home}:SoundMethod\n"
    with fake_plugin(tmp_path, "my-plugin", entry_points=both, modules={}):
        assert [(kind, c.dist) for kind, c in select("net")] == [("encoder", "my-plugin"), ("method", "my-plugin")]
        assert [kind for kind, _ in select("my_plugin")] == ["encoder", "method"]
        assert [kind for kind, _ in select("my-plugin:net", "method")] == ["method"]
        with fake_plugin(tmp_path / "other", "other", entry_points=both, modules={}):
            with pytest.raises(AmbiguousComponentError, match="'my-plugin:net' or 'other:net'"):
                select("net")
            assert [c.dist for _, c in select("other:net", "encoder")] == ["other"]


def test_a_package_of_commands_only_is_told_that_there_is_nothing_to_check(tmp_path: Path) -> None:
    entry_points = "[cryoreg.commands]\ngreet = absent:greet\n"
    with fake_plugin(tmp_path, "my-commands", entry_points=entry_points, modules={}):
        result = run("my-commands")
    assert result.exit_code == 1
    assert "my-commands brings commands only; there are checks of encoder, method" in result.output


# ---- plugins for tests ----


@pytest.mark.slow
def test_a_fake_plugin_is_there_for_a_time(tmp_path: Path) -> None:
    with fake_plugin(tmp_path) as info:
        assert sorted(file.name for file in info.iterdir()) == ["METADATA", "entry_points.txt"]
        component, spec = registry.find_spec("encoder", "fake")
        assert (component.dist, component.version) == ("fake-plugin", "1.0")
        assert {r.outcome for r in run_checks(spec)} == {"passed"}
    with pytest.raises(UnknownComponentError):
        registry.find("encoders", "fake")
    assert str(tmp_path) not in sys.path
    assert "fake_plugin_specs" not in sys.modules


# ---- other processes ----


def process() -> int:
    return os.getpid()


def die() -> None:
    os._exit(1)


def complain() -> None:
    raise ValueError("no\nwonder")


def test_jobs_are_done_in_one_other_process() -> None:
    first, second = elsewhere.elsewhere(process), elsewhere.elsewhere(process)
    assert first == second != os.getpid()


def test_what_goes_wrong_elsewhere_is_one_line() -> None:
    with pytest.raises(CheckFailed, match=r"^in a spawned process: ValueError: no wonder$"):
        elsewhere.elsewhere(complain)
    with pytest.raises(CheckFailed, match=r"^pickling it fails: .*lambda.*; keep"):
        elsewhere.elsewhere(process, lambda: 0)


def rank_of(rank: int) -> int:
    return distributed.get_rank()


def complain_on_the_first(rank: int) -> int:
    if rank == 0:
        raise ValueError("no wonder")
    return rank


def test_two_ranks_form_a_group_and_a_failure_leaves_nothing_behind() -> None:
    assert elsewhere.on_two_ranks(rank_of) == [0, 1]
    with pytest.raises(CheckFailed, match="ValueError: no wonder"):
        elsewhere.on_two_ranks(complain_on_the_first)
    assert elsewhere.on_two_ranks(rank_of) == [0, 1]


def miss_each_other(rank: int) -> None:
    """Fail to meet, as ranks do whose connection breaks: torch goes on counting groups where it was."""
    if rank == 0:
        distributed.destroy_process_group()
        distributed.init_process_group(
            "gloo", store=distributed.HashStore(), rank=0, world_size=2, timeout=timedelta(seconds=0.2)
        )


@pytest.mark.slow
def test_ranks_that_missed_each_other_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elsewhere, "TIMEOUT", 15.0)
    with pytest.raises(CheckFailed, match=r"in a spawned process: \w*Error: "):
        elsewhere.on_two_ranks(miss_each_other)
    monkeypatch.undo()
    assert elsewhere.on_two_ranks(rank_of) == [0, 1]


@pytest.mark.slow
def test_a_process_that_dies_or_hangs_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    before = elsewhere.elsewhere(process)
    with pytest.raises(CheckFailed, match="the process died"):
        elsewhere.elsewhere(die)
    after = elsewhere.elsewhere(process)
    assert after != before
    monkeypatch.setattr(elsewhere, "TIMEOUT", 0.5)
    with pytest.raises(CheckFailed, match="it does not end"):
        elsewhere.elsewhere(time.sleep, 60)
    monkeypatch.undo()
    assert elsewhere.elsewhere(process) != after


# ---- looking closer


def test_one_check_can_be_run_alone() -> None:
    assert [result.check.name for result in run_checks(NoAugmentationSpec(), "views_are_finite")] == [
        "check_views_are_finite"
    ]
    result = CliRunner().invoke(
        command, ["check", "none", "--kind", "augmentation", "--check", "check_views_are_finite"]
    )
    assert result.exit_code == 0, result.output
    assert "1 checks, 0 failed" in result.output
    with pytest.raises(ConfigError, match=r"no check of augmentations is called 'views_finite'; did you mean"):
        list(run_checks(NoAugmentationSpec(), "views_finite"))


def test_a_failed_check_keeps_its_traceback() -> None:
    [result] = run_checks(FAULTY_NOISE(), "shape_and_dtype_stay")
    assert isinstance(result.error, CheckFailed)
    assert result.error.__traceback__ is not None
    [sound] = run_checks(NoAugmentationSpec(), "views_are_finite")
    assert sound.error is None


def test_tracebacks_are_shown_on_demand(tmp_path: Path) -> None:
    module = """from cryoreg.encoders.specs import RB3DSpec


class Broken(RB3DSpec):
    def build(self):
        return 1 / 0
"""
    points = "[cryoreg.encoders]\nbroken = fake_plugin_specs:Broken\n"
    with fake_plugin(tmp_path, entry_points=points, modules={"fake_plugin_specs": module}):
        words = ["check", "broken", "--check", "build_returns_an_encoder"]
        plain, traced = (CliRunner().invoke(command, [*words, *more]) for more in ([], ["--traceback"]))
    assert plain.exit_code == traced.exit_code == 1
    assert "Traceback" not in plain.output
    assert "ZeroDivisionError" in traced.output
    assert "return 1 / 0" in traced.output


def test_a_method_that_returns_no_step_output_is_told_what_to_return() -> None:
    class OnlyLoss(nn.Module):
        def forward(self, views: list[object]) -> object:
            return nn.functional.relu(views[0]).mean()  # type: ignore[arg-type]

    with pytest.raises(CheckFailed, match=r"returns a Tensor; return StepOutput\(loss, features\)"):
        output_of(OnlyLoss(), [[torch.ones(1)]])
