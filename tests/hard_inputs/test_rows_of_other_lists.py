"""What goes by the rows of a list, or names files from its folder, used with another list or in another place."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.coded import write_coded
from support.command_line import cli
from support.particle_writing import coordinates, peet, write_star
from support.tomograms import write_tomogram

from cryoreg.analysis.averaging.class_average import members
from cryoreg.datasets.conversion.convert import convert, layout_of
from cryoreg.datasets.id_lists import read_ids
from cryoreg.datasets.label_lists import with_labels
from cryoreg.datasets.readers.tomogram import TomogramParticles
from cryoreg.datasets.store.reader import Store
from cryoreg.errors import CryoregError, DataError
from cryoreg.inference.kept_lists import prepare_kept
from cryoreg.inference.prediction_files import prepare_star
from cryoreg.inference.subtomogram_table import csv_text, places_kept
from cryoreg.labelling.session import Row, Session
from cryoreg.viewing.sources import Told, open_source

PLACES = np.array([[10 + row, 12, 14] for row in range(6)], dtype=float)


def listed(path: Path, rows: slice | list[int] = slice(None), **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_star(path, {"rlnTomoName": "TS_01", **coordinates(PLACES[rows]), **columns})


def opened(path: Path) -> TomogramParticles:
    if not (path.parent / "TS_01.mrc").exists():
        write_coded(path.parent / "TS_01.mrc")
    return TomogramParticles(path, box=4)


def table(path: Path, rows: dict[int, str], file: Path | None = None) -> Path:
    told = ["", ""] if file is None else [",file,row", f",{file},"]
    lines = [f"id,class{told[0]}", *(f"TS_01/{row},{name}{told[1]}{row if file else ''}" for row, name in rows.items())]
    path.write_text("\n".join(lines) + "\n")
    return path


def said(dataset: Any) -> list[str | None]:
    return [None if label is None else dataset.classes[label] for label in dataset.labels]


def test_labels_that_name_rows_beyond_the_list(tmp_path: Path) -> None:
    subset = opened(listed(tmp_path / "subset.star", [3, 4]))
    labels = table(tmp_path / "labels.csv", {1: "a", 3: "b"})
    with pytest.raises(DataError, match=r"labels.csv: names 'TS_01/3', which is no row of .*subset.star, so that its"):
        with_labels(subset, labels)


def test_labels_by_the_rows_of_another_list(tmp_path: Path) -> None:
    whole = listed(tmp_path / "whole.star")
    subset = opened(listed(tmp_path / "subset.star", [3, 4, 5]))
    labels = table(tmp_path / "predictions.csv", {0: "a", 1: "b"}, whole)
    with pytest.raises(DataError, match=r"goes by the rows of .*whole.star, and the data by those of .*subset.star"):
        with_labels(subset, labels)


def test_labels_by_the_rows_of_a_list_with_more_columns(tmp_path: Path) -> None:
    """What `predict` writes has the rows of the list that it was given."""
    whole = listed(tmp_path / "whole.star")
    more = opened(listed(tmp_path / "classified.star", rlnOurs=7))
    labels = table(tmp_path / "predictions.csv", {0: "a", 4: "b"}, whole)
    assert said(with_labels(more, labels)) == ["a", None, None, None, "b", None]


def test_labels_of_other_tomograms_are_only_counted(tmp_path: Path) -> None:
    labels = table(tmp_path / "labels.csv", {0: "a"})
    labels.write_text(labels.read_text() + "TS_07/9,b\n")
    found = with_labels(opened(listed(tmp_path / "whole.star")), labels)
    assert said(found)[0] == "a"
    assert any("1 of its ids are not in the data set" in note for note in found.notes)


def test_labels_of_a_page_know_of_which_list_they_are(tmp_path: Path) -> None:
    """After `select`, row 1 is another particle: neither a page nor training takes its label."""
    whole, labels = opened(listed(tmp_path / "whole.star")), tmp_path / "labels.csv"
    Session(whole, labels, "").label([Row(0, "a", ""), Row(1, "b", "")], "one by one")
    Session(whole, labels, "").label([Row(4, "a", "")], "one by one")
    assert labels.read_text().count("rows of") == 1
    assert said(with_labels(whole, labels)) == ["a", "b", None, None, "a", None]
    subset = opened(listed(tmp_path / "subset.star", [1, 2, 3, 4, 5]))
    for use in (lambda: Session(subset, labels, ""), lambda: with_labels(subset, labels)):
        with pytest.raises(
            DataError, match=r"goes by the rows of .*whole.star, and the data by those of .*subset.star"
        ):
            use()
    more = opened(listed(tmp_path / "classified.star", rlnOurs=7))
    assert Session(more, labels, "").labels() == {0: "a", 1: "b", 4: "a"}


def test_an_average_by_the_rows_of_another_list(tmp_path: Path) -> None:
    subset = opened(listed(tmp_path / "subset.star", [3, 4, 5]))
    classes = listed(tmp_path / "whole.star", rlnClassNumber=[1, 1, 1, 2, 2, 2])
    with pytest.raises(DataError, match=r"whole.star: names 'TS_01/3', which is no row of .*subset.star"):
        members(subset, "2", classes)
    other = listed(tmp_path / "other.star", [0, 1, 2], rlnClassNumber=[1, 2, 2])
    with pytest.raises(DataError, match=r"goes by the rows of .*other.star, and the data by those of .*subset.star"):
        members(subset, "2", other)
    same = listed(tmp_path / "same.star", [3, 4, 5], rlnClassNumber=[1, 2, 2])
    assert members(subset, "2", same) == [1, 2]


@pytest.mark.parametrize("of", ["list", "store"])
def test_an_average_by_the_classes_of_a_list_that_goes_with_a_model(of: str, tmp_path: Path) -> None:
    """PEET's lists cannot lose rows, and say classes all the same; those of a model are its objects."""
    write_tomogram(tmp_path / "TS_01.mrc")
    path = peet(tmp_path)
    head, *rows = path.read_text().splitlines()
    classed = [f"{row.rpartition(',')[0]},{1 + number % 2}" for number, row in enumerate(rows)]
    path.write_text("\n".join([head, *classed]) + "\n")
    dataset: Any = TomogramParticles(path, tmp_path / "TS_01.mrc", box=4)
    if of == "store":
        convert(dataset, tmp_path / "p.h5")
        dataset = Store(tmp_path / "p.h5")
    assert members(dataset, "2", path) == list(range(len(rows)))[1::2]
    with pytest.raises(CryoregError, match=r"of class '3' \(there are: 1, 2\)"):
        members(dataset, "3", path)
    path.write_text("\n".join([head, *rows]) + "\n")
    with pytest.raises(DataError, match=r"list.csv: says no classes of its particles"):
        members(dataset, "2", path)


