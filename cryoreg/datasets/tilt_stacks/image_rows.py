"""Particle series of Warp 1 and M 1: a STAR file with a row for each tilt image, and no tomograms file.

A row's angles are those of the particle and of the tilt together, so that its matrix leads from the particle's frame to
the image (RELION's convention); its defocus is that of this image at this particle. The beams of one particle lie in a
plane across the tilt axis, and ``rlnCtfScalefactor`` is the cosine of the tilt: that tells where the tomogram's axes
are. Written by `TiltSeries.ReconstructParticleSeries` of Warp 1.0.9; read by tomoDRGN and cryoDRGN as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryoreg.datasets.io import relion
from cryoreg.datasets.io.columns import numbers, triples
from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.tilt_stacks.limits import check_limits, decay_of
from cryoreg.datasets.tilt_stacks.series import TiltSeries

_NUMBER = re.compile(r"_\d+$")
_FEWEST = 3
"""Images of a particle: fewer lie in any plane."""
_OFF_PLANE = 0.1
"""How far beams may lie from the plane across the tilt axis (a sine): M lets the stage wobble."""
_UPRIGHT = 1e-3
"""How far the tilt axis points up or down in the image, if it does."""
_NO_COSINE = 0.05
"""The largest deviation, root mean square, of amplitudes from a cosine."""
_DIGITS = 3
"""Of rotation matrices: those of two particles that differ by less share their geometry."""

Array = NDArray[np.float64]


class ImageRows(NamedTuple):
    """The particles of a table, N of them, with R rows in all."""

    names: Sequence[str]
    rows: Sequence[NDArray[np.int64]]
    """Of each particle, in the table's order."""
    rotations: Array
    """(R, 3, 3): from the tomogram's axes (x, y, z) to those of the image; the tilt axis is y, the beam z."""
    geometries: Sequence[bytes]
    """Of each particle: equal where rotations are."""
    columns: dict[str, Array]
    """(R,) each: what rows say of contrast transfer."""
    premultiplied: Sequence[bool]
    """Of each particle: whether images were multiplied by their transfer."""
    notes: Sequence[str]

    def series(self, index: int) -> TiltSeries:
        """Return the tilt series as particle ``index`` sees it: defocus is that at the particle."""
        rows = self.rows[index]
        u, v, angle = (self.columns[name][rows] for name in relion.DEFOCUS)
        voltage, cs, contrast = (float(self.columns[name][rows[0]]) for name in relion.MICROSCOPE)
        return TiltSeries(
            rotations=self.rotations[rows],
            defocus=(u + v) / 2,
            astigmatism=(u - v) / 2,
            azimuth=np.radians(angle),
            phase_shift=np.radians(self.columns[relion.PHASE_SHIFT][rows]),
            exposure=np.zeros(len(rows)),
            scale=self.columns[relion.CTF_SCALE][rows],
            b_factor=self.columns[relion.CTF_B_FACTOR][rows],
            voltage=voltage,
            cs=cs,
            amplitude_contrast=contrast,
            defocus_slope=0.0,
            unit_size=None,
            centre=None,
            centred=True,
        )


def read_image_rows(path: str, table: pd.DataFrame) -> ImageRows:
    """Return the particles of a table of tilt images.

    Raises `DataError`, one line, where a column is missing, or the images of a particle are no tilt series.
    """
    names, rows = particles_of_rows(table)
    columns = {name: _column(path, table, name) for name in _needed(table)}
    columns.setdefault(relion.PHASE_SHIFT, np.zeros(len(table)))
    _check_origins(path, table)
    columns[relion.CTF_B_FACTOR] = decay_of(path, columns[relion.CTF_B_FACTOR])
    turns, scales = _turns(path, table), columns[relion.CTF_SCALE]
    rotations, unclear = np.empty_like(turns), 0
    for name, own in zip(names, rows, strict=True):
        if len(own) < _FEWEST:
            refuse(
                path, f"has {len(own)} images of '{name}' ({relion.PARTICLE_NAME}), not {_FEWEST} or more; remove it"
            )
        if not scales[own].any():
            refuse(path, f"has {relion.CTF_SCALE} 0 for all images of '{name}' ({relion.PARTICLE_NAME}); remove it")
        found = tomogram_axes(turns[own], scales[own])
        if found is None:
            refuse(
                path,
                f"has images of '{name}' ({relion.PARTICLE_NAME}) that are no tilt series: by {relion.ANGLES[0]}, ... "
                "their beams do not turn about one axis; export particle series with Warp or M",
            )
        axes, clear = found
        rotations[own] = turns[own] @ axes.T
        unclear += not clear
    rounded = rotations.round(_DIGITS) + 0.0  # no -0
    return ImageRows(
        names,
        rows,
        rotations,
        [rounded[own].tobytes() for own in rows],
        columns,
        _premultiplied(path, table, names, rows),
        [_of_beam(path, unclear)] if unclear else [],
    )


