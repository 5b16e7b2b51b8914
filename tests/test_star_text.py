"""Values of STAR: written so that they come back, here, in gemmi, and in starfile as far as it can."""

import ast
import re

import gemmi
import numpy as np
import pandas as pd
import pytest
import starfile
from support.building import ROOT

from cryoreg.datasets.io.relion_tables import read_blocks
from cryoreg.datasets.io.star_text import quoted, spans, star_table, unquoted
from cryoreg.errors import DataError

PLAIN = [
    *("plain", "/data/TS_01.mrc", "000001@/data/x@y.mrcs", "1.0", "007", "a\\b", "null", "a-b_c", "100%", "(x)"),
    *("two words", "  around  ", "tab\there", "a#b", "#1", "a #1", "", "?", ".", "_x", "$x", "[x", ";x", "data_x"),
    *("DATA_", "loop_", "stop_", "save_", "global_", "é", "no-break\u00a0space", "a,b", "=1+1"),
]
QUOTES = ["O'Brien #1/m", "it's", 'say "x"', "a' b", 'a" b', "'q'", '"q"', "'", '"', "x'", 'it\'s "x"!', "''", "5' #"]
"""starfile turns single quotes into double ones before it reads them, so it reads none of these."""


def blocks(values):
    return star_table("particles", {"a": [1, 2], "b": [values, values], "c": [0.25, 1e-3]})


@pytest.mark.parametrize("value", [*PLAIN, *QUOTES])
def test_a_value_comes_back_here_and_in_gemmi(value, tmp_path):
    text = blocks(value)
    line = text.splitlines()[-2]
    assert [unquoted(line[start:stop]) for start, stop in spans(line)] == ["2", value, "0.001000"]
    block = gemmi.cif.read_string(text).sole_block()
    assert block.name == "particles"
    table = block.find(["_a", "_b", "_c"])
    assert [[row.str(place) for place in range(3)] for row in table] == [
        ["1", value, "0.250000"],
        ["2", value, "0.001000"],
    ]


@pytest.mark.parametrize("value", PLAIN)
def test_a_value_without_quotes_comes_back_in_starfile(value, tmp_path):
    path = tmp_path / "x.star"
    path.write_text(blocks(value), encoding="utf-8")
    table = starfile.read(path, parse_as_string=["b"])
    assert table["b"].tolist() == [value, value]
    assert table["c"].tolist() == [0.25, 0.001]


@pytest.mark.parametrize(
    "value", ["two\nlines", "carriage\rreturn", "a\0b", "a\x0bb", "\u2028", "a\" and b' c", "\x1b[0m"]
)
def test_what_no_line_can_hold_is_refused_and_never_altered(value):
    with pytest.raises(DataError) as caught:
        quoted(value)
    assert "write CSV" in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("1 2\t3  \n", ["1", "2", "3"]),
        ("1 # 2 3", ["1"]),
        ("# nothing", []),
        ("   \r\n", []),
        ("1#2 3", ["1#2", "3"]),
        ("'a b' \"c # d\" #e", ["a b", "c # d"]),
        ("'it's' x", ["it's", "x"]),
        ("a'b c'd", ["a'b", "c'd"]),
        ('"unclosed x', ['"unclosed', "x"]),
        ("'' \"\" ' '", ["", "", " "]),
        ("a\u00a0b c", ["a\u00a0b", "c"]),
    ],
)
def test_where_values_begin_and_end(line, values):
    assert [unquoted(line[start:stop]) for start, stop in spans(line)] == values


