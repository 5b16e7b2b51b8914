"""How many 32³ subtomograms of the recipe liu2020 does one core simulate in a second, and what takes the time?

    OMP_NUM_THREADS=1 python benchmarks/simulation.py [--structures DIR] [--rounds 7] [--count 160]
                                                      [--out benchmarks/results/simulation-cpu.json]

Without --structures, the ten made-up assemblies. Each round times every contender once, in turn. Rates are medians over
the rounds, by the processor's time (what a core to itself would take) and by the clock (what this machine gave).
Memory is what the process has grown by, at most, while it simulated twenty times a batch.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
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


def main() -> None:
    arguments = parse()
    bodies = structures(arguments.structures)
    timed = contenders(bodies, arguments.count)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in timed}
    for _ in range(arguments.rounds):
        for name, (count, act) in timed.items():
            times[name].append(tuple(spent / count for spent in timing(act)))
    report = {
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "load_average": os.getloadavg()[0]},
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__},
        "structures": {body.name: len(body.points) for body in bodies},
        "rounds": arguments.rounds,
        "volumes_per_second": {name: rates(times[name]) for name in timed if name.startswith("scenes")},
        "milliseconds_each": {name: cost(times[name]) for name in timed if not name.startswith("scenes")},
        "megabytes_grown": growth(bodies),
    }
    text = json.dumps(report, indent=2, ensure_ascii=False)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--structures", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--count", type=int, default=5 * BATCH)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def structures(folder: Path | None) -> tuple[Structure, ...]:
    spacing = make_settings("liu2020").point_spacing
    return read_structures(folder, StructureOptions(spacing)) if folder else make_assemblies(0)


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

    def repeat(act: Callable[[], Any]) -> tuple[int, Callable[[], Any]]:
        return count, lambda: [act() for _ in range(count)]

    return {
        "scenes without noise": (count, lambda: list(clean.scenes(range(count)))),
        "scenes with noise": (count, lambda: list(noisy.scenes(range(count)))),
        "packing, a scene": (BATCH, lambda: pack(starts, radii)),
        "splatting five structures": repeat(lambda: optics.splat(points, masses, scope.shape, 10.0)),
        "a transform and filter": repeat(lambda: scope.signal(density, transfer)),
        "an inverse transform, cropped": repeat(lambda: scope.crop(spectrum)),
        "noise": repeat(lambda: scope.noise(rng, 5.0)),
    }


def timing(act: Callable[[], Any]) -> tuple[float, float]:
    clock, processor = time.perf_counter(), time.process_time()
    act()
    return time.process_time() - processor, time.perf_counter() - clock


def rates(spent: list[tuple[float, float]]) -> dict[str, float]:
    return {kind: round(1 / statistics.median(column), 1) for kind, column in named(spent)}


def cost(spent: list[tuple[float, float]]) -> float:
    return round(1e3 * statistics.median(processor for processor, _ in spent), 3)


def named(spent: list[tuple[float, float]]) -> list[tuple[str, tuple[float, ...]]]:
    return list(zip(("processor", "clock"), zip(*spent, strict=True), strict=True))


def growth(bodies: tuple[Structure, ...]) -> float:
    simulator = Simulator(bodies, make_settings("liu2020"), 0)
    list(simulator.scenes(range(2)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in simulator.scenes(range(20 * BATCH)):
        pass
    return round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, 1)


def cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