def particles_of_rows(table: pd.DataFrame) -> tuple[list[str], list[NDArray[np.int64]]]:
    """Return the particles that a table of tilt images names, in order, and the rows of each."""
    codes, names = pd.factorize(table[relion.PARTICLE_NAME].astype(str))
    order = np.argsort(codes, kind="stable")
    return [str(name) for name in names], np.split(order, np.cumsum(np.bincount(codes))[:-1])


def series_of(particle: str) -> str | None:
    """Return the name of a particle's tilt series, which Warp numbers to name the particle; None where it does not."""
    return _NUMBER.sub("", particle) if _NUMBER.search(particle) else None


def tomogram_axes(turns: Array, scales: Array) -> tuple[Array, bool] | None:
    """Return the tomogram's axes x, y, z (rows) in a particle's frame, and whether amplitudes told where the beam is.

    ``turns`` (F, 3, 3) lead from the particle to its images, ``scales`` (F,) are cosines of the tilts. y is the tilt
    axis, z the beam of an untilted image: the middle of all tilts where amplitudes are no cosines. None where the
    beams do not lie in a plane.
    """
    beams = turns[:, 2]
    spread, across = np.linalg.svd(beams)[1:]
    y = across[2]
    if spread[1] < _OFF_PLANE or np.abs(beams @ y).max() > _OFF_PLANE:
        return None
    seen_x, seen_y, _ = (turns @ y).mean(axis=0)
    y = (
        y if (seen_y if abs(seen_y) > _UPRIGHT else seen_x) > 0 else -y
    )  # upwards in the image, as Warp has it up to 90°
    first = beams[scales.argmax()]
    first = first - y * (first @ y)
    first /= np.linalg.norm(first)
    second = np.cross(y, first)
    angles = np.arctan2(beams @ second, beams @ first)
    waves = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    fit = np.linalg.lstsq(waves, scales, rcond=None)[0]
    off = np.sqrt(np.mean((waves @ fit - scales) ** 2))
    clear = bool(off <= _NO_COSINE * np.hypot(*fit))
    tilt = np.arctan2(fit[1], fit[0]) if clear else (angles.min() + angles.max()) / 2
    z = first * np.cos(tilt) + second * np.sin(tilt)
    return np.stack([np.cross(y, z), y, z]), clear


def _of_beam(path: str, count: int) -> str:
    return (
        f"{path}: of {count} particles {relion.CTF_SCALE} is no cosine of the tilts; the beam is taken to be in the "
        "middle of them, by which volumes may be turned about the tilt axis, and nothing else"
    )


def _turns(path: str, table: pd.DataFrame) -> Array:
    from scipy.spatial.transform import Rotation

    angles = triples(path, table, relion.ANGLES)
    assert angles is not None
    return Rotation.from_euler("ZYZ", angles, degrees=True).inv().as_matrix()


def _needed(table: pd.DataFrame) -> list[str]:
    perhaps = [relion.PHASE_SHIFT] if relion.PHASE_SHIFT in table else []
    return [*relion.DEFOCUS, relion.CTF_SCALE, relion.CTF_B_FACTOR, *relion.MICROSCOPE, *perhaps]


def _column(path: str, table: pd.DataFrame, name: str) -> Array:
    if name not in table:
        refuse(path, f"has no column {name}, on which the CTF of its tilt images depends; export it again")
    values = numbers(path, table, name)
    check_limits(path, name, values)
    return values


def _check_origins(path: str, table: pd.DataFrame) -> None:
    """Raise `DataError` where images are not centred: origins of single images may be of any program's making."""
    for column in relion.IMAGE_ORIGINS:
        if column in table and numbers(path, table, column).any():
            refuse(
                path, f"shifts tilt images ({column}), which Warp does not; export them with particles in the middle"
            )


def _premultiplied(
    path: str, table: pd.DataFrame, names: Sequence[str], rows: Sequence[NDArray[np.int64]]
) -> list[bool]:
    if relion.PREMULTIPLIED not in table:
        return [False] * len(rows)
    marks = numbers(path, table, relion.PREMULTIPLIED) > 0
    mixed = next((name for name, own in zip(names, rows, strict=True) if marks[own].any() != marks[own].all()), None)
    if mixed is not None:
        refuse(path, f"says {relion.PREMULTIPLIED} of some images of '{mixed}', and not of others; export it again")
    return [bool(marks[own[0]]) for own in rows]
