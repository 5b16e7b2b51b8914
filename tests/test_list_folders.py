"""Folders of particle lists, one for each tomogram: read as one list, or refused with one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.coded import centres, write_coded
from support.command_line import cli
from support.particle_writing import CORNER, SIZE, coordinates, model_bytes, write_star
from support.tomograms import SHAPE

from cryoreg.analysis.averaging.class_average import members
from cryoreg.config.sniffing import choose
from cryoreg.contracts import Subtomograms
from cryoreg.datasets.label_lists import with_labels
from cryoreg.datasets.list_specs import TomogramSpec
from cryoreg.datasets.origins import origins_of
from cryoreg.datasets.particles.lists import read_particle_list
from cryoreg.datasets.readers.tomogram import TomogramParticles
from cryoreg.datasets.rows_of_lists import rows_of
from cryoreg.datasets.table_sources import data_of_table
from cryoreg.errors import DataError
from cryoreg.inference.prediction_files import new_star_text, prepare_star
from cryoreg.inference.subtomogram_table import csv_text, places_kept
from cryoreg.labelling.session import Row, Session
from cryoreg.predictions import Predictions
from cryoreg.viewing.sources import Told, open_source

PLACES = {1: [[20, 11, 12], [21, 9, 10]], 2: [[18, 12, 9]], 3: [[22, 13, 14], [19, 10, 11], [17, 12, 13]]}
"""x, y, z of the particles of each tomogram."""
CBOX = "data_cryolo\n\nloop_\n_CoordinateX #1\n_CoordinateY #2\n_CoordinateZ #3\n_Width #4\n_Height #5\n"
"""Without a box."""
Write = Callable[[Path, np.ndarray], object]


def coords(path: Path, places: np.ndarray) -> None:
    np.savetxt(path.with_suffix(".coords"), places)


def boxes(path: Path, places: np.ndarray) -> None:
    corners = dict(zip(["CoordinateX", "CoordinateY", "CoordinateZ"], (places - [4, 4, 0]).T, strict=True))
    star = write_star(path.with_suffix(".star"), {}, cryolo=corners | {"Width": 8.0, "Height": 8.0})
    star.rename(path.with_suffix(".cbox"))


def models(path: Path, places: np.ndarray) -> None:
    path.with_suffix(".mod").write_bytes(model_bytes(places + CORNER, 10.0))


def table(path: Path, places: np.ndarray) -> None:
    np.savetxt(path.with_suffix(".csv"), places, delimiter=",", header="x,y,z", comments="")


def star(path: Path, places: np.ndarray) -> None:
    write_star(path.with_suffix(".star"), {"rlnMicrographName": f"{path.name}.mrc", **coordinates(places)})


def eman2(path: Path, places: np.ndarray) -> None:
    rows = [[*place, "manual", 0.5, 0] for place in (places - SIZE // 2).tolist()]
    content = {"apix_unbin": 10.0, "boxes_3d": rows, "class_list": {"0": {"name": "ribosome", "boxsize": 8}}}
    path.with_name(f"{path.name}_info.json").write_text(json.dumps(content))


def write_predictions(dataset: Subtomograms, path: Path) -> None:
    count = len(dataset)
    certain = np.eye(2)[[0] * count]
    said_so = (np.zeros(count, int), np.ones(count), np.zeros(count, bool), 0.5, None)
    whose = ((*origins_of(dataset),), (*dataset.groups,), {})
    path.write_text(new_star_text(Predictions((*dataset.ids,), ("a", "b"), certain, *said_so, *whose)))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for number in PLACES:
        write_coded(tmp_path / "tomograms" / f"TS_0{number}.mrc", number, shape=SHAPE)
    (tmp_path / "lists").mkdir()
    return tmp_path


def write_all(folder: Path, write: Write) -> None:
    for number, places in PLACES.items():
        write(folder / f"TS_0{number}", np.array(places, float))


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


# ---- lists that are added, and that change ----


def opened(project: Path) -> TomogramParticles:
    return TomogramParticles(project / "lists", project / "tomograms", box=4)


@pytest.fixture
def without_second(project: Path) -> Path:
    """A project whose list of TS_02 is not there yet."""
    write_all(project / "lists", coords)
    (project / "lists" / "TS_02.coords").rename(project / "TS_02.coords")
    return project


def add_second(project: Path) -> None:
    (project / "TS_02.coords").rename(project / "lists" / "TS_02.coords")


def said(dataset: Subtomograms) -> dict[str, str]:
    named = zip(dataset.ids, dataset.labels, strict=True)
    return {name: dataset.classes[label] for name, label in named if label is not None}


def test_labels_stay_where_a_list_is_added(without_second: Path) -> None:
    project, labels = without_second, without_second / "labels.csv"
    before = opened(project)
    Session(before, labels, "").label([Row(0, "a", ""), Row(4, "b", "")], "one by one")
    place = before.places[4].tolist()
    add_second(project)
    now = opened(project)
    session = Session(now, labels, "")
    assert {now.ids[row]: name for row, name in session.labels().items()} == {"TS_01/0": "a", "TS_03/2": "b"}
    assert now.places[now.ids.index("TS_03/2")].tolist() == place
    session.label([Row(2, "b", "")], "one by one")
    assert said(with_labels(opened(project), labels)) == {"TS_01/0": "a", "TS_02/0": "b", "TS_03/2": "b"}
    assert labels.read_text().count(",rows of") == 3


def test_labels_of_a_list_that_changed_are_refused_and_those_of_others_are_not(project: Path) -> None:
    write_all(project / "lists", coords)
    labels = project / "labels.csv"
    Session(opened(project), labels, "").label([Row(0, "a", ""), Row(2, "b", "")], "one by one")
    coords(project / "lists" / "TS_03", np.array(PLACES[3], float) + 1)  # nobody labelled there
    assert said(with_labels(opened(project), labels)) == {"TS_01/0": "a", "TS_02/0": "b"}
    coords(project / "lists" / "TS_02", np.array([[17, 12, 11], *PLACES[2]], float))
    for use in (lambda: Session(opened(project), labels, ""), lambda: with_labels(opened(project), labels)):
        with pytest.raises(DataError, match=r"rows of .*TS_02\.coords as they were when this was said"):
            use()


def test_labels_of_one_of_the_lists(project: Path) -> None:
    """Those given to TS_02's list alone are those of the folder's, and the other way round."""
    write_all(project / "lists", coords)
    labels = project / "labels.csv"
    one = TomogramParticles(project / "lists" / "TS_02.coords", project / "tomograms", box=4)
    Session(one, labels, "").label([Row(0, "a", "")], "one by one")
    session = Session(opened(project), labels, "")
    session.label([Row(0, "b", "")], "one by one")
    assert said(with_labels(opened(project), labels)) == {"TS_01/0": "b", "TS_02/0": "a"}
    assert said(with_labels(one, labels)) == {"TS_02/0": "a"}


def test_a_table_of_some_lists_after_another_was_added(without_second: Path) -> None:
    """As `predict` writes it: it goes with the data, is shown, and is refused where a list has changed."""
    project, table = without_second, without_second / "predictions.csv"
    data = opened(project)
    columns = places_kept(data) | {"prediction": [*"abbab"], "label": [*"abbab"]}
    table.write_text(csv_text(columns))
    add_second(project)
    expected = dict(zip(data.ids, "abbab", strict=True))
    told = Told(project / "tomograms")
    assert said(with_labels(opened(project), table)) == expected
    assert [name for shown in open_source(table, told) for name in shown.ids] == [*data.ids]
    places = [place for shown in open_source(table, told) for place in shown.places]
    np.testing.assert_allclose(places, data.places)
    assert members(opened(project), "b", table) == [1, 3, 5]
    assert [len(shown.ids) for shown in open_source(project / "lists", told)] == [2, 1, 3]
    coords(project / "lists" / "TS_03", np.array(PLACES[3], float)[::-1])
    for use in (lambda: with_labels(opened(project), table), lambda: open_source(table, told)):
        with pytest.raises(DataError, match=r"TS_03\.coords as (they were|it was)"):
            use()


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


def test_ids_choose_from_the_list_that_is_called_as_their_tomogram(project: Path) -> None:
    """It names none itself; another list is known by the rows by which labels go, or not at all."""
    write_all(project / "lists", coords)
    labels, (first, second, third) = project / "labels.csv", sorted((project / "lists").iterdir())
    Session(opened(project), labels, "").label([Row(0, "a", ""), Row(4, "b", "")], "one by one")

    def chosen(path: Path, ids: object) -> list[list[float]] | str:
        result = cli("select", path, "--ids", ids, "--output", project / "out.coords", "--overwrite")
        return np.loadtxt(project / "out.coords", ndmin=2).tolist() if result.exit_code == 0 else result.output

    assert chosen(third, labels) == [PLACES[3][1]]
    assert chosen(third, "TS_03/2") == [PLACES[3][2]]
    assert "has none of the 1 --ids" in chosen(second, "TS_03/0")
    one = project / "labels of one.csv"
    Session(TomogramParticles(first, project / "tomograms", box=4), one, "").label([Row(1, "a", "")], "one by one")
    elsewhere = first.rename(project / "picks.coords")
    assert chosen(elsewhere, one) == [PLACES[1][1]]
    assert "has none of the 1 --ids" in chosen(elsewhere, "TS_01/1")
    assert "TS_02.coords: names no tomogram, and merged with others" in chosen(project / "lists", labels)


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


def test_labels_do_not_go_over_to_a_list_that_took_anothers_name(project: Path) -> None:
    write_all(project / "lists", coords)
    labels, table = project / "labels.csv", project / "predictions.csv"
    data = opened(project)
    Session(data, labels, "").label([Row(row, "a", "") for row in range(6)], "one by one")
    table.write_text(csv_text(places_kept(data) | {"prediction": [*"abbaba"], "label": [*"abbaba"]}))
    first, second = (project / "lists" / f"TS_0{number}.coords" for number in (1, 2))
    first.rename(project / "kept")
    second.rename(first)
    (project / "kept").rename(second)
    uses = {
        "page": lambda: Session(opened(project), labels, ""),
        "labels": lambda: with_labels(opened(project), labels),
        "table": lambda: with_labels(opened(project), table),
        "average": lambda: members(opened(project), "a", table),
        "open": lambda: open_source(table, Told(project / "tomograms")),
    }
    for use in uses.values():
        with pytest.raises(DataError, match=r"TS_01\.coords(, so that its ids are| as (they were|it was))"):
            use()
    second.unlink()  # TS_01's particles, which are none of TS_02's
    write_all(project / "lists", coords)
    for use in uses.values():
        use()


def test_labels_of_lists_that_are_alike(project: Path) -> None:
    write_all(project / "lists", coords)
    coords(project / "lists" / "TS_02", np.array(PLACES[1], float))
    labels = project / "labels.csv"
    Session(opened(project), labels, "").label([Row(row, "a", "") for row in range(7)], "one by one")
    assert len(said(with_labels(opened(project), labels))) == 7
    coords(project / "lists" / "TS_02", np.array(PLACES[1], float)[::-1])
    with pytest.raises(DataError, match=r"rows of .*TS_02\.coords as they were"):
        with_labels(opened(project), labels)


def test_the_last_version_of_a_list_that_was_labelled_counts(project: Path) -> None:
    write_all(project / "lists", coords)
    labels, path = project / "labels.csv", project / "lists" / "TS_02.coords"
    kept = path.read_bytes()
    session = Session(opened(project), labels, "")
    session.label([Row(2, "a", "")], "one by one")
    session.label([Row(2, "", "a")], "undo")
    coords(path, np.array([PLACES[2][0], [17, 12, 10]], float)[::-1])
    Session(opened(project), labels, "").label([Row(2, "b", "")], "one by one")
    assert said(with_labels(opened(project), labels)) == {"TS_02/0": "b"}
    path.write_bytes(kept)
    with pytest.raises(DataError, match=r"rows of .*TS_02\.coords as they were"):
        with_labels(opened(project), labels)


@pytest.mark.parametrize("lists", ["a folder", "one list"])
def test_what_is_written_is_of_the_rows_that_were_read(lists: str, project: Path) -> None:
    """Hours may lie between, in which somebody picks anew."""
    write_all(project / "lists", coords)
    path = project / "lists" / "TS_03.coords"
    data = opened(project) if lists == "a folder" else TomogramParticles(path, project / "tomograms", box=4)
    coords(path, np.array(PLACES[3], float)[::-1])
    table, labels = project / "predictions.csv", project / "labels.csv"
    table.write_text(csv_text(places_kept(data) | {"label": [*"abbaba"][-len(data) :]}))
    Session(data, labels, "").label([Row(len(data) - 1, "a", "")], "one by one")
    for said_so in (table, labels):
        with pytest.raises(DataError, match=r"rows of .*TS_03\.coords as they were"):
            with_labels(opened(project), said_so)


def test_a_table_of_several_lists_is_a_source(project: Path) -> None:
    write_all(project / "lists", coords)
    table = project / "clusters.csv"
    table.write_text(csv_text(places_kept(opened(project)) | {"cluster": [1, 2, 1, 2, 1, 2]}))
    assert data_of_table(table, "") == (project / "lists", table)


def test_a_folder_that_is_neither_lists_nor_a_run_is_told(project: Path) -> None:
    coords(project / "lists" / "TS_01", np.array(PLACES[1], float))
    with pytest.raises(DataError, match=r"lists: is neither a run nor a folder of particle lists \(it holds 1 of them"):
        open_source(project / "lists", Told(project / "tomograms"))


def test_ids_are_those_of_the_list_itself(project: Path) -> None:
    """Where it names no tomogram, and is called as that but for words."""
    for number, places in PLACES.items():
        coords(project / "lists" / f"rec_TS_0{number}", np.array(places, float))
    alone = TomogramParticles(project / "lists" / "rec_TS_03.coords", project / "tomograms", box=4)
    assert [name for name in opened(project).ids if name.startswith("TS_03")] == [*alone.ids]


def test_label_files_of_before_protect_a_list_that_moved(project: Path) -> None:
    """They do not repeat a digest that another list has, too."""
    write_all(project / "lists", coords)
    path, labels = project / "lists" / "TS_01.coords", project / "labels.csv"
    digest = rows_of(path)
    one = TomogramParticles(path, project / "tomograms", box=4)
    said_so = [
        ("", "/gone/TS_01.coords", "rows of"),
        ("", digest, "rows"),
        ("", path, "rows of"),
        ("TS_01/0", "a", "one by one"),
    ]
    rows = [
        f"{name},{what},me,2026-11-2{day}T10:00:00.000000Z,{source}" for day, (name, what, source) in enumerate(said_so)
    ]
    labels.write_text("\n".join(["id,class,who,when,source", *rows]) + "\n")
    assert Session(one, labels, "").labels() == {0: "a"}
    coords(path, np.array(PLACES[1], float)[::-1])
    one = TomogramParticles(path, project / "tomograms", box=4)
    for use in (lambda: Session(one, labels, ""), lambda: with_labels(one, labels)):
        with pytest.raises(DataError, match=r"TS_01\.coords as they were when this was said"):
            use()


def test_classes_of_every_kind_are_those_of_all_lists(project: Path) -> None:
    """As of copick, which has an object in each file."""
    for number, places in PLACES.items():
        name = "abb"[number - 1]
        points = [{"location": dict(zip("xyz", [10.0 * value for value in place], strict=True))} for place in places]
        content = {"pickable_object_name": name, "run_name": f"TS_0{number}", "unit": "angstrom", "points": points}
        (project / "lists" / f"{number}.json").write_text(json.dumps(content))
    dataset = opened(project)
    assert [dataset.classes[label] for label in dataset.labels if label is not None] == [*"aabbbb"]
