"""Trained weights as components: their names, what a run takes from them, what it records."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from support.synthetic import write_classes
from support.untrained import make_run

import cryoreg
from cryoreg import registry
from cryoreg.config import Layer, check_same_run, read_toml, resolve
from cryoreg.config.recipes import recipe_layer
from cryoreg.config.starts import start_of
from cryoreg.errors import (
    AmbiguousComponentError,
    BrokenComponentError,
    CheckpointError,
    ConfigError,
    UnknownComponentError,
)
from cryoreg.inference.trained import Trained
from cryoreg.runs.networks import first_encoder, open_network
from cryoreg.runs.records import read_record
from cryoreg.runs.starts import with_start
from cryoreg.runs.weights import weights_file
from cryoreg.weights.specs import RB3DUniverseSpec
from cryoreg.weights_header import read_card

Install = Callable[..., Path]
NAME = "rb3d_universe"
FAST = {"epochs": 1, "batch_size": 4, "device": "cpu", "precision": "fp32", "workers": 0}
SPEC = '''
from typing import ClassVar
from cryoreg.weights.specs import FileWeightsSpec

class Mine(FileWeightsSpec):
    """A small network.

    For tests.
    """

    file: ClassVar[str] = "mine.safetensors"
    license: ClassVar[str] = "MIT"
    evaluated: ClassVar[str] = "on nothing"
'''


def layer(**sections: object) -> Layer:
    return Layer("test", sections)


def started(*layers: Layer, task: str = "finetune", recipe: list[Layer] | None = None):
    return resolve(task, with_start(task, list(layers), recipe or []))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run of a narrow network leaves; its data are known to be of 10 Å, bright."""
    folder = tmp_path_factory.mktemp("weights")
    data = write_classes(folder / "data", per_class=3, box=8)
    dataset = {"name": "mrc_folder", "root": str(data), "voxel_size": 10.0, "contrast": "bright"}
    make_run(folder / "run", dataset=dataset, classifier=False, width=4)
    return folder / "run"


@pytest.fixture
def install(fake_plugin: Install, run: Path, site: Path) -> Callable[[str], Path]:
    """Return a function that installs a package with these weights, called "mine"; it returns their file."""

    def installed(dist: str) -> Path:
        module = f"{dist.replace('-', '_')}_specs"
        fake_plugin(dist, f"[cryoreg.weights]\nmine = {module}:Mine\n", module=SPEC, version="2.5")
        return Path(shutil.copy(run / "encoder.safetensors", site / "mine.safetensors"))

    return installed


def test_an_encoder_by_name_has_the_files_tensors_in_float32() -> None:
    stored = safetensors.torch.load_file(RB3DUniverseSpec.path())
    assert stored["conv1.weight"].dtype == torch.float16
    for encoder in (
        cryoreg.create_encoder(pretrained=NAME),
        cryoreg.create_encoder("rb3d", pretrained=True),
        RB3DUniverseSpec().build(),
        open_network(NAME).encoder,
    ):
        own = encoder.state_dict()
        assert own.keys() == stored.keys()
        assert all(torch.equal(own[name], tensor.to(own[name].dtype)) for name, tensor in stored.items())
        assert own["conv1.weight"].dtype == torch.float32


def test_a_card_is_read_without_torch_as_safetensors_reads_it() -> None:
    with safetensors.safe_open(RB3DUniverseSpec.path(), "pt") as file:
        assert read_card(RB3DUniverseSpec.path()) == json.loads(file.metadata()["card"])
    code = f"import sys; from cryoreg.weights.specs import {RB3DUniverseSpec.__name__} as spec; spec.facts()"
    code += "; print({'torch', 'numpy', 'safetensors'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no weights file"), (b"", "cannot read"), (b"\xff" * 20, "begin as safetensors"), (b"[]", "cannot read")],
)
def test_a_header_that_is_none_is_one_line(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=words):
        read_card(tmp_path / "w.safetensors")


def test_own_weights_need_an_encoder_that_has_some() -> None:
    with pytest.raises(ConfigError, match="'rb3d_fc' has no trained weights of its own"):
        cryoreg.create_encoder("rb3d_fc", pretrained=True)
    with pytest.raises(ConfigError, match="name the encoder"):
        cryoreg.create_encoder(pretrained=True)
    with pytest.raises(CheckpointError, match="norm = 'batch', not 'none'"):
        cryoreg.create_encoder("rb3d", pretrained=NAME, norm="none")


def test_a_bare_word_that_is_a_name_is_never_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / NAME).mkdir()
    assert start_of(NAME) == NAME
    assert start_of(f"./{NAME}") == start_of(Path(NAME)) == Path(NAME)
    assert start_of("other") == Path("other")
    assert weights_file(NAME) == RB3DUniverseSpec.path()
    assert weights_file(f"./{NAME}") == Path(NAME) / "encoder.safetensors"


