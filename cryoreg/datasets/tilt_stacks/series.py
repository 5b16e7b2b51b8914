"""Tilt series as the tomograms STAR file of RELION 4, RELION 5 or WarpTools tells of them."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryoreg.contracts import TiltAxis
from cryoreg.datasets.io import relion, relion_tables
from cryoreg.datasets.io.columns import numbers
from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.tilt_stacks.limits import check_limits, decay_of
from cryoreg.datasets.tomograms.names import find_above

Array = NDArray[np.float64]
_SKEW = 0.05
"""How far rows of a projection matrix may be from orthonormal: RELION 4 lets magnification differ by a little."""
_SAME = 1e-3
_TILTED = float(np.cos(np.radians(0.5)))
"""The least that beams of a tilt series differ (a cosine)."""


@dataclass(frozen=True)
class TiltSeries:
    """The geometry and the contrast transfer of F tilt images."""

    rotations: Array
    """(F, 3, 3): from axes (x, y, z) of the tomogram to those of the image, z being the beam."""
    defocus: Array
    """(F,): the mean of rlnDefocusU and V, Å, at the centre of the tomogram; underfocus is positive."""
    astigmatism: Array
    """(F,): half of U − V, Å."""
    azimuth: Array
    """(F,): the direction of U from x, radians."""
    phase_shift: Array
    """(F,), radians."""
    exposure: Array
    """(F,): electrons per Å2 before the image."""
    scale: Array
    """(F,): the amplitude of the signal, such as cos(tilt)."""
    b_factor: Array
    """(F,): Å2, of the amplitude's decay exp(−B·k²/4)."""
    voltage: float
    """kV."""
    cs: float
    """mm."""
    amplitude_contrast: float
    defocus_slope: float
    """Å of defocus per Å of depth: rlnTomoHand times rlnTomoDefocusSlope."""
    unit_size: float | None
    """Å per voxel of coordinates and sizes, where they are stated; that of the tilt series before binning."""
    centre: Array | None
    """(3,): x, y, z of the tomogram's centre, Å from its corner, where its size is stated."""
    centred: bool
    """Whether matrices turn about the origin and shift nothing, as WarpTools writes them."""

    def __len__(self) -> int:
        return len(self.rotations)

    def tilt(self, visible: NDArray[np.bool_]) -> tuple[TiltAxis | None, tuple[float, float] | None]:
        """Return the tilt axis, "x" or "y" of the tomogram, and the smallest and largest tilt about it, degrees.

        At tilt θ the image measures kz = tan(θ)·kx about y, kz = tan(θ)·ky about x. (None, None) about any other axis.
        """
        beams = self.rotations[visible, 2]
        axis = np.abs(np.linalg.svd(beams)[2][2])
        if len(beams) < 2 or axis.max() < 0.9 or axis.argmax() == 2:
            return None, None
        across = 1 if axis.argmax() == 0 else 0
        beams = beams * np.where(beams[:, 2:] < 0, -1, 1)
        tilts = np.degrees(np.arctan2(-beams[:, across], beams[:, 2]))
        name: TiltAxis = "x" if axis.argmax() == 0 else "y"
        return name, (float(tilts.min().round(2)), float(tilts.max().round(2)))


def read_series(path: str, list_path: str, particles: pd.DataFrame) -> dict[str, TiltSeries]:
    """Return the tilt series of the tomograms of a list's ``particles``, which may tell of the microscope, too.

    Raises `DataError`, one line, where one is missing, or a column of it, or both files contradict each other.
    """
    blocks = relion_tables.read_blocks(path)
    overview = next((table for table in blocks.values() if relion.TOMOGRAM in table), None)
    if overview is None:
        refuse(path, f"lists no tomograms ({relion.TOMOGRAM}); give the tomograms STAR file of the same job")
    relion_tables.check_one_of_each(path, overview, relion.TOMOGRAM, "tomogram")
    listed = {str(name): row for row, name in enumerate(overview[relion.TOMOGRAM])}
    series = {}
    for name, own in particles.groupby(particles[relion.TOMOGRAM].astype(str), sort=False):
        if name not in listed:
            refuse(path, f"lists no tomogram '{name}' ({relion.TOMOGRAM}), which has particles; give that of their job")
        row = overview.iloc[[listed[name]]].reset_index(drop=True)
        others = {other for other in listed if other != name}
        series[name] = _series(path, name, row, *_tilts(path, blocks, row, name, others), (list_path, own))
    return series


