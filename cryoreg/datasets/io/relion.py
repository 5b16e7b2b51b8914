"""RELION's words: what STAR files of RELION 3, 3.1, 4 and 5, of Warp and of M call things, and what they mean by it.

A new dialect is a word here. Tables come from `relion_tables`.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryoreg.datasets.io.columns import first_of, numbers, positive, triples
from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.io.voxel_sizes import SAME_VOXEL_SIZE

IMAGE = "rlnImageName"
"""A volume, as a file or slot@stack."""
COORDINATES = tuple(f"rlnCoordinate{axis}" for axis in "XYZ")
"""Voxels of the tomogram, or of the tilt series before binning."""
CENTRED = tuple(f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ")
"""Å from the tomogram's centre (RELION 5)."""
MOTIVE = tuple(f"orig_{axis}" for axis in "xyz")
"""Voxels of the tomogram, counted from 1, in a motive list of STOPGAP, which is STAR with words of its own."""
PARTICLES = (IMAGE, COORDINATES[0], CENTRED[0], MOTIVE[2])
"""A table with one of these columns lists particles."""
TOMOGRAM, MICROGRAPH = "rlnTomoName", "rlnMicrographName"
TOMOGRAMS = (TOMOGRAM, MICROGRAPH)
FILE = "cryoregTomogramFile"
"""The tomogram's file, in lists that cryoreg writes."""
CLASS_NUMBER, CLASS_NAME = "rlnClassNumber", "cryoregClassName"
PICK_SCORE = "rlnAutopickFigureOfMerit"
OPTICS, GROUP, OPTICS_NAME = "optics", "rlnOpticsGroup", "rlnOpticsGroupName"
"""The block of optics groups, their number and their name."""
MICROGRAPH_SIZE, DIMENSIONALITY = "rlnMicrographPixelSize", "rlnImageDimensionality"
IMAGE_EDGE = "rlnImageSize"
TILT_SIZE, PIXEL_SIZE = "rlnTomoTiltSeriesPixelSize", "rlnPixelSize"
"""Å per pixel: of the tilt series before binning; of whatever the table lists."""
IMAGE_SIZES = ("rlnImagePixelSize", "rlnDetectorPixelSize", PIXEL_SIZE)
"""Å per voxel of extracted images, the surest first."""
COORDINATE_SIZES = (TILT_SIZE, MICROGRAPH_SIZE, "rlnDetectorPixelSize", PIXEL_SIZE)
"""Å per unit of the coordinates, the surest first."""
PERHAPS_COORDINATE_SIZES = ("rlnImagePixelSize", TILT_SIZE, MICROGRAPH_SIZE, PIXEL_SIZE)
"""What the unit of coordinates may be that do not fit their tomogram."""
BINNING_OF_IMAGES = "rlnTomoSubtomogramBinning"
"""Pixels of the tilt series to one of the extracted images."""
TILT_SERIES = "rlnTomoTiltSeriesStarFile"
RECONSTRUCTIONS = ("rlnTomoReconstructedTomogram", "rlnTomoReconstructedTomogramDenoised")
"""The file of a tomogram, the first that is there."""
HALF = "rlnTomoReconstructedTomogramHalf1"
TOMOGRAM_SIZE = tuple(f"rlnTomoSize{axis}" for axis in "XYZ")
"""Voxels of the tilt series before binning."""
BINNING = "rlnTomoTomogramBinning"
TILTS = ("rlnTomoYTilt", "rlnTomoNominalStageTiltAngle")
"""Degrees, in the table of a tilt series."""
PARTICLES_FILE, TOMOGRAMS_FILE = "rlnTomoParticlesFile", "rlnTomoTomogramsFile"
"""What an optimisation set points to."""
VISIBLE, FRAMES = "rlnTomoVisibleFrames", "rlnTomoFrameCount"
"""Of a particle: [1,0,1], a digit for each tilt; of a tomogram: how many tilts it has."""
FLAT_STACKS = "rlnTomoSubTomosAre2DStacks"
PREMULTIPLIED = "rlnCtfDataAreCtfPremultiplied"
PROJECTION = tuple(f"rlnTomoProj{axis}" for axis in "XYZ")
"""Rows of the matrix from the tomogram to a tilt image, [a,b,c,d]: voxels of the tilt series before binning."""
TILT_ANGLES = ("rlnTomoXTilt", "rlnTomoYTilt", "rlnTomoZRot")
"""Degrees, right-handed, about x, then y, then z of the tomogram: the same rotation (RELION 5)."""
HAND, DEFOCUS_SLOPE = "rlnTomoHand", "rlnTomoDefocusSlope"
"""Defocus over depth, the z of the projection: its sign, and a factor near 1."""
DEFOCUS = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")
"""Å, Å and degrees from x, at the tomogram's centre."""
EXPOSURE = "rlnMicrographPreExposure"
"""Electrons per Å2 before a tilt."""
PHASE_SHIFT, CTF_SCALE, CTF_B_FACTOR = "rlnPhaseShift", "rlnCtfScalefactor", "rlnCtfBfactor"
ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
"""Degrees; of a tilt image of Warp 1 those of the particle and of the tilt together."""
TOMO_PARTICLE_NAME, PARTICLE_NAME = "rlnTomoParticleName", "rlnGroupName"
"""What RELION calls a particle; and Warp 1 the one of which a row is one tilt image."""
MICROSCOPE = ("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast")
"""kV, mm and a fraction."""

