"""From structures and settings to a store of simulated subtomograms: any number of processes, resumable."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from cryoreg.datasets.store.format import StoreLayout
from cryoreg.datasets.store.writer import StoreWriter
from cryoreg.simulation.processes import simulate_scenes
from cryoreg.simulation.settings import SceneSettings
from cryoreg.simulation.simulator import Scene
from cryoreg.simulation.structures import Structure
from cryoreg.telling import track

VERSION = 2
"""Of the simulator, raised where the same settings give other bits. 2: noise is drawn as a spectrum."""
COLUMNS: dict[str, tuple[str, tuple[int, ...]]] = {
    "scene": ("<i8", ()),
    "rotation": ("<f8", (3, 3)),
    "shift": ("<f8", (3,)),
    "resolution": ("<f4", ()),
    "defocus": ("<f4", ()),
    "snr_crop": ("<f4", ()),
    "snr_box": ("<f4", ()),
}
"""What a store keeps of each scene: its number, the rest as in `Scene`."""


class SceneSet(Protocol):
    """A range of a numbered series of scenes, and how its store is laid out."""

    @property
    def indices(self) -> range:
        """The numbers of the scenes, row by row."""

    def scenes(self, indices: Iterable[int], workers: int = 1) -> Iterator[Any]:
        """Simulate scenes in the order of their numbers; each has a volume and the layout's columns as attributes."""

    def layout(self, preset: str, clean: bool) -> StoreLayout:
        """Return what is known of the set before it is simulated."""


@dataclass(frozen=True)
class SimulatedSet:
    """A range of the endless, numbered series of scenes that structures, settings and a seed define.

    Scene number i shows structure i modulo their number. It is drawn from a stream of its own, so that sets of one seed
    whose ranges do not meet, and sets of different seeds, share no random number.
    """

    structures: Sequence[Structure]
    settings: SceneSettings
    seed: int = 0
    per_class: int = 500
    first: int = 0
    """Scenes of each class that are passed over."""

    @property
    def indices(self) -> range:
        """The numbers of the scenes, row by row."""
        classes = len(self.structures)
        return range(self.first * classes, (self.first + self.per_class) * classes)

    def scenes(self, indices: Iterable[int], workers: int = 1) -> Iterator[Scene]:
        """Simulate scenes in the order of their numbers; the same bits for any number of workers."""
        return simulate_scenes(self.structures, self.settings, self.seed, indices, workers)

    def layout(self, preset: str, clean: bool) -> StoreLayout:
        """Return what is known of the set before it is simulated.

        A row's id names seed and scene; each scene of every class once makes up a pretended tomogram.
        """
        settings, classes = self.settings, len(self.structures)
        return StoreLayout(
            ids=[f"seed{self.seed}-scene{index:07d}" for index in self.indices],
            labels=[index % classes for index in self.indices],
            groups=[f"seed{self.seed}-tomo{index // classes:06d}" for index in self.indices],
            classes=[body.name for body in self.structures],
            box=(settings.box,) * 3,
            voxel_size=settings.voxel_size,
            contrast="bright",
            tilt_range=settings.tilt,
            tilt_axis="y",
            columns=COLUMNS,
            settings=self._recorded(preset),
            clean=clean,
        )

    def _recorded(self, preset: str) -> dict[str, Any]:
        values = self.settings.model_dump(mode="json")
        spelt = {name: str(v) if isinstance(v, float) and math.isinf(v) else v for name, v in values.items()}
        bodies = {
            body.name: {"mass_kda": round(body.mass / 1e3, 3), "points": len(body.points), "digest": _digest(body)}
            for body in self.structures
        }
        counts = {"seed": self.seed, "first": self.first, "per_class": self.per_class}
        return {"simulator": VERSION, "preset": preset, **counts, "scenes": spelt, "structures": bodies}


class Outcome(NamedTuple):
    """What a call of `write` did."""

    written: int
    """Subtomograms simulated by it; the rest of the store was there from an earlier, interrupted call."""
    total: int
    seconds: float
    snr_crop: float
    """Mean over those written; NaN where there were none."""
    snr_box: float


def write(
    simulated: SceneSet, path: Path, preset: str, clean: bool = False, workers: int = 1, overwrite: bool = False
) -> Outcome:
    """Simulate what a store still misses and write it; the same call goes on where an interrupted one ended.

    Raises `DataError` as `StoreWriter` does, and `ProcessLostError` where a worker was killed.
    """
    begun, ratios = time.monotonic(), []
    layout = simulated.layout(preset, clean)
    with StoreWriter(path, layout, overwrite=overwrite) as writer:
        missing = writer.missing()
        indices = [simulated.indices[row] for row in missing]
        for row, index, scene in zip(missing, indices, _shown(simulated, indices, workers), strict=True):
            columns = {name: index if name == "scene" else getattr(scene, name) for name in layout.columns}
            writer.put(row, scene.volume, scene.clean if clean else None, columns)
            ratios.append((scene.snr_crop, getattr(scene, "snr_box", math.nan)))
        writer.finish()
    mean = np.mean(ratios, axis=0) if ratios else (math.nan, math.nan)
    return Outcome(len(missing), len(simulated.indices), time.monotonic() - begun, float(mean[0]), float(mean[1]))


def _shown(simulated: SceneSet, indices: Sequence[int], workers: int) -> Iterator[Any]:
    return iter(track(simulated.scenes(indices, workers), "simulating", len(indices)))


def _digest(body: Structure) -> str:
    content = np.column_stack([body.points, body.masses]).astype("<f8").tobytes()
    return hashlib.sha256(content).hexdigest()[:16]
