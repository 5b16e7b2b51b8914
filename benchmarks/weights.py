"""Train the weights that cryoreg ships from nothing: `make weights`, hours on two cores.

    python benchmarks/weights.py [--work build/weights] [--minutes M] [--device cuda] [--out FILE.json]

Made-up structures are simulated (--structures of them, --per-class scenes of each), an encoder learns to tell them
apart (weights.toml), and its file is written for `cryoreg/weights/`: WORK/rb3d_universe.safetensors. Whatever is
interrupted, by --minutes too, goes on when the command is given again. --out writes what it took, with the device.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

import cryoreg

SETTINGS = Path(__file__).with_name("weights.toml")
CRYOREG = (sys.executable, "-m", "cryoreg_cli")
STOPPED = 128 + signal.SIGTERM
"""The exit status of a run that was told to stop, and has saved."""


def main() -> None:
    """Simulate, train, export; then say what it took."""
    options = _options()
    store, run, weights = (options.work / name for name in ("universe.h5", "run", "rb3d_universe.safetensors"))
    begun = time.monotonic()
    if not store.exists():
        counts = ("--universe", str(options.structures), "--per-class", str(options.per_class))
        _cryoreg("simulate", *counts, "--processes", str(os.cpu_count()), "--output", str(store))
    simulated = time.monotonic()
    before = _steps(run)
    finished = _train(store, run, options)
    if finished:
        _cryoreg("export", str(run), "--half", "--portable", "--overwrite", "--output", str(weights))
        print(f"weights {weights} ({weights.stat().st_size / 1e6:.2f} MB); copy them into cryoreg/weights/")
    else:
        print(f"stopped after {_steps(run)} steps; the same command goes on")
    if options.out:
        seconds = time.monotonic() - simulated
        _record(options, run, simulated - begun, seconds, _steps(run) - before, finished)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--work", type=Path, default=Path("build/weights"))
    parser.add_argument("--structures", type=int, default=1500)
    parser.add_argument("--per-class", type=int, default=20)
    parser.add_argument("--epochs", type=int, help="other than weights.toml says")
    parser.add_argument("--minutes", type=float, help="stop training after so many, saved")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def _train(store: Path, run: Path, options: argparse.Namespace) -> bool:
    """Train for as long as there is time; return whether the run has ended."""
    goes_on = (run / "checkpoints" / "last.ckpt").exists()
    more = ("--resume",) if goes_on else ("--config", str(SETTINGS), "--dataset", "store", "--data", str(store))
    if options.epochs and not goes_on:
        more = (*more, "--epochs", str(options.epochs))
    command = (*CRYOREG, "pretrain", *more, "--set", f"training.device={options.device}", "--run-dir", str(run))
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
    options: argparse.Namespace, run: Path, simulating: float, training: float, steps: int, finished: bool
) -> None:
    import tomllib

    batch = tomllib.loads((run / "config.toml").read_text())["training"]["batch_size"]
    record = {
        "what": "benchmarks/weights.py: training the shipped weights",
        "device": _device(options.device),
        "machine": platform.machine(),
        "torch": torch.__version__,
        "cryoreg": cryoreg.__version__,
        "structures": options.structures,
        "scenes": options.structures * options.per_class,
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
