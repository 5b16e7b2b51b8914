"""Rotation-invariant descriptors of volumes, without any network: power of spherical harmonics, shell by shell.

    features = describe(volumes)                     # (N, D, D, D) -> (N, descriptors)

A volume's voxels are put into shells of width 1 about its centre. With the mean c over a shell of f(x) Yₗₘ(x/|x|), the
power Σₘ |c|² of degree l does not change when f turns (Kazhdan et al. 2003, Symposium on Geometry Processing, 156),
exactly so for the 24 turns that map the grid onto itself. The same is done with the logarithm of the Fourier amplitude,
which shifts do not change either; it is even, so that only even degrees say anything.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.special import sph_harm_y

LARGEST_DEGREE = 6
_TINY = 1e-6

Floats = NDArray[np.float64]


def describe(volumes: NDArray[np.float32], degree: int = LARGEST_DEGREE) -> Floats:
    """Return the logarithm of both powers, (N, descriptors), of volumes (N, D, D, D)."""
    edge = volumes.shape[1]
    amplitudes = np.log(np.abs(fft.fftn(volumes, axes=(1, 2, 3))) + _TINY)
    real = power(volumes, centred(edge), degree)
    even = power(amplitudes, frequencies(edge), degree)[:, 1:, ::2]  # without the mean, which normalisation takes away
    return np.log(np.concatenate([real.reshape(len(volumes), -1), even.reshape(len(volumes), -1)], axis=1) + _TINY)


def centred(edge: int) -> Floats:
    """Return the voxels' places along an axis, from the centre about which arrays turn."""
    return np.arange(edge) - (edge - 1) / 2


def frequencies(edge: int) -> Floats:
    """Return the frequencies along an axis, in cycles a box; that of Nyquist, which has no partner, lies outside."""
    steps = np.fft.fftfreq(edge, 1 / edge)
    return np.where(2 * np.abs(steps) == edge, np.inf, steps)


def power(values: NDArray[np.floating], axis: Floats, degree: int = LARGEST_DEGREE) -> Floats:
    """Return Σₘ |mean over a shell of f·Yₗₘ|², (N, shells, degree + 1), of f (N, D, D, D) at places ``axis``³."""
    shells, harmonics = _basis(tuple(axis.tolist()), degree)
    flat = values.reshape(len(values), -1)
    found = np.zeros((len(values), len(shells), degree + 1))
    for number, (shell, here) in enumerate(zip(shells, harmonics, strict=True)):
        squares = np.abs(flat[:, shell] @ here / len(shell)) ** 2
        for each in range(degree + 1):
            found[:, number, each] = squares[:, each**2 : (each + 1) ** 2].sum(axis=1)
    return found


@functools.cache
def _basis(axis: tuple[float, ...], degree: int) -> tuple[list[NDArray[np.int64]], list[NDArray[np.complex128]]]:
    """Return the voxels of each whole shell, and Yₗₘ there, (voxels, (degree + 1)²), conjugated."""
    places = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    radius = np.sqrt((places**2).sum(axis=1))
    outermost = np.max(np.abs(places[np.isfinite(radius)]))
    members = [np.flatnonzero((low <= radius) & (radius < low + 1)) for low in range(int(outermost) + 1)]
    shells = [shell for shell in members if len(shell)]
    return shells, [_harmonics(places[shell], degree).conj() for shell in shells]


def _harmonics(places: Floats, degree: int) -> NDArray[np.complex128]:
    z, y, x = places.T
    polar, azimuth = np.arctan2(np.hypot(x, y), z), np.arctan2(y, x)
    return np.stack([sph_harm_y(n, m, polar, azimuth) for n in range(degree + 1) for m in range(-n, n + 1)], axis=1)