@pytest.mark.parametrize(("wanted", "found"), [("0", [0, 1]), ("1", [2, 3]), ("3", [4, 5])])
def test_an_average_of_a_class_that_is_called_as_the_number_of_another(
    wanted: str, found: list[int], tmp_path: Path
) -> None:
    """Classes 0, 1 and 7 get the numbers 1, 2 and 3: "1" is the one of that name alone, "3" is a number alone."""
    classes = {"rlnClassNumber": [1, 1, 2, 2, 3, 3], "cryoregClassName": ["0", "0", "1", "1", "7", "7"]}
    path = listed(tmp_path / "classes.star", **classes)
    assert members(opened(path), wanted, path) == found


# ---- lists that were replaced since ----


def replaced(path: Path) -> None:
    """List the same particles the other way round, and one more, as where they were picked anew."""
    listed(path, [*reversed(range(len(PLACES))), 0])


def test_labels_of_a_list_that_was_picked_anew(tmp_path: Path) -> None:
    path, labels = listed(tmp_path / "picks.star"), tmp_path / "labels.csv"
    Session(opened(path), labels, "").label([Row(0, "a", ""), Row(5, "b", "")], "one by one")
    kept = path.read_bytes()
    assert said(with_labels(opened(listed(path, rlnOurs=7)), labels)) == ["a", None, None, None, None, "b"]
    replaced(path)
    for use in (lambda: Session(opened(path), labels, ""), lambda: with_labels(opened(path), labels)):
        with pytest.raises(DataError, match=r"rows of .*picks.star as they were when this was said"):
            use()
    path.write_bytes(kept)
    assert Session(opened(path), labels, "").labels() == {0: "a", 5: "b"}


