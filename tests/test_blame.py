"""A package whose code raises at its work is named in one line, with the place; cryoreg's own faults stay visible."""

import importlib
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from cryoreg import registry
from cryoreg_cli.main import cryoreg as cli

MODULE = '''
from cryoreg.augmentations.specs import NoAugmentationSpec
from cryoreg.encoders.specs import RB3DSpec
from cryoreg.methods.specs import SimCLRSpec
from cryoreg.datasets.made_specs import DemoSpec


class EncoderSpec(RB3DSpec):
    """Raises where its features are asked for, in torch's code."""

    def build(self):
        network = super().build()
        network.forward_features = lambda x: x @ x[0, 0, 0, 0, :3]
        return network


class MethodSpec(SimCLRSpec):
    """Raises where it is built."""

    def build(self, encoder):
        return {}["oh"]


class AugmentationSpec(NoAugmentationSpec):
    """Raises where it is built."""

    def build(self):
        raise ValueError("no views today")


class DatasetSpec(DemoSpec):
    """Raises where a volume is read."""

    def load(self):
        return Reader(super().load())


class Reader:
    def __init__(self, data):
        self.data = data

    def __getattr__(self, name):
        if name == "data":
            raise AttributeError(name)
        return getattr(self.data, name)

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        raise ZeroDivisionError("read twice")


def optimizer(groups, lr, momentum):
    raise TypeError("groups, again")


def schedule(progress: float) -> float:
    return 1 / 0
'''
TARGETS = {
    **{f"{kind}s": f"{kind.title()}Spec" for kind in ("encoder", "method", "augmentation", "dataset")},
    **{f"{seam}s": seam for seam in ("optimizer", "schedule")},
}
ENTRIES = "".join(f"[cryoreg.{group}]\nbad = bad_specs:{target}\n" for group, target in TARGETS.items())


@pytest.fixture
def pretrain(fake_plugin: Callable[..., Path], tmp_path: Path) -> Callable[..., str]:
    fake_plugin("bad", ENTRIES, module=MODULE)
    usual = {"method": "simclr", "encoder": "rb3d", "augmentation": "none", "dataset": "demo"}

    def run(*options: str, **chosen: str | int) -> str:
        named = [part for key, value in (usual | chosen).items() for part in (f"--{key}", str(value))]
        demo = ["--set", "dataset.per_class=8", "--set", "dataset.box=16"]
        short = ["--epochs", "1", "--batch-size", "8", "--device", "cpu", "--run-dir", str(tmp_path / "run")]
        result = CliRunner().invoke(cli, ["pretrain", *named, *demo, *short, *options])
        assert result.exit_code == 1, result.output
        assert isinstance(result.exception, SystemExit)
        return result.stderr

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("encoder", "RuntimeError: "),
        ("method", "KeyError: 'oh' (in build, "),
        ("augmentation", "ValueError: no views today (in build, "),
        ("dataset", "ZeroDivisionError: read twice (in __getitem__, "),
    ],
)
def test_a_component_that_raises_is_named_with_the_place(pretrain: Callable[..., str], kind: str, message: str) -> None:
    error = pretrain(**{kind: "bad"}).splitlines()[-1]
    assert error.startswith(f"Error: bad 1.0 fails with {message}")
    assert "bad_specs.py line " in error
    assert error.endswith("); update or uninstall bad")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seam", "message"),
    [
        ("optimizer", "TypeError: groups, again (in optimizer, "),
        ("schedule", "ZeroDivisionError: division by zero (in schedule, "),
    ],
)
def test_so_is_a_function_of_a_seam(pretrain: Callable[..., str], seam: str, message: str) -> None:
    assert f"Error: bad 1.0 fails with {message}" in pretrain("--set", f"training.{seam}=bad")


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"workers": 1}, {"devices": 2}])
def test_so_it_is_in_processes_of_ours(pretrain: Callable[..., str], options: dict[str, int]) -> None:
    given = [part for key, value in options.items() for part in ("--set", f"training.{key}={value}")]
    error = pretrain(*given, "--set", "training.resident=false", dataset="bad")
    assert "Error: bad 1.0 fails with ZeroDivisionError: read twice" in error


def raised(call: Callable[[], object]) -> BaseException:
    with pytest.raises(Exception) as caught:
        call()
    return caught.value


def test_a_fault_of_our_own_is_not_blamed_on_a_package_that_calls_us(fake_plugin: Callable[..., Path]) -> None:
    module = "import cryoreg.turns\n\n\ndef ask(groups, lr, momentum):\n    cryoreg.turns.rotation_group(5)\n"
    fake_plugin("caller", "[cryoreg.optimizers]\nask = caller_specs:ask\n", module=module)
    error = raised(lambda: registry.find_part("optimizer", "ask")([], 0.1, 0.9))
    assert isinstance(error, KeyError)
    assert registry.blamed(error) is None


