"""Runs in several processes: started by --devices, torchrun and SLURM; killed, stopped and resumed."""

from __future__ import annotations

import csv
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from support.programs import Program
from support.synthetic import write_classes

import cryoreg
from cryoreg.errors import ConfigError
from cryoreg.runs.checkpoint import load_checkpoint
from cryoreg.training.launch import run_in_processes

SETTINGS = {
    **{"epochs": 2, "batch_size": 4, "device": "cpu", "precision": "fp32", "workers": 0, "seed": 5},
    **{"optimizer": "momentum", "lr": 0.01, "probe_every_epochs": 0},
}
LONG = 12
"""Epochs of a run that is meant to be interrupted."""
ENCODER = {"name": "rb3d", "width": 4}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_classes(tmp_path_factory.mktemp("data") / "mrc", per_class=15)


def pretrain(run_dir: Path, data: Path, method: dict, **changes: object) -> Path:
    dataset = {"name": "mrc_folder", "root": data}
    cryoreg.pretrain(run_dir, method=method, encoder=ENCODER, dataset=dataset, **(SETTINGS | changes))
    return run_dir


def arguments(run_dir: Path, data: Path, **changes: object) -> list[str]:
    values = {f"training.{key}": value for key, value in (SETTINGS | changes).items()} | {"encoder.width": 4}
    assignments = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
    return [
        *("pretrain", "--dataset", "mrc_folder", "--data", str(data), "--method", "simclr"),
        *("--run-dir", str(run_dir), *assignments),
    ]


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    return cryoreg.create_encoder(pretrained=run_dir).state_dict()


