"""Each list of a folder has rows of its own: ids and labels stay where lists are added, moved or changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.command_line import cli
from support.list_folders import PLACES, coords, make_project, opened, write_all

from cryoreg.analysis.averaging.class_average import members
from cryoreg.contracts import Subtomograms
from cryoreg.datasets.label_lists import with_labels
from cryoreg.datasets.readers.tomogram import TomogramParticles
from cryoreg.datasets.rows_of_lists import rows_of
from cryoreg.datasets.table_sources import data_of_table
from cryoreg.errors import DataError
from cryoreg.inference.subtomogram_table import csv_text, places_kept
from cryoreg.labelling.session import Row, Session
from cryoreg.viewing.sources import Told, open_source


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path)


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
