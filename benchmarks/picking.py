"""How many particles does `cryoreg pick` find? Recall and precision on simulated tomograms, over several seeds.

    python benchmarks/picking.py [--seeds 0 1 2 3 4 5] [--output FILE.json]

Each tomogram has 64×192×192 voxels of 10 Å, 80 copies of one procedural assembly in random places and orientations
without overlap, CTF at 3.5-4.5 µm, a ±60° wedge and noise. The SNR is local: variance of the signal over that of the
noise in the cube around a particle. A particle counts as found where a pick lies within half its radius. Every seed is
another tomogram of another assembly. Picking knows the radius √(5/3)·Rg, the contrast, and, where it ranks, the
tilt range and the assembly; how often it would have found out the contrast is told apart. `recall_of_as_many` counts
only the best as many picks as there are particles; it is then the precision, too.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import tempfile
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
from numpy.typing import NDArray

from cryoreg.datasets.tomograms.files import open_tomogram
from cryoreg.files import write_text
from cryoreg.picking.picks import Picks, pick
from cryoreg.picking.scoring import score
from cryoreg.picking.settings import PickSettings
from cryoreg.simulation.assemblies import make_assemblies
from cryoreg.simulation.optics import splat
from cryoreg.simulation.settings import SceneSettings
from cryoreg.simulation.structures import Structure
from cryoreg.simulation.tomogram import simulate_tomogram

SNRS = (1.0, 0.2, 0.05)
SHAPE, COUNT, VOXEL_SIZE, LOW_PASS = (64, 192, 192), 80, 10.0, 28.0
MEASURES = ("recall", "precision", "recall_of_as_many", "picks")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4, 5])
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    results = {"machine": platform.processor() or platform.machine(), "seeds": arguments.seeds, "snr": {}}
    for snr in SNRS:
        trials = [trial(snr, seed) for seed in arguments.seeds]
        results["snr"][str(snr)] = {way: summary([t[way] for t in trials]) for way in trials[0]}
        for way, measured in results["snr"][str(snr)].items():
            print(snr, f"{way:12s}", "  ".join(f"{k} {m:.2f}±{s:.2f}" for k, (m, s) in measured.items()))
    if arguments.output:
        write_text(arguments.output, json.dumps(results, indent=2) + "\n")


def trial(snr: float, seed: int) -> dict[str, dict[str, float]]:
    """Simulate one tomogram and pick it by the filter alone and with ranking."""
    structure = make_assemblies(0)[3 * seed % 10]
    radius = math.sqrt(5 / 3) * structure.radius_of_gyration
    scene = SceneSettings(box=round(2 * radius / VOXEL_SIZE), voxel_size=VOXEL_SIZE, snr=snr, tilt=(-60.0, 60.0))
    volume, positions, _, _ = simulate_tomogram([structure], SHAPE, COUNT, scene, seed)
    with tempfile.TemporaryDirectory() as folder:
        file, template = Path(folder) / "tomogram.mrc", Path(folder) / "template.mrc"
        write(file, volume)
        write(template, density(structure))
        ranking: dict[str, Any] = {"template": template, "tilt_range": (-60.0, 60.0), "low_pass": LOW_PASS}
        return {
            "DoG": measure(file, PickSettings(radius, "bright"), positions),
            "ranked": measure(file, PickSettings(radius, "bright", **ranking), positions),
            "contrast": contrast(file, PickSettings(radius)),
        }


def measure(file: Path, settings: PickSettings, positions: NDArray[np.float64]) -> dict[str, float]:
    """Pick, and score all picks and the best as many as there are particles."""
    found: Picks = pick(open_tomogram(file), settings)
    tolerance = settings.radius / VOXEL_SIZE / 2
    recall, precision = score(found.positions, positions, tolerance)
    as_many = score(found.positions[: len(positions)], positions, tolerance).recall
    return dict(zip(MEASURES, (recall, precision, as_many, len(found.dog)), strict=True))


def contrast(file: Path, settings: PickSettings) -> dict[str, float]:
    """Return whether the contrast, bright, was found out, and whether the verdict was said to be certain."""
    verdict = pick(open_tomogram(file), settings).verdict
    return {"right": float(verdict.contrast == "bright"), "certain": float(verdict.decided)}


def summary(trials: list[dict[str, float]]) -> dict[str, tuple[float, float]]:
    """Return mean and standard deviation of every measure."""
    columns = {name: np.array([t[name] for t in trials]) for name in trials[0]}
    return {name: (round(float(c.mean()), 4), round(float(c.std(ddof=1)), 4)) for name, c in columns.items()}


def density(structure: Structure) -> NDArray[np.float32]:
    """Return the map of an assembly, in a box a little wider than it."""
    edge = 2 * math.ceil(structure.radius / VOXEL_SIZE) + 8
    return splat(structure.points, structure.masses, (edge,) * 3, VOXEL_SIZE).astype(np.float32)


def write(file: Path, volume: NDArray[np.float32]) -> None:
    with mrcfile.new(file, volume) as mrc:
        mrc.voxel_size = VOXEL_SIZE


if __name__ == "__main__":
    main()
