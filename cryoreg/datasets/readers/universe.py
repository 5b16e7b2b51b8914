"""Made-up structures through random microscopes, each subtomogram simulated when it is read."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch

from cryoreg.contracts import Box, Contrast, Sample, Subtomograms
from cryoreg.datasets.universe_set import GriddedUniverse, UniverseSet


class MadeUp(Subtomograms):
    """The scenes of a `UniverseSet`: subtomogram i is the same for any number of processes, in any order.

    Nothing is written to disk, and no list is as long as the set, so that a set may be larger than any memory.
    """

    contrast: Contrast | None = "bright"
    simulated = True

    def __init__(self, wanted: UniverseSet) -> None:
        """Take which scenes there are."""
        self.wanted = wanted
        self.classes: Sequence[str] = wanted.classes
        self.labels: Sequence[int | None] = wanted.labels
        self.ids: Sequence[str] = wanted.ids
        self.groups: Sequence[str | None] = wanted.groups
        self.voxel_size: float | None = wanted.voxel_size
        self.box: Box = (wanted.box,) * 3

    @functools.cached_property
    def _source(self) -> GriddedUniverse:
        return GriddedUniverse(self.wanted)

    def __len__(self) -> int:
        return len(self.wanted.indices)

    def __getitem__(self, index: int) -> Sample:
        """Simulate one subtomogram."""
        volume = self._source.scene(self.wanted.indices[index]).volume
        return Sample(torch.from_numpy(volume)[None], self.labels[index], self.ids[index], self.groups[index])

    def __reduce__(self) -> tuple[type[MadeUp], tuple[UniverseSet]]:
        """Pickle which scenes there are: a worker process makes structures and microscopes itself."""
        return MadeUp, (self.wanted,)
