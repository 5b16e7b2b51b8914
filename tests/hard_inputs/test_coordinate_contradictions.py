"""Statements on units, frames and sizes that contradict each other: one line, and guesses are said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import starfile
from support.coded import SHAPE, centres, coded, write_coded
from support.particle_writing import coordinates, write_star
from support.tomograms import write_ome_zarr

from cryoreg.datasets.readers.tomogram import TomogramParticles
from cryoreg.errors import DataError

AT = (10, 11, 12)
"""x, y, z of the particle, in voxels of 10 Å."""
XYZ = np.array([AT], dtype=float)
TILT, BINNING = 2.5, 4


def table(folder: Path, size: Any = None, name: str = "TS_01", **columns: float) -> None:
    """Write tomograms.star; ``size`` is x, y, z in voxels of the tilt series."""
    sizes = {} if size is None else {f"rlnTomoSize{axis}": [int(size[i])] for i, axis in enumerate("XYZ")}
    known = {"rlnTomoName": [name], "rlnTomoTiltSeriesPixelSize": [TILT], **sizes}
    more = {key: [each] for key, each in columns.items()}
    starfile.write({"global": pd.DataFrame(known | more)}, folder / "tomograms.star")


def star(folder: Path, xyz: Any, **columns: Any) -> Path:
    return write_star(folder / "p.star", {"rlnTomoName": "TS_01", **coordinates(np.array(xyz)), **columns})


def csv(folder: Path, xyz: Any, tomogram: str = "") -> Path:
    more, value = (",tomogram", f",{tomogram}") if tomogram else ("", "")
    lines = [",".join(f"{each:g}" for each in row) + value for row in xyz]
    (folder / "p.csv").write_text("\n".join([f"x,y,z{more}", *lines]) + "\n")
    return folder / "p.csv"


def pyramid(folder: Path) -> Path:
    voxels = coded()
    return write_ome_zarr(folder / "t.zarr", {10.0: voxels, 20.0: voxels[::2, ::2, ::2].copy()}) or folder / "t.zarr"


FULL = np.array(SHAPE[::-1]) * BINNING


def centred(places: np.ndarray) -> dict[str, float]:
    """Return Å from the tomogram's centre of places in its voxels."""
    (xyz,) = (places * BINNING - FULL / 2) * TILT
    return {f"rlnCenteredCoordinate{axis}Angst": value for axis, value in zip("XYZ", xyz, strict=True)}


REFUSED: dict[str, tuple[Callable[[Path], Path], dict[str, Any], str]] = {
    # situation: (list, settings, what is said)
    "RELION 4, trimmed along z": (
        lambda d: (table(d, FULL + np.array([0, 0, 24])), star(d, XYZ * 4))[1],
        {},
        r"has 30 voxels along z, but rlnTomoSizeZ over the binning \(4\) is 36.* places in it are not known",
    ),
    "RELION 4, not rotated (IMOD: y is the beam)": (
        lambda d: (table(d, FULL[[0, 2, 1]]), star(d, XYZ * 4))[1],
        {},
        "has 40 voxels along y, but rlnTomoSizeY over the binning",
    ),
    "RELION 4, another binning than tomograms.star tells": (
        lambda d: (table(d, rlnTomoTomogramBinning=8.0), star(d, XYZ * 4))[1],
        {},
        "has voxels of 10 Å, but its tomograms.star tells of 2.5 Å binned by 8",
    ),
    "list and tomograms.star tell two pixel sizes": (
        lambda d: (table(d), star(d, XYZ * 4, rlnTomoTiltSeriesPixelSize=5.0))[1],
        {},
        "says rlnTomoTiltSeriesPixelSize 5 for 'TS_01', and tomograms.star 2.5",
    ),
    "tomograms.star lacks the only tomogram": (
        lambda d: (table(d, name="TS_02"), star(d, XYZ))[1],
        {},
        "in 'TS_01' whose unit nobody states, and tomograms.star lacks it",
    ),
    "header of 1 Å, and the user's unit of 10 Å": (
        lambda d: (write_coded(d / "TS_01.mrc", voxel_size=1.0), star(d, [[1, 1, 1]]))[1],
        {"coordinate_size": 10.0},
        "has no voxel size, which the coordinates",
    ),
    "voxels of a pyramid": (
        lambda d: (pyramid(d), csv(d, XYZ))[1],
        {"tomograms": "t.zarr", "voxel_size": 20.0},
        r"a level of 20 Å is read where the finest has 10 Å; say --set dataset.coordinate_size=10, or 20",
    ),
    "voxels of a level that is named": (
        lambda d: (pyramid(d), csv(d, XYZ))[1],
        {"tomograms": "t.zarr/1"},
        "a level of 20 Å is read where the finest has 10 Å",
    ),
}


def two_units(folder: Path, other: Any) -> Path:
    """Write a list with voxels, and beside them nm."""
    row = ",".join(f"{each:g}" for each in (*AT, *other))
    (folder / "p.csv").write_text(f"x,y,z,x_nm,y_nm,z_nm\n{row}\n")
    return folder / "p.csv"


REFUSED |= {
    "voxels, and nm of another place": (
        lambda d: two_units(d, (30, 11, 12)),
        {},
        "p.csv: has both x and x_nm, which tell of other places; remove one",
    ),
    "RELION 5, and coordinates of RELION 4 that are older": (
        lambda d: (table(d, FULL), star(d, XYZ * 4 + 24, **centred(XYZ)))[1],
        {},
        "p.star: says other places by rlnCenteredCoordinateXAngst than by rlnCoordinateX, the first in row 0",
    ),
    "RELION 5, and origins in voxels": (
        lambda d: (
            table(d, FULL),
            star(d, XYZ * 4, **centred(XYZ), rlnOriginX=3.0, rlnOriginY=0.0, rlnOriginZ=0.0),
        )[1],
        {},
        "has rlnOriginX, ... in row 0, voxels of an untold size, and coordinates in Å",
    ),
    "origins in voxels and in Å that differ": (
        lambda d: star(
            d,
            XYZ,
            **{f"rlnOrigin{axis}": 3.0 for axis in "XYZ"},
            **{f"rlnOrigin{axis}Angst": value for axis, value in zip("XYZ", (10.0, -5.0, 0.0), strict=True)},
        ),
        {},
        "voxels of an untold size, and rlnOriginXAngst, ... that differ",
    ),
}