def test_names_serve_where_a_network_is_asked_for_data(tmp_path: Path) -> None:
    data = write_classes(tmp_path / "data", per_class=2, box=8)
    source = layer(dataset={"name": "mrc_folder", "root": str(data)}, training={"device": "cpu", "workers": 0})
    assert Trained.encoder(NAME, [source]).features().shape == (4, 256)


def test_an_unknown_word_comes_with_suggestions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    expected = "no file or folder 'rb3d_univers', and unknown weights 'rb3d_univers'; did you mean 'rb3d_universe'?"
    for use in (lambda: started(layer(training={"pretrained": "rb3d_univers"})), lambda: open_network("rb3d_univers")):
        with pytest.raises(UnknownComponentError) as error:
            use()
        assert str(error.value).startswith(expected)


def test_finetuning_starts_from_the_encoders_own_weights() -> None:
    config = started()
    assert config.training.pretrained == NAME
    assert config.sources["training.pretrained"] == "default"
    assert config.spec("encoder").norm == "batch"
    assert (config.training.optimizer, config.training.lr) == ("adamw", 3e-4)
    assert config.choices["augmentation"].component.name == "cryoet"
    assert (config.input.voxel_size, config.input.box, config.input.contrast) == (20, (16, 16, 16), "bright")
    assert config.choices["dataset"].component.name == "demo", "never the data that the weights were trained on"
    assert config.packages()["weights"] == f"cryoreg {cryoreg.__version__}"


FITTING = [{"encoder": {"name": "rb3d"}}, {"encoder": {"norm": "batch"}}, {"training": {"epochs": 3}}]
OTHER = [
    {"encoder": {"name": "rb3d_fc"}},
    {"encoder": {"width": 4}},
    {"encoder": {"norm": "none"}},
    {"training": {"pretrained": "scratch"}},
]


@pytest.mark.parametrize(("values", "start"), [*((v, NAME) for v in FITTING), *((v, "scratch") for v in OTHER)])
def test_another_encoder_starts_from_random_weights(values: dict, start: str) -> None:
    config = started(layer(**values))
    assert config.training.pretrained == start
    assert ("weights" in config.packages()) == (start == NAME)
    assert config.training.optimizer == ("adamw" if start == NAME else "sgd")


def test_an_encoder_with_other_weights_of_its_own_starts_from_these(install, monkeypatch) -> None:
    install("my-weights")
    monkeypatch.setattr("cryoreg.encoders.specs.RB3DSpec.default_weights", "mine")
    config = started()
    assert (config.training.pretrained, config.spec("encoder").width) == ("my-weights:mine", 4)
    monkeypatch.setattr("cryoreg.encoders.specs.RB3DSpec.default_weights", "nowhere")
    assert started().training.pretrained == "scratch", "a package that is not installed offers none"


def test_options_may_be_of_components_that_the_weights_recipe_brings() -> None:
    """As cryoet's error tells users of data that were tilted about x."""
    config = started(layer(augmentation={"tilt_axis": "x"}, learner={"head": "random"}))
    assert config.training.pretrained == NAME
    assert (config.to_dict()["augmentation"]["name"], config.to_dict()["augmentation"]["tilt_axis"]) == ("cryoet", "x")
    assert config.to_dict()["learner"]["head"] == "random"


def test_recipes_and_options_go_before_the_weights_recipe() -> None:
    assert started(recipe=[recipe_layer("gupta2022", "finetune")]).training.pretrained == "scratch"
    best = started(recipe=[recipe_layer("best", "finetune")])
    assert (best.training.pretrained, best.training.lr) == (NAME, 3e-3)
    assert started(layer(training={"lr": 0.5}), recipe=[recipe_layer("best", "finetune")]).training.lr == 0.5


def test_weights_may_say_what_suits_another_learner_than_their_recipe_s() -> None:
    """Features of rb3d_universe were taught by cosines: its probe sees them of unit length."""
    config = started(layer(learner={"name": "linear_probe"}))
    assert config.to_dict()["learner"] == {**resolve_learner("linear_probe"), "unit_length": True}
    assert config.sources["learner.unit_length"] == f"recipe of {NAME}"
    assert config.training.epochs == 1, "the learner's own recipe holds, too"
    assert started(layer(learner={"name": "linear_probe", "unit_length": False})).spec("learner").unit_length is False
    assert started(layer(learner={"name": "prototypes"})).to_dict()["learner"] == resolve_learner("prototypes")
    scratch = started(layer(learner={"name": "linear_probe"}, training={"pretrained": "scratch"}))
    assert scratch.spec("learner").unit_length is False


def resolve_learner(name: str) -> dict[str, object]:
    return resolve("finetune", [layer(learner={"name": name})]).to_dict()["learner"]


