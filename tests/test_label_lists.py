"""Labels from lists: what each row does, on any data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.synthetic import Listed, write_classes

from cryoreg.config.settings import InputSettings
from cryoreg.datasets.adaptation import load_adapted
from cryoreg.datasets.io import relion
from cryoreg.datasets.label_lists import with_labels
from cryoreg.datasets.origins import image_name, origins_of
from cryoreg.datasets.specs import MrcFolderSpec
from cryoreg.datasets.unlabelled import unlabelled_note
from cryoreg.errors import DataError
from cryoreg.inference.subtomogram_table import csv_text, labels, places
from cryoreg.labelling.label_file import Change, LabelFile


def listed(tmp_path: Path, text: str, name: str = "labels.csv") -> Path:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    return tmp_path / name


def said(dataset):
    return {
        name: dataset.classes[label]
        for name, label in zip(dataset.ids, dataset.labels, strict=True)
        if label is not None
    }


def labelled(tmp_path, text, column=None, name="labels.csv"):
    return with_labels(Listed([None] * 6), listed(tmp_path, text, name), column)


def test_ids_and_classes(tmp_path):
    found = labelled(tmp_path, "id,label\ns4,ribosome\ns0,10\ns2,9\n")
    assert said(found) == {"s4": "ribosome", "s0": "10", "s2": "9"}
    assert list(found.classes) == ["9", "10", "ribosome"]
    assert found[4].label == 2
    assert found[1].label is None
    assert float(found[4].volume.mean()) == 4
    assert found.notes == ["3 of 6 subtomograms have a label of labels.csv"]


@pytest.mark.parametrize(
    "text",
    [
        "ID;Class\ns1;a\ns2;b\n",
        "class\tid\na\ts1\nb\ts2\n",
        "# by hand\nid,cluster\ns1,a\ns2,b\n",
        "id label\ns1 a\ns2 b\n",
    ],
)
def test_dialects(tmp_path, text):
    assert said(labelled(tmp_path, text)) == {"s1": "a", "s2": "b"}


def test_what_the_data_say_is_not_used(tmp_path):
    dataset = Listed([0, 1, 0, 1, None, None])
    dataset.notes = [*unlabelled_note(dataset), "dark"]
    found = with_labels(dataset, listed(tmp_path, "id,label\ns0,x\ns5,y\n"))
    assert said(found) == {"s0": "x", "s5": "y"}
    assert found.notes == ["dark", "2 of 6 subtomograms have a label of labels.csv, instead of the data's own"]


def test_nothing_is_dropped_in_silence(tmp_path):
    found = labelled(tmp_path, "id,label\ns0,a\ns1,b\ns1,b\ns2,\ns3,none\nother,a\nmore,b\n")
    assert said(found) == {"s0": "a", "s1": "b"}
    assert found.notes == [
        "2 of 6 subtomograms have a label of labels.csv",
        "labels.csv: 2 of its ids are not in the data set (the first: 'other')",
        "labels.csv: 1 of its rows repeat what another one says",
        "labels.csv: 2 of its rows name no class",
    ]


MISTAKES = {
    "contradiction": ("id,label\ns0,a\ns1,b\ns0,b\n", "'s0' is of class 'a' and of class 'b'"),
    "no id known": (
        "id,label\n1013,a\n",
        "names no class of an id of the data set (its first is '1013', the data's is 's0')",
    ),
    "no class at all": ("id,label\ns0,\n", "names no classes in a column"),
    "no column of ids": ("name,label\ns0,a\n", "has no column 'id' (it has: name, label)"),
    "no column of classes": ("id,prediction\ns0,a\n", "say --set input.label=<column>"),
    "an empty id": ("id,label\ns0,a\n,b\n", "has no id in row 1"),
    "two columns of classes": ("id,label,cluster\ns0,a,1\ns1,b,2\n", "say which: --set input.label=cluster"),
    "empty": ("", "is empty"),
}


@pytest.mark.parametrize(("text", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes_are_one_line(tmp_path, text, message):
    with pytest.raises(DataError) as error:
        labelled(tmp_path, text)
    assert message in str(error.value)
    assert str(tmp_path / "labels.csv") in str(error.value)
    assert "\n" not in str(error.value)


def test_a_column_may_be_chosen(tmp_path):
    assert said(labelled(tmp_path, "id,label,cluster\ns0,a,1\ns1,b,2\n", "cluster")) == {"s0": "1", "s1": "2"}
    assert said(labelled(tmp_path, "id,prediction\ns0,a\ns1,b\n", "prediction")) == {"s0": "a", "s1": "b"}
    with pytest.raises(DataError, match="no column 'kind'"):
        labelled(tmp_path, "id,label\ns0,a\n", "kind")


def test_an_empty_column_of_labels_gives_way_to_clusters(tmp_path):
    """As `cryoreg cluster` writes them of unlabelled data."""
    assert said(labelled(tmp_path, "id,label,confidence,cluster\ns0,,0.9,1\ns1,,0.8,2\n")) == {"s0": "1", "s1": "2"}


def test_of_labels_that_were_changed_the_last_counts(tmp_path):
    """As in a file to which a page adds row after row; an empty class takes a label back."""
    file = LabelFile(tmp_path / "labels.csv")
    for name, class_name in (("s0", "a"), ("s1", "a"), ("s0", "b"), ("s2", "c"), ("s2", "")):
        file.append([Change(name, class_name)], "test")
    found = with_labels(Listed([None] * 6), file.path)
    assert said(found) == {"s0": "b", "s1": "a"} == file.labels


def test_a_folder_of_lists_has_a_class_in_each(tmp_path):
    """As one saves what the lasso of the report holds: ids alone, or the table."""
    listed(tmp_path, "s0\ns1\n", "picked/ribosome.txt")
    folder = listed(tmp_path, "id,file,row,label\ns2,x.mrc,,other\n", "picked/empty.csv").parent
    assert said(with_labels(Listed([None] * 6), folder)) == {"s0": "ribosome", "s1": "ribosome", "s2": "empty"}
    listed(tmp_path, "s1\n", "picked/third.txt")
    with pytest.raises(DataError, match="'s1' is of class 'ribosome' and of class 'third'"):
        with_labels(Listed([None] * 6), folder)
    listed(tmp_path, "{}", "picked/notes.json")
    with pytest.raises(DataError, match=r"holds notes.json; a folder of labels"):
        with_labels(Listed([None] * 6), folder)


def test_ids_alone_say_what_is_missing(tmp_path):
    with pytest.raises(DataError, match="ids without classes; put it into a folder"):
        labelled(tmp_path, "s0\n", name="selected.txt")


def test_what_we_write_is_read_back(tmp_path):
    """Of names that a spreadsheet would run, and that are not UTF-8."""
    dataset = Listed([0, 1, 1, None], ids=["=cmd()", "a\udcff", "x,y", "-"])
    path = listed(tmp_path, csv_text({**places(dataset), **labels(dataset)}))
    found = with_labels(Listed([None] * 4, ids=list(dataset.ids)), path)
    assert list(found.labels) == dataset.labels


def test_star_files_name_images(tmp_path):
    root = write_classes(tmp_path / "mrc")
    dataset = MrcFolderSpec(root=root).load()
    names = [image_name(origin) for origin in origins_of(dataset)]
    path = tmp_path / "classes.star"
    rows = "".join(f"{name} {number % 3}\n" for number, name in enumerate(names[:7]))
    path.write_text(f"data_particles\nloop_\n_rlnImageName\n_rlnClassNumber\n{rows}")
    found = load_adapted(MrcFolderSpec(root=root), InputSettings(labels_from=path))
    assert said(found) == {name: str(number % 3) for number, name in enumerate(dataset.ids[:7])}
    np.testing.assert_array_equal(found[3].volume, dataset[3].volume)


def test_star_files_without_images_are_data_themselves(tmp_path):
    path = tmp_path / "list.star"
    columns = "".join(f"_{name}\n" for name in (*relion.COORDINATES, relion.CLASS_NUMBER))
    path.write_text(f"data_particles\nloop_\n{columns}1 2 3 4\n")
    with pytest.raises(DataError, match=r"names no images.*dataset.label=rlnClassNumber"):
        with_labels(Listed([None] * 3), path)