@pytest.mark.parametrize("value", [*PLAIN, *QUOTES])
def test_a_value_comes_back_in_our_own_reader(value, tmp_path):
    path = tmp_path / "x.star"
    path.write_text(
        star_table("optics", {"rlnOpticsGroup": [1]}) + star_table("particles", {"rlnTomoName": [value, "x"]})
    )
    found = read_blocks(path)
    assert list(found) == ["optics", "particles"]
    assert found["particles"]["rlnTomoName"].tolist() == [value, "x"]
    path.write_text(f"data_general\n_rlnTomoName {quoted(value)}\n")
    assert read_blocks(path)["general"]["rlnTomoName"].tolist() == [value]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data_\nloop_\n_a #1\n_b #2\n1 2\n3\n", "line 6 has 1 values for 2 columns; mend it"),
        ("data_\nloop_\n_a #1\n_b #2\n1 two words\n", "line 5 has 3 values for 2 columns"),
        ("data_\nloop_\n_a #1\n_b 7\n1 2\n", "line 4: 'b' has 1 values where none in a table"),
        ("data_\n_a 1 2\n", "line 2: 'a' has 2 values where one"),
        ("data_\nloop_\n_a\n_a\n1 1\n", "line 4: 'a' is there twice in block ''"),
        ("data_x\n_a 1\n_a 2\n", "line 3: 'a' is there twice in block 'x'"),
        ("data_x\nloop_\n_a\n1\nloop_\n_b\n2\n", "line 5: a second table in block 'x'"),
        ("data_x\nloop_\n_a\n1\n\ndata_x\nloop_\n_a\n2\n", "two blocks of the name 'x'"),
        ("data_x\n_a 1\nstray\n", "line 3: 'stray' belongs to no label"),
        ("nothing\n", "holds no STAR table"),
        ("data_\n", "holds no STAR table"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(text, words, tmp_path):
    (tmp_path / "x.star").write_text(text)
    with pytest.raises(DataError) as caught:
        read_blocks(tmp_path / "x.star")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_types_and_odd_forms(tmp_path, end):
    text = "\ufeff# version 30001\ndata_one\n\nloop_ \n_int #1 \n_float #2\n_text\n_rlnTomoName #4\n\n"
    text += "1 0.5 a 1\n-2 1e-3 'b c' 007 # a comment\n\n3 nan 5 \"x\"\n  \n"
    text += "data_two\n_a 5\n_b 'x y'\n_c 1.5\n_rlnTomoName 07\n"
    (tmp_path / "x.star").write_bytes(text.replace("\n", end).encode())
    one, two = read_blocks(tmp_path / "x.star").values()
    assert one["int"].tolist() == [1, -2, 3]
    assert one["float"].tolist()[:2] == [0.5, 0.001]
    assert one["float"].isna().tolist() == [False, False, True]
    assert one["text"].tolist() == ["a", "b c", "5"]
    assert one["rlnTomoName"].tolist() == ["1", "007", "x"]
    assert two.iloc[0].to_dict() == {"a": 5, "b": "x y", "c": 1.5, "rlnTomoName": "07"}


def test_the_files_of_others_read_as_starfile_reads_them(shared_data):
    files = sorted((shared_data / "real").rglob("*.star"))
    if not files:
        pytest.skip("there are no STAR files of others")
    for path in files:
        found, wanted = read_blocks(path), starfile.read(path, always_dict=True, parse_as_string=["rlnTomoName"])
        assert found.keys() == wanted.keys()
        for name, block in wanted.items():
            if isinstance(block, dict):
                assert found[name].iloc[0].to_dict() == block
            else:
                assert list(found[name]) == list(block)
                for column in block:
                    assert found[name][column].astype(str).tolist() == block[column].astype(str).tolist()


def test_rows_are_read_as_fast_ones_and_as_slow_ones_alike(tmp_path):
    """Of plain rows pandas finds the values, of others our own scanner; gemmi, with neither, finds the same."""
    rng = np.random.default_rng(0)
    words = np.array(["1", "2.5", "-3e-2", "007", "nan", "a'b", "x#y", "data1", "1@a.mrcs", "=1", "?", "None"])
    for columns in (1, 2, 5):
        cells = rng.choice(words, (40, columns))
        rows = [rng.choice([" ", "\t", "  "]).join(row) + rng.choice(["", " "]) for row in cells]
        labels = [f"rln{number}" for number in range(columns)]
        head = "\n".join(["data_p", "", "loop_", *(f"_{label}" for label in labels), ""])
        plain, quoted_once = head + "\n".join(rows), head + "\n".join([*rows[:-1], rows[-1] + " # slow"])
        tables = []
        for text in (plain, quoted_once):
            (tmp_path / "x.star").write_text(text + "\n")
            tables.append(read_blocks(tmp_path / "x.star")["p"])
        pd.testing.assert_frame_equal(*tables)
        theirs = gemmi.cif.read_string(plain + "\n").sole_block().find([f"_{label}" for label in labels])
        assert [list(row) for row in theirs] == cells.tolist()
        as_read = [[None if pd.isna(cell) else cell for cell in row] for row in tables[0].to_numpy(object)]
        for ours, written in zip(as_read, cells.tolist(), strict=True):
            for cell, text in zip(ours, written, strict=True):
                assert cell == (None if text == "nan" else text) or float(cell) == float(text)


@pytest.mark.parametrize("width", [1, 2, 4])
def test_no_row_of_another_width_passes(width, tmp_path):
    """Rows with a value too few or too many, wherever they stand, and whatever is last in them."""
    rng = np.random.default_rng(width)
    head = ["data_p", "", "loop_", *(f"_rln{number}" for number in range(width))]
    for _ in range(60):
        rows = [" ".join(rng.choice(["1", "nan", "x"], width)) for _ in range(6)]
        bad, change = int(rng.integers(6)), int(rng.choice([-1, 1, 2]))
        if width + change < 1:
            continue
        rows[bad] = " ".join(rng.choice(["1", "nan", "x"], width + change))
        (tmp_path / "x.star").write_text("\n".join([*head, *rows, ""]))
        with pytest.raises(DataError, match=rf"line {len(head) + bad + 1} has {width + change} values for {width} col"):
            read_blocks(tmp_path / "x.star")


@pytest.mark.slow
def test_words_of_relion_stand_in_one_module():
    """What a component tells its user may name one; a column that is read or written has its word from `relion`."""
    found = set()
    for path in (ROOT / "cryoreg").rglob("*.py"):
        names = [
            node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Constant)
        ]
        found |= {path.name for node in names if re.fullmatch(r"_?rln\w+", str(node.value), re.IGNORECASE)}
    assert found == {"relion.py", "detector.py"}, "the detector's file is a table of RELION's that lists no particles"
