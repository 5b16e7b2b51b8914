"""How many subtomograms does one core simulate in a second, or one device in batches, and what takes the time?

    OMP_NUM_THREADS=1 python benchmarks/simulation.py [--structures DIR] [--rounds 7] [--count 160]
                                                      [--against DIR] [--out benchmarks/results/simulation-cpu.json]
    python benchmarks/simulation.py --device cuda --count 20000 --out simulation.json

32³ voxels of the recipe liu2020, of ten made-up assemblies where no structures are given, and scenes of the universe
at the voxel size of their microscopes. Each round times every contender once, in turn; with --against, an earlier
checkout, each round does so in new processes for it and for this one. Rates are medians over the rounds, by the
processor's time (what a core to itself would take) and by the clock (what this machine gave). Memory is what a process
has grown by, at most, while it simulated twenty times a batch.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import numpy as np
import scipy

from cryoreg.simulation import optics
from cryoreg.simulation.assemblies import make_assemblies
from cryoreg.simulation.packing import pack
from cryoreg.simulation.settings import make_settings
from cryoreg.simulation.simulator import BATCH, Simulator
from cryoreg.simulation.structure_files import StructureOptions, read_structures
from cryoreg.simulation.structures import Structure
from cryoreg.simulation.universe.bodies import body
from cryoreg.simulation.universe.scenes import Universe

UNIVERSE = 40
"""Structures, made before scenes of them are timed."""
SET = (15, 20)
"""Structures, and scenes of each, where the structures are timed with them."""
Spent = tuple[float, float]
"""Seconds of the processor and of the clock, for one."""


def main() -> None:
    arguments = parse()
    if arguments.device:
        report = {"machine": machine(arguments.device), "versions": versions(), **on_device(arguments)}
    elif arguments.against:
        report = {"machine": machine(), "versions": versions(), **compared(arguments)}
    else:
        report = {"machine": machine(), "versions": versions(), **on_a_core(arguments)}
    text = json.dumps(report, indent=2, ensure_ascii=False)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--structures", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--count", type=int, default=5 * BATCH)
    parser.add_argument("--device", choices=("cpu", "cuda"), help="time the batched simulator on it, and nothing else")
    parser.add_argument("--against", type=Path, metavar="DIR", help="an earlier checkout")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def structures(folder: Path | None) -> tuple[Structure, ...]:
    spacing = make_settings("liu2020").point_spacing
    return read_structures(folder, StructureOptions(spacing)) if folder else make_assemblies(0)


def on_a_core(arguments: argparse.Namespace) -> dict[str, Any]:
    bodies = structures(arguments.structures)
    timed = contenders(bodies, arguments.count)
    times: dict[str, list[Spent]] = {name: [] for name in timed}
    for _ in range(arguments.rounds):
        for name, (count, act) in timed.items():
            processor, clock = timing(act)
            times[name].append((processor / count, clock / count))
    return {
        "structures": {body.name: len(body.points) for body in bodies},
        "rounds": arguments.rounds,
        "volumes_per_second": {name: rates(times[name]) for name in timed if name.startswith("scenes")},
        "milliseconds_each": {name: cost(times[name]) for name in timed if not name.startswith("scenes")},
        "megabytes_grown": growth(bodies),
    }


def compared(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time an earlier checkout and this one in turn, each round of each in a process of its own."""
    here = Path(__file__).resolve().parents[1]
    places = {"before": arguments.against.resolve(), "now": here}
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in places}
    for _ in range(arguments.rounds):
        for name, place in places.items():
            command = [sys.executable, __file__, "--rounds", "1", "--count", str(arguments.count)]
            command += ["--structures", str(arguments.structures)] if arguments.structures else []
            environment = os.environ | {"PYTHONPATH": str(place)}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            rounds[name].append(json.loads(done.stdout))
    rate = {name: medians(each, "volumes_per_second") for name, each in rounds.items()}
    each = {name: medians(each, "milliseconds_each") for name, each in rounds.items()}
    return {
        "rounds": arguments.rounds,
        "volumes_per_second_of_the_processor": rate,
        "milliseconds_each": each,
        "times_as_fast": {name: round(rate["now"][name] / rate["before"][name], 2) for name in rate["now"]}
        | {name: round(each["before"][name] / each["now"][name], 2) for name in each["now"]},
        "megabytes_grown": rounds["now"][-1]["megabytes_grown"],
    }


def medians(rounds: list[dict[str, Any]], kind: str) -> dict[str, float]:
    rows = [{name: v["processor"] if isinstance(v, dict) else v for name, v in each[kind].items()} for each in rounds]
    return {name: round(statistics.median(row[name] for row in rows), 3) for name in rows[0]}


