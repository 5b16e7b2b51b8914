"""A list that is written elsewhere is of the same voxels as before, or refused: files beside it give it a meaning."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import starfile
from support.coded import centres, write_coded
from support.particle_writing import coordinates, dynamo, peet, stopgap, write_star
from support.tomograms import POINTS, write_tomogram
from test_moved_names import of_predict, of_select

from cryoreg.errors import DataError
from cryoreg.selection.rules import Rules
from cryoreg.selection.select import run_select

PLACES = np.array([(20, 15, 10), (12, 22, 20), (30, 25, 15)], dtype=float)
TOMOGRAMS = [1, 2, 1]
"""Numbers; the table says that 1 is TS_02 and 2 is TS_01, in which voxels begin at 0."""
MEANT = [(1 if number == 1 else 0, tuple(place)) for number, place in zip(TOMOGRAMS, PLACES.tolist(), strict=True)]
UNIT = 12.5
"""Å: of a tilt series that is coarser than the tomogram, of 10 Å, so that wrong places are inside, too."""


def tomograms(folder: Path) -> Path:
    """Two tomograms of which each voxel tells the place."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(2):
        write_coded(folder / f"TS_0{number + 1}.mrc", number)
    return folder


def table(path: Path, folder: str, names: tuple[str, str] = ("TS_02.mrc", "TS_01.mrc")) -> None:
    path.write_text("".join(f"{number} {folder}/{name}\n" for number, name in enumerate(names, 1)))


def dynamo_list(folder: Path) -> Path:
    rows = np.zeros((3, 35))
    rows[:, 0], rows[:, 19], rows[:, 23:26] = range(3), TOMOGRAMS, PLACES + 0.5
    np.savetxt(folder / "list.tbl", rows, fmt="%.5g")
    table(folder / "list.doc", "../tomograms")
    return folder / "list.tbl"


def stopgap_list(folder: Path) -> Path:
    columns = {f"orig_{axis}": PLACES[:, i] + 1 for i, axis in enumerate("xyz")}
    write_star(folder / "list.star", {"motl_idx": range(3), "tomo_num": TOMOGRAMS, **columns, "class": 1})
    table(folder / "list_tomolist.txt", "../tomograms")
    return folder / "list.star"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    tomograms(tmp_path / "tomograms")
    (tmp_path / "lists").mkdir()
    (tmp_path / "other").mkdir()
    return tmp_path


@pytest.mark.parametrize("make", [dynamo_list, stopgap_list])
def test_numbers_mean_the_same_tomograms_or_the_list_is_refused(make: Callable[[Path], Path], project: Path) -> None:
    path = make(project / "lists")
    assert centres(path) == MEANT
    output = path.with_name(f"out{path.suffix}")
    assert of_select(path, output) == []
    assert centres(output) == MEANT
    for place in ("tomograms", "other"):  # where numbers in names of files would be taken, at once or with --tomograms
        with pytest.raises(
            DataError, match=r"TS_02\.mrc by the number 1, which would be .*TS_01\.mrc for .*; write it"
        ):
            of_select(path, project / place / output.name)
    table(project / "other" / f"out.{'doc' if path.suffix == '.tbl' else 'txt'}", str(project / "tomograms"))
    assert of_select(path, project / "other" / output.name) == []
    assert centres(project / "other" / output.name) == MEANT


def test_another_table_of_numbers_is_refused(project: Path) -> None:
    path = dynamo_list(project / "lists")
    table(project / "other" / "any.doc", str(project / "tomograms"), ("TS_01.mrc", "TS_02.mrc"))
    with pytest.raises(DataError, match="by the number 1, which would be"):
        of_select(path, project / "other" / "out.tbl")


def test_numbers_that_no_name_has_are_told_of(project: Path) -> None:
    for number, name in enumerate(("b.mrc", "a.mrc"), 1):
        (project / "tomograms" / f"TS_0{number}.mrc").rename(project / "tomograms" / name)
    path = dynamo_list(project / "lists")
    table(path.with_suffix(".doc"), "../tomograms", ("a.mrc", "b.mrc"))
    assert centres(path) == MEANT
    [note] = of_select(path, project / "other" / "out.tbl")
    assert note.startswith(f"note: the tomogram 1, which {path} names, is ../tomograms/a.mrc by a table beside it")
    with pytest.raises(DataError, match="names the tomogram '1', which is not in"):
        centres(project / "other" / "out.tbl", tomograms=project / "tomograms")


