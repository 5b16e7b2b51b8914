"""What does each method and each encoder cost? Trains every method × RB3D and MoCo × every encoder for a few steps.

    OMP_NUM_THREADS=1 nice python benchmarks/components.py [--steps 8] [--device cpu] [--only NAME ...]

Batch 16, boxes of 32³, the demo data set (generated once), the engine of `cryoreg pretrain`; `mae` runs with
vit_tiny_3d. Each pair has a process of its own. Speeds are by the median step after the first, by the clock and, on a
CPU, by the time that the process had it: only the latter, with one thread, means much on a machine that is shared. Peak
memory is, on a CPU, by how much the process's largest resident size grew from just before the network was built to the
last step; on a GPU, torch's largest allocation. --only takes methods and encoders; what the file holds of the others
stays.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from command_lines import command_line
from engine import BATCH, BOX, _now
from rich import box
from rich.console import Console
from rich.table import Table
from torch import nn

from cryoreg import registry
from cryoreg.config import Layer, RunConfig, resolve
from cryoreg.files import write_text
from cryoreg.runs.run_folder import RunFolder
from cryoreg.training.device import describe, make_fabric
from cryoreg.training.engine import Engine
from cryoreg.training.loading import Batch
from cryoreg.training.pretrain import PretrainingPlan

METHOD, ENCODER = "moco", "rb3d"
NEEDS = {"mae": "vit_tiny_3d"}
"""The encoder of a method that cannot have RB3D."""
CLASSES = 10
Pair = tuple[str, str]
Figures = dict[str, Any]


class TimedEngine(Engine):
    """Notes what each step takes, and the largest memory up to the last one: a checkpoint follows that."""

    def run(self) -> None:
        self.seconds: list[float] = []
        self.cpu_seconds: list[float] = []
        super().run()

    def _step(self, batches: list[Batch]) -> None:
        started, cpu_started = _now(self.fabric.device), time.process_time()
        super()._step(batches)
        self.seconds.append(_now(self.fabric.device) - started)
        self.cpu_seconds.append(time.process_time() - cpu_started)
        self.peak_mb = peak_mb(self.fabric.device)


def pairs(only: list[str]) -> list[Pair]:
    """Return (method, encoder) of every built-in method and of every built-in encoder, or of those in ``only``."""
    with_default = [(name, NEEDS.get(name, ENCODER)) for name in builtins("methods")]
    with_default += [(METHOD, name) for name in builtins("encoders") if name != ENCODER]
    return [pair for pair in with_default if not only or set(only) & set(pair)]


def builtins(group: str) -> list[str]:
    return [component.name for component in registry.components(group) if component.builtin]


def config_of(pair: Pair, options: argparse.Namespace) -> RunConfig:
    method, encoder = ({"name": name} for name in pair)
    dataset = {"name": "demo", "box": BOX, "per_class": -(-options.steps * BATCH // CLASSES)}
    training = {"epochs": 1, "batch_size": BATCH, "part": "all", "probe_every_epochs": 0, "seed": options.seed}
    training |= {"device": options.device, "precision": options.precision}
    sections = {"method": method, "encoder": encoder, "dataset": dataset, "training": training}
    return resolve("pretrain", [Layer("benchmark", sections)])


def generate_data(options: argparse.Namespace) -> None:
    """Have the data set cached, so that the first pair's memory is not that of the simulation."""
    config_of((METHOD, ENCODER), options).spec("dataset").load()


def measure(pair: Pair, options: argparse.Namespace) -> Figures:
    """Train in this process, which must be a fresh one."""
    config = config_of(pair, options)
    dataset, fabric = config.spec("dataset").load(), make_fabric(config.training)
    before = peak_mb(fabric.device)
    plan = PretrainingPlan(config, dataset, fabric)
    with tempfile.TemporaryDirectory() as parent, RunFolder.open(Path(parent) / "run", config, False) as (folder, _):
        training = TimedEngine(plan, config, folder, fabric)
        training.run()
        with (folder.path / "steps.csv").open() as file:
            losses = [float(row["loss"]) for row in csv.DictReader(file)]
    return {
        **{"method": pair[0], "encoder": pair[1], **describe(fabric)},
        "encoder_parameters": count(plan.method.encoder),
        "trained_parameters": count(plan.module),
        "subtomograms_per_s": speed(training.seconds),
        "subtomograms_per_cpu_s": speed(training.cpu_seconds),
        "peak_mb": round(training.peak_mb - before),
        **{"steps": len(losses), "first_loss": losses[0], "last_loss": losses[-1]},
    }


def speed(seconds: list[float]) -> float:
    """Return subtomograms per second, by the median step after the first, which warms up."""
    return round(BATCH / statistics.median(seconds[1:]), 2)


def peak_mb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def in_a_process(function: Callable[..., Any], *arguments: Any) -> Any:
    with ProcessPoolExecutor(1, torch.multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def machine(device: str) -> Figures:
    return {
        "machine": torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def earlier(path: Path, here: Figures) -> dict[str, Figures]:
    """Return what the file already holds; figures of two machines must not meet in one file."""
    if not path.exists():
        return {}
    found = json.loads(path.read_text())
    if {key: found[key] for key in here} != here:
        sys.exit(f"{path} has another machine, torch or number of threads (OMP_NUM_THREADS); give another --out")
    return found["figures"]


def printed(figures: list[Figures]) -> Table:
    """Return a table, in Markdown."""
    table = Table("method", "encoder", box=box.MARKDOWN)
    for column in ("trained parameters", "per s", "per CPU s", "peak, MB", "first loss", "last loss"):
        table.add_column(column, justify="right")
    for f in figures:
        speeds = (f"{f[key]:.1f}" for key in ("subtomograms_per_s", "subtomograms_per_cpu_s"))
        losses = (f"{f[key]:.3f}" for key in ("first_loss", "last_loss"))
        table.add_row(f["method"], f["encoder"], f"{f['trained_parameters']:,}", *speeds, f"{f['peak_mb']:,}", *losses)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8, help="of each pair, at least 2")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="methods and encoders; default: all")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    out = options.out or Path(__file__).parent / "results" / f"components-{options.device}.json"
    here = machine(options.device)
    figures = earlier(out, here)
    in_a_process(generate_data, options)
    for pair in pairs(options.only):
        name = " × ".join(pair)
        figures[name] = in_a_process(measure, pair, options) | {"command": command_line()}
        print(f"{name:<30} {figures[name]['subtomograms_per_cpu_s']:8.2f} subtomograms per CPU second", flush=True)
        results = {**here, "seed": options.seed, "figures": figures}
        write_text(out, json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    Console(width=120).print(printed(list(figures.values())))


if __name__ == "__main__":
    main()