def test_what_no_package_asked_for_is_nobody_s_fault() -> None:
    assert registry.blamed(raised(lambda: torch.zeros(2, 3) @ torch.zeros(2, 3))) is None


@pytest.mark.parametrize(
    "raises",
    ["OSError('gone')", "FileNotFoundError('x')", "MemoryError()", "RuntimeError('CUDA out of memory.')",
     "cryoreg.errors.DataError('mend it')"],
)  # fmt: skip
def test_what_the_system_refuses_or_users_can_mend_is_nobody_s_fault(
    raises: str, fake_plugin: Callable[..., Path]
) -> None:
    module = f"import cryoreg.errors\n\n\ndef ask(groups, lr, momentum):\n    raise {raises}\n"
    fake_plugin("strict", "[cryoreg.optimizers]\nask = strict_specs:ask\n", module=module)
    assert registry.blamed(raised(lambda: registry.find_part("optimizer", "ask")([], 0.1, 0.9))) is None


def test_code_in_another_module_of_the_package_is_the_package_s(fake_plugin: Callable[..., Path], site: Path) -> None:
    fake_plugin("deep", "[cryoreg.optimizers]\ndeep = deep.encoders.specs:X\n")
    error = raised_in(site, "deep.layers")
    assert str(registry.blamed(error)).startswith("deep 1.0 fails with KeyError: 'oh' (in fail, ")


def test_a_name_that_two_packages_share_is_nobody_s_but_their_own_modules_are(
    fake_plugin: Callable[..., Path], site: Path
) -> None:
    fake_plugin("lab-a", "[cryoreg.optimizers]\na = lab.a:X\n")
    fake_plugin("lab-b", "[cryoreg.optimizers]\nb = lab.b:X\n")
    assert str(registry.blamed(raised_in(site, "lab.a"))).startswith("lab-a 1.0 fails")
    assert str(registry.blamed(raised_in(site, "lab.b"))).startswith("lab-b 1.0 fails")
    assert registry.blamed(raised_in(site, "lab.common")) is None


def test_an_entry_point_to_another_distribution_s_code_makes_nobody_its_owner(fake_plugin: Callable[..., Path]) -> None:
    fake_plugin("borrower", "[cryoreg.optimizers]\nradam = torch.nn:RAdam\n")
    assert registry.blamed(raised(lambda: torch.nn.Conv3d(1, 1, 3)(torch.zeros(2)))) is None


def raised_in(site: Path, module: str) -> BaseException:
    """Return what a function of a module raises that lies in a folder of packages."""
    file = site.joinpath(*module.split(".")).with_suffix(".py")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("def fail():\n    return {}['oh']\n")
    importlib.invalidate_caches()
    return raised(importlib.import_module(module).fail)


def test_the_traceback_goes_with_it_to_other_processes(fake_plugin: Callable[..., Path], site: Path) -> None:
    fake_plugin("far", "[cryoreg.optimizers]\nfar = far.code:X\n")
    sent = pickle.loads(pickle.dumps(registry.blamed(raised_in(site, "far.code"), carried=True)))
    assert str(sent).startswith("far 1.0 fails with KeyError: 'oh'")
    assert "return {}['oh']" in "".join(sent.__notes__)


COMMANDS = """
import click


@click.command()
@click.argument("how")
@click.pass_context
def odd(ctx, how):
    if how == "usage":
        raise click.UsageError("say it otherwise")
    if how == "message":
        raise click.ClickException("mend this")
    if how == "abort":
        ctx.abort()
    if how == "bug":
        return {}["oh"]
    ctx.exit(int(how))
"""


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("usage", 2, "Error: say it otherwise\n"),
        ("message", 1, "Error: mend this\n"),
        ("abort", 1, "Aborted!\n"),
        ("0", 0, ""),
        ("3", 3, ""),
        ("bug", 1, "update or uninstall cmd\n"),
    ],
)
def test_what_a_command_of_a_package_says_by_click_stays(
    how: str, code: int, said: str, fake_plugin: Callable[..., Path]
) -> None:
    fake_plugin("cmd", "[cryoreg.commands]\nodd = cmd_specs:odd\n", module=COMMANDS)
    result = CliRunner().invoke(cli, ["odd", how])
    assert (result.exit_code, result.stderr[-len(said) :] if said else result.stderr) == (code, said)
    assert ("cmd 1.0 fails with KeyError: 'oh' (in odd, " in result.stderr) == (how == "bug")
