"""Where particles are in their tomograms, and what these look like there."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from cryoreg.config import Layer, resolve
from cryoreg.contracts import SubtomogramDataset
from cryoreg.datasets.readers.tomogram import ParticleBoxes
from cryoreg.datasets.store.reader import Store
from cryoreg.datasets.tomograms.files import Tomogram
from cryoreg.datasets.tomograms.names import stem
from cryoreg.errors import CryoregError
from cryoreg.wrapped import within

EDGE = 900
"""Pixels of a section's longer side, at most."""
_SLAB = 2
"""Planes above and below that a section is the mean of: a single one is mostly noise."""
_LIMITS = (0.5, 99.5)
"""Percentiles of the middle section that are black and white."""
_KEPT = 64
_COMPARED = 32
"""Volumes of a store that are looked at, to know whether its source is the one that it was cut out of."""
_ROUNDING = 1e-3
"""Of their standard deviation."""


class Whereabouts:
    """The tomograms of a data set, and where its particles are in them."""

    def __init__(self, tomograms: Sequence[Tomogram], which: NDArray[np.int64], places: NDArray[np.float64]) -> None:
        """Take tomograms, the number of each particle's (N,), and its place there (N, 3): x, y, z in voxels."""
        self.tomograms, self.which, self.places = tomograms, which, places
        self.names = [stem(tomogram.path) for tomogram in tomograms]
        self._limits = lru_cache(maxsize=None)(self._measured)
        self.section = lru_cache(maxsize=_KEPT)(self._drawn)

    def _measured(self, number: int) -> tuple[float, float]:
        low, high = np.percentile(self._plane(number, self.tomograms[number].shape[0] // 2), _LIMITS)
        return float(low), float(high)

    def _plane(self, number: int, z: int) -> NDArray[np.float32]:
        tomogram = self.tomograms[number]
        slab = slice(max(0, z - _SLAB), min(tomogram.shape[0], z + _SLAB + 1))
        mean: NDArray[np.float32] = tomogram.read((slab, slice(None), slice(None))).mean(axis=0)
        return mean

    def _drawn(self, number: int, z: int) -> bytes:
        """Return the JPEG of a section across the beam, y up: five planes about ``z``."""
        low, high = self._limits(number)
        grey = np.clip((self._plane(number, z) - low) / ((high - low) or 1.0), 0, 1)
        image = Image.fromarray(np.round(255 * grey[::-1]).astype(np.uint8))
        image.thumbnail((EDGE, EDGE))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=85)
        return file.getvalue()


def whereabouts_of(dataset: SubtomogramDataset, told: Mapping[str, object] | None = None) -> Whereabouts | None:
    """Return where the particles of a data set are; None where it does not know its tomograms.

    A store knows them where the list and the tomograms that it was cut out of are still there, and the same; ``told``
    is what the user says of these, as settings of the reader `tomogram`.
    """
    store = within(dataset, Store)
    boxes = within(dataset, ParticleBoxes)
    if store is not None:
        return _of_store(store, told or {})
    return None if boxes is None else Whereabouts(boxes.tomograms, boxes.which, boxes.places)


def _of_store(store: Store, told: Mapping[str, object]) -> Whereabouts | None:
    if store.settings.get("name") != "tomogram":
        return None
    try:
        spec = resolve("pretrain", [Layer(store.root, {"dataset": {**store.settings, **told}})]).spec("dataset")
        source, known = spec.load(), {*store.ids}
        rows = [row for row, name in enumerate(source.ids) if name in known]
        boxes = within(source, ParticleBoxes)
        same = [source.ids[row] for row in rows] == list(store.ids) and _look_alike(store, source, rows)
    except CryoregError:
        return None
    return Whereabouts(boxes.tomograms, boxes.which[rows], boxes.places[rows]) if boxes and same else None


def _look_alike(store: Store, source: SubtomogramDataset, rows: Sequence[int]) -> bool:
    """Tell whether volumes of a store, evenly spread, are what its source has now in their ``rows``."""
    for index in np.unique(np.linspace(0, len(rows) - 1, _COMPARED).round().astype(int)).tolist():
        there, here = store[index].volume, source[rows[index]].volume
        if not torch.allclose(there, here, rtol=0, atol=_ROUNDING * float(there.std())):
            return False
    return True
