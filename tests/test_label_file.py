"""The file of labels: nothing said is lost, by whomever, whenever the program dies."""

from __future__ import annotations

import csv
import getpass
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from cryoreg.errors import CryoregError, OutputError
from cryoreg.labelling.label_file import COLUMNS, Change, LabelFile


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_each_action_is_rows_and_the_last_counts(tmp_path):
    path = tmp_path / "labels.csv"
    file = LabelFile(path)
    assert not path.exists(), "looking writes nothing"
    assert file.append([Change("a", "ring"), Change("b", "rod")], "several at once") == []
    file.append([Change("a", "", "ring")], "undo")
    file.append([Change("b", 'a "b", c', "rod")], "one by one")
    assert [tuple(row) for row in rows(path)] == [COLUMNS] * 4
    assert [(row["id"], row["class"], row["source"]) for row in rows(path)] == [
        ("a", "ring", "several at once"),
        ("b", "rod", "several at once"),
        ("a", "", "undo"),
        ("b", 'a "b", c', "one by one"),
    ]
    assert {row["who"] for row in rows(path)} == {getpass.getuser()}
    assert rows(path)[0]["when"] == rows(path)[1]["when"]
    assert file.labels == LabelFile(path).labels == {"b": 'a "b", c'}


def test_a_label_that_somebody_else_was_faster_with_stays(tmp_path):
    one, other = LabelFile(tmp_path / "labels.csv"), LabelFile(tmp_path / "labels.csv")
    one.append([Change("a", "ring", "")], "one by one")
    refused = other.append([Change("a", "rod", ""), Change("b", "rod", "")], "one by one")
    assert [change.id for change in refused] == ["a"]
    assert other.labels == {"a": "ring", "b": "rod"}
    one.refresh()
    assert one.labels == other.labels
    assert one.history == ["a", "b"]


def test_what_somebody_did_can_be_taken_back_by_them_later(tmp_path):
    """After a restart, too: each sees what they did themselves and have not taken back, the last action last."""
    path = tmp_path / "labels.csv"
    ann, bob = LabelFile(path, "ann"), LabelFile(path, "bob")
    ann.append([Change("a", "ring", ""), Change("b", "ring", "")], "several at once")
    bob.append([Change("c", "rod", "")], "one by one")
    ann.append([Change("c", "ring", "rod")], "one by one")
    ann.append([Change("a", "rod", "ring")], "one by one")
    ann.append([Change("a", "ring", "rod")], "undo")
    assert [row["who"] for row in rows(path)] == ["ann", "ann", "bob", "ann", "ann", "ann"]
    assert LabelFile(path, "ann").past() == [
        [Change("a", "ring", ""), Change("b", "ring", "")],
        [Change("c", "ring", "rod")],
    ]
    assert LabelFile(path, "bob").past() == [[Change("c", "rod", "")]]
    again = LabelFile(path, "bob")
    assert again.append([Change("c", "", "rod")], "undo") == [Change("c", "", "rod")], "ann has labelled it since"
    assert again.labels == {"a": "ring", "b": "ring", "c": "ring"}
    ann.append([Change("a", "", "ring"), Change("b", "", "ring")], "undo")
    assert LabelFile(path, "ann").past() == [[Change("c", "ring", "rod")]]


def test_classes_keep_their_order_whatever_is_labelled_again_and_renamed(tmp_path):
    file = LabelFile(tmp_path / "labels.csv")
    for one, name in (("a", "rod"), ("b", "ring"), ("a", "ring"), ("c", "rod")):
        file.append([Change(one, name)], "one by one")
    file.append([Change("c", "tube")], "rename")
    assert file.classes == LabelFile(file.path).classes == ["tube", "ring"]


def test_names_that_nothing_has_are_kept_renamed_and_taken_out(tmp_path):
    file = LabelFile(tmp_path / "labels.csv")
    for name in ("rod", "ring", "tube"):
        file.name_class(name)
    file.append([Change("a", "rod")], "one by one")
    file.name_class("coil", "ring")
    file.name_class("", "tube")
    again = LabelFile(file.path)
    for each in (file, again):
        assert each.classes == ["rod", "coil", "tube"]
        assert each.named == {"rod", "coil"}
        assert [each.now(name) for name in ("rod", "ring", "tube")] == ["rod", "coil", ""]
        assert each.labels == {"a": "rod"}
        assert len(each.past()) == 1, "a name is no label to take back"
    again.append([Change("b", "ring")], "one by one")
    assert again.now("ring") == "ring", "somebody uses it again"


def renamed(tmp_path, others=()):
    """A file in which rod, the first of two classes, was renamed coil, and then ``others`` said something."""
    file = LabelFile(tmp_path / "labels.csv", "ann")
    for one, name in (("a", "rod"), ("b", "rod"), ("c", "ring")):
        file.append([Change(one, name)], "one by one")
    file.name_class("coil", "rod")
    file.append([Change("a", "coil", "rod"), Change("b", "coil", "rod")], "rename")
    for change in others:
        LabelFile(file.path, "bob").append([change], "one by one")
    return file


BACK = [Change("a", "rod", "coil"), Change("b", "rod", "coil")]


def test_a_renaming_that_is_taken_back_leaves_no_empty_class(tmp_path):
    file = renamed(tmp_path)
    assert file.classes == ["coil", "ring"]
    file.append(BACK, "undo")
    for each in (file, LabelFile(file.path, "ann")):
        assert each.classes == ["rod", "ring"], "in its old place"
        assert each.named == {"rod"}
        assert (each.now("coil"), each.now("rod")) == ("rod", "rod")
        assert each.labels == {"a": "rod", "b": "rod", "c": "ring"}
        assert len(each.past()) == 3, "the first labels"
    file.append([Change("b", "", "rod")], "undo")
    assert file.named == {"rod"}, "what was no renaming takes no name back"


