"""A template from an MRC map, for tomograms of any voxel size."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cryoreg.contracts import Box
from cryoreg.datasets.io.mrc import read_header, read_volume
from cryoreg.datasets.io.volume_files import times
from cryoreg.datasets.resampling import resample
from cryoreg.errors import DataError
from cryoreg.picking.ranking import Array, Templates, make_templates, microscope, uniform_rotations
from cryoreg.picking.settings import PickSettings

if TYPE_CHECKING:
    from cryoreg.datasets.tomograms.files import Tomogram

MASK = 1.2
"""Radius of the mask over that of the particle: some of the surroundings tell where a particle ends."""


def load_templates(tomogram: Tomogram, voxel_size: float, settings: PickSettings) -> Templates:
    """Return the template of the settings as it would look in this tomogram, in every orientation.

    Raises `DataError` where the map has no voxel size or is larger than the tomogram.
    """
    assert settings.template is not None
    volume = resampled(settings.template, voxel_size, MASK * settings.radius / voxel_size)
    if any(edge > limit for edge, limit in zip(volume.shape, tomogram.shape, strict=True)):
        raise DataError(
            f"{settings.template}: the template is {times(volume.shape)} voxels of {voxel_size:g} Å, larger "
            f"than {tomogram.path} ({times(tomogram.shape)}); crop it, or check the voxel sizes"
        )
    return _prepared(settings, voxel_size)


@lru_cache(maxsize=4)
def _prepared(settings: PickSettings, voxel_size: float) -> Templates:
    """Turn the template once for all tomograms of one voxel size."""
    assert settings.template is not None
    radius = MASK * settings.radius / voxel_size
    volume = resampled(settings.template, voxel_size, radius)
    low_pass = settings.low_pass and settings.low_pass / voxel_size
    transfer = microscope(volume.shape, settings.tilt_range, settings.tilt_axis, low_pass)
    return make_templates(volume, radius, uniform_rotations(settings.rotations), transfer)


def resampled(path: Path, voxel_size: float, radius: float) -> Array:
    """Return the map of a file with voxels of ``voxel_size`` Å, in a box that holds a ball of ``radius`` voxels.

    Background is set to 0, the median of the box's faces, so that a larger box continues it.
    """
    sizes = read_header(path).voxel_sizes
    if sizes is None:
        raise DataError(f"{path}: the template has no voxel size; write it into the header")
    volume = read_volume(path)
    factor = float(np.mean(sizes)) / voxel_size
    smallest = 2 * math.ceil(radius) + 3
    depth, height, width = (max(smallest, math.floor(edge * factor + 0.5)) for edge in volume.shape)
    box: Box = (depth, height, width)
    return resample(volume - _background(volume), factor, box)


def _background(volume: Array) -> np.float32:
    faces = [np.take(volume, index, axis) for axis in range(3) for index in (0, -1)]
    return np.float32(np.median(np.concatenate([face.ravel() for face in faces])))
