"""The data set that readers of 2D tilt images share: each particle is reconstructed as it is read."""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

import numpy as np
import torch

from cryoreg.contracts import Contrast, Sample
from cryoreg.datasets.readers.file_dataset import FileDataset
from cryoreg.datasets.tilt_stacks.reconstruction import Backprojector, Reconstructed
from cryoreg.datasets.tilt_stacks.series import TiltSeries

_READY = 16
"""Tilt series whose geometry is kept ready, 20 MB each for 40 images of 64²."""


class ReconstructedDataset(FileDataset):
    """Particles whose samples carry the weight of each Fourier coefficient, their own missing wedge.

    A reader says in `reconstruct` of which images. No file stays open.
    """

    contrast: Contrast | None = "bright"
    """RELION, WarpTools and Warp invert images as they cut them, unless told otherwise."""
    weighted = True

    def __init__(self, *args: Any, **options: Any) -> None:
        """Take what `FileDataset` takes."""
        super().__init__(*args, **options)
        self._ready: OrderedDict[Hashable, Backprojector] = OrderedDict()

    @abstractmethod
    def reconstruct(self, index: int) -> Reconstructed:
        """Return the volume of a particle, and the weight of each of its Fourier coefficients."""

    def read(self, index: int) -> np.ndarray:
        """Reconstruct one volume."""
        return self.reconstruct(index).volume

    def __getitem__(self, index: int) -> Sample:
        """Reconstruct one particle; raise `DataError` where its images are at fault."""
        made = self.reconstruct(index)
        volume, weight = torch.from_numpy(made.volume)[None], torch.from_numpy(made.weight)[None]
        return Sample(volume, self.labels[index], self.ids[index], self.groups[index], weight)

    def _projector(self, geometry: Hashable, series: TiltSeries, pixel_size: float) -> Backprojector:
        """Return what reconstructs the particles of a series; those of one ``geometry`` share what depends on it."""
        if geometry not in self._ready:
            self._ready[geometry] = Backprojector(series, self.box[0], pixel_size)
        self._ready.move_to_end(geometry)
        if len(self._ready) > _READY:
            self._ready.popitem(last=False)
        return self._ready[geometry]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_ready": OrderedDict()}
