"""Units and frames of coordinates: every convention cuts the voxel that its program means, or one line says why not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import starfile
from support.coded import SHAPE, centres, write_coded
from support.particle_writing import coordinates, write_star

from cryoreg.datasets.readers.tomogram import TomogramParticles
from cryoreg.errors import DataError

AT = (10, 11, 12)
"""x, y, z of the particle, in voxels of 10 Å of the first tomogram."""
SIZE = np.array(SHAPE[::-1])
TILT, BINNING = 2.5, 4


def star(folder: Path, xyz: Any, optics: dict | None = None, **columns: Any) -> Path:
    places = np.atleast_2d(np.array(xyz, dtype=float))
    pattern = columns.pop("pattern", "rlnCoordinate{}")
    particles = {"rlnTomoName": "TS_01", **coordinates(places, pattern), **columns}
    if optics is not None:
        return write_star(folder / "p.star", particles | {"rlnOpticsGroup": 1}, {"rlnOpticsGroup": [1], **optics})
    return write_star(folder / "p.star", particles)


def centred(folder: Path, angst: Any, **columns: Any) -> Path:
    return star(folder, angst, pattern="rlnCenteredCoordinate{}Angst", **columns)


def table(folder: Path, **columns: list) -> Path:
    """Write tomograms.star."""
    known = {"rlnTomoName": ["TS_01"], "rlnTomoTiltSeriesPixelSize": [TILT]}
    starfile.write({"global": pd.DataFrame(known | columns)}, folder / "tomograms.star")
    return folder / "tomograms.star"


def sized(folder: Path, size: Any = SIZE * BINNING, **columns: list) -> Path:
    sizes = {f"rlnTomoSize{axis}": [int(size[i])] for i, axis in enumerate("XYZ")}
    return table(folder, **sizes, rlnTomoTomogramBinning=[float(BINNING)], **columns)


def csv(folder: Path, xyz: Any, names: str = "x,y,z", more: str = "", value: str = "") -> Path:
    lines = [f"{','.join(f'{each:.10g}' for each in row)}{value}" for row in np.atleast_2d(xyz)]
    (folder / "p.csv").write_text("\n".join([names + more, *lines]) + "\n")
    return folder / "p.csv"


def dynamo(folder: Path, xyz: Any) -> Path:
    rows = np.zeros((1, 35))
    rows[0, 19], rows[0, 23:26] = 1, xyz
    np.savetxt(folder / "p.tbl", rows, fmt="%.6g")
    return folder / "p.tbl"


def points(folder: Path, xyz: Any, **known: Any) -> Path:
    place = dict(zip("xyz", map(float, xyz), strict=True))
    content = {"points": [{"location": place}], "run_name": "TS_01", **known}
    (folder / "p.json").write_text(json.dumps(content), encoding=known.pop("encoding", "utf-8"))
    return folder / "p.json"


def with_mark(path: Path) -> Path:
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    return path


XYZ, ORIGIN = np.array(AT, dtype=float), np.array([1.0, 2.0, 3.0])
CENTRE = (XYZ * BINNING - SIZE * BINNING / 2) * TILT
Case = tuple[Callable[[Path], Path], dict[str, Any]]

READ: dict[str, Case] = {
    # situation: (list, settings); each means the voxel AT
    "RELION 3, voxels": (lambda d: star(d, XYZ), {}),
    "RELION 3.1, pixels before binning": (lambda d: star(d, XYZ * 4, rlnMicrographPixelSize=TILT), {}),
    "Warp, detector over magnification": (
        lambda d: star(d, XYZ * 4, rlnDetectorPixelSize=2.5, rlnMagnification=10000.0),
        {},
    ),
    "Warp, voxels": (lambda d: star(d, XYZ, rlnDetectorPixelSize=10.0), {}),
    "M, origins in Å": (
        lambda d: star(d, XYZ + ORIGIN, **coordinates(10 * ORIGIN[None], "rlnOrigin{}Angst")),
        {},
    ),
    "RELION 3, origins in voxels": (
        lambda d: star(d, XYZ + ORIGIN, **coordinates(ORIGIN[None], "rlnOrigin{}")),
        {},
    ),
    "RELION 4, optics": (lambda d: star(d, XYZ * 4, {"rlnTomoTiltSeriesPixelSize": [TILT]}), {}),
    "RELION 4, tomograms.star": (lambda d: (table(d), star(d, XYZ * 4))[1], {}),
    "RELION 5": (lambda d: (sized(d), centred(d, CENTRE))[1], {}),
    "RELION 5, sizes of the tomogram": (lambda d: (table(d), centred(d, CENTRE))[1], {}),
    "RELION 5, the user knows the pixel": (lambda d: centred(d, CENTRE), {"coordinate_size": TILT}),
    "RELION 5, size rounded by two voxels": (
        lambda d: (sized(d, SIZE * BINNING + [8, 0, 0]), centred(d, CENTRE - [10.0, 0, 0]))[1],
        {},
    ),
    "RELION 4, sizes that fit": (lambda d: (sized(d), star(d, XYZ * 4))[1], {}),
    "RELION 4, sizes of others than the tomogram, the user knows the pixel": (
        lambda d: (sized(d, SIZE * 5), star(d, XYZ * 4))[1],
        {"coordinate_size": TILT},
    ),
    "CSV beside a tomograms.star of other sizes": (lambda d: (sized(d, SIZE * 5), csv(d, XYZ))[1], {}),
    "Warp matching, fractions": (lambda d: star(d, XYZ / SIZE), {}),
    "Warp matching, one of them at an edge": (lambda d: star(d, [XYZ / SIZE, [0.98, 0.0, 0.5]]), {}),
    "Warp matching, few digits": (lambda d: star(d, np.round(XYZ / SIZE, 3)), {}),
    "fractions in CSV": (lambda d: csv(d, XYZ / SIZE), {}),
    "fractions that the user calls voxels": (
        lambda d: star(d, [[0.5, 0.4, 0.3]]),
        {"coordinate_size": 100.0},
    ),
    "Dynamo, from the corner": (lambda d: dynamo(d, XYZ + 0.5), {}),
    "CSV, voxels": (lambda d: csv(d, XYZ), {}),
    "CSV, Å": (lambda d: csv(d, XYZ * 10, "x_angstrom,y_angstrom,z_angstrom"), {}),
    "CSV, voxels of 5 Å": (lambda d: csv(d, XYZ * 2, more=",voxel_size", value=",5"), {}),
    "CSV, the user knows the unit": (lambda d: csv(d, XYZ * 4), {"coordinate_size": TILT}),
    "CSV, the user overrules the list": (
        lambda d: csv(d, XYZ * 4, more=",voxel_size", value=",7"),
        {"coordinate_size": TILT},
    ),
    "CSV, no size, and the user knows it": (
        lambda d: csv(d, XYZ * 4, more=",voxel_size", value=","),
        {"coordinate_size": TILT},
    ),
    "STAR, NaN for the size, and the user knows it": (
        lambda d: star(d, XYZ * 4, rlnPixelSize=np.nan),
        {"coordinate_size": TILT},
    ),
    "copick, Å": (lambda d: points(d, XYZ * 10), {}),
    "copick with a byte order mark": (lambda d: with_mark(points(d, XYZ * 10)), {}),
}
EXPECTED = {"fractions that the user calls voxels": (5, 4, 3)}


@pytest.mark.parametrize("situation", READ)
def test_the_voxel_that_is_meant(situation: str, tmp_path: Path) -> None:
    make, settings = READ[situation]
    write_coded(tmp_path / "TS_01.mrc")
    number, place = centres(make(tmp_path), **settings)[0]
    assert number == 0
    assert place == pytest.approx(EXPECTED.get(situation, AT), abs=0.02)


def one_angstrom(folder: Path) -> None:
    write_coded(folder / "TS_01.mrc", voxel_size=1.0)


def trimmed(folder: Path) -> Path:
    sized(folder, SIZE * BINNING + np.array([0, 0, 24]))
    return centred(folder, [0.0, 0.0, 0.0])


def half_a_table(folder: Path) -> Path:
    write_coded(folder / "TS_02.mrc", 1)
    table(folder)
    return write_star(
        folder / "p.star", {"rlnTomoName": ["TS_01", "TS_02"], **coordinates(np.array([XYZ * 4, XYZ * 2]))}
    )


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "header of 1 Å, list of 10 Å": (
        lambda d: (one_angstrom(d), star(d, XYZ / 10, rlnDetectorPixelSize=10.0))[1],
        r"TS_01.mrc: has no voxel size, which .* \(a header's 1 Å is none",
    ),
    "header of 1 Å, tilt series of 2.5 Å": (
        lambda d: (one_angstrom(d), table(d), star(d, XYZ))[2],
        "has no voxel size, which the coordinates",
    ),
    "header of 1 Å, coordinates in Å": (
        lambda d: (one_angstrom(d), points(d, XYZ))[1],
        "has no voxel size, which the coordinates",
    ),
    "trimmed along z, RELION 4": (
        lambda d: (sized(d, SIZE * BINNING + np.array([0, 0, 24])), star(d, XYZ * 4))[1],
        r"has 30 voxels along z, but rlnTomoSizeZ over the binning \(4\) is 36",
    ),
    "trimmed along z": (trimmed, r"has 30 voxels along z, but rlnTomoSizeZ over the binning \(4\) is 36"),
    "a unit for one of two tomograms": (
        half_a_table,
        r"'TS_02' whose unit nobody states.*add 'TS_02' to",
    ),
    "binning that is not the tomogram's": (
        lambda d: (table(d, rlnTomoTomogramBinning=[2.0]), centred(d, CENTRE))[1],
        "has voxels of 10 Å, but its tomograms.star tells of 2.5 Å binned by 2",
    ),
    "beyond the tomogram": (
        lambda d: csv(d, XYZ * 4),
        r"all fit if .* in voxels from before binning by 2 .* or Å",
    ),
    "two units in one tomogram": (
        lambda d: (
            csv(d, [XYZ, XYZ], more=",voxel_size").write_text("x,y,z,voxel_size\n10,11,12,5\n10,11,12,10\n")
            and d / "p.csv"
        ),
        "gives voxel sizes from 5 to 10 Å",
    ),
    "a size of nothing": (lambda d: star(d, XYZ, rlnPixelSize=np.nan), "rlnPixelSize in row 0"),
}


@pytest.mark.parametrize("situation", REFUSED)
def test_what_contradicts_is_one_line(situation: str, tmp_path: Path) -> None:
    make, message = REFUSED[situation]
    write_coded(tmp_path / "TS_01.mrc")
    with pytest.raises(DataError, match=message) as caught:
        centres(make(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_header_of_one_angstrom_is_true_where_nothing_goes_against_it(tmp_path: Path) -> None:
    one_angstrom(tmp_path)
    assert centres(star(tmp_path, XYZ)) == [(0, AT)]
    assert centres(star(tmp_path, XYZ, rlnPixelSize=1.0)) == [(0, AT)]
    assert centres(points(tmp_path, XYZ), voxel_size=1.0) == [(0, AT)]
    assert centres(star(tmp_path, XYZ, rlnPixelSize=10.0), voxel_size=10.0) == [(0, AT)]


def test_tomograms_star_tells_the_size_that_a_header_of_one_angstrom_does_not(tmp_path: Path) -> None:
    one_angstrom(tmp_path)
    sized(tmp_path)
    assert centres(star(tmp_path, XYZ * 4)) == [(0, AT)]


ASSUMED: dict[str, tuple[Callable[[Path], Path], dict[str, Any], str]] = {
    "nothing stated": (lambda d: csv(d, XYZ), {}, "taken as voxels of the tomogram, as no unit is stated"),
    "fractions": (lambda d: star(d, XYZ / SIZE), {}, "all from 0 to 1, hence fractions of the tomogram"),
    "before binning": (
        lambda d: star(d, XYZ * 4, rlnMicrographPixelSize=TILT),
        {},
        "voxels of 2.5 Å (the list), 4 to one of the tomogram",
    ),
    "by tomograms.star": (
        lambda d: (table(d), star(d, XYZ * 4))[1],
        {},
        "voxels of 2.5 Å (tomograms.star), 4 to one of the tomogram",
    ),
    "by the user": (
        lambda d: csv(d, XYZ * 4),
        {"coordinate_size": TILT},
        "voxels of 2.5 Å (dataset.coordinate_size), 4 to one of the tomogram",
    ),
    "Å": (lambda d: points(d, XYZ * 10), {}, "Å (the list), 10 to a voxel"),
    "Dynamo": (
        lambda d: dynamo(d, XYZ + 0.5),
        {},
        "taken as voxels of the tomogram from the corner of the first",
    ),
    "centred": (
        lambda d: (sized(d), centred(d, CENTRE))[1],
        {},
        "Å from the centre of a volume 200×160×120 (x y z), in pixels of 2.5 Å binned by 4",
    ),
    "centred, no sizes": (
        lambda d: (table(d), centred(d, CENTRE))[1],
        {},
        "Å from the centre of a volume of the tomogram's size, in pixels of 2.5 Å binned by 4",
    ),
}


@pytest.mark.parametrize("situation", ASSUMED)
def test_what_is_assumed_is_said(situation: str, tmp_path: Path) -> None:
    make, settings, said = ASSUMED[situation]
    write_coded(tmp_path / "TS_01.mrc")
    notes = TomogramParticles(make(tmp_path), box=4, **settings).notes
    told = [note for note in notes if "coordinates: " in note]
    assert len(told) == 1
    assert f"TS_01.mrc: coordinates: {said}" in told[0]


@pytest.mark.parametrize(("outside", "many"), [(1, False), (2, True)])
def test_many_boxes_beyond_their_tomogram_are_a_question(outside: int, many: bool, tmp_path: Path) -> None:
    write_coded(tmp_path / "TS_01.mrc")
    places = [XYZ] * (20 - outside) + [[0.0, 11.0, 12.0]] * outside
    note = TomogramParticles(csv(tmp_path, places), box=4).notes[0]
    assert note.startswith(f"{outside} of 20 boxes reach beyond")
    assert ("these are many" in note) == many


@pytest.mark.parametrize("box", [42, 60])
def test_a_box_larger_than_its_tomogram_is_refused(box: int, tmp_path: Path) -> None:
    write_coded(tmp_path / "TS_01.mrc")
    with pytest.raises(DataError, match="too small for boxes"):
        TomogramParticles(csv(tmp_path, XYZ), box=box)


@pytest.mark.parametrize("size", [4.0, 5.0, 10.0, 20.0])
def test_points_of_copick_are_in_their_voxel_of_every_binning(size: float, tmp_path: Path) -> None:
    """They were picked at 10 Å, and are in Å."""
    write_coded(tmp_path / "TS_01.mrc", voxel_size=size)
    points = [{"location": {"x": 80, "y": 100, "z": 60}}]
    content = {"pickable_object_name": "a", "run_name": "TS_01", "voxel_spacing": 10.0, "unit": "angstrom"}
    (tmp_path / "picks.json").write_text(json.dumps({**content, "points": points}))
    assert centres(tmp_path / "picks.json") == [(0, (80 / size, 100 / size, 60 / size))]
