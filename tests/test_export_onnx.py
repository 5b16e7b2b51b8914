"""`cryoreg export`: ONNX against torch through another library, safetensors against what was saved."""

from __future__ import annotations

import functools
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.torch
import torch
from click.testing import CliRunner
from monai.networks import nets
from monai.networks.nets.resnet import ResNetBottleneck, get_inplanes
from support.encoding import default_spec, smallest_edge, volumes
from support.untrained import make_run
from torch import nn

from cryoreg import registry
from cryoreg.contracts import Encoder
from cryoreg.encoders import densenet
from cryoreg.encoders.specs import ViTTinySpec
from cryoreg.errors import CheckpointError
from cryoreg.inference.onnx_export import CARD_KEY, SeparablePool, export_onnx
from cryoreg.inference.trained import Trained
from cryoreg.runs.networks import Network, open_network
from cryoreg.runs.weights import load_weights, save_weights
from cryoreg_cli.main import cryoreg as command

SMALL = {"rb3d": {"width": 4}}
SAME_LAYERS = {"resnet18_3d", "resnet34_3d", "vit_small_3d"}
"""As another encoder has. All built-in encoders can be written as ONNX (tried once with torch 2.14)."""
ENCODERS = [
    component.name
    for component in registry.components("encoders")
    if component.builtin and component.name not in SAME_LAYERS
]


@pytest.fixture
def run(tmp_path):
    make_run(tmp_path / "run", width=4)
    return tmp_path / "run"


