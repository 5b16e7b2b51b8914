"""Rows that do not match their columns, and things that a list says twice: the right voxel, or one line that says why.

Every voxel of the tomograms names its own place, so the middle of a box tells where it was cut.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from support.mrc_writing import write_mrc

from cryoreg.datasets.list_specs import TomogramSpec
from cryoreg.errors import DataError

SHAPE = (20, 22, 24)
SECOND = 500_000
"""What the voxels of the second tomogram have more."""


@pytest.fixture(scope="module")
def tomograms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TS_01 and TS_02, 10 Å: x + 100 y + 10000 z."""
    folder = tmp_path_factory.mktemp("tomograms")
    z, y, x = np.indices(SHAPE)
    for number in (0, 1):
        write_mrc(folder / f"TS_0{number + 1}.mrc", (x + 100 * y + 10_000 * z + SECOND * number).astype("f4"), 10.0)
    return folder


def cut(path: Path, tomograms: Path) -> list[tuple[str, int, int, int]]:
    """Return the tomogram and voxel (x, y, z) in the middle of each box."""
    dataset = TomogramSpec(root=path, tomograms=tomograms, box=4).build()
    values = [int(dataset[index].volume[0, 2, 2, 2]) for index in range(len(dataset))]
    return [(f"TS_0{v // SECOND + 1}", v % 100, v % SECOND // 100 % 100, v % SECOND // 10_000) for v in values]


A, B = ("TS_01", 10, 11, 12), ("TS_02", 14, 15, 16)
LABELS = ("rlnTomoName", "rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ")
SIZE = "rlnTomoTiltSeriesPixelSize"
ORIGINS = ("rlnOriginXAngst", "rlnOriginYAngst", "rlnOriginZAngst")
ROW_A, ROW_B = "TS_01 10 11 12", "TS_02 14 15 16"


def block(name: str, *rows: str, more: tuple[str, ...] = (), labels: tuple[str, ...] = LABELS) -> str:
    named = "\n".join(f"_{label} #{number}" for number, label in enumerate((*labels, *more), 1))
    return "\n".join([f"data_{name}", "", "loop_", named, *rows, "", ""])


def optics(*rows: str, name: str = "optics") -> str:
    return block(name, *rows, labels=("rlnOpticsGroup", SIZE))


def general(*items: str, name: str = "general") -> str:
    return "\n".join([f"data_{name}", "", *items, "", ""])


BOTH = block("particles", ROW_A, ROW_B)
FINE = block("particles", "TS_01 20 22 24 1", "TS_02 28 30 32 1", more=("rlnOpticsGroup",))
"""Coordinates of voxels of 5 Å."""
UNGROUPED = block("particles", "TS_01 20 22 24", "TS_02 28 30 32")

RIGHT = {
    "a comment after a row": block("particles", ROW_A + " # good", "# all of it", "", ROW_B),
    "lines as Windows ends them": BOTH.replace("\n", "\r\n"),
    "lines as old Macs end them": BOTH.replace("\n", "\r"),
    "a mark at the beginning of the file": "\ufeff" + BOTH,
    "columns numbered without #": BOTH.replace(" #", " "),
    "blanks and tabs around values": BOTH.replace(ROW_A, "  TS_01\t10   11 12 \t"),
    "quoted values": BOTH.replace(ROW_A, "'TS_01' \"10\" 11 12"),
    "a block for each tomogram": block("TS_01", ROW_A) + block("TS_02", ROW_B),
    "a block for each, columns in another order": block("a", ROW_A) + block("b", "16 15 14 TS_02", labels=LABELS[::-1]),
    "a block for each, one with a class": block("a", ROW_A + " 3", more=("rlnClassNumber",)) + block("b", ROW_B),
    "an empty block besides": BOTH + block("none"),
    "optics after particles": FINE + optics("1 5"),
    "an optics group that no column names": optics("1 5") + UNGROUPED,
    "an optics group without a number": block("optics", "5", labels=(SIZE,)) + FINE,
    "optics that are no table": general("_rlnOpticsGroup 1", "_rlnTomoTiltSeriesPixelSize 5", name="optics") + FINE,
    "one optics group twice": optics("1 5", "1 5") + FINE,
    "an optics block in upper case": optics("1 5", name="OPTICS") + FINE,
    "optics that say the same as particles": optics("1 5.0001")
    + block("particles", "TS_01 20 22 24 1 5", "TS_02 28 30 32 1 5", more=("rlnOpticsGroup", SIZE)),
    "a general block with the size": general("_rlnTomoTiltSeriesPixelSize 5") + UNGROUPED,
    "a general table of one row": block("general", "5", labels=(SIZE,)) + UNGROUPED,
    "a general block with other things": general("_rlnComment 'two words'") + BOTH,
}


@pytest.mark.parametrize("name", RIGHT)
def test_star_lists_are_read_as_they_mean(name: str, tomograms: Path, tmp_path: Path) -> None:
    path = tmp_path / "p.star"
    path.write_bytes(RIGHT[name].encode())
    assert cut(path, tomograms) == [A, B]


def test_a_general_block_may_name_the_tomogram(tomograms: Path, tmp_path: Path) -> None:
    text = general("_rlnTomoName TS_02") + block("particles", "14 15 16", labels=LABELS[1:])
    (tmp_path / "p.star").write_text(text)
    assert cut(tmp_path / "p.star", tomograms) == [B]


WRONG = {
    "a value too few": (block("particles", ROW_A, "TS_02 14 15"), r"line 9 has 3 values for 4 columns"),
    "a value too few in the first row": (block("particles", "TS_02 14 15", ROW_A), r"line 8 has 3 values for 4"),
    "a value too many": (block("particles", ROW_A, ROW_B + " 7"), r"line 9 has 5 values for 4 columns"),
    "a value too many in each row": (block("particles", ROW_A + " 7", ROW_B + " 7"), r"line 8 has 5 values for 4"),
    "a value too few beside quotes": (block("particles", "'TS_01' 10 11 12", "TS_02 14 15"), r"line 9 has 3 values"),
    "two rows in a line": (block("particles", f"{ROW_A} {ROW_B}"), r"line 8 has 8 values for 4 columns"),
    "a row on two lines": (block("particles", "TS_01 10", "11 12"), r"line 8 has 2 values for 4 columns"),
    "a name with a blank": (block("particles", "TS 01 10 11 12"), r"line 8 has 5 values for 4 columns"),
    "a value that comments out the rest": (block("particles", "TS_01 10 11 #12"), r"line 8 has 3 values"),
    "a statement after the rows": (BOTH + "_rlnVoltage 300\n", r"line 11 has 2 values for 4 columns"),
    "a short row in the second block": (block("a", ROW_A) + block("b", "TS_02 14 15"), r"line 17 has 3 values for 4"),
    "two tables in a block": (BOTH + "loop_\n_rlnOther\n1\n", r"line 11: a second table in block 'particles'"),
    "a value that no label names": ("data_general\n300\n" + BOTH, r"line 2: '300' belongs to no label"),
    "a statement without its value": (general("_rlnVoltage") + BOTH, r"line 3: 'rlnVoltage' has 0 values"),
    "a block twice": (block("particles", ROW_A) + block("particles", ROW_B), "two blocks of the name 'particles'"),
    "a block without a name twice": (block("", ROW_A) + block("", ROW_B), "two blocks of the name ''"),
    "optics twice": (optics("1 5") + optics("2 5") + FINE, "two blocks of the name 'optics'"),
    "optics twice but for case": (
        optics("1 5") + optics("1 5", name="Optics") + FINE,
        "has the optics groups of 'optics' and those of 'Optics'",
    ),
    "a column twice": (block("p", ROW_A + " 7", more=LABELS[1:2]), r"line 8: 'rlnCoordinateX' is there twice"),
    "a column of optics twice": (
        block("optics", "1 1 5", labels=("rlnOpticsGroup", "rlnOpticsGroup", SIZE)) + FINE,
        r"line 5: 'rlnOpticsGroup' is there twice in block 'optics'",
    ),
    "a statement twice": (
        general("_rlnPixelSize 5", "_rlnPixelSize 6") + BOTH,
        "line 4: 'rlnPixelSize' is there",
    ),
    "blocks that name tomograms differently": (
        block("a", ROW_A) + block("b", ROW_B, labels=("rlnMicrographName", *LABELS[1:])),
        "names tomograms by rlnTomoName in block 'a', but by rlnMicrographName in 'b'",
    ),
    "blocks of which one has sizes": (
        block("a", ROW_A) + block("b", "TS_02 28 30 32 5", more=("rlnPixelSize",)),
        "in block 'a', but by rlnCoordinateX and rlnPixelSize in 'b'",
    ),
    "blocks of which one has origins": (
        block("a", ROW_A + " 1 1 1", more=ORIGINS) + block("b", ROW_B),
        "and rlnOriginZAngst in block 'a', but by rlnCoordinateX in 'b'",
    ),
    "images here and coordinates there": (
        block("a", ROW_A) + block("b", "TS_02 x.mrc", labels=("rlnTomoName", "rlnImageName")),
        "in block 'a', but by rlnImageName in 'b'",
    ),
    "two optics groups and no column": (
        optics("1 5", "2 6") + UNGROUPED,
        "has 2 optics groups, but particles without a column rlnOpticsGroup",
    ),
    "two optics groups without numbers": (
        block("optics", "5", "6", labels=(SIZE,)) + FINE,
        "has 2 optics groups, but optics groups without a column rlnOpticsGroup",
    ),
    "an optics group with two sizes": (
        optics("1 5", "1 6") + FINE,
        "has optics group 1 twice, with rlnTomoTiltSeriesPixelSize 5 and 6",
    ),
    "an optics group that is not there": (
        optics("2 5") + FINE,
        "names optics group 1 in row 0, which its",
    ),
    "optics against particles": (
        optics("1 5") + block("p", "TS_01 20 22 24 1 6", more=("rlnOpticsGroup", SIZE)),
        "says rlnTomoTiltSeriesPixelSize 6 in row 0 of its particles and 5 in block 'optics'",
    ),
    "a general size against particles": (
        general("_rlnPixelSize 5") + block("p", ROW_A + " 10", more=("rlnPixelSize",)),
        "says rlnPixelSize 10 in row 0 of its particles and 5 in block 'general'",
    ),
    "a general tomogram against particles": (
        general("_rlnTomoName TS_02") + BOTH,
        "says rlnTomoName TS_01 in row 0 of its particles and TS_02 in block 'general'",
    ),
    "a general table of two rows": (
        block("general", "5", "6", labels=("rlnPixelSize",)) + BOTH,
        "has 2 values of rlnPixelSize in block 'general' and none for its particles",
    ),
    "a comma for a point": (block("p", "TS_01 10,0 11 12"), "'10,0' for rlnCoordinateX in row 0, not a number"),
    "a zero byte": (block("p", "TS\0_01 10 11 12"), "line 8 has null characters"),
}


@pytest.mark.parametrize("name", WRONG)
def test_star_lists_that_contradict_themselves_are_refused(name: str, tomograms: Path, tmp_path: Path) -> None:
    text, reason = WRONG[name]
    assert_refused(tmp_path / "p.star", text, tomograms, reason)


def assert_refused(path: Path, text: str, tomograms: Path, reason: str) -> None:
    path.write_bytes(text.encode())
    with pytest.raises(DataError, match=rf"^{re.escape(str(path))}: ") as caught:
        cut(path, tomograms)
    message = str(caught.value)
    assert reason in message
    assert "\n" not in message
    assert "; " in message, "no word on what to do"


ROW = " ".join(["0"] * 19 + ["1", "0", "0", "0", "10.5", "11.5", "12.5"])
"""Of a Dynamo table."""
OTHERS_WRONG = {
    "joined.tbl": (f"{ROW} {ROW}\n", "line 1 has 52 values, as of two rows in one line"),
    "half.tbl": (f"{ROW}\n{ROW[:20]}\n", "line 2 has 10 values where the first row has 26"),
    "truth.json": (
        '{"run_name": "TS_01", "points": [{"location": {"x": true, "y": 110, "z": 120}}]}',
        "no location with numbers x, y and z in row 0",
    ),
}


@pytest.mark.parametrize("name", OTHERS_WRONG)
def test_other_lists_of_odd_rows_are_refused(name: str, tomograms: Path, tmp_path: Path) -> None:
    text, reason = OTHERS_WRONG[name]
    assert_refused(tmp_path / name, text, tomograms, reason)


CENTRED = block("particles", "TS_01 0 0 0", labels=("rlnTomoName", *(f"rlnCenteredCoordinate{a}Angst" for a in "XYZ")))
TOLD = ("rlnTomoName", "rlnTomoTiltSeriesPixelSize", "rlnTomoTomogramBinning")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (block("global", "TS_01 5 2", "TS_01 2.5 4", labels=TOLD), "has tomogram TS_01 twice, with"),
        (block("a", "TS_01 5 2", labels=TOLD) + block("b", "TS_02 5 2", labels=TOLD), "in the blocks 'a' and 'b'"),
        (block("global", "TS_01 5", labels=TOLD), "line 7 has 2 values for 3 columns"),
    ],
)
def test_tables_of_tomograms_say_each_thing_once(text: str, reason: str, tomograms: Path, tmp_path: Path) -> None:
    (tmp_path / "tomograms.star").write_text(text)
    (tmp_path / "p.star").write_text(CENTRED)
    with pytest.raises(DataError, match=reason):
        cut(tmp_path / "p.star", tomograms)


def test_a_table_of_tomograms_may_say_one_thing_twice(tomograms: Path, tmp_path: Path) -> None:
    (tmp_path / "tomograms.star").write_text(block("global", "TS_01 5 2", "TS_01 5 2", labels=TOLD))
    (tmp_path / "p.star").write_text(CENTRED)
    depth, height, width = SHAPE
    assert cut(tmp_path / "p.star", tomograms) == [("TS_01", width // 2, height // 2, depth // 2)]
