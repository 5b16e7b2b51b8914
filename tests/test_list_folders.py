"""Folders of particle lists, one for each tomogram: read as one list, or refused with one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.coded import centres, write_coded
from support.command_line import cli
from support.list_folders import (
    PLACES,
    Write,
    boxes,
    coords,
    eman2,
    make_project,
    models,
    opened,
    star,
    table,
    write_all,
)
from support.particle_writing import SIZE, coordinates, write_star
from support.tomograms import SHAPE

from cryoreg.config.sniffing import choose
from cryoreg.contracts import Subtomograms
from cryoreg.datasets.list_specs import TomogramSpec
from cryoreg.datasets.origins import origins_of
from cryoreg.datasets.particles.lists import read_particle_list
from cryoreg.datasets.readers.tomogram import TomogramParticles
from cryoreg.errors import DataError
from cryoreg.inference.prediction_files import new_star_text, prepare_star
from cryoreg.labelling.session import Row, Session
from cryoreg.predictions import Predictions
from cryoreg.viewing.sources import Told, open_source

CBOX = "data_cryolo\n\nloop_\n_CoordinateX #1\n_CoordinateY #2\n_CoordinateZ #3\n_Width #4\n_Height #5\n"
"""Without a box."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path)


def write_predictions(dataset: Subtomograms, path: Path) -> None:
    count = len(dataset)
    certain = np.eye(2)[[0] * count]
    said_so = (np.zeros(count, int), np.ones(count), np.zeros(count, bool), 0.5, None)
    whose = ((*origins_of(dataset),), (*dataset.groups,), {})
    path.write_text(new_star_text(Predictions((*dataset.ids,), ("a", "b"), certain, *said_so, *whose)))


@pytest.mark.parametrize("write", [coords, boxes, models, table, star, eman2])
def test_each_list_is_of_the_tomogram_that_it_names_or_is_called_as(write: Write, project: Path) -> None:
    write_all(project / "lists", write)
    expected = [(number, tuple(map(float, place))) for number, places in PLACES.items() for place in places]
    assert centres(project / "lists", tomograms=project / "tomograms") == expected
    assert choose(project / "lists").name == "tomogram"
    dataset = TomogramSpec(root=project / "lists", tomograms=project / "tomograms", box=4).build()
    assert list(dataset.ids) == ["TS_01/0", "TS_01/1", "TS_02/0", "TS_03/0", "TS_03/1", "TS_03/2"]
    origin = dataset.origin(3)
    assert origin is not None
    assert (Path(origin.file).stem, origin.row) == (f"TS_03{'_info' if write is eman2 else ''}", 0)


def test_tomograms_are_looked_for_beside_the_folder(project: Path) -> None:
    lists = (project / "lists").rename(project / "tomograms" / "lists")
    write_all(lists, coords)
    assert [number for number, _ in centres(lists)] == [1, 1, 2, 3, 3, 3]


@pytest.mark.parametrize("shape", [SHAPE, (31, 41, 51)])
def test_places_go_back_to_relion(shape: tuple[int, int, int], project: Path) -> None:
    """What is written of particles that no STAR file listed means the same voxels: Å from half the size."""
    for number in PLACES:
        write_coded(project / "tomograms" / f"TS_0{number}.mrc", number, shape=shape)
    write_all(project / "lists", coords)
    path = project / "classes.star"
    write_predictions(opened(project), path)
    assert centres(path, tomograms=project / "tomograms") == centres(project / "lists", tomograms=project / "tomograms")


