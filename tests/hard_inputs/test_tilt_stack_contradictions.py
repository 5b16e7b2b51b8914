"""Sets of 2D tilt images whose files contradict each other, or count in other units than RELION: one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pandas as pd
import pytest
import starfile
from support.tilt_stacks import EDGE, PIXEL, TILTS, UNBINNED, Made, write_rows, write_set

from cryoreg.datasets.readers.tilt_images import TiltImages
from cryoreg.datasets.readers.tilt_stack import TiltStack
from cryoreg.errors import CryoregError, DataError

TABLE, TOMOGRAMS, SERIES = "particles.star", "tomograms.star", "tilt_series/TS_01.star"
CORNER = np.array([1000.0, 1500.0, 500.0]) * 2 / UNBINNED
"""The tomogram's centre in voxels before binning."""
POSITION = np.array([1400.0, -1100.0, 500.0])
"""Of the particle, Å from there."""
Spoil = Callable[[Path], None]


def put(file: str, block: str, **columns: Any) -> Spoil:
    """Set columns of a STAR file."""

    def act(root: Path) -> None:
        blocks = starfile.read(root / file, always_dict=True)
        for column, values in columns.items():
            blocks[block][column] = values
        starfile.write(blocks, root / file, overwrite=True)

    return act


def without(file: str, block: str, *columns: str) -> Spoil:
    def act(root: Path) -> None:
        blocks = starfile.read(root / file, always_dict=True)
        blocks[block] = blocks[block].drop(columns=[*columns])
        starfile.write(blocks, root / file, overwrite=True)

    return act


def both(*spoils: Spoil) -> Spoil:
    def act(root: Path) -> None:
        for spoil in spoils:
            spoil(root)

    return act


def header(size: float) -> Spoil:
    def act(root: Path) -> None:
        with mrcfile.open(root / "stacks/0_stack2d.mrcs", "r+") as stack:
            stack.voxel_size = size

    return act


def rename_block(root: Path) -> None:
    (table,) = starfile.read(root / SERIES, always_dict=True).values()
    starfile.write({"TS_02": table}, root / SERIES, overwrite=True)
    blocks = starfile.read(root / TOMOGRAMS, always_dict=True)
    row = blocks["global"].assign(rlnTomoName="TS_02")
    starfile.write({"global": pd.concat([blocks["global"], row])}, root / TOMOGRAMS, overwrite=True)


def corner(places: np.ndarray) -> dict[str, float]:
    return dict(zip(("rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ"), places, strict=True))


def origins(**values: float) -> dict[str, float]:
    return {f"rlnOrigin{axis}{kind}": value for kind, value in values.items() for axis in "XYZ"}


