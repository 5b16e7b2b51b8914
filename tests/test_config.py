import tomllib
from pathlib import Path

import pytest

from cryoreg.config import Layer, check_same_run, parse_assignment, read_toml, resolve
from cryoreg.errors import ConfigError, UnknownComponentError


def layer(source="test", **sections):
    return Layer(source, sections)


def test_defaults_are_the_papers():
    config = resolve("pretrain", [])
    assert (config.training.epochs, config.training.batch_size, config.training.lr) == (200, 16, 1e-4)
    assert (config.training.optimizer, config.training.weight_decay) == ("adam", 1e-4)
    assert config.spec("method").model_dump(include={"queue_size", "momentum", "temperature"}) == {
        "queue_size": 128,
        "momentum": 0.999,
        "temperature": 0.2,
    }
    tuning = resolve("finetune", []).training
    assert (tuning.epochs, tuning.lr, tuning.schedule, tuning.optimizer) == (50, 5e-4, "cosine", "sgd")


def test_the_later_layer_wins_and_every_value_knows_its_source():
    config = resolve(
        "pretrain",
        [
            layer("run.toml", method={"temperature": 0.5, "momentum": 0.9}, training={"epochs": 7}),
            layer("--set", method={"temperature": 0.1}),
        ],
    )
    found = {key: (value, source) for key, value, source in config.values()}
    assert found["method.temperature"] == (0.1, "--set")
    assert found["method.momentum"] == (0.9, "run.toml")
    assert found["training.epochs"] == (7, "run.toml")
    assert found["method.queue_size"] == (128, "default")
    assert found["encoder.name"] == ("rb3d", "default")


@pytest.mark.parametrize("task", ["finetune", "pretrain"])
@pytest.mark.parametrize(
    ("layers", "labels", "per_class"),
    [
        ([{"labels_per_class": 3}, {"labels": 0.5}], 0.5, None),
        ([{"labels": 0.5}, {"labels_per_class": 3}], 1.0, 3),
        ([{"labels": 0.5, "labels_per_class": 3}], 0.5, 3),  # as a run's config has them: the number counts
        ([{"labels_per_class": 3}, {"labels": 0.5, "labels_per_class": 4}], 0.5, 4),
        ([{"labels_per_class": 3}, {"epochs": 2}], 1.0, 3),
    ],
)
def test_of_a_fraction_and_a_number_of_labels_the_later_counts(task, layers, labels, per_class):
    chosen = {"dataset": {"name": "demo"}}
    given = [Layer(f"layer {number}", {**chosen, "training": each}) for number, each in enumerate(layers)]
    training = resolve(task, given).training
    assert (training.labels, training.labels_per_class) == (labels, per_class)


def test_choosing_another_component_drops_parameters_of_the_first():
    first = layer("run.toml", dataset={"name": "demo", "snr": 0.3})
    config = resolve("pretrain", [first, layer("--dataset", dataset={"name": "lab", "root": "/x"})])
    assert config.choices["dataset"].component.name == "lab"
    kept = resolve("pretrain", [first, layer("--dataset", dataset={"name": "demo"})])
    assert kept.spec("dataset").snr == 0.3


def test_the_resolved_config_reads_back_the_same(tmp_path):
    config = resolve("finetune", [layer(training={"pretrained": "run", "labels": 0.25, "clip_grad": 1.5})])
    path = tmp_path / "config.toml"
    path.write_text(config.to_toml())
    again = resolve("finetune", [read_toml(path)])
    assert again.to_dict() == config.to_dict()
    assert tomllib.loads(path.read_text())["packages"]["encoder"].startswith("cryoreg ")


