"""The data sets on which trained weights are tried: made once, in a folder, and opened from there.

    OMP_NUM_THREADS=1 python benchmarks/target_sets.py --work DIR [--data ../shared/data] [--per-class 500] [NAME ...]

The ten density maps of docs/results.md and what is made of them are for reports only. Networks, resolutions and recipes
may be chosen by the others alone: three further maps and three averages from cells, and made-up structures of a seed
that no training uses. None of these structures is ever trained on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from cryoreg import create_dataset
from cryoreg.contracts import Subtomograms
from cryoreg.datasets.conversion.simulated_store import SceneSet, SimulatedSet, write
from cryoreg.datasets.universe_set import UniverseSet
from cryoreg.simulation.settings import make_settings
from cryoreg.simulation.structure_files import StructureOptions, read_structure

TEN_MAPS = ("1bxn", "1qvr", "1u6g", "2cg9", "3cf3", "3d2f", "3gl1", "3h84", "3j9i", "4cr2")
OTHER_MAPS = ("1s3x", "3qm1", "5mrc")
CELL_AVERAGES = ("atpase", "hsp60", "putative_prohibitin")
NOISE_OF_AVERAGES = 0.3
"""Of an average's maximum: what lies below is solvent and neighbours, not the particle."""
UNSEEN_SEED, UNSEEN_STRUCTURES, UNSEEN_SHARE = 20_221, 30, 0.3
"""Of the made-up structures; 0.3 × ``per_class`` scenes of each."""
OTHER_MICROSCOPE = ("voxel_size=13.0", "box=24", "max_shift=6", "tilt=45")
"""The same extent and shifts in Å as `liu2020` has."""
DATA = Path(__file__).parents[2] / "shared/data"

Role = Literal["selection", "test"]
Make = Callable[[Path, int], SceneSet]
"""From the folder of structures and the subtomograms of each class."""


class Target(NamedTuple):
    """A data set on which weights are tried."""

    role: Role
    """Whether networks may be chosen by it."""
    voxel_size: float
    """Å, of the files."""
    make: Make | None
    """None: it lies in the folder of data as it is."""
    file: str
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2)
    learns_from: tuple[str, ...] = ("train",)
    """The parts from which a classifier of frozen features takes its labels."""
    redrawn: bool = False
    """Whether each seed divides it anew: a single division of so few says nothing."""
    native: bool = False
    """Whether it is shown at the files' own voxel size, whatever the weights were trained at."""

    def settings(self, work: Path, data: Path, voxel_size: float) -> dict[str, object]:
        """Return reader and parameters, which bring the set to ``voxel_size`` Å."""
        known: dict[str, object] = {"name": "store", "root": str(work / self.file)}
        if self.make is None:
            known = {"name": "lab", "root": str(data / self.file), "voxel_size": self.voxel_size}
        return known | {"rescale_to": self.voxel_size if self.native else voxel_size}

    def split_of(self, seed: int) -> dict[str, Any]:
        """Return how the set is divided for a seed."""
        return {"fractions": self.fractions, "seed": seed if self.redrawn else 0}


def ten_maps(data: Path, per_class: int) -> SceneSet:
    return _simulated(_maps(data, TEN_MAPS), per_class)


def other_structures(data: Path, per_class: int) -> SceneSet:
    averages = [(data / "real" / f"{name}.mrc", NOISE_OF_AVERAGES) for name in CELL_AVERAGES]
    return _simulated([*_maps(data, OTHER_MAPS), *averages], per_class)


def other_microscope(data: Path, per_class: int) -> SceneSet:
    return _simulated(_maps(data, TEN_MAPS), per_class, *OTHER_MICROSCOPE, snr=0.5, snr_region="crop")


def unseen_universe(data: Path, per_class: int) -> SceneSet:
    return UniverseSet(UNSEEN_STRUCTURES, max(1, round(UNSEEN_SHARE * per_class)), UNSEEN_SEED)


def _maps(data: Path, names: tuple[str, ...]) -> list[tuple[Path, float]]:
    return [(data / "density_maps" / f"{name}.mrc", 0.05) for name in names]


def _simulated(files: list[tuple[Path, float]], per_class: int, *assignments: str, **given: object) -> SceneSet:
    """Return what `cryoreg simulate --seed 0` makes of maps, each with its threshold."""
    settings = make_settings("liu2020", assignments, **given)
    options = StructureOptions(settings.point_spacing)
    bodies = [read_structure(path, options._replace(map_threshold=threshold)) for path, threshold in files]
    return SimulatedSet(tuple(bodies), settings, per_class=per_class)


TARGETS: dict[str, Target] = {
    "other-structures": Target("selection", 10.0, other_structures, "other-structures.h5"),
    "unseen-universe": Target("selection", 20.0, unseen_universe, "unseen-universe.h5"),
    "ten-maps": Target("test", 10.0, ten_maps, "ten-maps.h5"),
    "ten-maps-10A": Target("test", 10.0, ten_maps, "ten-maps.h5", native=True),
    "other-microscope": Target("test", 13.0, other_microscope, "other-microscope.h5"),
    "lab-layout": Target(
        *("test", 10.0, None, "lab_layout"),
        fractions=(4 / 6, 1 / 6, 1 / 6),
        learns_from=("train", "val"),
        redrawn=True,
    ),
}


def prepare(name: str, work: Path, data: Path, per_class: int = 500, workers: int = 1) -> None:
    """Make a set where it is not there yet; an interrupted call is gone on with."""
    target = TARGETS[name]
    if target.make is None or (work / target.file).exists():
        return
    outcome = write(target.make(data, per_class), work / target.file, "liu2020", workers=workers)
    print(f"{name}: {outcome.total:,} subtomograms, SNR {outcome.snr_crop:.3g} in the crop", flush=True)


def open_target(name: str, work: Path, data: Path, voxel_size: float) -> Subtomograms:
    """Open a set that was made, at ``voxel_size`` Å."""
    return create_dataset(**TARGETS[name].settings(work, data, voxel_size))  # type: ignore[arg-type]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(TARGETS)} [all]")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is made")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with density_maps, real and lab_layout")
    parser.add_argument("--per-class", type=int, default=500)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    for name in options.names or TARGETS:
        prepare(name, options.work, options.data, options.per_class, options.workers)


if __name__ == "__main__":
    main()
