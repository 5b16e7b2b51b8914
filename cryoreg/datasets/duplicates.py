"""Subtomograms that are the same voxel by voxel: a copy in the test part would make a classifier look better."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Hashable, Iterable
from itertools import chain
from pathlib import Path

import numpy as np

from cryoreg.contracts import Subtomograms
from cryoreg.datasets.origins import origins_of
from cryoreg.datasets.store.writer import content_hash

_END = 4096
"""Bytes at the end of a file by which volumes are told apart before they are read."""


def find_duplicates(dataset: Subtomograms) -> list[list[int]]:
    """Return the groups of subtomograms with identical voxels, each group and all of them in order.

    A store knows its duplicates. Of files with one subtomogram each, all of a kind and size, only those are read that
    end alike; of other data sets, every volume is, one at a time. Volumes that differ in scale or by a rounding error
    are not found.
    """
    known = dataset.duplicates
    if known is not None:
        return _alike(range(len(dataset)), known)
    groups = [_alike(group, [_content(dataset, index) for index in group]) for group in _candidates(dataset)]
    return sorted(chain.from_iterable(groups))


def _content(dataset: Subtomograms, index: int) -> Hashable:
    return content_hash(dataset[index].volume.numpy())


def _alike(indices: Iterable[int], keys: Iterable[Hashable]) -> list[list[int]]:
    """Return the groups of two or more indices that share a key; None is no key."""
    found: dict[Hashable, list[int]] = {}
    for index, key in zip(indices, keys, strict=True):
        if key is not None:
            found.setdefault(key, []).append(index)
    return [group for group in found.values() if len(group) > 1]


def _candidates(dataset: Subtomograms) -> list[list[int]]:
    """Return groups of indices such that identical subtomograms are in one group; few, where files tell cheaply."""
    everything = list(range(len(dataset)))
    origins = origins_of(dataset)
    paths = [Path(origin.file) for origin in origins]
    if any(origin.row is not None for origin in origins) or not all(path.is_file() for path in paths):
        return [everything]
    if len({(path.suffix, path.stat().st_size) for path in paths}) > 1:
        return [everything]  # voxels may be the same in another kind of number, or be packed
    return _alike(everything, [_end(path) for path in paths])


def _end(path: Path) -> bytes:
    """Return a hash of a file's last bytes: these are voxels, while the header before may differ between copies."""
    with path.open("rb") as file:
        file.seek(-min(_END, path.stat().st_size // 8), os.SEEK_END)
        return hashlib.blake2b(file.read(), digest_size=16).digest()


def across_splits(dataset: Subtomograms, split: Iterable[np.ndarray]) -> list[list[str]]:
    """Return the ids of identical subtomograms that are not all in one part of a split."""
    part = np.full(len(dataset), -1)
    for number, indices in enumerate(split):
        part[indices] = number
    torn = [group for group in find_duplicates(dataset) if len(set(part[group].tolist()) - {-1}) > 1]
    return [[dataset.ids[index] for index in group] for group in torn]
