"""Volumes on another grid: another voxel size, a centre between voxels."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryoreg.contracts import Box

_LOBES = 6
"""Zeros of the sinc on either side; frequencies up to two thirds of the Nyquist frequency pass within 1 %."""
_KAISER = 6.0


class _Line(NamedTuple):
    """What a box needs of one axis."""

    start: int
    stop: int
    """The range of voxels that are read."""
    weights: NDArray[np.float32]
    """(voxels of the box, voxels read); each row adds up to 1."""


def resample(volume: NDArray[np.float32], factor: float, box: Box) -> NDArray[np.float32]:
    """Return ``volume`` (D, H, W) with voxels 1 / ``factor`` times as large, cut or padded to ``box``.

    ``factor`` is the old voxel size over the new one. The voxel at index edge // 2 stays where it is. Finer detail
    than the new grid holds is removed. What lies outside repeats the nearest voxel.
    """
    if factor == 1 and volume.shape == box:
        return volume
    return sample_box(volume, [edge // 2 for edge in volume.shape], box, 1 / factor)


def sample_box(
    volume: NDArray[np.float32], centre: Sequence[float] | NDArray[np.float64], box: Box, step: float = 1.0
) -> NDArray[np.float32]:
    """Return the box (D, H, W) whose voxel at index edge // 2 lies at ``centre`` (z, y, x) of ``volume``, in voxels.

    Its voxels are ``step`` voxels of ``volume`` apart, with what is finer than that removed. Between voxels, a sinc
    under a Kaiser window interpolates, axis by axis; at whole voxels they are copied. What lies outside repeats the
    nearest voxel. Only the part of ``volume`` that the box needs is read, so it may be mapped from a file.
    """
    lines = [_line(size, float(c), edge, step) for size, c, edge in zip(volume.shape, centre, box, strict=True)]
    part = np.asarray(volume[tuple(slice(line.start, line.stop) for line in lines)], dtype=np.float32)
    for line in lines:  # each turn puts the axis last that was first
        part = np.tensordot(part, line.weights, axes=(0, 1))
    return np.ascontiguousarray(part)


@functools.lru_cache(maxsize=256)
def _line(size: int, centre: float, edge: int, step: float) -> _Line:
    """Return how ``edge`` voxels follow from the ``size`` voxels of an axis."""
    positions = centre + step * (np.arange(edge) - edge // 2)
    width = max(1.0, step)
    reach = math.ceil(_LOBES * width)
    whole = step == 1 and centre.is_integer()
    nearest = np.floor(positions).astype(np.int64)
    offsets = np.zeros(1, np.int64) if whole else np.arange(1 - reach, reach + 1)
    taps = nearest[:, None] + offsets
    weights = np.ones(taps.shape) if whole else _kernel((positions[:, None] - taps) / width)
    weights /= weights.sum(axis=1, keepdims=True)
    inside = taps.clip(0, size - 1)
    start, stop = int(inside.min()), int(inside.max()) + 1
    matrix = np.zeros((edge, stop - start))
    np.add.at(matrix, (np.arange(edge)[:, None], inside - start), weights)
    return _Line(start, stop, matrix.astype(np.float32))


def _kernel(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the windowed sinc at distances in units of the coarser grid."""
    window = np.i0(_KAISER * np.sqrt((1 - (distance / _LOBES) ** 2).clip(0))) / np.i0(_KAISER)
    return np.sinc(distance) * np.where(np.abs(distance) < _LOBES, window, 0)


def resampled_weight(weight: Tensor | None, box: Box, new_box: Box, step: float) -> Tensor | None:
    """Return the weight of Fourier coefficients (1, D, H, W // 2 + 1) in another box, of voxels of ``step`` old ones.

    Weights of frequencies between the old ones are interpolated; beyond the old Nyquist frequency they are 0.
    """
    if weight is None or (box == new_box and step == 1):
        return weight
    from scipy import ndimage

    depth, height, width = new_box
    edges = (np.fft.fftfreq(depth), np.fft.fftfreq(height), np.fft.rfftfreq(width))
    frequencies = np.meshgrid(*(edge / step for edge in edges), indexing="ij")
    places = [frequency * edge for frequency, edge in zip(frequencies, box, strict=True)]
    found = ndimage.map_coordinates(weight[0].numpy(), places, order=1, mode="grid-wrap")
    found[np.max(np.abs(frequencies), axis=0) > 0.5] = 0
    return torch.from_numpy(found)[None]
