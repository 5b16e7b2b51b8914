"""What `import cryoreg` offers: lists of names, and functions that do what the commands do."""

from __future__ import annotations

import inspect
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from support.command_line import ok
from support.mrc_writing import state
from support.synthetic import write_classes
from support.tomograms import write_tomogram
from support.untrained import make_run

import cryoreg
from cryoreg import registry
from cryoreg.config import read_toml
from cryoreg.config.calls import checked
from cryoreg.config.recipes import BEST
from cryoreg.config.settings import FinetuneSettings
from cryoreg.errors import CallError, ConfigError, CryoregError, DataError
from cryoreg.kinds import KINDS, SEAMS
from cryoreg.training.pretrain import PretrainResult

FUNCTIONS = [name for name in cryoreg.__all__ if name.islower() and not name.startswith("__")]
OTHERS_LIST = ("optimizer", "schedule")
"""Of these timm has most, which no registry knows."""
FAST = {"batch_size": 8, "device": "cpu", "workers": 0, "precision": "fp32", "epochs": 1}


# ---- names


@pytest.mark.parametrize("kind", [*KINDS, *SEAMS])
def test_every_kind_is_listed_by_a_function_of_its_name(kind) -> None:
    if kind in OTHERS_LIST:
        assert f"list_{registry.group_of(kind)}" not in FUNCTIONS
        return
    found = getattr(cryoreg, f"list_{registry.group_of(kind)}")()
    assert found == [component.reference for component in registry.components(registry.group_of(kind))]


def test_patterns_are_those_of_a_shell() -> None:
    assert cryoreg.list_encoders("rb3d*") == ["rb3d", "rb3d_fc"]
    assert cryoreg.list_encoders("cryoreg:rb3?") == ["rb3d"]
    assert cryoreg.list_encoders("RB3D") == cryoreg.list_encoders("") == []
    assert cryoreg.list_encoders("resnet[135]*_3d") == ["resnet10_3d", "resnet18_3d", "resnet34_3d", "resnet50_3d"]


def test_a_shadowed_name_is_listed_as_it_must_be_typed(fake_plugin) -> None:
    fake_plugin("my-plugin", "[cryoreg.encoders]\nrb3d = my_plugin_specs:Tiny\n")
    assert cryoreg.list_encoders("rb3d") == ["rb3d", "my-plugin:rb3d"]


def test_encoders_with_weights_of_their_own_are_those_that_can_be_made_so(fake_plugin) -> None:
    fake_plugin("broken", "[cryoreg.encoders]\ngone = nowhere:Spec\n")
    trained = cryoreg.list_encoders(pretrained=True)
    assert trained == ["rb3d"]
    encoder = cryoreg.create_encoder(trained[0], pretrained=True)
    torch.manual_seed(0)
    untrained = cryoreg.create_encoder(trained[0])
    assert not torch.equal(next(encoder.parameters()), next(untrained.parameters()))
    by_name = cryoreg.create_encoder(pretrained="rb3d_universe")
    torch.testing.assert_close(encoder.state_dict(), by_name.state_dict(), rtol=0, atol=0)
    with pytest.raises(ConfigError, match="encoder 'yopo' has no trained weights of its own"):
        cryoreg.create_encoder("yopo", pretrained=True)


# ---- arguments


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_call_without_what_is_needed_says_what_is_needed(name) -> None:
    function = getattr(cryoreg, name)
    needed = [
        each.name
        for each in inspect.signature(function).parameters.values()
        if each.default is each.empty and each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
    ]
    if needed:
        with pytest.raises(TypeError, match=rf"^{name}\(\) needs {' and '.join(needed)}"):
            function()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_too_many_by_position_name_the_others(name) -> None:
    with pytest.raises(TypeError, match=rf"^{name}\(\) takes .* by position, but 12 are given"):
        getattr(cryoreg, name)(*range(12))


@pytest.mark.parametrize(
    ("name", "keywords", "hint"),
    [
        ("pretrain", {"mehtod": "moco"}, "did you mean 'method'"),
        ("pretrain", {"batchsize": 4}, "did you mean 'batch_size'"),
        ("finetune", {"labels_form": "x"}, "did you mean 'labels_from'"),
        ("predict", {"unsur": 0.5}, "did you mean 'unsure'"),
        ("embed", {"ouput": "x"}, "did you mean 'output'"),
        ("cluster", {"cluster": 3}, "did you mean 'clusters'"),
        ("pick", {"diametre": 120}, "did you mean 'diameter'"),
        ("pick", {"tresh_hold": 3}, "did you mean 'threshold'"),
        ("list_methods", {"patern": "*"}, "did you mean 'pattern'"),
    ],
)
def test_an_unknown_parameter_gets_the_nearest_one(name, keywords, hint, tmp_path) -> None:
    with pytest.raises(TypeError, match=hint) as caught:
        getattr(cryoreg, name)(*([] if name.startswith("list") else [tmp_path]), **keywords)
    assert isinstance(caught.value, CryoregError)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_parameters_of_components_are_judged_by_these() -> None:
    with pytest.raises(ConfigError, match="did you mean 'width'"):
        cryoreg.create_encoder("rb3d", witdh=8)


