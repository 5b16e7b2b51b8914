"""The embedded default data set: simulated once, then read from the user's cache folder."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import math
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import filelock
import numpy as np
import torch
from numpy.typing import NDArray

from cryoreg.contracts import Sample, Subtomograms
from cryoreg.errors import CryoregError, DataError
from cryoreg.files import CACHE_VARIABLE, cache_folder, write_atomically
from cryoreg.simulation.assemblies import make_assemblies
from cryoreg.simulation.simulator import Scene, SceneSettings, Simulator
from cryoreg.simulation.symmetry import POINT_GROUPS
from cryoreg.telling import track

GENERATOR_VERSION = 1
"""Raise it with every change of the simulator's code that changes a voxel: old cache files are then left alone."""
_QUIET = 100
"""So many scenes take about a second; no progress bar for fewer."""

_log = logging.getLogger(__name__)


class DemoSettings(NamedTuple):
    """What the set is made of; `cryoreg.datasets.made_specs.DemoSpec` says what each means."""

    per_class: int
    box: int
    voxel_size: float
    snr: float
    seed: int


class Demo(Subtomograms):
    """Simulated subtomograms of ten assemblies, classes interleaved, ten scenes to a pretended tomogram."""

    def __init__(self, spec: DemoSettings, volumes: NDArray[np.float32]) -> None:
        """Take the volumes (N, box, box, box) in the order in which the simulator numbers them."""
        count = len(volumes)
        self.spec = spec
        self.classes: Sequence[str] = POINT_GROUPS
        self.labels: Sequence[int | None] = [index % len(POINT_GROUPS) for index in range(count)]
        self.ids: Sequence[str] = [f"demo-{index:05d}" for index in range(count)]
        self.groups: Sequence[str | None] = [f"tomo-{index // len(POINT_GROUPS):03d}" for index in range(count)]
        self.voxel_size: float | None = spec.voxel_size
        self.box = (spec.box, spec.box, spec.box)
        self._volumes = volumes

    @functools.cached_property
    def clean(self) -> Demo:
        """The same scenes without noise, simulated and cached at first use."""
        return load_demo(self.spec._replace(snr=math.inf))

    def __len__(self) -> int:
        return len(self._volumes)

    def __getitem__(self, index: int) -> Sample:
        volume = torch.tensor(self._volumes[index][None])
        return Sample(volume, self.labels[index], self.ids[index], self.groups[index])

    def __reduce__(self) -> tuple[Callable[[DemoSettings], Demo], tuple[DemoSettings]]:
        """Pickle the spec alone: a worker process reads the cache itself."""
        return load_demo, (self.spec,)


def load_demo(spec: DemoSettings) -> Demo:
    """Read the data set from the cache; simulate and cache it first where it is missing or damaged.

    Raises `DataError` where the cache cannot be written.
    """
    path = cache_file(spec)
    volumes = _read(path, spec)
    if volumes is None:
        volumes = _fill(path, spec)
    return Demo(spec, volumes)


def cache_file(spec: DemoSettings) -> Path:
    """Return where a data set is kept, in the cache folder."""
    key = f"{GENERATOR_VERSION} {json.dumps(spec._asdict())} {_settings(spec)}"
    return cache_folder() / f"demo-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"


def _fill(path: Path, spec: DemoSettings) -> NDArray[np.float32]:
    """Simulate the set, unless another process does so first, and write it; return the volumes."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(path.with_suffix(".lock")):
            volumes = _read(path, spec, warn=True)
            if volumes is None:
                scenes = simulate_demo(spec)
                write_atomically(path, functools.partial(_write, scenes=scenes))
                volumes = np.stack([scene.volume for scene in scenes])
            return volumes
    except (OSError, CryoregError) as error:
        raise DataError(
            f"cannot cache the demo data set in {path.parent}: {error}; set {CACHE_VARIABLE} to a folder with room"
        ) from error


def simulate_demo(spec: DemoSettings) -> list[Scene]:
    """Simulate every scene of the set."""
    simulator = Simulator(make_assemblies(spec.seed), _settings(spec), spec.seed)
    indices = range(spec.per_class * len(POINT_GROUPS))
    shown = indices if len(indices) < _QUIET else track(indices, "simulating the demo data set (once)", always=True)
    return [simulator.scene(index) for index in shown]


def _settings(spec: DemoSettings) -> SceneSettings:
    return SceneSettings(box=spec.box, voxel_size=spec.voxel_size, snr=spec.snr)


def _write(file: BinaryIO, scenes: list[Scene]) -> None:
    """Write an array for each field of the scenes; the zip format holds a checksum of each."""
    fields = [field for field in Scene._fields if field != "clean"]
    columns: dict[str, Any] = {field: np.stack([getattr(scene, field) for scene in scenes]) for field in fields}
    np.savez(file, **columns)


def _read(path: Path, spec: DemoSettings, warn: bool = False) -> NDArray[np.float32] | None:
    """Return the volumes, None where there is no sound file; ``warn`` says so of a damaged one."""
    shape = (spec.per_class * len(POINT_GROUPS), spec.box, spec.box, spec.box)
    try:
        with np.load(path, allow_pickle=False) as archive:
            volumes = archive["volume"]
        if volumes.shape == shape and volumes.dtype == np.float32:
            return volumes
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile):
        pass
    if warn:
        _log.warning("the cached demo data set %s is damaged; simulating it again", path)
    return None
