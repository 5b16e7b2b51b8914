"""One convention for whatever files hold: density bright, one voxel size."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cryoreg.contracts import Box, Contrast, Origin, Sample, SubtomogramDataset, TiltAxis
from cryoreg.datasets.class_names import alike_note
from cryoreg.datasets.resampling import resample, resampled_weight
from cryoreg.datasets.unlabelled import unlabelled_note
from cryoreg.errors import DataError
from cryoreg.wrapped import Wrapped

_SAME_TILT = 0.5
"""Degrees by which two statements of a tilt may differ."""


def _same(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Tell whether two ranges of tilts are one."""
    return bool(np.allclose(one, other, rtol=0, atol=_SAME_TILT))


class Conventional(Wrapped):
    """A data set as cryoreg serves it: what its reader yields, with density bright and resampled where asked for.

    Whatever else the reader's data set has (classes, labels, ids, groups, notes, duplicates) is kept, and its clean
    copies are served likewise.
    """

    def __init__(
        self,
        dataset: SubtomogramDataset,
        contrast: Contrast | None = None,
        rescale_to: float | None = None,
        tilt_range: tuple[float, float] | None = None,
        tilt_axis: TiltAxis | None = None,
    ) -> None:
        """Take a reader's data set and what the user says of it, which overrules what the files say.

        ``contrast`` is how density looks in the files: "dark" is inverted, None left as it is. ``rescale_to`` is in
        Å per voxel; boxes keep their physical extent, the largest that all have. Raises `DataError` where there is no
        voxel size to rescale from.
        """
        super().__init__(dataset)
        self.notes = [*dict.fromkeys([*self.notes, *unlabelled_note(dataset), *alike_note(dataset.classes)])]
        self._told = (contrast, rescale_to, tilt_range, tilt_axis)
        self.notes = [*self.notes, *self._overruled(contrast, tilt_range, tilt_axis)]
        self._tilts = tilt_range
        stored = contrast or self.contrast
        self._sign = -1.0 if stored == "dark" else 1.0
        self.contrast = stored and "bright"
        self.tilt_range = tilt_range or self.tilt_range
        self.tilt_axis = tilt_axis or self.tilt_axis
        self._rescale_to = rescale_to
        self.voxel_size = rescale_to or dataset.voxel_size
        self.box: Box = self._rescaled_box(rescale_to) if rescale_to else dataset.box

    @cached_property
    def clean(self) -> Conventional | None:
        """The noise-free copies, with the same sign and voxel size; None where there are none."""
        copies = super().clean
        return None if copies is None else Conventional(copies, *self._told)

    @cached_property
    def columns(self) -> Mapping[str, NDArray[Any]]:
        """Further values of each subtomogram, (N, ...) each; none once it was rescaled, as some are in voxels."""
        return {} if self._rescale_to else super().columns

    def _overruled(
        self, contrast: Contrast | None, tilts: tuple[float, float] | None, axis: TiltAxis | None
    ) -> Iterator[str]:
        """Yield a note for each thing that the data say themselves, and the user says otherwise."""
        if contrast and self.contrast and contrast != self.contrast:
            done = "are inverted" if contrast == "dark" else "are left as they are"
            yield (
                f"the data say that density is {self.contrast} in them, and dataset.contrast={contrast} overrules it: "
                f"they {done}; if that was said of the tomograms that they were cut out of, leave it out"
            )
        other = next((each for each in self._own_tilts() if not _same(tilts, each)), None) if tilts else None
        if tilts and other:
            told, own = (f"{low:g}° to {high:g}°" for low, high in (tilts, other))
            some = "" if self.tilt_range else " of some subtomograms"
            yield f"the data say that tilts{some} are from {own}, and dataset.tilt_range overrules it ({told})"
        if axis and self.tilt_axis and axis != self.tilt_axis:
            yield f"the data say that tilts are about {self.tilt_axis}, and dataset.tilt_axis={axis} overrules it"

    def _own_tilts(self) -> Iterator[tuple[float, float]]:
        """Yield the tilt ranges that the data say, of all or one by one."""
        if self.tilt_range:
            yield self.tilt_range
            return
        origins = (super(Conventional, self).origin(index) for index in range(len(self.dataset)))
        yield from dict.fromkeys(origin.tilt_range for origin in origins if origin and origin.tilt_range)

    def _rescaled_box(self, target: float) -> Box:
        finest = min(self._factor(index, target) for index in range(len(self.dataset)))
        depth, height, width = (max(1, math.floor(edge * finest + 0.5)) for edge in self.dataset.box)
        return depth, height, width

    def _factor(self, index: int, target: float) -> float:
        """Return the voxel size of a subtomogram over the target's."""
        origin = self.origin(index)
        size = origin.voxel_size or self.dataset.voxel_size
        if size is None:
            raise DataError(f"{origin.file}: has no voxel size to rescale from; say --set dataset.voxel_size=<Å>")
        return size / target

    def origin(self, index: int) -> Origin:
        """Return where subtomogram ``index`` came from: where that is unknown, its id stands for the file."""
        origin = super().origin(index) or Origin(self.ids[index], voxel_size=self.dataset.voxel_size)
        return replace(origin, tilt_range=self._tilts) if self._tilts else origin

    def __getitem__(self, index: int) -> Sample:
        """Read one subtomogram."""
        sample = self.dataset[index]
        if self._sign == 1 and self._rescale_to is None:
            return sample
        volume, weight = sample.volume * self._sign, sample.weight
        if self._rescale_to is not None:
            factor = self._factor(index, self._rescale_to)
            volume = torch.from_numpy(resample(volume[0].numpy(), factor, self.box))[None]
            weight = resampled_weight(weight, self.dataset.box, self.box, 1 / factor)
        return Sample(volume, sample.label, sample.id, sample.group, weight)
