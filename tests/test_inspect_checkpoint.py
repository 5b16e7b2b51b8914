"""`cryoreg inspect` of what a run leaves, when the plugin that made it is gone."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from click.testing import CliRunner, Result
from support.mrc_writing import state
from support.synthetic import write_classes
from support.untrained import make_run

import cryoreg
from cryoreg import registry
from cryoreg.errors import UnknownComponentError
from cryoreg.runs import checkpoint
from cryoreg.runs.weights import load_weights, save_weights, write_weights
from cryoreg.testing import fake_plugin
from cryoreg_cli.main import cryoreg as command

MODULE = '''
from pydantic import Field

from cryoreg.specs import EncoderSpec, MethodSpec


class Net(EncoderSpec):
    """A network from elsewhere."""

    width: int = Field(3, description="filters")

    def build(self):
        from gone_modules import Network

        return Network(self.width)


class Energy(MethodSpec):
    """A method from elsewhere."""

    weight: float = Field(0.5, description="of the term")

    def build(self, encoder):
        from gone_modules import EnergyMethod

        return EnergyMethod(encoder, self.weight)
'''
NETWORKS = """
import torch
from torch import nn

from cryoreg.contracts import Encoder, Method, StepOutput


class Network(Encoder):
    def __init__(self, width):
        super().__init__()
        self.num_features = width
        self.convolution = nn.Conv3d(1, width, 3)

    def forward_features(self, x):
        return self.convolution(x)

    def forward(self, x):
        return self.forward_features(x).mean((2, 3, 4))


class EnergyMethod(Method):
    def __init__(self, encoder, weight):
        super().__init__()
        self.encoder, self.weight = encoder, weight

    def forward(self, views):
        first, second = (self.encoder(view).float() for view in views)
        return StepOutput(self.weight * (first - second).square().mean(), first.detach())
"""
ENTRY_POINTS = "[cryoreg.encoders]\nnet = gone_specs:Net\n[cryoreg.methods]\nenergy = gone_specs:Energy\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with encoder and method of a plugin, `gone` 2.5, which is then removed."""
    folder = tmp_path_factory.mktemp("gone")
    data = write_classes(folder / "data", per_class=6)
    modules = {"gone_specs": MODULE, "gone_modules": NETWORKS}
    with fake_plugin(folder / "site", "gone", version="2.5", entry_points=ENTRY_POINTS, modules=modules):
        cryoreg.pretrain(
            folder / "run",
            method={"name": "energy", "weight": 0.25},
            encoder={"name": "net", "width": 4},
            dataset={"name": "mrc_folder", "root": data},
            **{"epochs": 1, "batch_size": 4, "device": "cpu"},
        )
    with pytest.raises(UnknownComponentError):
        registry.find_spec("method", "gone:energy")
    return folder / "run"


def inspected(path: Path, *options: str) -> Result:
    """Run the command on ``path``; assert that it changes nothing and has no fault of its own."""
    before = state(path)
    result = CliRunner().invoke(command, ["inspect", str(path), *options])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert state(path) == before
    return result


def told(path: Path) -> dict[str, Any]:
    """Return the first file's record."""
    return json.loads(inspected(path, "--json").stdout)["files"][0]


FILES = [".", "encoder.safetensors", "checkpoints/last.ckpt", "config.toml"]


@pytest.mark.parametrize("name", FILES)
def test_components_packages_and_parameters_need_no_plugin(run: Path, name: str) -> None:
    record = told(run / name)
    found = {part["section"]: part for part in record["components"]}
    assert found["encoder"] == {
        "section": "encoder",
        "name": "gone:net",
        "package": "gone",
        "version": "2.5",
        "parameters": {"width": 4},
        "here": None,
    }
    assert (found["method"]["name"], found["method"]["parameters"]) == ("gone:energy", {"weight": 0.25})
    assert (found["augmentation"]["package"], found["augmentation"]["here"]) == ("cryoreg", cryoreg.__version__)
    assert record["task"] == "pretrain"
    assert record["settings"]["training"]["batch_size"] == 4
    written = datetime.fromisoformat(record["created"])
    assert timedelta() <= datetime.now(UTC) - written < timedelta(minutes=30)