def opened(folder: Path, make: Callable[[Path], Path], settings: dict[str, Any]) -> list:
    path = make(folder)
    return centres(path, **{key: folder / value if key == "tomograms" else value for key, value in settings.items()})


@pytest.mark.parametrize("situation", REFUSED)
def test_what_contradicts_is_one_line(situation: str, tmp_path: Path) -> None:
    make, settings, message = REFUSED[situation]
    write_coded(tmp_path / "TS_01.mrc")
    with pytest.raises(DataError, match=message) as caught:
        opened(tmp_path, make, settings)
    assert "\n" not in str(caught.value)


READ: dict[str, tuple[Callable[[Path], Path], dict[str, Any]]] = {
    "RELION 4, sizes that fit": (lambda d: (table(d, FULL), star(d, XYZ * 4))[1], {}),
    "RELION 4, a size made even": (lambda d: (table(d, FULL + np.array([4, 0, 4])), star(d, XYZ * 4))[1], {}),
    "RELION 4, the binning that is": (lambda d: (table(d, rlnTomoTomogramBinning=4.0), star(d, XYZ * 4))[1], {}),
    "both tell one pixel size": (lambda d: (table(d), star(d, XYZ * 4, rlnTomoTiltSeriesPixelSize=2.5))[1], {}),
    "the user's pixel size wins over both": (
        lambda d: (table(d), star(d, XYZ * 2, rlnTomoTiltSeriesPixelSize=7.0))[1],
        {"coordinate_size": 5.0},
    ),
    "tomograms.star lacks it, and the user knows": (
        lambda d: (table(d, name="TS_02"), star(d, XYZ * 4))[1],
        {"coordinate_size": TILT},
    ),
    "tomograms.star lacks it, and the list knows": (
        lambda d: (table(d, name="TS_02"), star(d, XYZ * 4, rlnPixelSize=TILT))[1],
        {},
    ),
    "header of 1 Å, and the user knows all": (
        lambda d: (write_coded(d / "TS_01.mrc", voxel_size=1.0), star(d, XYZ * 4))[1],
        {"coordinate_size": TILT, "voxel_size": 10.0},
    ),
    "voxels and nm, of one place": (lambda d: two_units(d, AT), {}),
    "RELION 5 and 4, of one place": (lambda d: (table(d, FULL), star(d, XYZ * 4, **centred(XYZ)))[1], {}),
    "RELION 5, and voxels of the tomogram": (lambda d: (table(d, FULL), star(d, XYZ, **centred(XYZ)))[1], {}),
    "origins in voxels and in Å, of one place": (
        lambda d: star(
            d,
            XYZ + np.array([1, 2, 3]),
            rlnPixelSize=10.0,
            **{f"rlnOrigin{axis}": value for axis, value in zip("XYZ", (1.0, 2.0, 3.0), strict=True)},
            **{f"rlnOrigin{axis}Angst": value for axis, value in zip("XYZ", (10.0, 20.0, 30.0), strict=True)},
        ),
        {},
    ),
    "the finest level of a pyramid": (lambda d: (pyramid(d), csv(d, XYZ))[1], {"tomograms": "t.zarr"}),
}


@pytest.mark.parametrize("situation", READ)
def test_what_fits_is_read(situation: str, tmp_path: Path) -> None:
    write_coded(tmp_path / "TS_01.mrc")
    assert opened(tmp_path, *READ[situation]) == [(0, AT)]


@pytest.mark.parametrize(("unit", "place"), [(10.0, (10, 10, 12)), (20.0, (20, 20, 24))])
def test_voxels_of_a_coarser_level_where_the_unit_is_told(unit: float, place: tuple, tmp_path: Path) -> None:
    pyramid(tmp_path)
    xyz = np.array([[10.0, 10.0, 12.0]])
    found = centres(csv(tmp_path, xyz), tomograms=tmp_path / "t.zarr", voxel_size=20.0, coordinate_size=unit)
    assert found == [(0, place)]


SAID: dict[str, tuple[str, str, dict[str, Any], str | None]] = {
    # situation: (name in the list, file, settings, what is said)
    "a name in a longer one": ("TS_01", "grid2_TS_01.mrc", {}, "is taken for a tomogram of the list as its name has"),
    "a number": ("1", "ts_1_bin2.mrc", {}, "is taken for the tomogram of a number in the list"),
    "1 Å": ("TS_01", "TS_01.mrc", {}, "has voxels of exactly 1 Å by its header"),
    "1 Å, and the user says so": ("TS_01", "TS_01.mrc", {"voxel_size": 1.0}, None),
    "a name and what programs add": ("TS_01", "rec_TS_01_bin4.mrc", {"voxel_size": 10.0}, None),
}


@pytest.mark.parametrize("situation", SAID)
def test_guesses_are_said(situation: str, tmp_path: Path) -> None:
    name, file, settings, said = SAID[situation]
    write_coded(tmp_path / file, voxel_size=1.0)
    notes = TomogramParticles(csv(tmp_path, XYZ, name), box=4, **settings).notes
    guesses = [note for note in notes if "coordinates: " not in note]
    assert any(said in note for note in guesses) if said else guesses == []
