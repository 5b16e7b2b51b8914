"""Subtomograms that are the same voxel by voxel: a copy in the test part would make a classifier look better."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from cryoreg.contracts import SubtomogramDataset
from cryoreg.datasets.splits import Split
from cryoreg.datasets.store.writer import content_hash


def find_duplicates(dataset: SubtomogramDataset) -> list[list[int]]:
    """Return the groups of subtomograms with identical voxels, each group and all of them in order.

    A store knows its duplicates; of other data sets, every volume is read, one at a time. Volumes that differ in scale
    or by a rounding error are not found.
    """
    known: Sequence[Hashable] | None = getattr(dataset, "duplicates", None)
    if known is None:
        known = [content_hash(dataset[index].volume.numpy()) for index in range(len(dataset))]
    found: dict[Hashable, list[int]] = {}
    for index, key in enumerate(known):
        if key is not None:
            found.setdefault(key, []).append(index)
    return [group for group in found.values() if len(group) > 1]


def across_splits(dataset: SubtomogramDataset, split: Split) -> list[list[str]]:
    """Return the ids of identical subtomograms that are not all in one part of a split."""
    part = np.full(len(dataset), -1)
    for number, indices in enumerate(split):
        part[indices] = number
    torn = [group for group in find_duplicates(dataset) if len(set(part[group].tolist()) - {-1}) > 1]
    return [[dataset.ids[index] for index in group] for group in torn]