def test_checked_changes_nothing_that_fits() -> None:
    @checked(FinetuneSettings)
    def function(a: int, b: int = 2, *, c: int, **settings: int) -> tuple[int, ...]:
        """Return all."""
        return a, b, c, *settings.values()

    assert function(1, c=3, epochs=4) == function(a=1, b=2, c=3, epochs=4) == (1, 2, 3, 4)
    assert (function.__name__, function.__doc__) == ("function", "Return all.")
    with pytest.raises(CallError, match="is given a twice"):
        function(1, a=1, c=3)
    with pytest.raises(CallError, match=r"needs a and c: function\(a, b, c, ...\)"):
        function()


RESULT = PretrainResult(Path("runs/pre"), Path("runs/pre/encoder.safetensors"), 1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: cryoreg.predict(RESULT),
            r"predict\(\): run should be str \| Path, .*; say its run_dir",
        ),
        (lambda: cryoreg.embed(RESULT), r"embed\(\): run should be str \| Path"),
        (lambda: cryoreg.pretrain(None), r"run_dir should be str \| Path, but it is None"),
        (lambda: cryoreg.pretrain("r", resume="perhaps"), r"resume should be bool, but it is 'perhaps'"),
        (lambda: cryoreg.finetune("r", recipe=3), r"recipe should be str \| None, but it is 3"),
        (lambda: cryoreg.cluster("r", pca="x"), r"pca should be int, but it is 'x'"),
        (lambda: cryoreg.extract("x.star", None), r"output should be str \| Path"),
        (lambda: cryoreg.pick(None, radius=3), r"tomograms should be str \| Path \| Sequence\[str \| Path\]"),
        (lambda: cryoreg.list_encoders(3), r"pattern should be str, but it is 3"),
        (lambda: cryoreg.open_dataset(None), r"path should be str \| Path"),
        (lambda: cryoreg.inspect(3), r"needs a data set, as cryoreg.open_dataset returns it, not 3"),
        (lambda: cryoreg.create_dataset_like("x", "demo"), r"needs a data set"),
        (lambda: cryoreg.create_method("moco", "rb3d"), r"needs an encoder, as cryoreg.create_encoder returns it"),
        (lambda: cryoreg.create_learner("full", torch.nn.BatchNorm3d(3), 2), r"create_learner\(\) needs an encoder"),
        (lambda: cryoreg.create_learner("full", cryoreg.create_encoder("rb3d"), "3"), r"2 or more, not '3'"),
        (
            lambda: cryoreg.create_learner("full", cryoreg.create_encoder("rb3d"), 1),
            r"needs a number of classes, 2 or more, not 1",
        ),
    ],
)
def test_a_value_of_another_type_is_a_type_error_of_one_line(call, message) -> None:
    with pytest.raises(TypeError, match=message) as caught:
        call()
    assert isinstance(caught.value, CryoregError)


def test_numbers_of_numpy_and_lists_for_tuples_are_taken() -> None:
    @checked()
    def function(count: int, share: float = 0.5, span: tuple[float, float] | None = None) -> int:
        return count

    assert function(np.int64(3), np.float32(0.1), [-60, 60]) == 3
    assert function(count=2, share=1) == 2
    with pytest.raises(CallError, match=r"span should be tuple\[float, float\] \| None"):
        function(1, span=(1, 2, 3))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("pick", {"tomograms": [], "radius": 1}, r"needs a tomogram"),
        ("report", {"run": "r", "limit": 0}, r"limit is 0, but should be 1 or more"),
        ("pick", {"tomograms": "x.mrc"}, r"needs the size of the particles"),
        ("pick", {"tomograms": "x.mrc", "radius": 1, "diameter": 2}, r"needs the size of the particles"),
        ("pick", {"tomograms": "x.mrc", "radius": 1, "contrast": "grey"}, r"contrast 'grey' is none of auto, bright"),
        ("cluster", {"run": "r", "clusters": 1}, r"should be auto, a number from 2 on"),
        ("extract", {"data": "x.star", "output": "y.h5", "format": "zip"}, r"format 'zip' is none of store"),
        ("embed", {"run": "r", "output": "x.txt"}, r"features are written as"),
        ("pretrain", {"run_dir": "r", "recipe": "bst"}, r"unknown recipe 'bst'; did you mean 'best'"),
        ("create_dataset", {"name": "mrc_foldr"}, r"did you mean 'mrc_folder'"),
    ],
)
def test_a_wrong_value_is_one_line(name, arguments, message, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CryoregError, match=message) as caught:
        getattr(cryoreg, name)(**arguments)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_misspelt_function_is_suggested() -> None:
    with pytest.raises(AttributeError) as caught:
        cryoreg.pretrian  # noqa: B018
    assert caught.value.obj is cryoreg  # by which Python suggests one
    assert caught.value.name == "pretrian"


# ---- functions and commands