def test_ids_by_labels_of_a_list_that_was_picked_anew(tmp_path: Path) -> None:
    path, labels = listed(tmp_path / "picks.star"), tmp_path / "labels.csv"
    Session(opened(path), labels, "").label([Row(1, "a", "")], "one by one")
    assert select(path, "--ids", labels).exit_code == 0
    subset = listed(tmp_path / "subset.star", [1, 2, 3])
    assert "Error: --ids: goes by the rows of" in select(subset, "--ids", labels).output
    replaced(path)
    assert "as they were when this was said" in " ".join(select(path, "--ids", labels).output.split())


def test_tables_of_a_list_that_was_picked_anew(tmp_path: Path) -> None:
    """What `predict` and `cluster` write as CSV is of the rows as they were, of a store's list, too."""
    path, said_so = listed(tmp_path / "picks.star"), tmp_path / "predictions.csv"
    data = opened(path)
    convert(data, tmp_path / "p.h5")
    store = Store(tmp_path / "p.h5")
    columns = {**places_kept(data), "prediction": [*"aabbab"], "label": [*"aabbab"]}
    assert places_kept(store)["list_rows"] == columns["list_rows"]
    assert len({*columns["list_rows"]}) == 1
    said_so.write_text(csv_text(columns))
    uses = {
        "labels": lambda: with_labels(opened(path), said_so),
        "average": lambda: members(opened(path), "a", said_so),
        "open": lambda: open_source(said_so, Told(voxel_size=10.0)),
    }
    for use in uses.values():
        use()
    with_labels(opened(listed(path, rlnOurs=7)), said_so)
    kept = path.read_bytes()
    listed(path, [*reversed(range(len(PLACES)))])
    assert places_kept(opened(path))["list_rows"] != columns["list_rows"] == places_kept(store)["list_rows"]
    refusal = r"predictions.csv: (goes by the rows|is) of .*picks.star as (they were|it was)"
    for use in uses.values():
        with pytest.raises(DataError, match=refusal):
            use()
    assert "as they were when this was said" in " ".join(select(path, "--ids", said_so).output.split())
    assert said(with_labels(store, said_so)) == [*"aabbab"]
    path.write_bytes(kept)
    assert said(with_labels(opened(path), said_so)) == [*"aabbab"]


@pytest.mark.parametrize("digests", ["of now", "of before rows were counted"])
def test_labels_of_a_list_to_which_particles_were_added(digests: str, tmp_path: Path) -> None:
    """Those that were there have their rows still; labels of rows that came later need the longer list."""
    path, labels = listed(tmp_path / "picks.star", slice(4)), tmp_path / "labels.csv"
    Session(opened(path), labels, "").label([Row(0, "a", ""), Row(3, "b", "")], "one by one")
    if digests != "of now":
        labels.write_text(re.sub(r"(rows:[0-9a-f]{24}):4\b", r"\1", labels.read_text()))
        assert said(with_labels(opened(path), labels)) == ["a", None, None, "b"]
    longer = opened(listed(path))
    if digests != "of now":
        with pytest.raises(DataError, match=r"rows of .*picks.star as they were when this was said"):
            with_labels(longer, labels)
        return
    assert said(with_labels(longer, labels)) == ["a", None, None, "b", None, None]
    assert select(path, "--ids", labels).exit_code == 0
    Session(longer, labels, "").label([Row(1, "c", "")], "one by one")
    shorter = opened(listed(path, slice(4)))
    with pytest.raises(DataError, match=r"rows of .*picks.star as they were when this was said"):
        with_labels(shorter, labels)
    Session(opened(listed(path)), labels, "").label([Row(5, "a", "")], "one by one")
    with pytest.raises(DataError, match=r"names 'TS_01/5', which is no row of .*picks.star"):
        with_labels(shorter, labels)


