"""A package whose code raises at its work is named in one line, with the place; cryoreg's own faults stay visible."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from cryoreg import registry
from cryoreg_cli.main import cryoreg as cli

pytestmark = pytest.mark.slow

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
ENTRIES = """
[cryoreg.encoders]
bad = bad_specs:EncoderSpec
[cryoreg.methods]
bad = bad_specs:MethodSpec
[cryoreg.augmentations]
bad = bad_specs:AugmentationSpec
[cryoreg.datasets]
bad = bad_specs:DatasetSpec
[cryoreg.optimizers]
bad = bad_specs:optimizer
[cryoreg.schedules]
bad = bad_specs:schedule
"""


@pytest.fixture
def pretrain(fake_plugin: Callable[..., Path], tmp_path: Path) -> Callable[..., str]:
    fake_plugin("bad", ENTRIES, module=MODULE)
    usual = {
        "method": "simclr", "encoder": "rb3d", "augmentation": "none", "dataset": "demo",
    }  # fmt: skip

    def run(*options: str, **chosen: str | int) -> str:
        named = [part for key, value in (usual | chosen).items() for part in (f"--{key}", str(value))]
        demo = ["--set", "dataset.per_class=8", "--set", "dataset.box=16"]
        short = ["--epochs", "1", "--batch-size", "8", "--device", "cpu", "--run-dir", str(tmp_path / "run")]
        result = CliRunner().invoke(cli, ["pretrain", *named, *demo, *short, *options])
        assert result.exit_code == 1, result.output
        assert isinstance(result.exception, SystemExit)
        return result.stderr

    return run


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


@pytest.mark.parametrize(
    ("seam", "message"),
    [
        ("optimizer", "TypeError: groups, again (in optimizer, "),
        ("schedule", "ZeroDivisionError: division by zero (in schedule, "),
    ],
)
def test_so_is_a_function_of_a_seam(pretrain: Callable[..., str], seam: str, message: str) -> None:
    assert f"Error: bad 1.0 fails with {message}" in pretrain("--set", f"training.{seam}=bad")


@pytest.mark.parametrize("options", [{"workers": 1}, {"devices": 2}])
def test_so_it_is_in_processes_of_ours(pretrain: Callable[..., str], options: dict[str, int]) -> None:
    given = [part for key, value in options.items() for part in ("--set", f"training.{key}={value}")]
    error = pretrain(*given, "--set", "training.resident=false", dataset="bad")
    assert "Error: bad 1.0 fails with ZeroDivisionError: read twice" in error


def test_a_fault_of_our_own_is_not_blamed_on_a_package_that_calls_us(fake_plugin: Callable[..., Path]) -> None:

    module = "import cryoreg.turns\n\n\ndef ask(groups, lr, momentum):\n    cryoreg.turns.rotation_group(5)\n"
    fake_plugin("caller", "[cryoreg.optimizers]\nask = caller_specs:ask\n", module=module)
    with pytest.raises(KeyError) as caught:
        registry.find_part("optimizer", "ask")([], 0.1, 0.9)
    assert registry.blamed(caught.value) is None


def test_what_no_package_asked_for_is_nobody_s_fault() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.zeros(2, 3) @ torch.zeros(2, 3)
    assert registry.blamed(caught.value) is None
