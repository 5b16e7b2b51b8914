"""What a user types to run, and what a user's mistakes look like."""

import re

import pytest
from click.testing import CliRunner
from synthetic import write_classes

from cryoreg.benchmark.demo import paired_difference
from cryoreg.config import TASKS, resolve
from cryoreg.training.evaluate import Evaluation
from cryoreg_cli.main import cryoreg as command

TINY = ["--epochs", "1", "--batch-size", "4", "--device", "cpu", "--set", "encoder.width=4"]


@pytest.fixture
def cryoreg(monkeypatch, tmp_path):
    """Run a command line in an empty folder; return exit status and everything printed."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        result = CliRunner().invoke(command, [str(word) for word in words])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.output

    return run


@pytest.fixture
def data(tmp_path):
    return ["--dataset", "mrc_folder", "--data", write_classes(tmp_path / "data")]


def test_pretrain_finetune_evaluate(cryoreg, data, tmp_path):
    status, output = cryoreg("pretrain", *data, *TINY, "--run-dir", "pre")
    assert status == 0, output
    assert "cryoreg finetune --from pre" in output
    status, output = cryoreg("finetune", "--from", "pre", "--labels", "0.5", *TINY[:6], "--run-dir", "fine")
    assert status == 0, output
    assert "cryoreg evaluate fine" in output
    status, output = cryoreg("evaluate", "fine", "--device", "cpu")
    assert status == 0, output
    assert re.search(r"accuracy \d+\.\d ± \d+\.\d % \(standard error over 4 subtomograms\)", output)
    for file in (
        "config.toml",
        "metrics.csv",
        "steps.csv",
        "encoder.safetensors",
        "card.json",
        "checkpoints/last.ckpt",
    ):
        assert (tmp_path / "pre" / file).is_file(), file
    assert list((tmp_path / "pre" / "tensorboard").glob("events*"))


def test_a_resolved_config_runs_again_and_a_run_dir_is_made(cryoreg, data, tmp_path):
    assert cryoreg("pretrain", *data, *TINY, "--run-dir", "pre")[0] == 0
    status, output = cryoreg("pretrain", "--config", "pre/config.toml")
    assert status == 0, output
    (again,) = (tmp_path / "runs").iterdir()
    assert again.name.endswith("-pretrain-moco-rb3d")
    assert (again / "config.toml").read_text() == (tmp_path / "pre" / "config.toml").read_text()


def test_resume_needs_a_run(cryoreg):
    assert "--resume needs --run-dir" in cryoreg("pretrain", "--resume")[1]
    status, output = cryoreg("pretrain", "--resume", "--run-dir", "nothing")
    assert (status, output.count("\n")) == (1, 1)
    assert "nothing" in output


@pytest.mark.parametrize("task", TASKS)
def test_dry_run_prints_every_value_with_its_source_and_writes_nothing(cryoreg, task, tmp_path):
    (tmp_path / "run.toml").write_text("[training]\nlr = 0.5\n")
    words = [
        task,
        "--config",
        "run.toml",
        "--seed",
        "7",
        "--set",
        "encoder.norm=batch",
        "--run-dir",
        "out",
        "--dry-run",
    ]
    status, output = cryoreg(*words)
    assert status == 0, output
    found = {line.split()[0]: line.split()[1:] for line in output.splitlines()}
    assert found.keys() == {key for key, *_ in resolve(task, []).values()}
    assert found["training.lr"] == ["0.5", "run.toml"]
    assert found["training.seed"] == ["7", "--seed"]
    assert found["encoder.norm"] == ["batch", "--set"]
    assert found["training.batch_size"] == ["16", "default"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["pretrain", "--method", "mocoo"], "did you mean 'moco'?"),
        (["pretrain", "--set", "method.temprature=1"], "did you mean 'temperature'?"),
        (["pretrain", "--dataset", "lab"], "dataset.root"),
        (["pretrain", "--dataset", "lab", "--data", "nowhere"], "nowhere"),
        (["pretrain", "--config", "nowhere.toml"], "nowhere.toml"),
        (["finetune", "--from", "nowhere"], "nowhere"),
        (["evaluate", "nowhere"], "nowhere"),
        (["pretrain", "--device", "cuda", "--epochs", "1"], "device 'cuda' is not available"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(cryoreg, words, expected, tmp_path):
    import torch

    if "cuda" in words and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    status, output = cryoreg(*words)
    assert status == 1
    assert output.startswith("Error: ")
    assert output.count("\n") == 1
    assert expected in output
    assert not list(tmp_path.iterdir())


def evaluation(labels, predictions):
    import numpy as np

    n = len(labels)
    return Evaluation("test", ("a", "b"), tuple("x" * n), np.array(labels), np.array(predictions), np.ones(n))


def test_the_demos_difference_is_the_mcnemar_one():
    """The paired standard error in closed form: sqrt((b + c)/n - ((b - c)/n)²) · sqrt(1/(n - 1))."""
    labels = [0] * 20
    one = evaluation(labels, [0] * 14 + [1] * 6)
    other = evaluation(labels, [1] * 5 + [0] * 13 + [1] * 2)
    b, c, n = 5, 4, 20  # right only in one, right only in the other
    gain, error = paired_difference(one, other)
    assert gain == pytest.approx((b - c) / n)
    assert error == pytest.approx((((b + c) / n - ((b - c) / n) ** 2) / (n - 1)) ** 0.5)
