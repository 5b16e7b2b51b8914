"""Scale bars are of a round length, and say it in a unit that is known; names beside rows are whole."""

from __future__ import annotations

import pytest

from cryoreg.analysis import slices
from cryoreg.scale_bars import bar_of


@pytest.mark.parametrize(
    ("voxels", "size", "text"),
    [(32, 10.0, "10 nm"), (32, None, "10 voxels"), (8, 1.0, "2 Å"), (2, None, "1 voxel"), (400, 13.48, "200 nm")],
)
def test_a_bar_is_round_and_at_most_two_fifths_of_the_picture(voxels, size, text):
    bar = bar_of(voxels, size)
    assert bar.text == text
    assert bar.voxels <= max(1, 0.4 * voxels)
    number, unit = text.split()
    told = float(number) * {"nm": 10, "Å": 1}.get(unit, 1) / (size or 1)
    assert bar.voxels == pytest.approx(told)


@pytest.mark.parametrize("name", ["short", "x" * 90, "a/long-path_with.many parts/" * 4, "one\ntwo/" + "y" * 40, ""])
def test_names_are_broken_into_lines_and_never_cut(name):
    broken = slices.broken(name)
    assert broken.replace("\n", "") == name.replace("\n", "")
    assert max(map(len, broken.split("\n"))) <= 26
    assert slices.room_for([name]) <= slices.room_for(["x" * 26])
