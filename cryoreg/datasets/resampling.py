"""Volumes on another grid: another voxel size, a centre between voxels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from cryoreg.contracts import Box

_SPLINE_ORDER = 3


def resample(volume: NDArray[np.float32], factor: float, box: Box) -> NDArray[np.float32]:
    """Return ``volume`` (D, H, W) with voxels 1 / ``factor`` times as large, cut or padded to ``box``.

    ``factor`` is the old voxel size over the new one. The voxel at index edge // 2 stays where it is. Finer detail
    than the new grid holds is removed first (Fourier space is cut at the new Nyquist frequency), then a cubic spline
    is sampled. What lies outside repeats the nearest voxel.
    """
    if factor == 1 and volume.shape == box:
        return volume
    smooth = cut_frequencies(volume, factor) if factor < 1 else volume
    centre = [edge // 2 for edge in volume.shape]
    return sample_box(smooth, centre, box, 1 / factor)


def cut_frequencies(volume: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """Remove frequencies above ``factor`` / 2 cycles per voxel along each axis."""
    spectrum = fft.rfftn(volume)
    for axis, edge in enumerate(volume.shape):
        frequency = fft.rfftfreq(edge) if axis == 2 else np.abs(fft.fftfreq(edge))
        kept = frequency <= factor / 2
        spectrum *= np.expand_dims(kept, [other for other in range(3) if other != axis])
    return fft.irfftn(spectrum, volume.shape).astype(np.float32)


def sample_box(
    volume: NDArray[np.float32], centre: NDArray[np.float64] | list[int], box: Box, step: float = 1.0
) -> NDArray[np.float32]:
    """Return the box (D, H, W) whose voxel at index edge // 2 lies at ``centre`` (z, y, x) of ``volume``, in voxels.

    Its voxels are ``step`` voxels of ``volume`` apart; between voxels, a cubic spline is sampled. What lies outside
    repeats the nearest voxel.
    """
    offset = [c - step * (edge // 2) for c, edge in zip(centre, box, strict=True)]
    order = 0 if step == 1 and all(float(o).is_integer() for o in offset) else _SPLINE_ORDER
    return ndimage.affine_transform(
        volume, np.full(3, step), offset, output_shape=box, order=order, mode="nearest", output=np.float32
    )
