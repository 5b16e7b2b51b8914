"""Train the weights that cryoreg ships from nothing: `make weights`, hours on two cores.

    python benchmarks/weights.py [--work build/weights] [--minutes M] [--device cuda] [--out FILE.json]

Made-up structures are simulated, an encoder learns to tell them apart (weights.toml), and its file is written for
`cryoreg/weights/`: WORK/rb3d_universe.safetensors. It learns in stages, each of more structures (--structures), so many
scenes of each (--per-class), for so many epochs (--epochs), from the weights of the one before. Whatever is
interrupted, by --minutes too, goes on when the command is given again. --out writes what the last stage took, with the
device.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

import cryoreg

SETTINGS = Path(__file__).with_name("weights.toml")
NAME = "rb3d_universe"
CRYOREG = (sys.executable, "-m", "cryoreg_cli")
STOPPED = 128 + signal.SIGTERM
"""The exit status of a run that was told to stop, and has saved."""


def main() -> None:
    """Simulate, train and export, stage by stage; then say what it took."""
    options = _options()
    if not len(options.structures) == len(options.per_class) == len(options.epochs):
        sys.exit("say as many --per-class and --epochs as --structures: those of each stage")
    weights: Path | None = None
    for stage in map(Stage, options.structures, options.per_class, options.epochs):
        weights = _weights_of(stage, weights, options)
    final = options.work / f"{NAME}.safetensors"
    shutil.copyfile(weights, final)
    print(f"weights {final} ({final.stat().st_size / 1e6:.2f} MB); copy them into cryoreg/weights/")


class Stage(NamedTuple):
    """What is learnt from."""

    structures: int
    per_class: int
    """Scenes of each."""
    epochs: int


def _weights_of(stage: Stage, start: Path | None, options: argparse.Namespace) -> Path:
    """Return the file of weights of a stage; end here where there is no time for it."""
    folder = options.work / str(stage.structures)
    store, run, weights = (folder / name for name in ("universe.h5", "run", f"{NAME}-{stage.structures}.safetensors"))
    begun = time.monotonic()
    if not store.exists():
        folder.mkdir(parents=True, exist_ok=True)
        counts = ("--universe", str(stage.structures), "--per-class", str(stage.per_class))
        _cryoreg("simulate", *counts, "--processes", str(os.cpu_count()), "--output", str(store))
    simulated, before = time.monotonic(), _steps(run)
    finished = weights.exists() or _train(store, run, start, stage.epochs, options)
    if options.out:
        seconds = time.monotonic() - simulated
        _record(options, stage, run, simulated - begun, seconds, _steps(run) - before, finished)
    if not finished:
        print(f"stopped after {_steps(run)} steps; the same command goes on")
        sys.exit()
    if not weights.exists():
        _cryoreg("export", str(run), "--half", "--portable", "--output", str(weights))
    return weights


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--work", type=Path, default=Path("build/weights"))
    parser.add_argument("--structures", type=int, nargs="+", default=[1500, 4500], help="of each stage")
    parser.add_argument("--epochs", type=int, nargs="+", default=[30, 18], help="likewise")
    parser.add_argument("--per-class", type=int, nargs="+", default=[20, 20], help="scenes of a structure, likewise")
    parser.add_argument("--minutes", type=float, help="stop training after so many, saved")
    parser.add_argument("--devices", type=int, default=1, help="processes that share a batch")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def _train(store: Path, run: Path, start: Path | None, epochs: int, options: argparse.Namespace) -> bool:
    """Train for as long as there is time; return whether the run has ended."""
    if (run / "checkpoints" / "last.ckpt").exists():
        more = ["--resume"]
    else:
        more = ["--config", str(SETTINGS), "--dataset", "store", "--data", str(store), "--epochs", str(epochs)]
        more += ["--from", str(start)] if start else []
    places = ["--set", f"training.device={options.device}", "--devices", str(options.devices)]
    command = [*CRYOREG, "pretrain", *more, *places, "--run-dir", str(run)]
    process = subprocess.Popen(command)
    try:
        process.wait(options.minutes and 60 * options.minutes)
    except subprocess.TimeoutExpired:
        process.terminate()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
    if process.wait() not in (0, STOPPED):
        sys.exit(process.returncode)
    return process.returncode == 0


def _cryoreg(*arguments: str) -> None:
    if status := subprocess.run((*CRYOREG, *arguments), check=False).returncode:
        sys.exit(status)


def _steps(run: Path) -> int:
    steps = run / "steps.csv"
    return sum(1 for _ in steps.open()) - 1 if steps.exists() else 0


def _record(
    options: argparse.Namespace,
    stage: Stage,
    run: Path,
    simulating: float,
    training: float,
    steps: int,
    finished: bool,
) -> None:
    import tomllib

    batch = tomllib.loads((run / "config.toml").read_text())["training"]["batch_size"]
    record = {
        "what": "benchmarks/weights.py: training the shipped weights",
        "device": _device(options.device),
        "machine": platform.machine(),
        "torch": torch.__version__,
        "cryoreg": cryoreg.__version__,
        "structures": stage.structures,
        "scenes": stage.structures * stage.per_class,
        "seconds_simulating": round(simulating, 1),
        "seconds_training": round(training, 1),
        "steps": steps,
        "subtomograms_per_second": round(steps * batch / training, 1),
        "finished": finished,
        "losses": _losses(run),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=2) + "\n")


def _losses(run: Path) -> Sequence[float]:
    """Return the mean loss of each epoch that has ended."""
    metrics = run / "metrics.csv"
    if not metrics.exists():
        return []
    with metrics.open(newline="") as file:
        return [round(float(row["loss"]), 4) for row in csv.DictReader(file)]


def _device(device: str) -> str:
    cuda = torch.cuda.is_available() and device in ("auto", "cuda")
    return torch.cuda.get_device_name() if cuda else f"CPU, {os.cpu_count()} cores"


if __name__ == "__main__":
    main()