def test_places_are_told_from_half_the_size_before_binning(project: Path) -> None:
    """Of 4 · 48 - 2 pixels of 2.5 Å, as where RELION rounds the edges of binned tomograms up."""
    unbinned = 4 * SIZE - 2
    told = {f"rlnTomoSize{axis}": [int(edge)] * 3 for axis, edge in zip("XYZ", unbinned, strict=True)}
    names = {"rlnTomoName": [f"TS_0{number}" for number in PLACES], "rlnTomoTiltSeriesPixelSize": [2.5] * 3}
    write_star(project / "tomograms" / "tomograms.star", names | told | {"rlnTomoTomogramBinning": [4.0] * 3})
    write_all(project / "lists", coords)
    dataset = TomogramSpec(root=project / "lists", tomograms=project / "tomograms", box=4).build()
    places = np.concatenate([np.array(each) for each in PLACES.values()])
    np.testing.assert_allclose([origin.place for origin in origins_of(dataset)], 2.5 * (4 * places - unbinned / 2))
    star_list = {"rlnTomoName": dataset.groups, "rlnOpticsGroup": 1}
    back = coordinates(np.array([origin.place for origin in origins_of(dataset)]), "rlnCenteredCoordinate{}Angst")
    write_star(project / "back.star", star_list | back)
    assert centres(project / "back.star", tomograms=project / "tomograms") == centres(
        project / "lists", tomograms=project / "tomograms"
    )


def test_lists_of_tomograms_without_particles_are_told(project: Path) -> None:
    write_all(project / "lists", coords)
    (project / "lists" / "TS_04.coords").touch()
    particles = read_particle_list(project / "lists")
    assert len(particles) == 6
    assert particles.notes == [f"{project / 'lists'}: 1 of its files list no particles (the first: TS_04.coords)"]


@pytest.mark.parametrize(
    ("write", "name", "text"),
    [(table, "TS_04.csv", "x,y,z\n"), (eman2, "b_info.json", "{}"), (boxes, "TS_04.cbox", CBOX)],
)
def test_lists_that_hold_no_particles_are_left_out(write: Write, name: str, text: str, project: Path) -> None:
    write_all(project / "lists", write)
    (project / "lists" / name).write_text(text)
    particles = read_particle_list(project / "lists")
    assert len(particles) == 6
    assert particles.notes[-1].endswith(f"1 of its files list no particles (the first: {name})")


def test_paths_of_tomograms_start_from_the_lists(project: Path) -> None:
    """And not from the folder above, where another project's tomograms may be."""
    for number, places in PLACES.items():
        name, (x, y, z) = f"../tomograms/TS_0{number}.mrc", places[0]
        (project / "lists" / f"{number}.csv").write_text(f"tomogram,x,y,z\n{name},{x},{y},{z}\n")
    other = project.parent / "tomograms"
    write_coded(other / "TS_01.mrc", 7, shape=SHAPE)
    try:
        assert [number for number, _ in centres(project / "lists")] == [1, 2, 3]
    finally:
        shutil.rmtree(other)


def test_classes_that_are_one_in_each_list(project: Path) -> None:
    for number, places in PLACES.items():
        rows = "".join(f"{x},{y},{z},{'a' if number == 1 else 'b'}\n" for x, y, z in places)
        (project / "lists" / f"TS_0{number}.csv").write_text(f"x,y,z,class\n{rows}")
    dataset = opened(project)
    assert [dataset.classes[label] for label in dataset.labels if label is not None] == [*"aabbbb"]


