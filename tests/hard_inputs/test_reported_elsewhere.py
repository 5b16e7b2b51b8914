"""Situations that were reported of other programs; each names the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import starfile
import tifffile
from support.coded import SHAPE, centres, coded, write_coded
from support.command_line import cli
from support.mrc_writing import write_mrc
from support.particle_writing import CORNER, coordinates, model_bytes, write_star

from cryoreg.config.sniffing import choose
from cryoreg.datasets.readers.tomogram import TomogramParticles
from cryoreg.errors import DataError
from cryoreg.viewing.imod import ImodViewer
from cryoreg.viewing.sources import Told, open_source

AT = np.array([[10.0, 11.0, 12.0]])
SIZE = 10.0


def star(path: Path, name: str, unit: float, **optics: Any) -> Path:
    """Write a list whose particle is at `AT`, in units of ``unit`` Å that its optics group tells."""
    groups = {"rlnOpticsGroup": [1], "rlnTomoTiltSeriesPixelSize": [unit], **{key: [optics[key]] for key in optics}}
    particles = {"rlnTomoName": name, **coordinates(AT * SIZE / unit), "rlnOpticsGroup": 1}
    return write_star(path, particles, groups)


def tiff(path: Path, voxels: np.ndarray, **how: Any) -> Path:
    tifffile.imwrite(path, voxels, photometric="minisblack", **how)
    return path


def inspected(path: Path, *words: object) -> str:
    """Return what `inspect` says, on one line."""
    result = cli("inspect", path, *words)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


# ---- rows without a tomogram ----


ROWS = {
    "p.star": (
        "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n_rlnTomoName\n1 1 1 TS_01\n2 2 2 <NA>\n"
    ),
    "p.csv": "x,y,z,tomogram\n1,1,1,TS_01\n2,2,2,\n",
}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("other", [False, True], ids=["one tomogram", "two"])
def test_a_row_that_names_no_tomogram(name: str, other: bool, tmp_path: Path) -> None:
    """pandas writes <NA> where tables of other columns were joined: https://github.com/turonova/cryoCAT/issues/14."""
    write_coded(tmp_path / "TS_01.mrc")
    if other:
        write_coded(tmp_path / "TS_02.mrc", 1)
    (tmp_path / name).write_text(ROWS[name])
    with pytest.raises(DataError, match="names no tomogram in 1 of 2 rows, the first row 1; write it there"):
        centres(tmp_path / name)


# ---- sizes of pixels ----


def test_a_tilt_series_of_the_pixels_of_images(tmp_path: Path) -> None:
    """https://github.com/warpem/warp/issues/504: the size of images is written for that of the tilt series."""
    write_coded(tmp_path / "TS_01.mrc")
    right = {"rlnTomoSubtomogramBinning": 1.6, "rlnImagePixelSize": 4.0}
    assert centres(star(tmp_path / "right.star", "TS_01", 2.5, **right)) == [(0, (10.0, 11.0, 12.0))]
    wrong = star(tmp_path / "wrong.star", "TS_01", 4.0, **right)
    with pytest.raises(DataError, match=r"row 0, which make 6\.4 Å, and rlnImagePixelSize 4; mend the one"):
        centres(wrong)
    (_, place), *_ = centres(wrong, coordinate_size=4.0)
    assert place[2] == 12


def test_lists_of_two_pixel_sizes_are_merged(tmp_path: Path) -> None:
    """https://github.com/3dem/relion/issues/519; optics groups need no names."""
    for number, name in enumerate(("TS_01", "TS_02")):
        write_coded(tmp_path / f"{name}.mrc", number)
    one, two = star(tmp_path / "1.star", "TS_01", 2.5), star(tmp_path / "2.star", "TS_02", 5.0)
    result = cli("select", one, "--merge", two, "--output", tmp_path / "out.star")
    assert result.exit_code == 0, result.output
    assert starfile.read(tmp_path / "out.star")["optics"]["rlnTomoTiltSeriesPixelSize"].tolist() == [2.5, 5.0]
    assert centres(tmp_path / "out.star") == [(0, (10.0, 11.0, 12.0)), (1, (10.0, 11.0, 12.0))]