def cryoreg(*words):
    result = CliRunner().invoke(command, ["export", *(str(word) for word in words)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def raw(batch, box=8, seed=3):
    """Volumes as a camera has them: of any mean and scale."""
    scale = np.random.default_rng(seed).uniform(0.1, 50, (batch, 1, 1, 1, 1)).astype(np.float32)
    return scale * volumes(batch, (box,) * 3, seed).numpy() + 7 * scale


def z_scored(x):
    axes = (1, 2, 3, 4)
    return torch.from_numpy((x - x.mean(axes, keepdims=True)) / x.std(axes, keepdims=True))


def opened(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def answer(session, x):
    made = session.run(None, {"volumes": x})
    return dict(zip((output.name for output in session.get_outputs()), made, strict=True))


def close(found, wanted):
    wanted = wanted.detach().numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max(), rtol=0)


@pytest.fixture
def _shallow(monkeypatch):
    """Let the deepest encoders have two blocks or one in each stage: a graph of layers of the same kinds."""
    one_each = ResNetBottleneck, [1, 1, 1, 1], get_inplanes()
    monkeypatch.setattr(nets, "resnet50", functools.partial(nets.ResNet, *one_each))
    monkeypatch.setattr(densenet, "DenseNet121", functools.partial(nets.DenseNet121, block_config=(2, 2, 2, 2)))
    monkeypatch.setattr(densenet.DenseNet3D, "num_features", 128)
    monkeypatch.setattr(ViTTinySpec, "size", (192, 2, 3))


@pytest.mark.slow
@pytest.mark.usefixtures("_shallow")
@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_gives_torchs_features_of_raw_volumes_for_any_batch(name, tmp_path):
    edge = max(8, smallest_edge(default_spec(name)))
    encoder = make_run(tmp_path / "run", name, edge, classifier=False, **SMALL.get(name, {})).encoder
    status, output = cryoreg(tmp_path / "run", "--output", tmp_path / "e.onnx")
    assert status == 0, output
    session = opened(tmp_path / "e.onnx")
    for batch in (1, 2, 5):
        x = raw(batch, edge)
        with torch.no_grad():
            close(answer(session, x)["features"], encoder(z_scored(x)))


@pytest.mark.slow
def test_a_classifier_has_logits_and_features_and_its_card(run, tmp_path):
    status, output = cryoreg(run, "--classifier", "--format", "onnx", "--output", tmp_path / "c.model")
    assert status == 0, output
    assert "logits, real volumes: differ by at most" in output
    assert "features, random volumes: differ by at most" in output
    x = raw(3)
    found = answer(opened(tmp_path / "c.model"), x)
    logits, features = Trained.classifier(run).module.classify(z_scored(x))
    close(found["logits"], logits)
    close(found["features"], features)
    properties = {entry.key: entry.value for entry in onnx.load(tmp_path / "c.model").metadata_props}
    assert json.loads(properties[CARD_KEY]) == load_weights(run / "classifier.safetensors").card
    assert "raw volumes" in properties["input"]


@pytest.mark.slow
def test_the_python_of_the_page_runs(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cryoreg(run, "--classifier", "--output", "classifier.onnx")[0] == 0
    page = (Path(__file__).parents[1] / "docs" / "export.md").read_text("utf-8")
    names = {"volumes": raw(2)}
    exec(page.partition("```python\n")[2].partition("```")[0], names)
    assert names["logits"].shape == (2, 2)
    assert names["features"].shape == (2, names["card"]["num_features"])


@pytest.mark.slow
def test_without_normalisation_and_with_a_fixed_batch(run, tmp_path):
    status, output = cryoreg(run, "--output", tmp_path / "e.onnx", "--batch", "2", "--no-normalisation")
    assert status == 0, output
    x = raw(2)
    close(answer(opened(tmp_path / "e.onnx"), x)["features"], open_network(run, "encoder").encoder(torch.from_numpy(x)))
    assert onnx.load(tmp_path / "e.onnx").graph.input[0].type.tensor_type.shape.dim[0].dim_value == 2


@pytest.mark.parametrize(
    ("box", "size"), [((5, 7, 8), 2), ((8, 8, 8), (4, 2, 2)), ((3, 4, 5), 1), ((3, 5, 9), (None, 4, 5))]
)
def test_the_separable_pool_is_torchs(box, size):
    x = volumes(2, box)
    torch.testing.assert_close(SeparablePool(size)(x), nn.AdaptiveAvgPool3d(size)(x))


class Twofaced(Encoder):
    """Gives something else in a graph."""

    num_features = 3

    def forward_features(self, x):
        return x

    def forward(self, x):
        return x.flatten(1)[:, :3] * (1.01 if torch.compiler.is_exporting() else 1)


class Branching(Twofaced):
    """Depends on a value of its input, which no graph can."""

    def forward(self, x):
        return x.flatten(1)[:, :3] if x.mean() > 0 else x.flatten(1)[:, 3:6]


@pytest.mark.slow
@pytest.mark.parametrize(("module", "said"), [(Twofaced(), "gives other features"), (Branching(), "cannot be written")])
def test_what_onnx_cannot_do_is_one_line_and_writes_nothing(run, tmp_path, module, said):
    path = run / "encoder.safetensors"
    network = Network(path, load_weights(path).card, {}, module, None)
    with pytest.raises(CheckpointError, match=said) as error:
        export_onnx(network, tmp_path / "e.onnx")
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("*.onnx"))


def test_safetensors_is_what_the_run_has_and_opens_as_a_run_does(run, tmp_path):
    (tmp_path / "card.json").write_text("mine")
    assert cryoreg(run, "--output", tmp_path / "e.safetensors")[0] == 0
    found, wanted = (safetensors.torch.load_file(p) for p in (tmp_path / "e.safetensors", run / "encoder.safetensors"))
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert (tmp_path / "card.json").read_text() == "mine"
    np.testing.assert_array_equal(
        Trained.encoder(tmp_path / "e.safetensors").features(), Trained.encoder(run).features()
    )


def test_half_rounds_weights_and_says_what_that_changes(run, tmp_path):
    status, output = cryoreg(run, "--output", tmp_path / "h.safetensors", "--half", "--classifier")
    assert status == 0, output
    tensors, card = load_weights(tmp_path / "h.safetensors")
    before = load_weights(run / "classifier.safetensors").tensors
    assert card["dtype"] == "float16"
    assert all(tensor.dtype == torch.float16 for tensor in tensors.values())
    assert all(torch.equal(tensors[name], before[name].half()) for name in before)
    x = z_scored(np.stack([Trained.encoder(run).dataset[i].volume.numpy() for i in (0, 2, 3, 5)]))
    logits = [Trained.classifier(p).module.classify(x).logits.detach() for p in (tmp_path / "h.safetensors", run)]
    said = next(line for line in output.splitlines() if "logits, real volumes" in line)
    assert 0 < float((logits[0] - logits[1]).abs().max()) < 2e-2
    assert "(0 of the largest)" not in said


def test_a_weight_that_float16_cannot_hold_is_refused(run, tmp_path):
    tensors, card = load_weights(run / "encoder.safetensors")
    tensors["conv1.bias"][0] = 1e6
    save_weights(run / "encoder.safetensors", tensors, card)
    status, output = cryoreg(run, "--output", tmp_path / "h.safetensors", "--half")
    assert (status, output.count("\n")) == (1, 1)
    assert "float16 cannot hold" in output


@pytest.mark.slow
def test_without_its_data_it_is_checked_on_random_volumes(run, tmp_path):
    shutil.rmtree(tmp_path / "run-data")
    status, output = cryoreg(run, "--output", tmp_path / "e.onnx")
    assert status == 0, output
    assert "checked on random volumes only" in output
    assert "real volumes:" not in output


BAD = {
    "no such run": (["nowhere", "--output", "e.onnx"], "nowhere"),
    "no format": (["run", "--output", "e.bin"], "neither .safetensors nor .onnx"),
    "half of ONNX": (["run", "--output", "e.onnx", "--half"], "--half is for safetensors"),
    "ONNX for others": (["run", "--output", "e.onnx", "--portable"], "--portable is for safetensors"),
    "batch of safetensors": (["run", "--output", "e.safetensors", "--batch", "3"], "are for ONNX"),
    "normalisation of safetensors": (["run", "--output", "e.safetensors", "--no-normalisation"], "are for ONNX"),
    "exists": (
        ["run", "--output", "there.onnx"],
        "exists already; choose another name or say --overwrite",
    ),
    "a folder": (["run", "--output", "run-data", "--format", "onnx"], "is a folder"),
    "no folder": (["run", "--output", "no/e.onnx"], "make it first"),
    "its own file": (["run", "--output", "run/encoder.safetensors", "--overwrite"], "never changed"),
    "its run's file": (["run", "--output", "run/classifier.safetensors", "--overwrite"], "never changed"),
    "no classifier": (["pre", "--classifier", "--output", "c.onnx"], "encoder without a classifier"),
    "an encoder's file": (
        ["pre/encoder.safetensors", "--classifier", "--output", "c.onnx"],
        "an encoder without a classifier",
    ),
    "a classifier's file": (["run/classifier.safetensors", "--output", "c.onnx"], "something else"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_writes_nothing(run, tmp_path, monkeypatch, name):
    words, expected = BAD[name]
    make_run(tmp_path / "pre", width=4, classifier=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.onnx").write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    status, output = cryoreg(*words)
    assert (status, output.count("\n")) == (1, 1), output
    assert expected in output
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("library", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_library_is_named(run, tmp_path, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    status, output = cryoreg(run, "--output", tmp_path / "e.onnx")
    assert (status, output.count("\n")) == (1, 1)
    assert f'needs {library}; pip install "cryoreg[onnx]"' in output