@pytest.mark.parametrize("name", FILES[:-1])
def test_data_and_origin_of_the_weights(run: Path, name: str) -> None:
    record = told(run / name)
    assert (record["cryoreg"], record["complaint"], record["checksum"]) == (cryoreg.__version__, "", True)
    assert record["data"]["voxel_size"] == 10
    assert record["data"]["box"] == [8, 8, 8]
    assert record["data"]["subtomograms"] == 12
    assert record["data"]["normalisation"] == "per-volume z-score"
    assert record["tensors"] == 2
    assert record["numbers"] == 4 * 27 + 4
    loss = float((run / "metrics.csv").read_text().splitlines()[1].split(",")[2])
    assert loss in [pytest.approx(value, rel=1e-6) for value in record["metrics"].values()]


def test_as_text_for_a_reader(run: Path) -> None:
    result = inspected(run)
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert "method gone:energy, from gone 2.5, not installed here: python -m pip install 'gone==2.5'" in lines
    assert "width = 4" in lines
    assert "checksum sound: its SHA-256 matches" in lines
    assert "voxel size 10 Å" in lines
    assert "box 8×8×8 voxels (z, y, x)" in lines
    assert f"file {run}/checkpoints/last.ckpt: sound: its SHA-256 matches" in lines
    assert f"augmentation gupta2022, from cryoreg {cryoreg.__version__}" in lines


def test_in_a_process_that_never_saw_the_plugin(run: Path, cryoreg_process: Callable) -> None:
    result = cryoreg_process("inspect", str(run / "encoder.safetensors"))
    assert (result.returncode, result.stderr) == (0, "")
    assert "gone 2.5" in result.stdout


def test_another_version_of_the_package_is_told(run: Path, tmp_path: Path) -> None:
    with fake_plugin(tmp_path, "gone", version="3.0"):
        assert {part["here"] for part in told(run)["components"] if part["package"] == "gone"} == {"3.0"}
        assert "from gone 2.5; here it is 3.0" in inspected(run).stdout