def test_tables_of_a_list_to_which_particles_were_added(tmp_path: Path) -> None:
    path, table_ = listed(tmp_path / "picks.star", slice(4)), tmp_path / "predictions.csv"
    data = opened(path)
    convert(data, tmp_path / "p.h5")
    table_.write_text(csv_text({**places_kept(data), "prediction": [*"aabb"], "label": [*"aabb"]}))
    longer = opened(listed(path))
    assert said(with_labels(longer, table_)) == [*"aabb", None, None]
    assert members(longer, "b", table_) == [2, 3]
    assert sum(len(shown.places) for shown in open_source(table_, Told(voxel_size=10.0))) == 4
    labels = tmp_path / "labels.csv"
    Session(longer, labels, "").label([Row(2, "a", "")], "one by one")
    assert said(with_labels(Store(tmp_path / "p.h5"), labels)) == [None, None, "a", None]


@pytest.mark.parametrize("change", [[3, 0, 1, 2, 4, 5], [0, 1, 2, 4, 3, 5], [1, 2, 3, 4, 5]])
def test_labels_of_a_list_that_was_longer_and_has_other_rows(change: list[int], tmp_path: Path) -> None:
    path, labels = listed(tmp_path / "picks.star", slice(4)), tmp_path / "labels.csv"
    Session(opened(path), labels, "").label([Row(0, "a", ""), Row(3, "b", "")], "one by one")
    longer = opened(listed(path, change))
    for use in (lambda: Session(longer, labels, ""), lambda: with_labels(longer, labels)):
        with pytest.raises(DataError, match=r"rows of .*picks.star as they were when this was said"):
            use()


def test_a_label_that_was_taken_back_chooses_nothing(tmp_path: Path) -> None:
    path, labels = listed(tmp_path / "picks.star"), tmp_path / "labels.csv"
    session = Session(opened(path), labels, "")
    session.label([Row(1, "a", ""), Row(2, "b", ""), Row(3, "a", "")], "one by one")
    session.label([Row(1, "", "a"), Row(2, "c", "b")], "one by one")
    assert read_ids([str(labels)]) == ["TS_01/3", "TS_01/2"]


@pytest.mark.parametrize("writer", [prepare_star, partial(prepare_kept, classes=())])
def test_classes_of_what_was_cut_out_of_a_list_that_was_picked_anew(writer: Any, tmp_path: Path) -> None:
    """A store knows of which rows its volumes are: another list in the place of that gets no classes."""
    path = listed(tmp_path / "picks.star")
    convert(opened(path), tmp_path / "p.h5")
    store, output = Store(tmp_path / "p.h5"), tmp_path / "out.star"
    prepare = partial(writer, output, store) if writer is not prepare_star else partial(writer, output, store, ())
    listed(path, rlnOurs=7)
    prepare()
    convert(store, tmp_path / "again.h5")
    replaced(path)
    with pytest.raises(DataError, match=r"picks.star lists other particles than when these were cut out"):
        prepare()
    copy = Store(tmp_path / "again.h5")
    assert copy.lists == store.lists
    listed(path, rlnClassNumber=[1, 2, 3, 4, 5, 6])
    assert members(store, "2", path) == [1]
    replaced(listed(path))
    listed(path, [*reversed(range(len(PLACES)))], rlnClassNumber=[1, 2, 3, 4, 5, 6])
    with pytest.raises(DataError, match=r"picks.star: lists other particles than when these were cut out"):
        members(copy, "2", path)


def test_an_extraction_does_not_go_on_with_another_list(tmp_path: Path) -> None:
    path = listed(tmp_path / "picks.star")
    before = layout_of(opened(path), {}).digest()
    assert layout_of(opened(listed(path, rlnOurs=7)), {}).digest() == before
    assert layout_of(opened(listed(path, [1, 0, 2, 3, 4, 5])), {}).digest() != before


# ---- file names ----