def test_numbers_in_names_need_no_table(tmp_path: Path) -> None:
    write_tomogram(tmp_path / "tomograms" / "TS_1.mrc")
    assert of_predict(dynamo(tmp_path), tmp_path / "out.tbl") == []
    assert of_predict(stopgap(tmp_path), tmp_path / "out.star") == []


def units(path: Path, size: float = UNIT, **columns: object) -> Path:
    told = {"rlnTomoName": ["TS_01", "TS_02"], "rlnTomoTiltSeriesPixelSize": size, **columns}
    starfile.write({"global": pd.DataFrame(told)}, path)
    return path


def in_pixels(folder: Path, **columns: object) -> Path:
    """A list that counts pixels of the tilt series, whose size the file beside it alone tells."""
    names = ["TS_02", "TS_01", "TS_02"]
    units(folder / "list_tomograms.star")
    return write_star(folder / "list.star", {"rlnTomoName": names, **coordinates(PLACES * 10 / UNIT), **columns})


@pytest.mark.parametrize("place", ["tomograms", "other"])
def test_the_unit_that_tomograms_star_tells_is_kept_or_the_list_refused(place: str, project: Path) -> None:
    path, output = in_pixels(project / "tomograms"), project / place / "out.star"
    assert centres(path) == MEANT
    with pytest.raises(DataError, match=r"which nothing tells of .*out\.star; put a copy .* as out_tomograms\.star"):
        of_select(path, output)
    units(output.with_name("out_tomograms.star"), 11.0)
    with pytest.raises(DataError, match=r"list_tomograms\.star tells, and .*out_tomograms\.star tells another one of"):
        of_select(path, output)
    units(output.with_name("out_tomograms.star"))
    of_select(path, output)
    assert centres(output, tomograms=project / "tomograms") == MEANT


def test_a_unit_that_a_list_tells_itself_needs_no_file(project: Path) -> None:
    path = in_pixels(project / "tomograms", rlnTomoTiltSeriesPixelSize=UNIT)
    assert of_select(path, path.with_name("out.star")) == []
    assert centres(path.with_name("out.star")) == MEANT


def test_a_unit_where_none_was_told_is_refused(project: Path) -> None:
    path = in_pixels(project / "tomograms")
    (path.parent / "list_tomograms.star").unlink()
    units(project / "other" / "tomograms.star")
    with pytest.raises(DataError, match=r"counts in the unit that its tomograms tells?, and .*other/tomograms\.star"):
        of_select(path, project / "other" / "out.star")


def test_the_centre_of_coordinates_is_told_of(project: Path) -> None:
    size = {f"rlnTomoSize{axis}": edge for axis, edge in zip("XYZ", (101, 79, 61), strict=True)}
    units(project / "tomograms" / "tomograms.star", 5.0, **size)
    angst = coordinates((PLACES * 2 - np.array([101, 79, 61]) / 2) * 5, "rlnCenteredCoordinate{}Angst")
    known = {"rlnTomoName": ["TS_02", "TS_01", "TS_02"], "rlnTomoTiltSeriesPixelSize": 5.0}
    path = write_star(project / "tomograms" / "list.star", {**known, **angst})
    assert centres(path) == MEANT
    assert of_select(path, path.with_name("out.star")) == []
    output = project / "other" / "out.star"
    said: list[str] = []
    run_select([path], Rules(), output, say=said.append)
    assert any(line.startswith("note: the centre of its coordinates is told by") for line in said)
    shutil.copy(path.with_name("tomograms.star"), output.with_name("out_tomograms.star"))
    assert centres(output, tomograms=project / "tomograms") == MEANT


def test_points_of_another_model_are_refused(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "other").mkdir()
    write_tomogram(tmp_path / "project" / "tomograms" / "TS_01.mrc", POINTS)
    path = peet(tmp_path / "project")
    assert of_predict(path, path.with_name("out.csv")) == []  # the only model beside it
    [note] = of_predict(path, tmp_path / "other" / "out.csv")
    assert note.startswith(f"note: the points of {path} are in {path.with_suffix('.mod')}, which is not found for")
    shutil.copy(path.with_suffix(".mod"), tmp_path / "other" / "any.mod")
    with pytest.raises(DataError, match=r"has its points in .*list\.mod, and .*out\.csv would have them in .*any\.mod"):
        of_predict(path, tmp_path / "other" / "out.csv")
