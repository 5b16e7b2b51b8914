"""Which subtomograms are shown: classes in turn, tomograms in turn within them, or those that are named."""

from __future__ import annotations

from collections import Counter

import pytest

from cryoreg.analysis.examples import in_turns
from cryoreg.datasets.id_lists import read_ids
from cryoreg.errors import DataError


def test_all_tomograms_are_shown_where_there_is_room():
    groups = ["t1"] * 50 + ["t2"] * 5 + ["t3"]
    chosen = in_turns([None] * 56, 6, groups)
    assert {groups[place] for place in chosen[:3]} == {"t1", "t2", "t3"}
    assert Counter(groups[place] for place in chosen) == {"t1": 3, "t2": 2, "t3": 1}


def test_classes_come_first_and_take_tomograms_that_were_shown_least():
    labels = [0, 0, 0, 1, 1, 1]
    groups = ["t1", "t2", "t2", "t1", "t1", "t2"]
    chosen = in_turns(labels, 4, groups)
    assert [labels[place] for place in chosen] == [0, 1, 0, 1]
    assert [groups[place] for place in chosen] == ["t1", "t2", "t2", "t1"]


def test_no_more_than_there_are_and_each_once():
    chosen = in_turns([None, 1, None], 9, ["a", None, "a"])
    assert sorted(chosen) == [0, 1, 2]
    assert chosen[0] == 0, "no label comes first"
    assert in_turns([], 3) == []


def test_ids_are_words_lists_and_files_in_their_order(tmp_path):
    lines, table = tmp_path / "ids.txt", tmp_path / "selected.csv"
    lines.write_text("c\n# a comment\n\na\n")
    table.write_text("id,label\nd,x\na,y\n")
    assert read_ids(["b,a", str(lines), str(table)]) == ["b", "a", "c", "d"]
    lines.write_text("# nothing\n")
    with pytest.raises(DataError, match="holds no ids"):
        read_ids([str(lines)])