def test_folders_that_are_refused(project: Path) -> None:
    lists = project / "lists"

    def refused(message: str) -> None:
        with pytest.raises(DataError, match=message) as caught:
            read_particle_list(lists)
        assert "\n" not in str(caught.value)

    coords(lists / "TS_01", np.array(PLACES[1], float))
    refused(r"is no folder of particle lists of one kind, and nothing else \(it holds 1 of them\)")  # give it itself
    (lists / "TS_01.coords").rename(lists / "TS_01.rec.coords")
    coords(lists / "TS_01", np.array(PLACES[2], float))
    refused("holds TS_01.coords and TS_01.rec.coords, both of the tomogram 'TS_01'")
    boxes(lists / "TS_02", np.array(PLACES[2], float))
    refused(r"\(TS_01\.coords and TS_02\.cbox are not of one kind\)")
    (lists / "TS_02.cbox").unlink()
    (lists / "TS_01.rec.coords").rename(lists / "TS_02.coords")
    assert len(read_particle_list(lists)) == 3
    for name in ("TS_03.zarr", "tomograms.txt"):
        (lists / name).mkdir()
        refused(rf"\(it holds {name}\)")
        (lists / name).rmdir()
    (lists / "TS_03.coords").symlink_to(lists / "gone")
    refused(r"\(it holds TS_03\.coords\)")
    (lists / "TS_03.coords").unlink()
    (lists / "TS_03.coords").symlink_to(lists / "TS_02.coords")
    refused(r"holds TS_03\.coords, which is TS_02\.coords, too, as a link")
    (lists / "TS_03.coords").unlink()
    boxes(lists / "TS_02", np.array(PLACES[2], float))
    with pytest.raises(DataError, match="give a folder of nothing but lists of one kind"):
        choose(lists)


def test_lists_of_two_meanings_are_refused(project: Path) -> None:
    lists = project / "lists"
    write_all(lists, table)
    (lists / "TS_02.csv").write_text("x,y,z\n0.25,0.5,0.125\n")
    with pytest.raises(DataError, match=r"TS_01\.csv and TS_02\.csv, whose coordinates are of two units or frames"):
        read_particle_list(lists)
    (lists / "TS_02.csv").write_text("x,y,z,voxel_size\n20,12,10,5.0\n")
    with pytest.raises(DataError, match=r"TS_02\.csv, which tells a voxel size, and TS_01\.csv, which does not"):
        read_particle_list(lists)
    (lists / "TS_01.csv").write_text("x,y,z,comment,class\n20,12,10,good,a\n")
    (lists / "TS_02.csv").write_text("x,y,z\n20,12,10\n")
    particles = read_particle_list(lists)  # the classes of some, in one class, are no more than that
    assert (len(particles), particles.label) == (5, None)
    (lists / "TS_02.csv").write_text("x,y,z,class_name\n20,12,10,b\n")
    with pytest.raises(DataError, match=r"TS_01\.csv with the column class, and TS_02\.csv without; give both the"):
        read_particle_list(lists)


def test_lists_with_columns_of_their_own_are_not_made_one_without_them(project: Path) -> None:
    write_all(project / "lists", star)
    with pytest.raises(DataError, match=r"not all of one list .*merge these first \(cryoreg select\)"):
        prepare_star(project / "classes.star", opened(project), ["a"])
    assert cli("select", project / "lists", "--output", project / "all.star").exit_code == 0
    where = {"tomograms": project / "tomograms"}
    assert centres(project / "all.star", **where) == centres(project / "lists", **where)
    ids = ("--ids", "TS_02/0,TS_03/2", "--output", project / "two.star")
    assert cli("select", project / "lists", *ids).exit_code == 0
    labels = project / "labels.csv"
    session = Session(TomogramParticles(project / "lists", box=4, **where), labels, "")
    session.label([Row(2, "a", ""), Row(5, "b", "")], "one by one")
    of_labels = ("--ids", labels, "--output", project / "labelled.star")
    assert cli("select", project / "lists", *of_labels).exit_code == 0, "though none is of TS_01"
    assert (project / "labelled.star").read_text() == (project / "two.star").read_text()
    into = cli("select", project / "lists", "--output", project / "lists" / "all.star")
    assert "would be one more list of" in into.output
    assert centres(project / "two.star", **where) == [(2, tuple(PLACES[2][0])), (3, tuple(PLACES[3][2]))]
    assert prepare_star(project / "classes.star", TomogramParticles(project / "all.star", box=4, **where), ["a"])


def test_rows_are_named_with_their_list(project: Path) -> None:
    write_all(project / "lists", coords)
    coords(project / "lists" / "TS_03", np.array([PLACES[3][0], [400, 12, 9]], float))
    with pytest.raises(DataError, match=r"outside their tomograms, the first in row 1 of TS_03\.coords"):
        opened(project)