def test_a_new_name_that_somebody_uses_meanwhile_stays(tmp_path):
    file = renamed(tmp_path, [Change("d", "coil")])
    file.append(BACK, "undo")
    assert {*file.classes} >= {"rod", "ring", "coil"}
    assert file.now("coil") == "coil"
    assert "coil" in file.named


def test_a_label_that_is_taken_back_later_than_a_renaming(tmp_path):
    file = renamed(tmp_path)
    file.append([Change("d", "coil", "")], "one by one")
    file.append([Change("d", "", "coil")], "undo")
    assert file.classes == ["coil", "ring"]
    file.append(BACK, "undo")
    assert file.classes == ["rod", "ring"]


def write_many(path, who, count):
    file = LabelFile(path)
    for number in range(count):
        file.append([Change(f"{who}/{number}", who)], "one by one")


def test_two_processes_write_all_of_their_rows(tmp_path):
    path = tmp_path / "labels.csv"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_many, args=(path, who, 60)) for who in ("ann", "bob")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert LabelFile(path).labels == {f"{who}/{number}": who for who in ("ann", "bob") for number in range(60)}
    assert path.read_text().count("id,class") == 1


WRITES = """
import sys
from pathlib import Path
from cryoreg.labelling.label_file import Change, LabelFile
file = LabelFile(Path(sys.argv[1]))
for number in range(100_000):
    file.append([Change(f"p{number}", "ring")], "one by one")
    print(number, flush=True)
"""


def test_what_was_answered_before_a_kill_is_there(tmp_path):
    path = tmp_path / "labels.csv"
    writer = subprocess.Popen([sys.executable, "-c", WRITES, str(path)], stdout=subprocess.PIPE, text=True)
    said = [writer.stdout.readline() for _ in range(20)]
    os.kill(writer.pid, signal.SIGKILL)
    said += writer.stdout.readlines()
    writer.wait()
    answered = [int(line) for line in said if line.endswith("\n")]
    file = LabelFile(path)
    assert {f"p{number}" for number in answered} <= file.labels.keys()
    file.append([Change("after", "rod")], "one by one")
    assert LabelFile(path).labels["after"] == "rod"


@pytest.mark.parametrize("torn", ["b", "b,ro", "b,rod,bob,2026-11", '"b,rod,bob,2026,x'])
def test_a_row_that_was_cut_short_is_no_label(tmp_path, torn):
    path = tmp_path / "labels.csv"
    LabelFile(path).append([Change("a", "ring")], "one by one")
    path.write_text(path.read_text() + torn)
    file = LabelFile(path)
    assert file.labels == {"a": "ring"}
    file.append([Change("c", "rod")], "one by one")
    assert LabelFile(path).labels == {"a": "ring", "c": "rod"}
    assert len(rows(path)) == 2


def test_a_whole_row_without_the_end_of_its_line_counts(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("id,class,who,when,source\na,ring,ann,2026,me\nb,rod,bob,2026,me")
    file = LabelFile(path)
    assert file.labels == {"a": "ring", "b": "rod"}
    file.append([Change("c", "rod")], "one by one")
    assert LabelFile(path).labels == {"a": "ring", "b": "rod", "c": "rod"}


def test_names_that_a_spreadsheet_would_run_come_back(tmp_path):
    path = tmp_path / "labels.csv"
    LabelFile(path).append([Change("=1+1", "@x")], "one by one")
    assert "\n'=1+1,'@x," in path.read_text()
    assert LabelFile(path).labels == {"=1+1": "@x"}


def test_what_is_no_file_of_labels_is_left_alone(tmp_path):
    other = tmp_path / "picks.csv"
    for text in ("x,y,z\n1,2,3\n", "x,y,z\n1,2,3", "x"):
        other.write_text(text)
        with pytest.raises(CryoregError, match="other columns than id, class, who, when, source"):
            LabelFile(other)
        assert other.read_text() == text
    other.write_text("id,cla")  # a power failure as it began
    LabelFile(other).append([Change("a", "ring")], "one by one")
    assert LabelFile(other).labels == {"a": "ring"}
    (tmp_path / "link.csv").symlink_to(tmp_path / "elsewhere.csv")
    with pytest.raises(OutputError, match="cannot be written"):
        LabelFile(tmp_path / "link.csv").append([Change("a", "b")], "one by one")
    assert not (tmp_path / "elsewhere.csv").exists()


def test_other_columns_are_named_and_refused(tmp_path):
    """Rows of ours would stand under the names of others."""
    path = tmp_path / "labels.csv"
    path.write_text("id,class,by\na,ring,me\n")
    with pytest.raises(CryoregError, match="id, class, who, when, source"):
        LabelFile(path)


def test_a_file_that_became_shorter_is_not_written_on(tmp_path):
    path = tmp_path / "labels.csv"
    file = LabelFile(path)
    file.append([Change("a", "ring")], "one by one")
    path.write_text("id,class,who,when,source\n")
    with pytest.raises(OutputError, match="shorter"):
        file.append([Change("b", "ring")], "one by one")


def test_an_append_is_quick(tmp_path):
    file = LabelFile(tmp_path / "labels.csv")
    file.append([Change(f"p{number}", "ring") for number in range(10_000)], "several at once")
    start = time.process_time()
    file.append([Change("p1", "rod", "ring")], "one by one")
    assert time.process_time() - start < 0.05, "all rows are read again"
