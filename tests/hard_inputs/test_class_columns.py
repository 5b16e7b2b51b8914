"""Columns of classes: names and numbers, and what stands for none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.coded import write_coded
from support.command_line import ok
from support.particle_writing import coordinates, write_star

from cryoreg.datasets.readers.tomogram import TomogramParticles
from cryoreg.selection.listed import Listed

PLACES = np.array([[10.0 + 4 * row, 11, 12] for row in range(6)])
NAME, NUMBER = "cryoregClassName", "rlnClassNumber"


def star(path: Path, numbers: list[int], names: list[str] | None = None, shift: float = 0.0) -> Path:
    columns: dict[str, Any] = {NUMBER: numbers} | ({NAME: names} if names else {})
    places = PLACES[: len(numbers)] + shift
    return write_star(path, {"rlnTomoName": "TS_01", **coordinates(places), **columns})


def said(path: Path, **settings: Any) -> tuple[list[str | None], str]:
    """Return the class of each particle, and the notes."""
    if not (path.parent / "TS_01.mrc").exists():
        write_coded(path.parent / "TS_01.mrc")
    data = TomogramParticles(path, box=4, **settings)
    return [None if label is None else data.classes[label] for label in data.labels], "\n".join(data.notes)


def test_what_has_no_label_is_no_class(tmp_path: Path) -> None:
    """As `label --export` writes it: class 0, "none"."""
    path = star(tmp_path / "labelled.star", [0, 1, 0, 2, 0], ["none", "ring", "none", "rod", "none"])
    classes, notes = said(path)
    assert classes == [None, "ring", None, "rod", None]
    assert said(path, label=NUMBER)[0] == [None, "1", None, "2", None]
    assert NUMBER not in notes


def test_numbers_of_two_lists_that_are_merged(tmp_path: Path) -> None:
    """Class 1 is a ring in the one and a rod in the other."""
    one = star(tmp_path / "one.star", [1, 2, 2], ["ring", "rod", "rod"])
    other = star(tmp_path / "other.star", [1, 2, 2], ["rod", "vault", "vault"], 2.0)
    ok("select", one, "--merge", other, "--output", tmp_path / "both.star")
    classes, notes = said(tmp_path / "both.star")
    assert classes == ["ring", "rod", "rod", "rod", "vault", "vault"]
    assert f"{NAME} and {NUMBER} are of two classifications; the names are taken" in notes
    assert said(tmp_path / "both.star", label=NUMBER)[0] == ["1", "2", "2", "1", "2", "2"]


@pytest.mark.parametrize(
    ("numbers", "names", "classes"),
    [
        ([1, 2, 1], ["ring", "rod", "ring"], ["ring", "rod", "ring"]),
        ([1, 2, 1], ["ring", "ring", "ring"], ["1", "2", "1"]),  # of one class, and classified since
        ([1, 2, 1], None, ["1", "2", "1"]),
    ],
)
def test_names_and_numbers_that_agree(
    numbers: list[int], names: list[str] | None, classes: list[str], tmp_path: Path
) -> None:
    found, notes = said(star(tmp_path / "p.star", numbers, names))
    assert found == classes
    assert "class 0" not in notes
    assert "two classifications" not in notes


@pytest.mark.parametrize("column", ["class_name", "predicted_class_name"])
def test_all_commands_take_names_of_a_text_table_before_its_numbers(column: str, tmp_path: Path) -> None:
    """`select`, `open` and `average` call classes as data sets do, and know them by their numbers, too."""
    path = tmp_path / "p.csv"
    path.write_text(
        f"tomogram,x,y,z,class,{column}\nTS_01,10,11,12,2,ring\nTS_01,20,11,12,1,rod\nTS_01,30,11,12,2,ring\n"
    )
    assert said(path)[0] == Listed.read(str(path)).classes(None) == ["ring", "rod", "ring"]
    for wanted, left in (("ring", 2), ("1", 1)):
        ok("select", path, "--class", wanted, "--output", tmp_path / f"{wanted}.csv")
        assert len(pd.read_csv(tmp_path / f"{wanted}.csv")) == left


def dynamo(path: Path, numbers: list[int]) -> Path:
    rows = np.zeros((len(numbers), 35))
    rows[:, 19], rows[:, 21], rows[:, 23:26] = 1, numbers, PLACES[: len(numbers)] + 0.5
    np.savetxt(path, rows, fmt="%.6g")
    return path


@pytest.mark.parametrize("make", [star, dynamo])
@pytest.mark.parametrize(("numbers", "told"), [([0, 1, 2, 0], True), ([0, 1, 1, 0], False), ([1, 2, 3, 1], False)])
def test_class_0_beside_others_may_be_none(make: Any, numbers: list[int], told: bool, tmp_path: Path) -> None:
    path = make(tmp_path / ("p.star" if make is star else "p.tbl"), numbers)
    classes, notes = said(path)
    assert classes == [str(number) for number in numbers]
    assert ("2 particles are of class 0" in notes) == told


def table(path: Path, **columns: list[Any]) -> Path:
    places = dict(zip("xyz", PLACES.T, strict=True))
    pd.DataFrame({"tomogram": "TS_01", **places, **columns}).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("name", ["class_name", "predicted_class_name"])
def test_names_before_numbers_in_text_tables(name: str, tmp_path: Path) -> None:
    """TomoTwin and others write both; a number says nothing without its list."""
    rods = ["ring", "rod", "rod", "ring", "rod", "vault"]
    one = table(tmp_path / "p.csv", **{"class": [0, 1, 1, 0, 1, 2], name: rods})
    classes, notes = said(one)
    assert classes == rods
    assert "class 0" not in notes
    assert "two classifications" not in notes


def test_names_and_numbers_of_text_tables_that_differ(tmp_path: Path) -> None:
    numbers, names = [0, 1, 2, 0, 1, 2], ["ring", "ring", "rod", "rod", "rod", "vault"]
    classes, notes = said(table(tmp_path / "p.csv", **{"class": numbers, "class_name": names}))
    assert classes == names
    assert "class_name and class are of two classifications; the names are taken" in notes
    classes, notes = said(table(tmp_path / "q.csv", **{"class": numbers}))
    assert classes == [str(number) for number in numbers]
    assert "2 particles are of class 0 (class)" in notes