# ---- rows of a picture ----

PICKED = {"rlnTomoName": "TS_01", "rlnMicrographPixelSize": SIZE, "cryoregTomogramVoxelSize": SIZE}
"""What else `cryoreg pick` writes, whose rows are those of the file."""


def test_rows_of_tiff_are_told(tmp_path: Path) -> None:
    """IMOD and RELION read them from the last: https://github.com/SMLC-NYSBC/TARDIS/issues/89."""
    tiff(tmp_path / "TS_01.tif", coded())
    (tmp_path / "p.csv").write_text("x,y,z\n10,11,12\n")
    assert centres(tmp_path / "p.csv") == [(0, (10.0, 11.0, 12.0))]
    assert "is TIFF, whose rows are counted from the first along y" in inspected(tmp_path / "p.csv")
    picked = write_star(tmp_path / "p.star", {"cryoregTomogramFile": "TS_01.tif", **coordinates(AT)} | PICKED)
    assert centres(picked) == [(0, (10.0, 11.0, 12.0))]
    assert "is TIFF" not in inspected(picked)


@pytest.mark.parametrize("turned", range(2, 9))
def test_tiff_that_is_marked_as_turned(turned: int, tmp_path: Path) -> None:
    """Viewers of pictures turn it, and programs of the field do not, https://github.com/soft-matter/pims/issues/164."""
    tiff(tmp_path / "TS_01.tif", coded(), extratags=[(274, "H", 1, turned, True)])
    (tmp_path / "p.csv").write_text("x,y,z\n10,11,12\n")
    assert centres(tmp_path / "p.csv") == [(0, (10.0, 11.0, 12.0))]
    assert f"is marked as mirrored or turned (Orientation {turned})" in inspected(tmp_path / "p.csv")


def test_lists_of_imod_and_tiff_are_refused(tmp_path: Path) -> None:
    """A model was made in what IMOD sees, which is mirrored."""
    (tmp_path / "TS_01.mod").write_bytes(model_bytes(AT + CORNER, None))
    tiff(tmp_path / "TS_01.tif", np.zeros((48, 64, 64), "u1"))
    with pytest.raises(DataError, match="is TIFF, whose rows IMOD and EMAN2 count from the last"):
        centres(tmp_path / "TS_01.mod")


def test_imod_is_given_the_row_that_it_counts(tmp_path: Path) -> None:
    """Its points lie on the same voxels of a picture, 3dmod showing the last row at y 0."""
    (tmp_path / "p.csv").write_text("x,y,z,tomogram\n10,11,12,TS_01\n")
    tiff(tmp_path / "TS_01.tif", coded())
    [shown] = open_source(tmp_path / "p.csv", Told(voxel_size=SIZE))
    ImodViewer().prepare(shown, tmp_path)
    x, y, z = map(float, (tmp_path / "TS_01.txt").read_text().split()[2:5])
    seen_by_imod = coded()[:, ::-1]
    assert seen_by_imod[int(z), int(y), int(x)] == coded()[12, 11, 10]


# ---- masks ----


def kept_by(mask: Path, folder: Path) -> tuple[list[float], str]:
    """Return x of the particles in a mask, of two, and what was said."""
    write_coded(folder / "TS_01.mrc")
    (folder / "p.csv").write_text("x,y,z,tomogram\n10,11,12,TS_01\n40,11,12,TS_01\n")
    result = cli("select", folder / "p.csv", "--where", mask, "keep", "0", "--output", folder / "out.csv")
    assert result.exit_code == 0, result.output
    rows = (folder / "out.csv").read_text().splitlines()[1:]
    return [float(row.split(",")[0]) for row in rows], " ".join(result.output.split())


HALF = np.zeros(SHAPE, "i1")
HALF[:, :, :25] = 1


