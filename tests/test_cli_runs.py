"""What a user types to run, and what a user's mistakes look like."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from support.synthetic import write_classes

from cryoreg.config import TASKS, resolve
from cryoreg.datasets.readers.mrc_folder import MrcFolder
from cryoreg.training.progress import show_notes
from cryoreg_cli.main import cryoreg as command
from cryoreg_cli.run_options import new_run_dir

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
    assert re.search(r"accuracy \d+\.\d % \(\d+-\d+ %, 95 % Wilson, 4 subtomograms\)", output)
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


@pytest.mark.parametrize("task", ["pretrain", "finetune"])
def test_what_the_reader_has_to_say_is_shown_once(cryoreg, data, monkeypatch, task):
    read = MrcFolder.__init__

    def read_and_say(reader, *arguments):
        read(reader, *arguments)
        reader.notes = ["three of them look odd"]

    monkeypatch.setattr(MrcFolder, "__init__", read_and_say)
    status, output = cryoreg(task, *data, *TINY, "--run-dir", "run")
    assert status == 0, output
    assert output.count("note: three of them look odd") == 1


def test_only_the_leading_process_speaks(capsys):
    config, dataset = resolve("pretrain", []), SimpleNamespace(notes=["odd"])
    show_notes(config, dataset, SimpleNamespace(is_global_zero=False))
    assert capsys.readouterr().err == ""
    show_notes(config, dataset, SimpleNamespace(is_global_zero=True))
    assert capsys.readouterr().err == "note: odd\n"


@pytest.mark.parametrize("command", ["pretrain", "finetune"])
def test_the_reader_that_fits_is_found_and_the_demo_is_never_trained_on_unasked(command, cryoreg):
    status, output = cryoreg(command)
    assert (status, "which subtomograms? say --data PATH" in output) == (2, True)
    assert "dataset.name" in cryoreg(command, "--dry-run")[1]


def test_data_without_a_reader_are_read_by_the_one_that_fits(cryoreg, data, tmp_path):
    assert cryoreg("convert", *data, "--output", "sim.h5")[0] == 0
    for path, reader in (("sim.h5", "store"), ("data", "mrc_folder")):
        run = tmp_path / f"run-{reader}"
        status, output = cryoreg("pretrain", "--data", path, *TINY, "--run-dir", str(run))
        assert status == 0, output
        assert f"subtomograms of {reader}" in output
        assert f'name = "{reader}"' in (run / "config.toml").read_text()
    (tmp_path / "both.star").write_text("data_\nloop_\n_rlnImageName\n_rlnCoordinateX\na.mrc 1\n")
    assert "--dataset star or --dataset tomogram" in cryoreg("pretrain", "--data", "both.star")[1]
    assert "nothing: no such file" in cryoreg("pretrain", "--data", "nothing")[1]


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
        "--from",
        "scratch",
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
        (["pretrain", "--dataset", "demo", "--device", "cuda", "--epochs", "1"], "device 'cuda' is not available"),
        (["finetune", "--from", ""], "training.pretrained (--from)"),
        (["finetune", "--set", "training.pretrained=3"], "training.pretrained (--set)"),
        (["pretrain", "--dataset", "demo", "--run-dir", "x" * 300], "File name too long"),
        (["pretrain", "--dataset", "demo", "--run-dir", "\udcff"], "not UTF-8"),
        (["pretrain", "--run-dir", "/proc/x", "--dataset", "mrc_folder", "--data", "/proc/x"], "/proc/x"),
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


@pytest.mark.parametrize("words", [("--data",), ("--run-dir",), ("--config",)])
def test_an_empty_path_is_not_the_current_folder(cryoreg, words):
    status, output = cryoreg("pretrain", *words, "")
    assert status == 2
    assert "the path is empty" in output


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("training.optimizer=nope", "timm has no 'nope'"),
        ("training.optimizer=adahessian", "second derivatives"),
        ("training.optimizer=bnbsgd", "cannot be used here"),
        ("training.schedule=nope", "training.schedule"),
        ("method.queue_size=99999999999999", "out of memory"),
    ],
)
def test_a_run_that_cannot_start_leaves_no_folder(cryoreg, data, tmp_path, setting, expected):
    (tmp_path / "mine").mkdir()
    for run_dir in ("new/run", "mine"):
        status, output = cryoreg("pretrain", *data, *TINY, "--set", setting, "--run-dir", run_dir)
        assert (status, output.count("\n")) == (1, 1), output
        assert expected in output
    assert {entry.name for entry in tmp_path.iterdir()} == {"data", "mine"}
    assert not list((tmp_path / "mine").iterdir())


def test_folders_of_runs_begun_in_one_second_differ(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    made = [new_run_dir("x") for _ in range(50) if new_run_dir("x").mkdir(parents=True) is None]
    assert len(list((tmp_path / "runs").iterdir())) == len(made)


def test_what_to_do_next_can_be_pasted_into_a_shell(cryoreg, data):
    status, output = cryoreg("pretrain", *data, *TINY, "--run-dir", "my run ü")
    assert status == 0, output
    (line,) = [line for line in output.splitlines() if line.startswith("next")]
    assert shlex.split(line)[3:5] == ["--from", "my run ü"]


def test_ctrl_c_before_training_is_130(cryoreg, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("cryoreg.config.resolve", interrupt)
    assert cryoreg("pretrain") == (130, "Aborted!\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(("redirection", "expected"), [(">/dev/full", (1, 1)), (">&-", (0, 0)), ("2>&-", (0, 0))])
def test_an_output_that_takes_nothing_ends_without_a_traceback(redirection, expected, unbuffered):
    line = (
        f"PYTHONUNBUFFERED={unbuffered} {shlex.quote(sys.executable)} -m cryoreg_cli list --kind method {redirection}"
    )
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == expected