def test_pretraining_goes_on_only_where_told() -> None:
    assert started(task="pretrain").training.pretrained is None
    assert "pretrained" not in started(task="pretrain").to_dict()["training"], "as runs of earlier versions recorded it"
    config = started(layer(training={"pretrained": NAME}), task="pretrain")
    assert (config.spec("encoder").norm, config.training.optimizer) == ("batch", "adam")
    assert config.choices["dataset"].component.name == "demo"


def test_a_run_hands_on_its_data_and_registered_weights_do_not(install, run: Path) -> None:
    install("my-weights")
    for task in ("pretrain", "finetune"):
        by_path = started(layer(training={"pretrained": str(run)}), task=task).to_dict()
        by_name = started(layer(training={"pretrained": "mine"}), task=task).to_dict()
        assert by_path["encoder"] == by_name["encoder"]
        assert by_path["encoder"]["width"] == 4
        assert (by_path["dataset"]["name"], by_name["dataset"]["name"]) == ("mrc_folder", "demo")


def test_what_is_recorded_reads_back_and_outlives_the_package(install, tmp_path: Path) -> None:
    install("my-weights")
    config = started(layer(training={"pretrained": "mine"}))
    recorded = config.to_dict()
    assert recorded["training"]["pretrained"] == "my-weights:mine"
    assert recorded["packages"]["weights"] == "my-weights 2.5"
    (tmp_path / "config.toml").write_text(config.to_toml())
    assert resolve("finetune", [read_toml(tmp_path / "config.toml")]).to_dict() == recorded
    [weights] = [c for c in read_record(tmp_path / "config.toml").components if c.section == "weights"]
    assert weights[1:4] == ("my-weights:mine", "my-weights", "2.5")
    for found in tmp_path.parent.rglob("my_weights-2.5.dist-info"):
        shutil.rmtree(found)
    registry.refresh()
    again = resolve("finetune", [Layer("last.ckpt", recorded)])
    check_same_run(recorded, again)
    assert again.packages()["weights"] == "my-weights 2.5"


def test_two_packages_with_one_name_need_the_qualified_name(install) -> None:
    install("one")
    install("two")
    with pytest.raises(AmbiguousComponentError, match="weights 'mine' is offered by 2 packages"):
        started(layer(training={"pretrained": "mine"}))
    assert started(layer(training={"pretrained": "two:mine"})).packages()["weights"] == "two 2.5"


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_weights_that_cannot_be_used_are_named_with_their_package(install, damage: str) -> None:
    file = install("my-weights")
    if damage == "missing":
        file.unlink()
        with pytest.raises(BrokenComponentError, match=r"'mine' of my-weights 2\.5 cannot be loaded: .*no weights"):
            registry.find_spec("weights", "mine")
        return
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match="checksum does not match"):
        open_network("mine")


@pytest.mark.parametrize("task", ["finetune", "pretrain"])
def test_training_begins_with_the_weights_and_says_so(
    task: str, run: Path, install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    install("my-weights")
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    firsts = []

    def first(*given: object) -> object:
        firsts.append(first_encoder(*given))
        return firsts[-1]

    monkeypatch.setattr(f"cryoreg.training.{task}.first_encoder", first)
    monkeypatch.setattr("cryoreg.training.engine.Engine.run", lambda engine: None)
    for end in ("_write_best", "_write_encoder"):
        monkeypatch.setattr(f"cryoreg.training.{task}.{end}", lambda *_: None, raising=False)
    dataset = {"name": "mrc_folder", "root": write_classes(tmp_path / "data", per_class=12, box=8)}
    more = {"method": "vicreg"} if task == "pretrain" else {}
    getattr(cryoreg, task)(tmp_path / "run", pretrained="mine", dataset=dataset, augmentation="none", **FAST, **more)
    kept = safetensors.torch.load_file(run / "encoder.safetensors")
    assert all(torch.equal(tensor, kept[name]) for name, tensor in firsts[0].state_dict().items())
    told = capsys.readouterr().err
    assert "starts from my-weights:mine of my-weights 2.5\n" in told
    assert "the file or folder 'mine' is not meant; that would be ./mine\n" in told


def test_random_weights_are_said_and_why(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("cryoreg.training.finetune.FinetuningPlan.__init__", lambda *_, **__: 1 / 0)
    dataset = {"name": "mrc_folder", "root": write_classes(tmp_path / "data", per_class=6, box=8)}
    lines = {}
    for name, given in {"default": {}, "other": {"encoder": "rb3d_fc"}, "asked": {"pretrained": "scratch"}}.items():
        with pytest.raises(ZeroDivisionError):
            cryoreg.finetune(tmp_path / name, dataset=dataset, **given, **FAST)
        [lines[name]] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("starts")]
    assert lines == {
        "default": f"starts from {NAME} of cryoreg {cryoreg.__version__}; --from scratch is the control",
        "other": "starts from random weights: this encoder, with these settings, has no trained ones",
        "asked": "starts from random weights",
    }