REFUSED: dict[str, tuple[str, Spoil, str]] = {
    # situation: (dialect, what is wrong, what is said)
    "headers of stacks tell another size": ("relion5", header(8.0), "has 8 Å per pixel in its header and 4 Å in"),
    "binning tells another size": (
        "relion5",
        put(TABLE, "optics", rlnTomoSubtomogramBinning=4.0, rlnTomoTiltSeriesPixelSize=UNBINNED),
        "says rlnImagePixelSize 4, and rlnTomoTiltSeriesPixelSize times rlnTomoSubtomogramBinning is 8",
    ),
    "nobody tells the size but a header of 1 Å": (
        "relion5",
        both(without(TABLE, "optics", "rlnImagePixelSize"), header(1.0)),
        "has no rlnImagePixelSize, nor do its stacks; say --set dataset.voxel_size",
    ),
    "images of another extraction": (
        "relion5",
        put(TABLE, "optics", rlnImageSize=EDGE * 2),
        "says rlnImageSize 64 in row 0, and its stacks have images of 32 pixels",
    ),
    "stacks of images that are volumes": (
        "relion5",
        put(TABLE, "optics", rlnImageDimensionality=3),
        r"lists stacks of 2D images \(rlnTomoSubTomosAre2DStacks\), but says rlnImageDimensionality 3 in row 0",
    ),
    "centred coordinates that count from a corner": (
        "relion5",
        put(TABLE, "particles", rlnCenteredCoordinateXAngst=3400.0),
        r"has rlnCenteredCoordinateXAngst in row 0 that lies outside of 'TS_01' by its size \(rlnTomoSizeX\)",
    ),
    "centred coordinates and others beside them": (
        "relion5",
        put(TABLE, "particles", **corner(CORNER + POSITION / UNBINNED + 40)),
        "says other places by rlnCenteredCoordinateXAngst than by rlnCoordinateX, the first in row 0",
    ),
    "origins in pixels and in Å": (
        "relion5",
        put(TABLE, "particles", **origins(Angst=8.0) | {"rlnOriginX": 2.0, "rlnOriginY": -1.0, "rlnOriginZ": 0.0}),
        "has rlnOriginX, ... in row 0, voxels of an untold size, and rlnOriginXAngst, ... that differ",
    ),
    "origins in pixels of coordinates in Å": (
        "relion5",
        put(TABLE, "particles", **{f"rlnOrigin{axis}": 2.0 for axis in "XYZ"}),
        r"has rlnOriginX, ... in row 0, voxels of an untold size, and coordinates in Å",
    ),
    "microscopes differ": (
        "relion5",
        put(TABLE, "optics", rlnVoltage=200.0),
        r"tomograms.star: says rlnVoltage 300 of 'TS_01', and .*particles.star 200",
    ),
    "amplitude contrast in per cent": (
        "relion5",
        put(TOMOGRAMS, "global", rlnAmplitudeContrast=7.0),
        "tomograms.star: has 7 for rlnAmplitudeContrast in row 0, which is a fraction",
    ),
    "voltage in volts": (
        "relion5",
        put(TOMOGRAMS, "global", rlnVoltage=300000.0),
        "has 300000 for rlnVoltage in row 0, which is kV",
    ),
    "defocus in µm": (
        "relion5",
        put(SERIES, "TS_01", rlnDefocusU=1.25, rlnDefocusV=1.15),
        "TS_01.star: has rlnDefocusU from 1.25 to 1.25, and RELION counts it in Å",
    ),
    "underfocus is negative": (
        "relion5",
        put(SERIES, "TS_01", rlnDefocusU=-12500.0, rlnDefocusV=-11500.0),
        "has rlnDefocusU from -12500 to -12500, and underfocus is positive",
    ),
    "exposure below 0": (
        "relion5",
        put(SERIES, "TS_01", rlnMicrographPreExposure=-3.0),
        "has -3 for rlnMicrographPreExposure in row 0",
    ),
    "decay and growth": (
        "relion5",
        put(SERIES, "TS_01", rlnCtfBfactor=np.linspace(-60, 60, len(TILTS))),
        "has rlnCtfBfactor from -60 to 60, decay and growth",
    ),
    "no tilt that counts": (
        "relion5",
        put(SERIES, "TS_01", rlnCtfScalefactor=0.0),
        "sees row 0 at tilts of 'TS_01' alone that have rlnCtfScalefactor 0",
    ),
    "not aligned": (
        "relion5",
        put(SERIES, "TS_01", rlnTomoYTilt=0.0),
        "TS_01.star: has the same tilt for all 31 images of 'TS_01'",
    ),
    "tilt series of another tomogram": (
        "relion5",
        rename_block,
        "TS_01.star: is that of 'TS_02' by its block, and of 'TS_01' by rlnTomoTiltSeriesStarFile",
    ),
}


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return write_rows(tmp_path_factory.mktemp("series"), particles=2)


@pytest.mark.parametrize("situation", REFUSED)
def test_what_contradicts_is_one_line(situation: str, tmp_path: Path) -> None:
    dialect, spoil, message = REFUSED[situation]
    made = write_set(tmp_path / "set", dialect)
    TiltStack(made.path)
    spoil(tmp_path / "set")
    with pytest.raises(CryoregError, match=message) as caught:
        TiltStack(made.path)
    assert "\n" not in str(caught.value)


def test_a_unit_cannot_be_told_of_coordinates_in_angstroms(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"counts in Å \(rlnCenteredCoordinateXAngst\).*leave out coordinate_size"):
        TiltStack(write_set(tmp_path / "set").path, coordinate_size=4.0)


