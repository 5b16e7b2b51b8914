"""What stands beside coordinates: units, shifts and names are read, told or refused, and never dropped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from support.coded import centres, write_coded
from support.particle_writing import coordinates, write_star

from cryoreg.datasets.label_lists import with_labels
from cryoreg.datasets.list_specs import TomogramSpec
from cryoreg.datasets.particles.lists import read_particle_list
from cryoreg.datasets.readers.tomogram import TomogramParticles
from cryoreg.errors import DataError
from cryoreg_cli.main import cryoreg

AT = (10.0, 11.0, 12.0)
Make = Callable[[Path], Path]


def csv(header: str, *rows: str) -> Make:
    def write(folder: Path) -> Path:
        (folder / "p.csv").write_text("\n".join([header, *rows]) + "\n")
        return folder / "p.csv"

    return write


def star(*places: tuple[float, float, float], **columns: Any) -> Make:
    return lambda folder: write_star(
        folder / "p.star", {"rlnTomoName": "TS_01", **coordinates(np.array(places or [AT])), **columns}
    )


def dynamo(index: str, text: str, name: str = "p") -> Make:
    """Write a table of a particle in tomogram 2, and an index by which it is TS_01."""

    def write(folder: Path) -> Path:
        rows = np.zeros((1, 35))
        rows[0, 19], rows[0, 23:26] = 2, np.array(AT) + 0.5
        np.savetxt(folder / "p.tbl", rows, fmt="%.6g")
        (folder / f"{name}.{index}").write_text(text)
        return folder / "p.tbl"

    return write


def of_origins(*origin: float) -> dict[str, float]:
    return dict(zip((f"rlnOrigin{axis}" for axis in "XYZ"), origin, strict=True))


READ: dict[str, Make] = {
    "shifts in Å": csv("x,y,z,shift_x_angst,shift_y_angst,shift_z_angst", "9,13,12,10,-20,0"),
    "shifts in Å, another order of words": csv("x,y,z,x_shift [Å],y_shift [Å],z_shift [Å]", "9,13,12,10,-20,0"),
    "shifts in Å of nm": csv("x_nm,y_nm,z_nm,shift_x_angstrom,shift_y_angstrom,shift_z_angstrom", "9,13,12,10,-20,0"),
    **{
        f"the unit in '{name}'": csv(f"x,y,z,{name}", f"20,22,24,{size}")
        for name, size in {
            "pixelsize": 5,
            "apix": 5,
            "Pixel Size [Å]": 5,
            "voxel size (nm)": 0.5,
            "pixel_spacing": 5,
            "pixel_size (A/px)": 5,
        }.items()
    },
    "origins in voxels of the image": star(
        (20, 22, 26), rlnMicrographPixelSize=5.0, rlnImagePixelSize=20.0, **of_origins(0, 0, 0.5)
    ),
    "origins in voxels of the image, coordinates of no unit": star(
        (10, 11, 13), rlnImagePixelSize=20.0, **of_origins(0, 0, 0.5)
    ),
    "Dynamo's .doc": dynamo("doc", "1 TS_02.mrc\n2 TS_01.mrc\n"),
    "Dynamo's .vll": dynamo("vll", "TS_02.mrc\n* bin 0\nTS_01.mrc\n"),
    "the only .vll": dynamo("vll", "TS_02.mrc\nTS_01.mrc\n", "volumes"),
    "micrographs of other names": star(rlnMicrographName="frames/TS_77.mrc"),
}


@pytest.mark.parametrize("situation", READ)
def test_the_voxel_that_is_meant(situation: str, tmp_path: Path) -> None:
    write_coded(tmp_path / "TS_01.mrc")
    write_coded(tmp_path / "TS_02.mrc", 1)
    path = READ[situation](tmp_path)
    if path.suffix == ".csv":
        (tmp_path / "TS_02.mrc").unlink()
    (number, place), *_ = centres(path)
    assert number == 0
    assert place == pytest.approx(AT, abs=0.02)


def test_nm_are_no_binning(tmp_path: Path) -> None:
    """10.04 Å is no rounded 10 Å where coordinates are in nm."""
    write_coded(tmp_path / "TS_01.mrc", voxel_size=10.04)
    place = TomogramParticles(csv("x_nm,y_nm,z_nm", "45.18,10.04,12.048")(tmp_path), box=4).places[0]
    assert place == pytest.approx((45, 10, 12), abs=1e-4)


TWO = {"rlnTomoName": ["TS_01", "TS_02"], "rlnMicrographName": ["TS_02.mrc", "TS_01.mrc"]}
REFUSED: dict[str, tuple[Make, str]] = {
    "origins that RELION would pass over": (
        star(**{f"rlnOrigin{axis}Angst": 20.0 for axis in "xyz"}),
        "has a column 'rlnOriginxAngst', which is spelt rlnOriginXAngst; rename it",
    ),
    "an optics group that RELION would pass over": (
        star(rlnOpticsgroup=1),
        "has a column 'rlnOpticsgroup', which is spelt rlnOpticsGroup",
    ),
    "points of napari": (csv("index,axis-0,axis-1,axis-2", "0,12,11,10"), "axis-0, axis-1, axis-2, which are z, y and"),
    "regions of scikit-image": (
        csv("label,centroid-0,centroid-1,centroid-2", "1,12,11,10"),
        "but centroid-0, centroid-1, centroid-2, which are z, y and x",
    ),
    "shifts along one axis": (csv("x,y,z,shift_z", "10,11,12,1"), "has no column shift_x"),
    "shifts along two axes": (csv("x,y,z,shift_x,shift_y", "10,11,12,1,1"), "has no column shift_z"),
    "shifts in two units": (
        csv("x,y,z,shift_x,shift_y,shift_z,shift_x_a,shift_y_a,shift_z_a", "10,11,12,1,1,1,10,10,10"),
        "shifts in Å and others",
    ),
    "RELION's origins": (
        csv("x,y,z,rlnOriginXAngst,rlnOriginYAngst,rlnOriginZAngst", "10,11,12,10,0,0"),
        "rlnOriginXAngst, which is of rlnCoordinateX",
    ),
    "RELION's pixel size": (csv("x,y,z,rlnPixelSize", "10,11,12,5"), "rlnPixelSize, which is of rlnCoordinateX"),
    "two columns of tomograms, STAR": (
        star(AT, AT, **TWO),
        r"has TS_01 for rlnTomoName in row 0, and TS_02 for rlnMicrographName",
    ),
    "two columns of tomograms, CSV": (
        csv("tomogram,x,y,z,tilt_series", "TS_01,10,11,12,TS_01.st", "TS_02,10,11,12,TS_01.st"),
        "has TS_02 for tomogram in row 1, and TS_01 for tilt_series",
    ),
}


@pytest.mark.parametrize("situation", REFUSED)
def test_what_contradicts_is_one_line(situation: str, tmp_path: Path) -> None:
    make, message = REFUSED[situation]
    write_coded(tmp_path / "TS_01.mrc")
    with pytest.raises(DataError, match=message) as caught:
        read_particle_list(make(tmp_path))
    assert "\n" not in str(caught.value)


TOLD = {
    "perhaps shifts": (csv("x,y,z,dx,dy,dz", "10,11,12,0,1,0"), "dx, dy, dz are not added"),
    "perhaps shifts that are 0": (csv("x,y,z,dx,dy,dz", "10,11,12,0,0,0"), None),
    "perhaps a corner": (csv("x,y,z,width,height,depth", "10,11,12,4,4,4"), "taken as the middle"),
}


@pytest.mark.parametrize("situation", TOLD)
def test_what_is_not_read_is_told(situation: str, tmp_path: Path) -> None:
    make, said = TOLD[situation]
    write_coded(tmp_path / "TS_01.mrc")
    notes = TomogramParticles(make(tmp_path), box=4).notes
    assert any(said in note for note in notes) if said else len(notes) == 1


NAMES = (["1e10", "4e12"], ["010", "10"], ["001", "1"])
"""Of the Protein Data Bank, and numbered: as numbers they would lose their letters, or be one."""


@pytest.mark.parametrize("names", NAMES, ids=" ".join)
@pytest.mark.parametrize("column", ["cryoregClassName", "class", "mySpecies"])
def test_names_that_look_like_numbers(names: list[str], column: str, tmp_path: Path) -> None:
    write_coded(tmp_path / "TS_01.mrc")
    path = star(AT, (14, 15, 16), **{column: names})(tmp_path)
    dataset = TomogramParticles(path, box=4, label=column)
    assert [dataset.classes[label] for label in dataset.labels if label is not None] == names
    output = tmp_path / "one.star"
    done = CliRunner().invoke(
        cryoreg, ["select", str(path), "--class", names[1], "--class-column", column, "--output", str(output)]
    )
    assert done.exit_code == 0, done.output
    assert [str(name) for name in read_particle_list(output).columns[column]] == names[1:]


@pytest.mark.parametrize("written", [["1", "2"], ["1.000000", "2.000000"], ["0.5", "1e-05"]])
def test_numbers_stay_numbers(written: list[str], tmp_path: Path) -> None:
    write_coded(tmp_path / "TS_01.mrc")
    columns = read_particle_list(star(AT, AT, myNumber=written, rlnClassNumber=written)(tmp_path)).columns
    for column in ("myNumber", "rlnClassNumber"):
        assert columns[column].tolist() == [float(each) for each in written]


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("TS_01_flipx.mrc", "turned or mirrored"),
        ("rec_TS_01_bin4_rot.mrc", "turned or mirrored"),
        ("TS_01_rotx.mrc", "turned or mirrored"),
        ("TS_01_inv.mrc", "is inverted"),
        ("TS_01_EVN_Vol.mrc", "a half of the data"),
        ("TS_01_denoised.mrc", None),
    ],
)
def test_a_file_of_another_make_is_told(file: str, said: str | None, tmp_path: Path) -> None:
    write_coded(tmp_path / file)
    told = TomogramParticles(csv("tomogram,x,y,z", "TS_01,10,11,12")(tmp_path), box=4).notes
    assert [note for note in told if said and said in note] == [note for note in told if "coordinates: " not in note]
    own = TomogramParticles(csv("tomogram,x,y,z", f"{file},10,11,12")(tmp_path), box=4).notes
    assert all("coordinates: " in note for note in own)


@pytest.mark.parametrize(("classes", "told"), [("ab", "1 of them of another class"), ("aa", "rows 0 and 1); if")])
def test_a_place_of_two_classes(classes: str, told: str, tmp_path: Path) -> None:
    write_coded(tmp_path / "TS_01.mrc")
    path = csv("x,y,z,class", *(f"10,11,12,{name}" for name in classes), "1,2,3,c")(tmp_path)
    assert any(told in note for note in TomogramParticles(path, box=2).notes)


@pytest.mark.parametrize(("size", "told"), [(10.04, True), (10.01, False), (10.3, False)])
def test_a_binning_that_may_not_be_whole_is_told(size: float, told: bool, tmp_path: Path) -> None:
    """At the far edge, 200 voxels away, 0.4 % is 0.8 of a voxel."""
    write_coded(tmp_path / "TS_01.mrc", voxel_size=size, shape=(8, 8, 200))
    listed = TomogramParticles(star((20, 16, 16), rlnMicrographPixelSize=2.5)(tmp_path), box=4)
    centred = star()(tmp_path)
    write_star(centred, {"rlnTomoName": ["TS_01"], **coordinates(np.zeros((1, 3)), "rlnCenteredCoordinate{}Angst")})
    for dataset in (listed, TomogramParticles(centred, box=4, coordinate_size=2.5)):
        assert any("over 2.5 Å is 4.016" in note for note in dataset.notes) == told


@pytest.mark.parametrize("tilts", [(60, -60), (0, 0), (-1.05, 1.05), (-300, 300), (30, 120)])
def test_tilts_that_are_no_range_of_degrees(tilts: tuple[float, float], tmp_path: Path) -> None:
    for path in (
        csv("x,y,z,tilt_min,tilt_max", "10,11,12,{},{}".format(*tilts))(tmp_path),
        star(cryoregTiltMin=[tilts[0]], cryoregTiltMax=[tilts[1]])(tmp_path),
    ):
        with pytest.raises(DataError, match="no smallest and largest tilt in degrees"):
            read_particle_list(path)


def test_contrast_in_capitals(tmp_path: Path) -> None:
    write_coded(tmp_path / "TS_01.mrc")
    assert TomogramParticles(csv("x,y,z,contrast", "10,11,12,Dark")(tmp_path), box=4).contrast == "dark"


@pytest.mark.parametrize("tilts", [(60.0, -60.0), (0.0, 0.0), (-300.0, 300.0)])
def test_tilts_that_the_user_says_rise(tilts: tuple[float, float], tmp_path: Path) -> None:
    write_coded(tmp_path / "TS_01.mrc")
    path = csv("x,y,z", "10,11,12")(tmp_path)
    command = ["extract", str(path), "--output", str(tmp_path / "set.h5"), "--tilt-range", *map(str, tilts)]
    done = CliRunner().invoke(cryoreg, command)
    assert done.exit_code != 0
    assert "should be the smallest and the largest tilt" in done.output
    assert not (tmp_path / "set.h5").exists()


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("Ribosome", "ribosome", "empty"), "'Ribosome' and 'ribosome' are two classes"),
        (("20S proteasome", "20S_Proteasome", "empty"), "'20S proteasome' and '20S_Proteasome' are two classes"),
        (("1", "1.0", "2"), "'1' and '1.0' are two classes"),
        (("ribosome 1", "ribosome 10", "ribosome"), None),
        (("1", "10", "-1"), None),
    ],
)
def test_classes_that_may_be_one(names: tuple[str, ...], told: str | None, tmp_path: Path) -> None:
    write_coded(tmp_path / "TS_01.mrc")
    rows = [f"{10 + row},11,12,{name}" for row, name in enumerate(names * 3)]
    path = csv("x,y,z,class", *rows)(tmp_path)
    labels = tmp_path / "labels.csv"
    labels.write_text("id,class\n" + "".join(f"TS_01/{row},{name}\n" for row, name in enumerate(names * 3)))
    data = TomogramSpec(root=path, box=4).load()
    unnamed = TomogramSpec(root=csv("x,y,z", *(row.rpartition(",")[0] for row in rows))(tmp_path), box=4).load()
    for notes in (data.notes, with_labels(unnamed, labels).notes, with_labels(data, labels).notes):
        assert sum("are two classes" in note for note in notes) == (told is not None)
        assert told is None or f"{told}; if they are one, write them alike" in "\n".join(notes)