@pytest.mark.slow
def test_a_recipe_is_that_of_the_command(tmp_path) -> None:
    data = write_classes(tmp_path / "mrc", classes=2, per_class=10)
    given = {"encoder": {"name": "rb3d", "width": 4}, **FAST}
    for task in (cryoreg.pretrain, cryoreg.finetune):
        run = tmp_path / task.__name__
        task(run, data=data, recipe="best", **given)
        recorded = read_toml(run / "config.toml").values
        wanted = read_toml(BEST).values[task.__name__]
        assert recorded["dataset"] == {"name": "mrc_folder", "root": str(data)}
        for section, values in wanted.items():
            said = FAST if section == "training" else given.get(section, {})
            assert {key: recorded[section][key] for key in values if key not in said} == {
                key: value for key, value in values.items() if key not in said
            }


def test_picking_writes_what_the_command_writes(tmp_path) -> None:
    tomogram = write_tomogram(tmp_path / "TS_01.mrc")
    found = cryoreg.pick(tomogram, diameter=80, top=2, output=tmp_path / "python.star")
    ok("pick", tomogram, "--diameter", 80, "--top", 2, "--output", tmp_path / "command.star")
    for suffix in (".star", ".csv"):
        assert (tmp_path / f"python{suffix}").read_bytes() == (tmp_path / f"command{suffix}").read_bytes()
    assert len(found) == len(found.picks[0].positions) == 2
    pd.testing.assert_frame_equal(pd.DataFrame(found.columns()), pd.read_csv(found.csv))


def test_extracting_writes_what_the_command_writes(tmp_path) -> None:
    tomogram = write_tomogram(tmp_path / "TS_01.mrc")
    picked = cryoreg.pick([tomogram], radius=40, top=2, output=tmp_path / "picks.star")
    done = cryoreg.extract(picked.star, tmp_path / "python.h5", box=8)
    ok("extract", "--data", picked.star, "--box", 8, "--output", tmp_path / "command.h5")
    assert (done.path, done.written, done.left_out) == (tmp_path / "python.h5", 2, {})
    ours, theirs = (cryoreg.open_dataset(tmp_path / f"{name}.h5") for name in ("python", "command"))
    assert ours.ids == theirs.ids
    for index in range(2):
        torch.testing.assert_close(ours[index].volume, theirs[index].volume, rtol=0, atol=0)
    with h5py.File(tmp_path / "python.h5") as one, h5py.File(tmp_path / "command.h5") as other:
        assert one["settings"][()] == other["settings"][()]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    make_run(folder, width=4)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_classes(tmp_path_factory.mktemp("data") / "mrc", classes=2, per_class=10, seed=1)


def test_clusters_are_those_of_the_command(run, data, tmp_path, capsys) -> None:
    found = cryoreg.cluster(run, data=data, clusters=2, output=tmp_path / "python.csv", device="cpu")
    told = capsys.readouterr().err
    ok("cluster", run, "--data", data, "--clusters", 2, "--device", "cpu", "--output", tmp_path / "command.csv")
    assert (tmp_path / "python.csv").read_bytes() == (tmp_path / "command.csv").read_bytes()
    assert found.columns()["cluster"] == (found.clustering.clusters + 1).tolist()
    assert "differs" in told or told == ""


def test_clusters_need_no_file(run, data, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = cryoreg.cluster(run, data=data, clusters="2-3", device="cpu")
    assert found.clustering.wanted in (2, 3)
    assert state(tmp_path) == {}
    with pytest.raises(ConfigError, match="method 'dbscan' is none of kmeans, gmm, leiden"):
        cryoreg.cluster(run, data=data, method="dbscan")


def test_embedding_writes_the_table_where_asked(run, data, tmp_path) -> None:
    table = cryoreg.embed(run, data=data, output=tmp_path / "f.parquet", device="cpu")
    np.testing.assert_array_equal(pd.read_parquet(tmp_path / "f.parquet")["f0000"], table.features[:, 0])
    with pytest.raises(CryoregError, match="exists"):
        cryoreg.embed(run, data=data, output=tmp_path / "f.parquet", device="cpu")


def test_predictions_of_other_data_need_no_reader(run, data) -> None:
    predictions = cryoreg.predict(run, data=data, device="cpu")
    assert sorted(predictions.ids) == sorted(cryoreg.open_dataset(data).ids)


def test_inspection_is_that_of_the_command(data) -> None:
    found = cryoreg.inspect(data)
    assert (found.path, found.reader, found.count, found.sound) == (str(data), "mrc_folder", 20, True)
    opened = cryoreg.inspect(cryoreg.open_dataset(data))
    assert (opened.path, opened.count, opened.intensity) == (None, found.count, found.intensity)
    assert f"{found.reader} ({found.why})" in ok("inspect", data)
    with pytest.raises(DataError, match="no such file"):
        cryoreg.inspect(data / "missing")


def test_a_report_is_not_written_over_a_file(run, data, tmp_path) -> None:
    (tmp_path / "page.html").write_text("mine")
    with pytest.raises(CryoregError, match="exists"):
        cryoreg.report(run, tmp_path / "page.html", data=data, device="cpu")
    with pytest.raises(DataError, match="no such file"):
        cryoreg.report(run, tmp_path / "page.html", data=data / "missing", overwrite=True, device="cpu")
    assert (tmp_path / "page.html").read_text() == "mine"