_DETECTOR, _MAGNIFICATION = "rlnDetectorPixelSize", "rlnMagnification"
_ORIGINS = [f"rlnOrigin{axis}Angst" for axis in "XYZ"]
_ORIGIN_VOXELS = [f"rlnOrigin{axis}" for axis in "XYZ"]
ORIGINS = (*_ORIGINS, *_ORIGIN_VOXELS)
"""Å or voxels, taken off the coordinates."""
IMAGE_ORIGINS = (*_ORIGINS[:2], *_ORIGIN_VOXELS[:2])
"""Of single images: x and y, Å or pixels."""
_SUBTOMOGRAM_ANGLES = ["rlnTomoSubtomogramRot", "rlnTomoSubtomogramTilt", "rlnTomoSubtomogramPsi"]
_FLAT = ((FLAT_STACKS, 1), (DIMENSIONALITY, 2))
"""What says that particles are stacks of 2D images."""
TEXTS = (
    *(TOMOGRAM, MICROGRAPH, FILE, IMAGE, *RECONSTRUCTIONS, HALF, TILT_SERIES),
    *(TOMO_PARTICLE_NAME, OPTICS_NAME, PARTICLE_NAME, VISIBLE, *PROJECTION, PARTICLES_FILE, TOMOGRAMS_FILE),
    CLASS_NAME,
)
"""Columns that stay text, also where every value looks like a number."""
WAYS = (*PARTICLES, *COORDINATE_SIZES, *IMAGE_SIZES[:1], *_ORIGINS, *_ORIGIN_VOXELS, *_SUBTOMOGRAM_ANGLES, GROUP)
"""Columns by which places are known, and their units: one block without them cannot be read as others with them."""
_MISSPELT = re.compile(r"rlnOrigin([XYZ])_?A\w*", re.IGNORECASE)
"""Origins in Å as other programs, and RELION's own pages, call them."""
_SAME_ORIGIN = 0.02
"""By how much of a voxel, or of themselves, origins in voxels and in Å may differ."""
WORDS = {word.lower(): word for word in (*WAYS, *CENTRED, *COORDINATES, *TOMOGRAMS, CLASS_NUMBER, _MAGNIFICATION)}
"""RELION's words for places, by what other tables than STAR files make of them."""


def lists_particles(columns: Container[str]) -> bool:
    """Tell whether a table lists particles, by its columns."""
    return any(column in columns for column in PARTICLES)


def lists_tilt_images(columns: Container[str]) -> bool:
    """Tell whether each row of a table is one tilt image of a particle, as Warp 1 and M 1 write particle series."""
    needed = (IMAGE, PARTICLE_NAME, *ANGLES, *DEFOCUS, CTF_SCALE, CTF_B_FACTOR)
    return all(word in columns for word in needed) and TOMOGRAM not in columns and COORDINATES[2] not in columns


def lists_places(columns: Iterable[str]) -> bool:
    """Tell whether columns hold the coordinates of particles."""
    return not {COORDINATES[0], CENTRED[0]}.isdisjoint(columns)


def check_words(path: str | Path, columns: Container[str]) -> None:
    """Raise `DataError` where a table has RELION's words under the prefix of pytom-match-pick."""
    if f"ptm{COORDINATES[0].removeprefix('rln')}" in columns:
        refuse(
            path,
            "has columns of pytom-match-pick (ptmCoordinateX, ...), which mean what RELION's do; write rln for ptm in "
            "their names (sed s/^_ptm/_rln/)",
        )