def test_a_fine_tuned_run_has_classes_and_evaluations(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    (tmp_path / "run" / "evaluation_test.json").write_text('{"accuracy": 0.75, "macro_f1": 0.5, "part": "test"}')
    (tmp_path / "run" / "evaluation_val.json").write_text("damaged")
    lines = [" ".join(line.split()) for line in inspected(tmp_path / "run").stdout.splitlines()]
    assert "classes 2: class0, class1" in lines
    assert "on test accuracy = 0.75, macro_f1 = 0.5" in lines


# ---- damage


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be damaged."""
    return Path(shutil.copytree(run, tmp_path / "run"))


def flip(path: Path, where: bytes) -> None:
    """Change a bit of a tensor, which the file formats themselves do not notice."""
    data = bytearray(path.read_bytes())
    place = data.index(where)
    data[place] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["encoder.safetensors", "checkpoints/last.ckpt"])
def test_a_flipped_bit_is_told_beside_the_origin(copy: Path, name: str) -> None:
    bias = load_weights(copy / "encoder.safetensors").tensors["convolution.bias"]
    flip(copy / name, bias.numpy().tobytes())
    for path in (copy / name, copy):
        result = inspected(path)
        assert result.exit_code == 1
        assert "NOT SOUND" in result.stdout
        assert "checksum does not match" in result.stdout
        assert "gone 2.5" in result.stdout
        assert not json.loads(inspected(path, "--json").stdout)["sound"]
    result = inspected(copy / "config.toml")
    assert (result.exit_code, "NOT SOUND" in result.stdout) == (0, False)


@pytest.mark.parametrize("name", ["encoder.safetensors", "checkpoints/last.ckpt"])
def test_a_truncated_file_is_one_line_and_hides_no_other(copy: Path, name: str) -> None:
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: len(content) // 2])
    alone = inspected(copy / name)
    assert (alone.exit_code, alone.stdout, alone.stderr.count("\n")) == (1, "", 1)
    assert name in alone.stderr
    whole = inspected(copy)
    assert whole.exit_code == 1
    assert f"{name}: NOT SOUND" in whole.stdout
    assert "gone 2.5" in whole.stdout


def write_evil(path: Path, marker: Path) -> None:
    """Write a checkpoint with a proper checksum whose unpickling would touch ``marker``."""

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (marker,)

    buffer = io.BytesIO()
    torch.save({"format": checkpoint.FORMAT, "module": {}, "config": Evil()}, buffer)
    path.write_bytes(checkpoint._with_checksum(buffer.getvalue()))


@pytest.mark.parametrize("name", ["evil.ckpt", "evil.pth.tar", "run/checkpoints/last.ckpt"])
def test_nothing_in_a_file_is_executed(tmp_path: Path, name: str) -> None:
    path, marker = tmp_path / name, tmp_path / "executed"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_evil(path, marker)
    result = inspected(tmp_path / "run" if "run" in name else path)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists(), "the file would not have done any harm"


def foreign(path: Path) -> None:
    safetensors.torch.save_file({"a": torch.zeros(2)}, path)


REFUSED = {
    "absent file": ("a.ckpt", lambda p: None, "no such file"),
    "empty checkpoint": ("last.ckpt", Path.touch, "truncated, or not a cryoreg checkpoint"),
    "empty weights": ("encoder.safetensors", Path.touch, "cannot read weights"),
    "weights of other code": ("model.safetensors", foreign, "not exported by cryoreg"),
    "empty lab checkpoint": ("lab.pth.tar", Path.touch, "lab.pth.tar"),
    "no TOML": ("config.toml", lambda p: p.write_text("= 3"), "cannot read config"),
    "bytes for TOML": ("config.toml", lambda p: p.write_bytes(b"\xff\xfe"), "cannot read config"),
    "run without anything": ("run/config.toml", lambda p: p.parent.mkdir() or p.touch(), "holds no run"),
}


@pytest.mark.parametrize(("name", "write", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_record_is_one_line(tmp_path: Path, name: str, write: Callable[[Path], Any], words: str) -> None:
    path = tmp_path / name
    write(path)
    result = inspected(path.parent if "/" in name else path)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert result.stderr.startswith("Error: ")
    assert words in result.stderr


def test_a_checkpoint_of_other_code_says_that_it_records_nothing(tmp_path: Path) -> None:
    torch.save({"state_dict": {"conv1.weight": torch.zeros(4, 1, 3, 3, 3)}}, tmp_path / "model.pth.tar")
    text = inspected(tmp_path / "model.pth.tar").stdout
    assert "checkpoint of other code, which records no origin" in text
    assert "108 numbers in 1 tensors, float32" in text


STRANGE: dict[str, Any] = {
    "a list": [1, 2],
    "a text": "card",
    "config a list": {"config": [1]},
    "section a number": {"config": {"encoder": 3, "packages": 4}},
    "names no texts": {"config": {"encoder": {"name": [1]}, "packages": {"encoder": 5}}, "classes": 7, "cryoreg": 3},
    "data strange": {"box": {"a": 1}, "voxel_size": "big", "metrics": [1], "classes": [[1], None]},
}


@pytest.mark.parametrize("card", STRANGE.values(), ids=STRANGE)
def test_a_strange_card_with_a_proper_checksum_is_no_traceback(tmp_path: Path, card: Any) -> None:
    write_weights(tmp_path / "a.safetensors", {"a": torch.zeros(2)}, card)
    for options in ((), ("--json",)):
        result = inspected(tmp_path / "a.safetensors", *options)
        assert result.exit_code == 0
        assert "Traceback" not in result.stdout + result.stderr


@pytest.mark.parametrize("content", [{"config": torch.zeros(2)}, {1: 2, "config": {3: {"name": b"\xff"}}}, {}])
def test_a_strange_checkpoint_is_no_traceback(tmp_path: Path, content: dict) -> None:
    checkpoint.save_checkpoint(tmp_path / "a.ckpt", {"module": {}, **content})
    assert inspected(tmp_path / "a.ckpt").exit_code == 0
    assert inspected(tmp_path / "a.ckpt", "--json").exit_code == 0


def test_a_checkpoint_that_holds_itself_is_one_line(tmp_path: Path) -> None:
    loop: list[Any] = []
    loop.append(loop)
    checkpoint.save_checkpoint(tmp_path / "a.ckpt", {"module": {}, "config": loop})
    result = inspected(tmp_path / "a.ckpt")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "no record that can be shown" in result.stderr


def test_a_file_does_not_steer_the_terminal(copy: Path) -> None:
    tensors, card = load_weights(copy / "encoder.safetensors")
    card["config"]["encoder"]["name"] = "net\x1b[2J\x07\r\n‮"
    save_weights(copy / "encoder.safetensors", tensors, card)
    text = inspected(copy).stdout
    assert r"net\x1b[2J\x07\r\n" in text
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f‮]", text)