def _tilts(
    path: str, blocks: Mapping[str, pd.DataFrame], row: pd.DataFrame, name: str, others: Container[str]
) -> tuple[str, pd.DataFrame]:
    """Return the table of the tilts of a tomogram and the file that it is in; not that of one of ``others``."""
    if relion.TILT_SERIES not in row:
        if name not in blocks:
            refuse(path, f"has neither a block 'data_{name}' nor a column {relion.TILT_SERIES}; export it again")
        return path, blocks[name]
    file = str(row[relion.TILT_SERIES].iloc[0])
    found = find_above(file, Path(path).parent)
    if found is None:
        refuse(path, f"names '{file}' ({relion.TILT_SERIES}), which is neither in its folder nor in one above it")
    tables = relion_tables.read_blocks(found)
    if name not in tables and len(tables) > 1:
        refuse(found, f"has no block 'data_{name}'; export it again")
    if name in tables:
        return found, tables[name]
    block, table = next(iter(tables.items()))
    if block in others:
        refuse(found, f"is that of '{block}' by its block, and of '{name}' by {relion.TILT_SERIES} in {path}; mend one")
    return found, table


def _series(
    path: str, name: str, row: pd.DataFrame, file: str, tilts: pd.DataFrame, optics: tuple[str, pd.DataFrame]
) -> TiltSeries:
    if tilts.empty:
        refuse(file, f"lists no tilts of '{name}'; export it again")
    frames = _perhaps(path, row, relion.FRAMES)
    if frames not in (None, len(tilts)):
        told = f"{frames:g} for {relion.FRAMES} of '{name}'"
        refuse(path, f"has {told}, but its table has {len(tilts)} tilts; export it again")
    rotations, centred = _rotations(file, name, tilts)
    _check_tilted(file, name, rotations)
    u, v, angle = (_needed(file, name, tilts, column) for column in relion.DEFOCUS)
    voltage, cs, contrast = (_single(path, name, row, optics, column) for column in relion.MICROSCOPE)
    hand = _single(path, name, row, None, relion.HAND)
    if hand not in (1, -1):
        refuse(path, f"has {hand:g} for {relion.HAND} of '{name}', which is 1 or -1; mend it")
    unit = _perhaps(path, row, relion.TILT_SIZE)
    return TiltSeries(
        rotations=rotations,
        defocus=(u + v) / 2,
        astigmatism=(u - v) / 2,
        azimuth=np.radians(angle),
        phase_shift=np.radians(_or(file, tilts, relion.PHASE_SHIFT, 0.0)),
        exposure=_needed(file, name, tilts, relion.EXPOSURE),
        scale=_or(file, tilts, relion.CTF_SCALE, 1.0),
        b_factor=decay_of(file, _or(file, tilts, relion.CTF_B_FACTOR, 0.0)),
        voltage=voltage,
        cs=cs,
        amplitude_contrast=contrast,
        defocus_slope=hand * (_perhaps(path, row, relion.DEFOCUS_SLOPE) or 1.0),
        unit_size=unit,
        centre=_centre(path, row, unit),
        centred=centred,
    )


def _centre(path: str, row: pd.DataFrame, unit: float | None) -> Array | None:
    sizes = [_perhaps(path, row, column) for column in relion.TOMOGRAM_SIZE]
    known = [size for size in sizes if size]
    return np.array(known) / 2 * unit if unit and len(known) == len(sizes) else None