@pytest.mark.parametrize("inside", [1, 255])
def test_a_mask_of_imods_signed_bytes(inside: int, tmp_path: Path) -> None:
    """0 is stored as -128: https://github.com/ccpem/mrcfile/issues/69."""
    stored = np.where(HALF > 0, inside - 128, -128).astype("i1")
    kept, _ = kept_by(write_mrc(tmp_path / "mask.mrc", stored, SIZE), tmp_path)
    assert kept == [10]


def test_a_mask_in_tiff_says_which_row_is_taken_for_the_first(tmp_path: Path) -> None:
    kept, said = kept_by(tiff(tmp_path / "mask.tif", HALF.astype("u1")), tmp_path)
    assert kept == [10]
    assert "which is TIFF, is taken for the row at y 0 of" in said


# ---- points of model2point ----


@pytest.mark.parametrize("before", ["", "1 ", "     1     1  "], ids=["points", "contours", "objects"])
@pytest.mark.parametrize("ending", ["pt", "point"])
def test_points_are_no_network(before: str, ending: str, tmp_path: Path) -> None:
    """Text of model2point may have these endings, as in https://github.com/FrangakisLab/ArtiaX/issues/1."""
    write_coded(tmp_path / "TS_01.mrc")
    path = tmp_path / f"TS_01.{ending}"
    path.write_text(f"{before}  10.50   11.50   12.00\n")
    assert centres(path) == [(0, (10.0, 11.0, 12.0))]
    assert "subtomograms 1" in inspected(path)
    assert choose(path).name == "tomogram"


def test_a_network_is_no_list_of_points(tmp_path: Path) -> None:
    (tmp_path / "net.pt").write_bytes(b"PK\x03\x04 1 2 3")
    with pytest.raises(DataError, match="belongs to a run or a model"):
        choose(tmp_path / "net.pt")


# ---- order of axes ----


@pytest.mark.parametrize(("order", "said"), [((2, 1, 0), "x and z"), ((0, 2, 1), "y and z"), ((1, 0, 2), "x and y")])
def test_axes_that_were_exchanged_are_named(order: tuple[int, int, int], said: str, tmp_path: Path) -> None:
    """The portal once wrote z, y, x: https://github.com/BradyAJohnston/MolecularNodes/pull/1200."""
    write_coded(tmp_path / "TS_01.mrc")
    x, y, z = np.meshgrid([1, 48], [1, 38], [1, 28])
    rows = np.stack([x, y, z], axis=-1).reshape(-1, 3)[:, order]
    (tmp_path / "p.csv").write_text("x,y,z\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows))
    with pytest.raises(DataError, match=f"all fit if {said} are exchanged; write x, y, z of the tomogram"):
        centres(tmp_path / "p.csv")


# ---- tilts of Dynamo ----


@pytest.mark.parametrize(("kind", "axis"), [(0, None), (1, "y"), (2, "x"), (4, None)])
def test_the_tilt_axis_of_dynamos_types(kind: int, axis: str | None, tmp_path: Path) -> None:
    """https://wiki.dynamo.biozentrum.unibas.ch/w/index.php?title=Table_column_convention: 2 is 'singlex'."""
    write_coded(tmp_path / "TS_01.mrc")
    assert TomogramParticles(table(tmp_path / "p.tbl", kind), box=4).tilt_axis == axis


@pytest.mark.parametrize("kind", [6, 7])
def test_a_beam_along_y_is_told(kind: int, tmp_path: Path) -> None:
    write_coded(tmp_path / "TS_01.mrc")
    assert f"(column 13 is {kind} in row 0), and it is taken to lie along z" in inspected(
        table(tmp_path / "p.tbl", kind)
    )


def table(path: Path, kind: int) -> Path:
    rows = np.zeros((1, 35))
    rows[0, 12:15], rows[0, 19], rows[0, 23:26] = (kind, -60, 60), 1, AT + 0.5
    np.savetxt(path, rows, fmt="%g")
    return path