def project(folder: Path, number: int) -> Path:
    """Write a list that names a tomogram and images from its own folder."""
    (folder / "rec").mkdir(parents=True)
    write_coded(folder / "rec" / "TS_01.mrc", number)
    (folder / "Extract").mkdir()
    (folder / "Extract" / "1.mrcs").write_bytes(b"")
    names = [f"{row + 1}@Extract/1.mrcs" for row in range(len(PLACES))]
    return listed(folder / "picks.star", rlnImageName=names, cryoregTomogramFile="rec/TS_01.mrc", rlnClassNumber=number)


def test_lists_of_two_projects_are_not_merged_where_names_would_mean_other_files(tmp_path: Path) -> None:
    one, other = (project(tmp_path / name, number) for number, name in enumerate("ab"))
    result = cli("select", one, "--merge", other, "--output", one.with_name("all.star"))
    assert result.exit_code == 1
    said = " ".join(result.output.split())
    assert "picks.star: names 'Extract/1.mrcs' (rlnImageName), which would be" in said
    assert not one.with_name("all.star").exists()


@pytest.mark.parametrize(("place", "note"), [("sub", False), ("../elsewhere", True), (".", False)])
def test_a_list_that_leaves_its_project_says_so(place: str, note: bool, tmp_path: Path) -> None:
    one = project(tmp_path / "a", 0)
    (one.parent / place).mkdir(exist_ok=True)
    result = cli("select", one, "--output", one.parent / place / "out.star")
    assert result.exit_code == 0, result.output
    assert ("is not found from" in " ".join(result.output.split())) is note


@pytest.mark.parametrize(("now", "note"), [(20.0, True), (10.0, False), (1.0, False)])
def test_a_tomogram_that_was_made_anew_since_it_was_picked(now: float, note: bool, tmp_path: Path) -> None:
    path = listed(
        tmp_path / "picks.star",
        cryoregTomogramFile="TS_01.mrc",
        cryoregTomogramVoxelSize=10.0,
        rlnMicrographPixelSize=10.0,
    )
    write_coded(tmp_path / "TS_01.mrc", voxel_size=now)
    notes = [each for each in TomogramParticles(path, box=4).notes if "was picked with 10 Å" in each]
    assert bool(notes) is note


def select(path: Path, *words: object) -> Any:
    return cli("select", path, *words, "--output", path.with_name("out.star"), "--overwrite")


def test_ids_that_name_rows_beyond_the_list(tmp_path: Path) -> None:
    """Of ids of the whole list, those of small rows would choose other particles of a part of it."""
    subset = listed(tmp_path / "subset.star", [3, 4, 5])
    said = select(subset, "--ids", "TS_01/1,TS_01/4").output
    assert "Error: --ids: names 'TS_01/4', which is no row of" in said
    assert "subset.star, so that its ids are of another list: choose from that list" in said


def test_ids_by_the_rows_of_another_list(tmp_path: Path) -> None:
    whole, subset = listed(tmp_path / "whole.star"), listed(tmp_path / "subset.star", [3, 4, 5])
    ids = table(tmp_path / "predictions.csv", {0: "a", 1: "b"}, whole)
    assert f"Error: --ids: goes by the rows of {whole}, and the data by those of" in select(subset, "--ids", ids).output
    assert select(whole, "--ids", ids).exit_code == 0
    same = listed(tmp_path / "same.star", rlnClassNumber=2)
    assert select(same, "--ids", ids).exit_code == 0


def test_ids_of_other_tomograms_are_only_counted(tmp_path: Path) -> None:
    result = select(listed(tmp_path / "list.star"), "--ids", "TS_01/1,TS_02/400")
    assert result.exit_code == 0
    assert "1 of 2 --ids are not listed" in result.output


def test_what_is_drawn_by_the_rows_of_another_list(tmp_path: Path) -> None:
    whole, subset = listed(tmp_path / "whole.star"), listed(tmp_path / "subset.star", [3, 4, 5])
    opened(whole)
    ids = table(tmp_path / "predictions.csv", {0: "a", 1: "b"}, whole)
    told = ("--ids", ids, "--box", 4, "--output", tmp_path / "out.png")
    assert f"Error: --ids: goes by the rows of {whole}" in cli("view", subset, *told).output