def on_device(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time the batched simulator, by the clock; the first batch is not counted."""
    import torch

    from cryoreg.simulation import batched

    bodies = structures(arguments.structures)

    def finish() -> None:
        if arguments.device == "cuda":
            torch.cuda.synchronize()

    found = {}
    for preset in ("liu2020", "clean"):
        simulator = batched.BatchedSimulator(bodies, make_settings(preset), 0, arguments.device)
        for _ in simulator.scenes(range(min(arguments.count, batched.BATCH))):
            finish()
        clock = time.perf_counter()
        for _ in simulator.scenes(range(arguments.count)):
            pass
        finish()
        found[preset] = round(arguments.count / (time.perf_counter() - clock), 1)
    memory = torch.cuda.max_memory_allocated() / 1e9 if arguments.device == "cuda" else None
    return {"scenes": arguments.count, "batch": batched.BATCH, "volumes_per_second": found, "gigabytes": memory}


def contenders(bodies: tuple[Structure, ...], count: int) -> dict[str, tuple[int, Callable[[], Any]]]:
    """Name -> how many it makes, and the call."""
    noisy, clean = (Simulator(bodies, make_settings(preset), 0) for preset in ("liu2020", "clean"))
    scope, rng = noisy.microscope, np.random.default_rng(0)
    plans = noisy.plans(range(BATCH))
    radii = np.array([[noisy.structures[p.label].radius, *(b.radius for b in p.neighbours)] for p in plans])
    starts = rng.standard_normal((BATCH, 5, 3)) * radii.sum(axis=1)[:, None, None]
    density = rng.random(scope.shape, dtype=np.float32)
    transfer = scope.transfer(50.0, 5.0)
    spectrum = scope.signal(density, transfer)
    points, masses = np.concatenate([b.points for b in bodies[:5]]), np.concatenate([b.masses for b in bodies[:5]])
    universe = Universe(UNIVERSE)
    for number in range(UNIVERSE):
        universe.structure(number)
    anywhere = rng.integers(1_000_000, size=count).tolist()
    seeds = itertools.count(1)  # of structures that have not been made yet

    def repeat(act: Callable[[], Any]) -> tuple[int, Callable[[], Any]]:
        return count, lambda: [act() for _ in range(count)]

    return {
        "scenes without noise": (count, lambda: list(clean.scenes(range(count)))),
        "scenes with noise": (count, lambda: list(noisy.scenes(range(count)))),
        "scenes of the universe, in order": (count, lambda: list(universe.scenes(range(count)))),
        "scenes of the universe, from anywhere": (count, lambda: list(universe.scenes(anywhere))),
        "scenes of a set of the universe, structures included": (
            math.prod(SET),
            lambda: list(Universe(SET[0], next(seeds)).scenes(range(math.prod(SET)))),
        ),
        "packing, a scene": (BATCH, lambda: pack(starts, radii)),
        "splatting five structures": repeat(lambda: optics.splat(points, masses, scope.shape, 10.0)),
        "a transform and filter": repeat(lambda: scope.signal(density, transfer)),
        "an inverse transform, cropped": repeat(lambda: scope.crop(spectrum)),
        "noise": repeat(lambda: scope.noise(rng, 5.0)),
        "a made-up structure": (UNIVERSE, lambda: [body(0, number) for number in range(UNIVERSE)]),
    }


def timing(act: Callable[[], Any]) -> Spent:
    clock, processor = time.perf_counter(), time.process_time()
    act()
    return time.process_time() - processor, time.perf_counter() - clock


def rates(spent: list[Spent]) -> dict[str, float]:
    return {kind: round(1 / statistics.median(column), 1) for kind, column in named(spent)}


def cost(spent: list[Spent]) -> float:
    return round(1e3 * statistics.median(processor for processor, _ in spent), 3)


def named(spent: list[Spent]) -> list[tuple[str, tuple[float, ...]]]:
    return list(zip(("processor", "clock"), zip(*spent, strict=True), strict=True))


def growth(bodies: tuple[Structure, ...]) -> float:
    simulator = Simulator(bodies, make_settings("liu2020"), 0)
    list(simulator.scenes(range(2)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in simulator.scenes(range(20 * BATCH)):
        pass
    return round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, 1)


def machine(device: str | None = None) -> dict[str, Any]:
    known: dict[str, Any] = {"cpu": cpu_name(), "cores": os.cpu_count(), "load_average": os.getloadavg()[0]}
    if device == "cuda":
        import torch

        known["device"] = torch.cuda.get_device_name()
    elif device:
        known["device"] = device
    return known


def versions() -> dict[str, str]:
    return {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__}


def cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