def check_places(path: str | Path, columns: Container[str]) -> None:
    """Raise `DataError` where a table of images has places in micrographs, as csparc2star.py writes them."""
    x, y, z = (name in columns for name in COORDINATES)
    if IMAGE in columns and x and y and not z and CENTRED[0] not in columns:
        refuse(
            path,
            f"lists particles of micrographs, which are 2D ({COORDINATES[1]} without {COORDINATES[2]}), as lists of "
            "cryoSPARC are; give the list of 3D particles that they were made from (RELION, Warp, M)",
        )


def check_origins(path: str, table: pd.DataFrame) -> None:
    """Raise `DataError` where origins other than 0 are in columns that are called nearly as RELION's."""
    for column in table:
        found = _MISSPELT.fullmatch(str(column))
        if found and column not in ORIGINS and pd.to_numeric(table[column], errors="coerce").fillna(0).any():
            word = f"rlnOrigin{found[1].upper()}Angst"
            refuse(path, f"has origins in {column}, which RELION calls {word}; rename it, or remove it if it is old")


def coordinates(path: str, table: pd.DataFrame) -> tuple[NDArray[np.float64], bool]:
    """Return the particles' x, y, z (N, 3), and whether they are Å from the centre rather than voxels.

    The particle is at coordinate - origin, as everywhere in RELION; origins in Å are `shifts`.
    """
    check_places(path, table)
    check_origins(path, table)
    centred = triples(path, table, CENTRED)
    origins = _origins_in_voxels(path, table, centred is not None)
    if centred is not None:
        return centred, True
    found = triples(path, table, COORDINATES)
    if found is None:
        refuse(path, f"has no coordinates ({COORDINATES[0]} or {CENTRED[0]}), but {IMAGE}; say --dataset star")
    return (found if origins is None else found - origins), False


def _origins_in_voxels(path: str, table: pd.DataFrame, centred: bool) -> NDArray[np.float64] | None:
    """Return origins in voxels (N, 3), None where there are none but those that origins in Å tell as well.

    Nor are there any where `shifts` knows their size. Raises `DataError` where both differ, and where coordinates are
    in Å and nobody tells of what voxels.
    """
    voxels, angstroms = triples(path, table, _ORIGIN_VOXELS), triples(path, table, _ORIGINS)
    if voxels is None or not voxels.any():
        return None
    told = angstroms is not None and bool(angstroms.any())
    if angstroms is not None and told and _multiples(voxels, angstroms):
        return None
    if centred or told:
        row = int(np.flatnonzero(voxels.any(axis=1))[0])
        other = f"{_ORIGINS[0]}, ... that differ" if told else f"coordinates in Å ({CENTRED[0]})"
        refuse(path, f"has {_ORIGIN_VOXELS[0]}, ... in row {row}, voxels of an untold size, and {other}; remove one")
    return None if IMAGE_SIZES[0] in table else voxels


def _multiples(voxels: NDArray[np.float64], angstroms: NDArray[np.float64]) -> bool:
    """Tell whether two tables are one but for a size of voxels, as far as numbers are rounded."""
    size = (voxels * angstroms).sum() / (voxels**2).sum()
    return bool(size > 0 and np.allclose(voxels * size, angstroms, rtol=_SAME_ORIGIN, atol=_SAME_ORIGIN * size))


def coordinate_sizes(path: str, table: pd.DataFrame, centred: bool) -> NDArray[np.float64] | None:
    """Return Å per unit of the coordinates of each particle, or per pixel of the tilt series where they are centred."""
    column = first_of(table, COORDINATE_SIZES[:1] if centred else COORDINATE_SIZES)
    if column is None:
        return None
    sizes = positive(path, column, _angstroms(path, table, column))
    if column == TILT_SIZE:
        _check_binning(path, table)
    return sizes


def _check_binning(path: str, table: pd.DataFrame) -> None:
    """Raise `DataError` where pixels of the tilt series and their binning are not those of the images (Warp#504)."""
    if IMAGE_SIZES[0] not in table:
        return
    binned, own = (np.array(sizes(path, table), float) for sizes in (binned_sizes, image_sizes))
    bad = np.flatnonzero(np.abs(binned - own) > SAME_VOXEL_SIZE * np.maximum(binned, own))
    if len(bad):
        tilt, binning = (table[column].iloc[bad[0]] for column in (TILT_SIZE, BINNING_OF_IMAGES))
        refuse(
            path,
            f"says {TILT_SIZE} {tilt:g} and {BINNING_OF_IMAGES} {binning:g} in row {bad[0]}, which make "
            f"{binned[bad[0]]:.4g} Å, and {IMAGE_SIZES[0]} {own[bad[0]]:.4g}; mend the one that is wrong, or say "
            "--set dataset.coordinate_size=<Å>",
        )


