"""Made-up structures as a set of subtomograms on one grid, to be written as a store or read scene by scene."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cryoreg.datasets.numbered import Numbered
from cryoreg.datasets.resampling import resample
from cryoreg.datasets.store.format import StoreLayout
from cryoreg.errors import ConfigError
from cryoreg.simulation.processes import scenes_of
from cryoreg.simulation.universe.bodies import class_names
from cryoreg.simulation.universe.scenes import SESSION, Universe, UniverseScene

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

    @property
    def ids(self) -> Sequence[str]:
        """A name for each scene."""
        return Numbered(self.indices, functools.partial(_name, f"universe{self.seed}-scene{{:09d}}", 1))

    @property
    def groups(self) -> Sequence[str]:
        """The session of each scene: those with one microscope."""
        return Numbered(self.indices, functools.partial(_name, f"universe{self.seed}-session{{:07d}}", SESSION))

    @property
    def classes(self) -> Sequence[str]:
        """The classes: each structure is one, and all of a kind that are no particles."""
        return _classes(self.seed, self.structures)[0]

    @property
    def labels(self) -> Sequence[int]:
        """The class of each scene."""
        return Numbered(self.indices, functools.partial(_in_turn, _classes(self.seed, self.structures)[1]))

    def scenes(self, indices: Iterable[int], workers: int = 1) -> Iterator[UniverseScene]:
        """Simulate scenes on the set's own grid, in the order of their numbers."""
        return scenes_of(functools.partial(GriddedUniverse, self), indices, workers)

    def layout(self, preset: str, clean: bool) -> StoreLayout:
        """Return what is known of the set; raise `ConfigError` where noise-free copies are asked for.

        Tilt ranges and axes differ between scenes, so that the set has none of its own.
        """
        if clean:
            raise ConfigError("made-up structures have no noise-free copies; leave out --clean-copies")
        return StoreLayout(
            ids=list(self.ids),
            labels=list(self.labels),
            groups=list(self.groups),
            classes=list(self.classes),
            box=(self.box,) * 3,
            voxel_size=self.voxel_size,
            contrast="bright",
            columns=COLUMNS,
            settings={"simulator": 1, "universe": self.structures, "seed": self.seed, "first": self.first},
        )


class GriddedUniverse:
    """What a process needs to simulate scenes of a set."""

    def __init__(self, wanted: UniverseSet) -> None:
        self.wanted = wanted
        self.universe = Universe(wanted.structures, wanted.seed, wanted.box * wanted.voxel_size)

    def scenes(self, indices: Iterable[int]) -> Iterator[UniverseScene]:
        """Simulate scenes in the order of their numbers."""
        return map(self.scene, indices)

    def scene(self, index: int) -> UniverseScene:
        """Simulate scene ``index``; its volume has the set's box and voxel size."""
        made = self.universe.scene(index)
        factor = made.simulated_voxel_size / self.wanted.voxel_size
        return made._replace(volume=resample(made.volume, factor, (self.wanted.box,) * 3))


def _name(form: str, per_name: int, number: int) -> str:
    return form.format(number // per_name)


def _in_turn(values: Sequence[int], number: int) -> int:
    return values[number % len(values)]


@functools.lru_cache(maxsize=4)
def _classes(seed: int, structures: int) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the names of the classes, and the class of each structure."""
    names = class_names(seed, structures)
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return tuple(numbers), tuple(numbers[name] for name in names)
