"""Tables of clusters, predictions and labels in place of the data that they are of."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command_line import ok, refused
from support.mrc_writing import noise, write_mrc
from support.particle_writing import csv

from cryoreg.datasets.table_sources import data_of_table

CLASSES = ["ring", "rod", "ring", "ring"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of volumes, two to a class that is another than what the tables here say."""
    monkeypatch.chdir(tmp_path)
    for number in range(5):
        write_mrc(tmp_path / "set" / f"c{number % 2}" / f"{number}.mrc", noise((8, 8, 8), number))
    return tmp_path / "set"


def table(rows: list[tuple[str, object, object]], column: str = "prediction") -> Path:
    lines = [f"{one},{file},{row},{name}" for (one, file, row), name in zip(rows, CLASSES, strict=False)]
    path = Path("classes.csv")
    path.write_text("\n".join([f"id,file,row,{column}", *lines]) + "\n")
    return path


def of_folder(folder: Path) -> Path:
    return table([(f"c{i % 2}/{i}", folder / f"c{i % 2}" / f"{i}.mrc", "") for i in range(4)])


def of_store(folder: Path) -> Path:
    ok("convert", folder, "--output", "set.h5")
    order = [0, 2, 4, 1]
    return table([(f"c{i % 2}/{i}", Path("set.h5").absolute(), row) for row, i in enumerate(order)], "cluster")


@pytest.mark.slow
@pytest.mark.parametrize(("write", "data"), [(of_folder, "set"), (of_store, "set.h5")])
def test_inspect_and_view_take_the_data_that_a_table_names(write, data: str, folder: Path, monkeypatch) -> None:
    write(folder)
    said = ok("inspect", "classes.csv")
    assert f"{Path(data).absolute()}" in said
    assert "note: classes.csv names these data, which are shown with its classes" in said
    assert "note: 4 of 5 subtomograms have a label of classes.csv, instead of the data's own" in said
    counts = dict(line.split() for line in said.splitlines() if line.startswith(("ring ", "rod ")))
    assert counts == {"ring": "3", "rod": "1"}
    assert said.rstrip().endswith(f"--data {Path(data).absolute()}"), "the next command names the data"
    drawn: list = []
    monkeypatch.setattr("cryoreg.analysis.view.run_view", lambda subjects, *rest: drawn.append((subjects, rest[-1])))
    ok("view", "classes.csv")
    [(subjects, inputs)] = drawn
    assert len(subjects) == 4, "those that the table names"
    assert str(Path("classes.csv").absolute()) in inputs


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,file,row,prediction\na,gone.h5,0,x\n", "names 'gone.h5', which is not there as its data; say `cryoreg"),
        ("id,file,row,cluster\na,one.mrc,,x\nb,two.mrc,,x\n", "names 2 files as its data; say `cryoreg"),
        (
            "id,class,who,when,source\na,x,me,now,one by one\n",
            "says classes and not of which data, but no places;",
        ),
    ],
)
@pytest.mark.parametrize("command", ["inspect", "view"])
def test_one_line_says_what_to_give_instead(command: str, text: str, said: str, folder: Path) -> None:
    Path("classes.csv").write_text(text)
    assert said in refused(command, "classes.csv")


def test_other_commands_say_it_too(folder: Path) -> None:
    of_store(folder)
    assert f"says classes of {Path('set.h5').absolute()}, but no places; give that" in refused(
        "preview", "classes.csv", "--augmentation", "cryoet"
    )


def test_a_list_with_places_is_data_itself(tmp_path: Path) -> None:
    path = csv(tmp_path)
    lines = path.read_text().splitlines()
    more = ["id,file,prediction", *(f"{row},gone.star,x" for row in range(len(lines) - 1))]
    path.write_text("\n".join(f"{line},{rest}" for line, rest in zip(lines, more, strict=True)))
    assert data_of_table(path, "") == (path, None)