def losses(run_dir: Path) -> list[float]:
    with (run_dir / "steps.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def wait_until(condition, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.01)


def assert_same_run(one: Path, other: Path) -> None:
    assert losses(one) == pytest.approx(losses(other), abs=1e-5)
    torch.testing.assert_close(weights(one), weights(other), rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory) -> Path:
    return pretrain(tmp_path_factory.mktemp("alone") / "run", data, {"name": "simclr"})


@pytest.fixture(scope="module")
def long_run_alone(data, tmp_path_factory) -> Path:
    return pretrain(tmp_path_factory.mktemp("long") / "run", data, {"name": "simclr"}, epochs=LONG)


@pytest.mark.slow
def test_two_processes_equal_one(alone, data, tmp_path):
    assert_same_run(pretrain(tmp_path / "two", data, {"name": "simclr"}, devices=2), alone)
    with (tmp_path / "two" / "metrics.csv").open() as file, (alone / "metrics.csv").open() as other:
        for row, expected in zip(csv.DictReader(file), csv.DictReader(other), strict=True):
            for column in ("feature_std", "rankme", "alignment", "uniformity"):
                assert float(row[column]) == pytest.approx(float(expected[column]), rel=1e-3), column


@pytest.mark.slow
def test_two_processes_fine_tune_as_one(data, tmp_path):
    dataset = {"name": "mrc_folder", "root": data}
    settings = {key: value for key, value in SETTINGS.items() if key != "probe_every_epochs"}
    for devices in (1, 2):
        run_dir = tmp_path / str(devices)
        cryoreg.finetune(run_dir, encoder=ENCODER, dataset=dataset, **settings, devices=devices)
    assert_same_run(tmp_path / "2", tmp_path / "1")


@pytest.mark.slow
def test_torchrun_equals_one_process_and_speaks_once(alone, data, tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = [*torchrun, "-m", "cryoreg_cli", *arguments(tmp_path / "run", data)]
    result = subprocess.run(words, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("encoder.safetensors") == 1
    assert_same_run(tmp_path / "run", alone)


@pytest.mark.slow
def test_slurm_tasks_equal_one_process(alone, data, tmp_path):
    """What srun sets, set by hand."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    job = {"SLURM_NTASKS": "2", "SLURM_NNODES": "1", "SLURM_NTASKS_PER_NODE": "2", "SLURM_JOB_NAME": "job"}
    job |= {"SLURM_JOB_ID": "7", "SLURM_NODEID": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    environments = [os.environ | job | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in range(2)]
    tasks = [Program(*arguments(tmp_path / "run", data), environment=each) for each in environments]
    ended = [task.finish() for task in tasks]
    assert [task.returncode for task in ended] == [0, 0], ended
    assert_same_run(tmp_path / "run", alone)


def start(run_dir: Path, data: Path, fork_ranks: bool = True) -> Program:
    return Program(*arguments(run_dir, data, epochs=LONG, devices=2, save_every_minutes=1e-9), fork_ranks=fork_ranks)


def children(program: Program) -> dict[int, int]:
    """Return rank -> process id, from the environment that the launcher gave each."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            command_line = (folder / "cmdline").read_text()
        except (OSError, ValueError):
            continue
        if parent == program.pid and "resource_tracker" not in command_line:
            found[int(folder.name)] = folder.name
    return dict(enumerate(sorted(found)))  # started in the order of the ranks


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_the_run_within_seconds_and_is_named(data, long_run_alone, tmp_path, rank):
    run_dir = tmp_path / "run"
    program = start(run_dir, data, fork_ranks=rank == 1)  # once as users have it
    last = run_dir / "checkpoints" / "last.ckpt"
    wait_until(lambda: last.exists() and load_checkpoint(last)["progress"]["step"] >= 3)
    os.kill(children(program)[rank], signal.SIGKILL)
    killed = time.monotonic()
    ended = program.finish()
    assert time.monotonic() - killed < 20
    assert ended.returncode == 1
    assert f"the process of rank {rank} (of 2) was killed by SIGKILL" in ended.stderr
    assert "--resume" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert children(program) == {}
    cryoreg.pretrain(run_dir, resume=True, devices=1)
    assert_same_run(run_dir, long_run_alone)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_saves_and_goes_on_in_another_number_of_processes(data, long_run_alone, tmp_path, number):
    run_dir = tmp_path / "run"
    program = start(run_dir, data)
    last = run_dir / "checkpoints" / "last.ckpt"
    wait_until(lambda: last.exists() and load_checkpoint(last)["progress"]["step"] >= 3)
    program.send_signal(number)
    ended = program.finish()
    assert ended.returncode == 128 + number, ended.stderr
    assert "continue with --resume" in ended.stderr
    assert "Traceback" not in ended.stderr
    cryoreg.pretrain(run_dir, resume=True, devices=1)
    assert_same_run(run_dir, long_run_alone)


def test_a_batch_that_cannot_be_shared_is_refused(data, tmp_path):
    with pytest.raises(ConfigError, match=r"batch_size 5 cannot be shared equally by 2 processes"):
        pretrain(tmp_path / "run", data, {"name": "simclr"}, devices=2, batch_size=5)
    assert not (tmp_path / "run").exists()


def test_nodes_need_a_launcher(data, tmp_path):
    with pytest.raises(ConfigError, match=re.escape("torchrun")):
        pretrain(tmp_path / "run", data, {"name": "simclr"}, num_nodes=2)


def test_another_number_of_processes_than_torchrun_started_is_refused(data, tmp_path, monkeypatch):
    for key, value in {"LOCAL_RANK": "0", "RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(key, value)
    with pytest.raises(ConfigError, match="is 3, but 2 processes were started"):
        pretrain(tmp_path / "run", data, {"name": "simclr"}, devices=3)


def _fail(settings: object) -> None:
    raise ValueError("a fault of the program")


@pytest.mark.slow
def test_a_fault_in_a_process_is_raised_with_its_traceback():
    from cryoreg.config.settings import PretrainSettings

    settings = PretrainSettings(devices=2, device="cpu")
    with pytest.raises(RuntimeError, match=r"rank \d failed:(.|\n)*_fail(.|\n)*ValueError: a fault of the program"):
        run_in_processes(_fail, settings, settings)


def test_under_torchrun_the_run_directory_must_be_given(cryoreg_process, tmp_path):
    launched = {"LOCAL_RANK": "0", "RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    result = cryoreg_process("pretrain", "--dataset", "demo", **launched)
    assert result.returncode == 2
    assert "--run-dir must be given" in result.stderr