def test_what_says_more_of_the_tomograms_is_not_passed_over(project: Path) -> None:
    """A tomograms.star among the lists would tell of other units than those that are taken without it."""
    write_all(project / "lists", star)
    sizes = {"rlnTomoName": [f"TS_0{number}" for number in PLACES], "rlnTomoTiltSeriesPixelSize": [5.0] * 3}
    write_star(project / "lists" / "tomograms.star", sizes)
    with pytest.raises(DataError, match=r"\(tomograms\.star lists no places\)"):
        read_particle_list(project / "lists")
    (project / "lists" / "tomograms.star").unlink()
    places = np.array(PLACES[2], float)
    write_star(project / "lists" / "TS_02.star", {"rlnTomoName": "TS_02", **coordinates(places)})
    with pytest.raises(DataError, match=r"TS_01\.star with the column rlnMicrographName, and TS_02\.star"):
        read_particle_list(project / "lists")


def test_a_folder_that_is_neither_lists_nor_a_run_is_told(project: Path) -> None:
    coords(project / "lists" / "TS_01", np.array(PLACES[1], float))
    with pytest.raises(DataError, match=r"lists: is neither a run nor a folder of particle lists \(it holds 1 of them"):
        open_source(project / "lists", Told(project / "tomograms"))


def test_classes_of_every_kind_are_those_of_all_lists(project: Path) -> None:
    """As of copick, which has an object in each file."""
    for number, places in PLACES.items():
        name = "abb"[number - 1]
        points = [{"location": dict(zip("xyz", [10.0 * value for value in place], strict=True))} for place in places]
        content = {"pickable_object_name": name, "run_name": f"TS_0{number}", "unit": "angstrom", "points": points}
        (project / "lists" / f"{number}.json").write_text(json.dumps(content))
    dataset = opened(project)
    assert [dataset.classes[label] for label in dataset.labels if label is not None] == [*"aabbbb"]


def add_column(folder: Path, values: dict[str, list[str]]) -> None:
    """Write the lists with a column more, of what ``values`` has for each list, else empty."""
    for number, places in PLACES.items():
        texts = values.get(f"TS_0{number}", [""] * len(places))
        rows = [f"{text},{x},{y},{z}" for text, (x, y, z) in zip(texts, places, strict=True)]
        (folder / f"TS_0{number}.csv").write_text("\n".join(["prefix,x,y,z", *rows]))


@pytest.mark.parametrize(
    "values",
    [{"TS_01": ["TS_01", "TS_02"]}, {"TS_01": ["TS_02", "TS_02"], "TS_02": ["TS_01"]}, {"TS_01": ["", "rec_TS_03.mrc"],
     "TS_02": ["other"]}],
)  # fmt: skip
def test_a_list_called_as_one_tomogram_that_names_another_in_a_column_that_is_not_read(
    values: dict[str, list[str]], tmp_path: Path
) -> None:
    add_column(make_project(tmp_path) / "lists", values)
    with pytest.raises(DataError, match=r"in the column prefix of row \d of TS_01\.csv, .* taken to be of TS_01\.mrc"):
        opened(tmp_path)


@pytest.mark.parametrize(
    "values",
    [
        {"TS_01": ["TS_01", "manual"], "TS_02": ["template"]},
        {f"TS_0{number}": ["TS_02"] * len(places) for number, places in PLACES.items()},
        {f"TS_0{number}": [f"rec_TS_0{number}.mrc"] * len(places) for number, places in PLACES.items()},
    ],
)
def test_a_column_that_names_its_own_tomogram_no_tomogram_or_one_in_all_lists(
    values: dict[str, list[str]], tmp_path: Path
) -> None:
    add_column(make_project(tmp_path) / "lists", values)
    assert len(opened(tmp_path)) == sum(map(len, PLACES.values()))