def test_paths_become_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    config = resolve("pretrain", [layer(dataset={"name": "mrc_folder", "root": "data"})])
    assert config.spec("dataset").root == tmp_path / "data"
    home = resolve("pretrain", [layer(dataset={"name": "mrc_folder", "root": "~/data"})])
    assert home.spec("dataset").root == Path.home() / "data"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.1", 0.1),
        ("7", 7),
        ("true", True),
        ("[1, 2]", [1, 2]),
        ("adamw", "adamw"),
        ("/a/b.mrc", "/a/b.mrc"),
        ("", ""),
    ],
)
def test_assignments_are_toml_or_else_text(text, value):
    assert parse_assignment(f"training.x={text}").values == {"training": {"x": value}}


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("method.temperture=1", ["method.temperture (--set)", "did you mean 'temperature'?"]),
        ("method.temperature=0", ["method.temperature (--set)", "greater than or equal to 0.0001"]),
        ("method.head=v3", ["method.head", "'v1' or 'v2'"]),
        ("metod.momentum=1", ["unknown section 'metod'", "did you mean 'method'?"]),
        ("training.lr=fast", ["training.lr", "number"]),
        ("training.learners=x", ["training.learners", "not a setting of pretrain"]),
        ("split.fractions=[0.5,0.5,0.5]", ["split.fractions", "sum to 1"]),
        ("dataset.name=lab", ["dataset.root", "needed"]),
        ("training.batch_size", ["expected section.key=value"]),
        ("batch_size=3", ["expected section.key=value"]),
        ("method.name=3", ["method.name (--set)", "name of a component", "3"]),
        ("task.x=3", ["--set configures the task {'x': 3}"]),
        ("training.lr=inf", ["training.lr (--set)", "finite"]),
        ("method.temperature=inf", ["method.temperature (--set)", "finite"]),
        ("training.seed=9223372036854775808", ["training.seed (--set)", "less than 9223372036854775808"]),
        ("split.fractions=[0.5,0.5]", ["split.fractions (--set)", "too few values"]),
        ("split.fractions=[nan,0.5,0.5]", ["split.fractions (--set)", "finite"]),
        ("dataset.rot=x", ["dataset 'demo' (the default; --dataset chooses another)"]),
    ],
)
def test_a_mistake_is_one_line_that_names_key_and_source(assignment, words):
    with pytest.raises(ConfigError) as error:
        resolve("pretrain", [parse_assignment(assignment)])
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize("root", ["", "a\0b", "\udcff", "~no_such_user_here/x"])
def test_what_is_no_path_is_refused(root):
    with pytest.raises(ConfigError, match="path"):
        resolve("pretrain", [layer(dataset={"name": "mrc_folder", "root": root})])


def test_an_infinite_snr_is_a_value():
    assert resolve("pretrain", [parse_assignment("dataset.snr=inf")]).spec("dataset").snr == float("inf")


def test_unknown_component_of_a_recorded_run_names_the_package_that_made_it():
    recorded = layer("config.toml", method={"name": "not_here"}, packages={"method": "cryoreg-not-here 1.2"})
    with pytest.raises(UnknownComponentError, match=r"cryoreg-not-here 1\.2"):
        resolve("pretrain", [recorded])
    with pytest.raises(UnknownComponentError, match="'other'") as error:
        resolve("pretrain", [recorded, layer("--method", method={"name": "other"})])
    assert "cryoreg-not-here" not in str(error.value)


def test_the_other_tasks_config_is_refused(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(resolve("pretrain", []).to_toml())
    with pytest.raises(ConfigError, match="cryoreg pretrain --config"):
        resolve("finetune", [read_toml(path)])


@pytest.mark.parametrize("content", [b"method = {", b"\xff\xfe", b"method = 3", b"packages = 3", b"task = 3"])
def test_a_malformed_file_is_one_clear_line(tmp_path, content):
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"run\.toml"):
        resolve("pretrain", [read_toml(path)])


def test_a_byte_order_mark_is_no_mistake(tmp_path):
    path = tmp_path / "run.toml"
    path.write_bytes(b"\xef\xbb\xbf[training]\nepochs = 3\n")
    assert resolve("pretrain", [read_toml(path)]).training.epochs == 3


def test_an_absent_file_is_one_clear_line(tmp_path):
    with pytest.raises(ConfigError, match="cannot read config"):
        read_toml(tmp_path / "none.toml")


def test_a_resumed_run_may_move_but_not_change():
    recorded = resolve("pretrain", []).to_dict()
    check_same_run(recorded, resolve("pretrain", [layer(training={"device": "cpu", "workers": 0})]))
    here, there = (layer(dataset={"name": "mrc_folder", "root": root}) for root in ("/here", "/there"))
    check_same_run(resolve("pretrain", [here]).to_dict(), resolve("pretrain", [there]))
    with pytest.raises(ConfigError, match=r"method\.temperature is 0\.3, but the run to resume has 0\.2"):
        check_same_run(recorded, resolve("pretrain", [layer(method={"temperature": 0.3})]))


def test_another_component_is_said_before_its_parameters():
    recorded = resolve("finetune", [Layer("test", {"learner": {"name": "linear_probe"}})]).to_dict()
    config = resolve("finetune", [Layer("run", recorded), Layer("test", {"learner": {"name": "full"}})])
    with pytest.raises(ConfigError, match=r"^learner.name is 'full', but the run to resume has 'linear_probe'"):
        check_same_run(recorded, config)
