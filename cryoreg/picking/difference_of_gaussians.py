"""Blobs of one size in a tomogram, by the Difference of Gaussians.

Pei et al. 2016, "Simulating cryo electron tomograms of crowded cell cytoplasm for assessment of automated particle
picking", BMC Bioinformatics 17:405. The response is G(σ) − G(1.1·σ) applied to the tomogram. It is close to the
Laplacian of a Gaussian, which answers most strongly to a ball of radius r at σ = r / √3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cryoreg.contracts import Box

Array = NDArray[np.float32]

RATIO = 1.1
TRUNCATE = 4.0
"""Gaussians end at so many standard deviations."""
SLAB_VOXELS = 2**25
"""Voxels of a slab with its halo, roughly: 128 MiB for each of the few arrays that are alive at once."""
_SAMPLES = 2**22
"""The response is sampled at about so many voxels, at most, to learn its spread and skewness."""
_CORRELATION_VOLUME = 2.0
"""∫ρ³ in units of σ³, ρ being the autocorrelation of filtered white noise, (1 − 4s/3 + 4s²/15)·exp(−s), s = r²/4σ²."""


class Voxels(Protocol):
    """An array, or a tomogram on disk."""

    @property
    def shape(self) -> Box:
        """(D, H, W)."""
        ...

    def __getitem__(self, slices: slice, /) -> Array:
        """Read some sections (n, H, W)."""
        ...


class Peaks(NamedTuple):
    """Local maxima of the response, or of its negative."""

    voxels: NDArray[np.int32]
    """(N, 3): z, y, x."""
    offsets: Array
    """(N, 3): from the voxel to the top of the parabola through it and its neighbours, along each axis."""
    heights: Array
    """(N,)."""


class Response(NamedTuple):
    """What the filter finds in a tomogram."""

    bright: Peaks
    dark: Peaks
    """The peaks of the negative response."""
    samples: Array
    """The response on a coarse grid."""
    skewness_error: float
    """Standard error of the samples' skewness, were the tomogram white noise."""
    limits: tuple[float, float]
    """The smallest and largest voxel of the tomogram."""

    @property
    def spread(self) -> float:
        """The response's standard deviation without the particles: 1.4826 times its median absolute deviation.

        At least a tenth of the plain standard deviation, which matters where most of a tomogram is empty.
        """
        deviation = float(np.median(np.abs(self.samples - np.median(self.samples))))
        return max(1.4826 * deviation, 0.1 * float(self.samples.std()))

    @property
    def skewness(self) -> float:
        """Positive where bright blobs stand out more than dark ones."""
        centred = self.samples.astype(np.float64) - self.samples.mean()
        variance = np.square(centred).mean()
        return float((centred**3).mean() / variance**1.5) if variance else 0.0


def sigma_for(radius: float) -> float:
    """Return the σ that answers best to a ball of ``radius``, in the same unit."""
    return radius / math.sqrt(3)


def filtered(volume: Array, sigma: float) -> Array:
    """Return G(σ) − G(1.1·σ) applied to ``volume``, ``sigma`` in voxels; beyond its faces the volume is mirrored."""
    narrow, wide = (
        ndimage.gaussian_filter(volume, s, mode="reflect", truncate=TRUNCATE, output=np.float32)
        for s in (sigma, RATIO * sigma)
    )
    narrow -= wide
    return narrow


def respond(tomogram: Voxels, sigma: float, planes: int | None = None) -> Response:
    """Filter a tomogram and return the peaks of both signs, whatever its size: slabs of ``planes`` sections at a time.

    ``sigma`` in voxels. Results do not depend on ``planes``.
    """
    shape = tomogram.shape
    stride = max(1, round(sigma), math.ceil((math.prod(shape) / _SAMPLES) ** (1 / 3)))
    bright, dark, samples, limits = [], [], [], []
    for first, last, slab, base in _slabs(tomogram, _halo(sigma), planes):
        limits.append((float(slab.min()), float(slab.max())))
        response = filtered(slab, sigma)
        bright.append(_maxima(response, first - base, last - base, base))
        on_grid = slice(-(-first // stride) * stride - base, last - base, stride)
        samples.append(response[on_grid, ::stride, ::stride].flatten())  # a copy: the response is turned in place
        dark.append(_maxima(np.negative(response, out=response), first - base, last - base, base))
    sampled = np.concatenate(samples)
    error = math.sqrt(6 * max(1.0, _CORRELATION_VOLUME * (sigma / stride) ** 3) / len(sampled))
    low, high = np.array(limits).T
    return Response(_joined(bright), _joined(dark), sampled, error, (float(low.min()), float(high.max())))


def _halo(sigma: float) -> int:
    """Return how many sections beyond a slab its peaks depend on."""
    return int(TRUNCATE * RATIO * sigma + 0.5) + 1


def _slabs(tomogram: Voxels, halo: int, planes: int | None) -> Iterator[tuple[int, int, Array, int]]:
    """Yield sections [first, last) with the halo read around them, and the section where that reading begins."""
    depth, height, width = tomogram.shape
    planes = planes or max(halo, SLAB_VOXELS // (height * width) - 2 * halo)
    for first in range(0, depth, planes):
        last, base = min(first + planes, depth), max(0, first - halo)
        slab = np.asarray(tomogram[base : min(last + halo, depth)], dtype=np.float32)
        yield first, last, slab, base


def _maxima(response: Array, first: int, last: int, base: int) -> Peaks:
    """Return the positive voxels of sections [first, last) that none of their 26 neighbours exceeds."""
    low, high = max(0, first - 1), min(len(response), last + 1)
    near = response[low:high]
    top = (near == ndimage.maximum_filter(near, size=3, mode="nearest")) & (near > 0)
    voxels = np.argwhere(top[first - low : last - low]) + np.array([first, 0, 0])
    heights = response[tuple(voxels.T)]
    return Peaks((voxels + np.array([base, 0, 0])).astype(np.int32), _offsets(response, voxels), heights)


def _offsets(response: Array, voxels: NDArray[np.int64]) -> Array:
    """Return where parabolas through three voxels along each axis have their top; 0 at the faces."""
    centre = response[tuple(voxels.T)]
    offsets = np.zeros((len(voxels), 3), np.float32)
    for axis, edge in enumerate(response.shape):
        step = np.eye(3, dtype=np.int64)[axis]
        before = response[tuple(np.maximum(voxels - step, 0).T)]
        after = response[tuple(np.minimum(voxels + step, np.array(response.shape) - 1).T)]
        bend = 2 * centre - before - after
        inside = (voxels[:, axis] > 0) & (voxels[:, axis] < edge - 1) & (bend > 0)
        np.divide(after - before, 2 * bend, out=offsets[:, axis], where=inside)
    return offsets


def _joined(parts: list[Peaks]) -> Peaks:
    voxels, offsets, heights = (np.concatenate(field) for field in zip(*parts, strict=True))
    return Peaks(voxels, offsets, heights)