def _rotations(file: str, name: str, tilts: pd.DataFrame) -> tuple[Array, bool]:
    """Return the rotations, and whether the matrices shift nothing; the matrices win over angles, as in RELION."""
    if all(column in tilts for column in relion.PROJECTION):
        rows = np.stack([_vectors(file, tilts, column) for column in relion.PROJECTION], axis=1)
        _check_matrices(file, name, rows[:, :, :3])
        return rows[:, :, :3], not rows[:, :, 3].any()
    if relion.TILT_ANGLES[1] not in tilts:
        refuse(
            file,
            f"has no projections of '{name}' ({', '.join(relion.PROJECTION)}, or {', '.join(relion.TILT_ANGLES)}); "
            "export it again",
        )
    from scipy.spatial.transform import Rotation

    _, *needed = relion.TILT_ANGLES
    angles = [_or(file, tilts, relion.TILT_ANGLES[0], 0.0), *(_needed(file, name, tilts, each) for each in needed)]
    return Rotation.from_euler("xyz", np.stack(angles, axis=1), degrees=True).as_matrix(), False


def _check_tilted(file: str, name: str, rotations: Array) -> None:
    """Raise `DataError` where all images look along one beam, as in a table before the alignment of its tilt series."""
    beams = rotations[:, 2]
    if len(beams) > 1 and (beams @ beams[0]).min() > _TILTED:
        refuse(file, f"has the same tilt for all {len(beams)} images of '{name}'; align its tilt series")


def _check_matrices(file: str, name: str, matrices: Array) -> None:
    """Raise `DataError` where a matrix is no rotation: a sign or two columns exchanged would mirror the particles."""
    skew = np.abs(matrices @ matrices.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
    bad = np.flatnonzero((skew > _SKEW) | (np.linalg.det(matrices) < 0))
    if len(bad):
        what = "mirrors" if skew[bad[0]] <= _SKEW else "is no rotation"
        refuse(file, f"has a projection of '{name}' in row {bad[0]} that {what} ({relion.PROJECTION[0]}, ...); mend it")


def _vectors(file: str, tilts: pd.DataFrame, column: str) -> Array:
    return np.array([vector(file, column, row, cell, 4) for row, cell in enumerate(tilts[column])])


def vector(file: str, column: str, row: int, cell: object, length: int | None = None) -> list[float]:
    """Return the numbers of a cell such as "[1,0,0,0]"; raise `DataError`, with its row, where they are others."""
    text = str(cell)
    try:
        values = [float(number) for number in text.strip().removeprefix("[").removesuffix("]").split(",")]
    except ValueError:
        values = []
    if not values or (length and len(values) != length) or not np.isfinite(values).all():
        wanted = f"{length} numbers" if length else "numbers"
        refuse(file, f"has '{text[:60]}' for {column} in row {row}, not {wanted} as in [1,0,0,0]; mend the row")
    return values


def _needed(file: str, name: str, tilts: pd.DataFrame, column: str) -> Array:
    if column not in tilts:
        refuse(file, f"has no column {column} for the tilts of '{name}'; estimate the CTF, or export it again")
    return _limited(file, tilts, column)


def _or(file: str, tilts: pd.DataFrame, column: str, default: float) -> Array:
    return _limited(file, tilts, column) if column in tilts else np.full(len(tilts), default)


def _limited(file: str, table: pd.DataFrame, column: str) -> Array:
    values = numbers(file, table, column)
    check_limits(file, column, values)
    return values


def _single(path: str, name: str, row: pd.DataFrame, optics: tuple[str, pd.DataFrame] | None, column: str) -> float:
    """Return what is said of a tomogram, or else of the optics groups of its particles; both must not differ."""
    value = _perhaps(path, row, column)
    if optics is not None and column in optics[1]:
        list_path, table = optics
        values = _limited(list_path, table, column)
        other = values[0] if np.ptp(values) <= _SAME * abs(values[0]) else None
        if value is None:
            value = None if other is None else float(other)
        elif np.abs(values - value).max() > _SAME * abs(value):
            far = values[np.abs(values - value).argmax()]
            refuse(path, f"says {column} {value:g} of '{name}', and {list_path} {far:g}; mend one")
    if value is None:
        refuse(path, f"has no column {column} for '{name}'; export it again")
    return value


def _perhaps(path: str, row: pd.DataFrame, column: str) -> float | None:
    return float(_limited(path, row, column)[0]) if column in row else None
