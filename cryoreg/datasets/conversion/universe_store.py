"""Made-up structures as a set of subtomograms on one grid, to be written as a store or read scene by scene."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryoreg.datasets.resampling import resample
from cryoreg.datasets.store.format import StoreLayout
from cryoreg.errors import ConfigError
from cryoreg.simulation.processes import scenes_of
from cryoreg.simulation.universe.bodies import class_names
from cryoreg.simulation.universe.scenes import SESSION, Universe

COLUMNS: dict[str, tuple[str, tuple[int, ...]]] = {
    "scene": ("<i8", ()),
    "tilt": ("<f4", (2,)),
    "tilt_axis_x": ("<u1", ()),
    "snr_crop": ("<f4", ()),
    "defocus": ("<f4", ()),
    "simulated_voxel_size": ("<f4", ()),
    "shift": ("<f4", (3,)),
}
"""What a store keeps of each scene: its number, the rest as in `UniverseScene`."""


class GriddedScene(NamedTuple):
    """A scene on the set's own grid."""

    volume: NDArray[np.float32]
    scene: int
    label: int
    tilt: tuple[float, float]
    tilt_axis_x: bool
    snr_crop: float
    defocus: float
    simulated_voxel_size: float
    shift: NDArray[np.float64]


@dataclass(frozen=True)
class UniverseSet:
    """``per_class`` scenes of each of ``structures`` structures, resampled to boxes of ``box`` voxels.

    Scene number i shows structure i modulo their number; ``first`` scenes of each are passed over. The same numbers
    give the same bits, whatever else is simulated and by however many processes.
    """

    structures: int
    per_class: int = 20
    seed: int = 0
    first: int = 0
    box: int = 16
    voxel_size: float = 20.0

    @property
    def indices(self) -> range:
        """The numbers of the scenes, row by row."""
        return range(self.first * self.structures, (self.first + self.per_class) * self.structures)

    def scenes(self, indices: Iterable[int], workers: int = 1) -> Iterator[GriddedScene]:
        """Simulate scenes in the order of their numbers."""
        return scenes_of(functools.partial(_Gridded, self), indices, workers)

    def layout(self, preset: str, clean: bool) -> StoreLayout:
        """Return what is known of the set; raise `ConfigError` where noise-free copies are asked for.

        Tilt ranges and axes differ between scenes, so that the set has none of its own.
        """
        if clean:
            raise ConfigError("made-up structures have no noise-free copies; leave out --clean-copies")
        names = class_names(self.seed, self.structures)
        classes = list(dict.fromkeys(names))
        numbers = {name: number for number, name in enumerate(classes)}
        return StoreLayout(
            ids=[f"universe{self.seed}-scene{index:09d}" for index in self.indices],
            labels=[numbers[names[index % self.structures]] for index in self.indices],
            groups=[f"universe{self.seed}-session{index // SESSION:07d}" for index in self.indices],
            classes=classes,
            box=(self.box,) * 3,
            voxel_size=self.voxel_size,
            contrast="bright",
            columns=COLUMNS,
            settings={"simulator": 1, "universe": self.structures, "seed": self.seed, "first": self.first},
        )


class _Gridded:
    """What a process needs to simulate scenes of a set."""

    def __init__(self, wanted: UniverseSet) -> None:
        self.wanted = wanted
        self.universe = Universe(wanted.structures, wanted.seed, wanted.box * wanted.voxel_size)

    def scenes(self, indices: Iterable[int]) -> Iterator[GriddedScene]:
        return map(self.scene, indices)

    def scene(self, index: int) -> GriddedScene:
        made = self.universe.scene(index)
        box = (self.wanted.box,) * 3
        return GriddedScene(
            volume=resample(made.volume, made.voxel_size / self.wanted.voxel_size, box),
            scene=index,
            label=made.label,
            tilt=made.tilt,
            tilt_axis_x=made.tilt_axis_x,
            snr_crop=made.snr_crop,
            defocus=made.defocus,
            simulated_voxel_size=made.voxel_size,
            shift=made.shift,
        )
