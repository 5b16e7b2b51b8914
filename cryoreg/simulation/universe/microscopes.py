"""Random microscopes by number: sessions at different instruments, magnifications and doses."""

from __future__ import annotations

import math
from typing import NamedTuple

import scipy.fft
from numpy.random import Generator

from cryoreg.simulation.settings import SceneSettings
from cryoreg.simulation.streams import Purpose, stream

VOXEL_SIZES = (8.0, 16.0)
"""Å."""
PAD = 8
"""Voxels around what is asked for, at the least."""


class Session(NamedTuple):
    """A microscope and how its tilt series were taken."""

    settings: SceneSettings
    tilt_axis_x: bool
    """Whether the tilt axis is x; the settings' is y."""


def session(seed: int, number: int, extent: float) -> Session:
    """Return session ``number`` of a seed, whose boxes hold ``extent`` Å at the voxel size that it draws."""
    rng = stream(seed, Purpose.MICROSCOPE, number)
    voxel_size = float(rng.uniform(*VOXEL_SIZES))
    box = math.ceil(extent / voxel_size) + 2
    box += box % 2
    edge = scipy.fft.next_fast_len(box + 2 * PAD, real=True)
    while edge % 2:
        edge = scipy.fft.next_fast_len(edge + 1, real=True)
    defocus = rng.uniform(2, 8)
    settings = SceneSettings(
        box=box,
        pad=(edge - box) // 2,
        voxel_size=voxel_size,
        noise_before=rng.uniform(0, 1),
        resolution=(1.5 * voxel_size, max(2.5 * voxel_size, rng.uniform(20, 50))),
        low_pass=float(rng.choice((0.5, 0.75, 1.0, math.inf))),
        defocus=(max(2.0, defocus - 0.5), min(8.0, defocus + 0.5)),
        cs=float(rng.choice((0.01, 2.0, 2.7))),
        voltage=float(rng.choice((200, 300))),
        amplitude_contrast=rng.uniform(0, 0.12),
        phase_flip=bool(rng.random() < 0.5),
        b_factor=rng.uniform(0, 1500),
        tilt=_tilts(rng),
        precision="single",
    )
    return Session(settings, bool(rng.random() < 0.5))


def _tilts(rng: Generator) -> tuple[float, float]:
    """Return a range in degrees: symmetric from ±40 to ±70, or with each end drawn by itself."""
    low, high = rng.uniform(40, 70, 2)
    return (-high, high) if rng.random() < 0.5 else (-low, high)