def image_sizes(path: str, table: pd.DataFrame) -> list[float | None]:
    """Return Å per voxel of the image of each particle, None where the table does not state it."""
    column = first_of(table, IMAGE_SIZES)
    if column is None:
        return [None] * len(table)
    return [float(size) if size > 0 else None for size in _angstroms(path, table, column)]


def binned_sizes(path: str, table: pd.DataFrame) -> list[float | None]:
    """Return Å per voxel of the image of each particle by its binning, None where the table does not state it."""
    if BINNING_OF_IMAGES not in table or TILT_SIZE not in table:
        return [None] * len(table)
    binnings = positive(path, BINNING_OF_IMAGES, numbers(path, table, BINNING_OF_IMAGES))
    return list(numbers(path, table, TILT_SIZE) * binnings)


def _angstroms(path: str, table: pd.DataFrame, column: str) -> NDArray[np.float64]:
    sizes = numbers(path, table, column)
    if column == _DETECTOR and _MAGNIFICATION in table:
        return sizes * 1e4 / positive(path, _MAGNIFICATION, numbers(path, table, _MAGNIFICATION))  # µm on the detector
    return sizes


def image_edges(path: str, table: pd.DataFrame) -> list[int | None]:
    """Return the edge of each image in voxels, None where optics groups do not state it."""
    if IMAGE_EDGE not in table:
        return [None] * len(table)
    return [int(edge) for edge in positive(path, IMAGE_EDGE, numbers(path, table, IMAGE_EDGE))]


def shifts(path: str, table: pd.DataFrame) -> NDArray[np.float64] | None:
    """Return what is to be added to the coordinates (N, 3), Å: the origins with their sign turned.

    Those in voxels are of the image, and Å where its size is told. Those of RELION 4 and 5 are turned by the
    subtomogram's angles first.
    """
    origins = triples(path, table, _ORIGINS)
    if origins is None or not origins.any():
        origins = _of_images(path, table)
    if origins is None:
        return None
    angles = triples(path, table, _SUBTOMOGRAM_ANGLES)
    if angles is not None:
        from scipy.spatial.transform import Rotation

        origins = Rotation.from_euler("ZYZ", angles, degrees=True).inv().apply(origins)
    return -origins


def turns(path: str, table: pd.DataFrame) -> NDArray[np.float64] | None:
    """Return by how many degrees RELION turned each subtomogram when it was made (N,); None where it does not say."""
    angles = triples(path, table, _SUBTOMOGRAM_ANGLES)
    if angles is None:
        return None
    from scipy.spatial.transform import Rotation

    return np.degrees(Rotation.from_euler("ZYZ", angles, degrees=True).magnitude())


def _of_images(path: str, table: pd.DataFrame) -> NDArray[np.float64] | None:
    """Return origins in voxels of the image as Å (N, 3), None where there are none, or nobody tells its voxel size."""
    voxels = triples(path, table, _ORIGIN_VOXELS)
    if voxels is None or not voxels.any() or IMAGE_SIZES[0] not in table:
        return None
    return voxels * positive(path, IMAGE_SIZES[0], numbers(path, table, IMAGE_SIZES[0]))[:, None]


def check_volumes(path: str, table: pd.DataFrame) -> None:
    """Raise `DataError` where particles have no images, or these are stacks of 2D images."""
    if IMAGE not in table:
        refuse(path, f"has coordinates but no extracted volumes ({IMAGE}); cut boxes with --dataset tomogram")
    check_places(path, table)
    flat = flat_column(path, table)
    if flat:
        refuse(
            path,
            f"lists stacks of 2D images, not volumes ({flat}); say --dataset tilt_stack, which reconstructs them, or "
            "cut boxes from tomograms with --dataset tomogram",
        )


def flat_column(path: str | Path, table: pd.DataFrame) -> str | None:
    """Return the column by which particles are stacks of 2D images; None where they are volumes."""
    return next((name for name, value in _FLAT if name in table and (numbers(path, table, name) == value).any()), None)