READ: dict[str, tuple[str, Spoil]] = {
    "headers of 1 Å": ("relion5", header(1.0)),
    "headers without a size": ("relion5", header(0.0)),
    "a size by binning alone": (
        "relion5",
        both(
            put(TABLE, "optics", rlnTomoSubtomogramBinning=PIXEL / UNBINNED, rlnTomoTiltSeriesPixelSize=UNBINNED),
            without(TABLE, "optics", "rlnImagePixelSize"),
            header(1.0),
        ),
    ),
    "both kinds of coordinates, of one place": (
        "relion5",
        put(TABLE, "particles", **corner(CORNER + POSITION / UNBINNED)),
    ),
    "a decay that Warp writes": ("relion5", put(SERIES, "TS_01", rlnCtfBfactor=-np.linspace(0, 60, len(TILTS)))),
}


@pytest.mark.parametrize("situation", READ)
def test_what_fits_is_read(situation: str, tmp_path: Path) -> None:
    dialect, change = READ[situation]
    made = write_set(tmp_path / "set", dialect)
    before = TiltStack(made.path)
    change(tmp_path / "set")
    after = TiltStack(made.path)
    assert after.voxel_size == before.voxel_size == PIXEL
    np.testing.assert_allclose(after.positions, before.positions)
    inside = (slice(8, 24),) * 3
    assert np.corrcoef(after.read(0)[inside].ravel(), before.read(0)[inside].ravel())[0, 1] > 0.98


def test_origins_told_twice_count_once(tmp_path: Path) -> None:
    made = write_set(tmp_path / "set", origin=(8.0, -4.0, 12.0))
    before = TiltStack(made.path).positions
    put(TABLE, "particles", rlnOriginX=2.0, rlnOriginY=-1.0, rlnOriginZ=3.0)(tmp_path / "set")
    np.testing.assert_array_equal(TiltStack(made.path).positions, before)


ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "amplitude contrast in per cent": ({"rlnAmplitudeContrast": 7.0}, "has 7 for rlnAmplitudeContrast in row 0"),
    "defocus in µm": ({"rlnDefocusU": 1.2}, "has rlnDefocusU from 1.2 to 1.2, and RELION counts it in Å"),
    "no image that counts": ({"rlnCtfScalefactor": 0.0}, "has rlnCtfScalefactor 0 for all images of 'TS_01_0000000'"),
    "images of another extraction": ({"rlnImageSize": 64}, "says rlnImageSize 64 in row 0, and its stacks have"),
    "premultiplied in part": (
        {"rlnCtfDataAreCtfPremultiplied": [1] + [0] * (2 * len(TILTS) - 1)},
        "says rlnCtfDataAreCtfPremultiplied of some images of 'TS_01_0000000', and not of others",
    ),
}


def changed(made: Made, folder: Path, **columns: Any) -> Path:
    table = starfile.read(made.path).assign(**columns)
    table["rlnImageName"] = table["rlnImageName"].str.replace("@", f"@{made.path.parent}/")
    starfile.write({"": table}, folder / "changed.star", float_format="%.5f")
    return folder / "changed.star"


@pytest.mark.parametrize("situation", ROWS)
def test_what_rows_of_images_contradict(situation: str, series: Made, tmp_path: Path) -> None:
    columns, message = ROWS[situation]
    with pytest.raises(DataError, match=message):
        TiltImages(changed(series, tmp_path, **columns))


def test_particles_that_are_multiplied_beside_others_that_are_not(series: Made, tmp_path: Path) -> None:
    """Each is reconstructed as its own rows say."""
    marks = [1] * len(TILTS) + [0] * len(TILTS)
    mixed = TiltImages(changed(series, tmp_path, rlnCtfDataAreCtfPremultiplied=marks))
    for index, mark in enumerate((1, 0)):
        (tmp_path / str(mark)).mkdir(exist_ok=True)
        alone = TiltImages(changed(series, tmp_path / str(mark), rlnCtfDataAreCtfPremultiplied=mark))
        np.testing.assert_allclose(mixed.read(index), alone.read(index), atol=1e-5)
