"""Rows, columns, blocks and units of particle lists: each is read as it is meant, or one line says why not."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.coded import centres, write_coded

from cryoreg.datasets.particles.lists import read_particle_list
from cryoreg.errors import DataError
from cryoreg_cli.main import cryoreg

ONE = [(10, 11, 12)]
TWO = [(10, 11, 12), (14, 15, 16)]
DYNAMO = "{} 1 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1 0 0 0 {} {} {} 0 0 0 0 0 0 0 0 0"

TABLES = {
    # situation: (file, text, right: places, or what the one line says)
    "comma": ("l.csv", "x,y,z\n10,11,12\n14,15,16\n", TWO),
    "semicolon": ("l.csv", "x;y;z\n10;11;12\n", ONE),
    "tab": ("l.tsv", "x\ty\tz\n10\t11\t12\n", ONE),
    "blanks": ("l.txt", "x y  z\n 10 11   12\n", ONE),
    "other order of columns": ("l.csv", "z,x,y\n12,10,11\n", ONE),
    "upper case": ("l.CSV", "X,Y,Z\n10,11,12\n", ONE),
    "pandas' index": ("l.csv", ",x,y,z\n0,10,11,12\n", ONE),
    "R's row names": ("l.txt", '"x" "y" "z"\n"1" 10 11 12\n', "line 2 has 4 values for 3 columns"),
    "row too long": ("l.csv", "x,y,z\n10,11,12\n10,11,12,0.9\n", "line 3 has 4 values for 3 columns"),
    "row too short": ("l.csv", "x,y,z,class\n10,11,12\n", "line 2 has 3 values for 4 columns"),
    "row too long, blanks": ("l.txt", "x y z\n10 11 12 13\n", "line 2 has 4 values for 3 columns"),
    "row too short, blanks": ("l.txt", "x y z class\n10 11 12\n", "line 2 has 3 values for 4 columns"),
    "empty values beyond the last column": ("l.csv", "x,y,z\n10,11,12,,\n", ONE),
    "empty cells within": ("l.csv", "class,x,y,z\n,10,11,12\n", ONE),
    "quoted": ("l.csv", '"x","y","z","note"\n"10","11","12","a, b"\n', ONE),
    "line break in quotes": ("l.csv", 'x,y,z,note\n10,11,12,"a\nb"\n14,15,16,c\n', TWO),
    "two columns, one name": ("l.csv", "x,y,z,X\n10,11,12,13\n", "the columns 'x' and 'X', which are one name"),
    "comment first": ("l.csv", "# by hand, in a hurry\nx,y,z\n10,11,12\n", ONE),
    "comment between": ("l.csv", "x,y,z\n10,11,12\n#14,15,16\n", ONE),
    "header as a comment": ("l.csv", "# x,y,z\n10,11,12\n14,15,16\n", TWO),
    "header as a comment, blanks": ("l.txt", "# picked by me\n#x y z\n10 11 12\n", ONE),
    "no header": ("l.txt", "10 11 12\n14 15 16\n", "no columns x, y and z (its first line is: 10, 11, 12)"),
    "no header, equal numbers": ("l.csv", "10,10,12\n", "no columns x, y and z (its first line is: 10, 10, 12)"),
    "header twice": ("l.csv", "x,y,z\n10,11,12\nx,y,z\n", "has 'x' for x in row 1, not a number"),
    "empty line first": ("l.csv", "\n\nx,y,z\n10,11,12\n", ONE),
    "Excel's separator": ("l.csv", "sep=;\nx;y;z\n10;11;12\n", ONE),
    "lines end with CR LF, byte order mark": ("l.csv", "\ufeffx,y,z\r\n10,11,12\r\n", ONE),
    "lines end with CR": ("l.csv", "x,y,z\r10,11,12\r", ONE),
    "decimal comma": ("l.csv", "x;y;z\n10,0;11,0;12,0\n", "has '10,0' for x in row 0, not a number; write a decimal"),
    "decimal comma between commas": ("l.csv", "x,y,z\n10,0,11,0,12,0\n", "line 2 has 6 values for 3 columns"),
    "thousands": ("l.csv", 'x,y,z\n"1,010",11,12\n', "has '1,010' for x in row 0, not a number; write a decimal"),
    "truth values": ("l.star", "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\nTrue 1 1\n", "'True'"),
    "Å": ("l.csv", "x [Å],y [Å],z [Å]\n100,110,120\n", ONE),
    "nm": ("l.csv", "X (nm),Y (nm),Z (nm)\n10,11,12\n", ONE),
    "nm, other name": ("l.csv", "x_nm,y_nm,z_nm\n10,11,12\n", ONE),
    "column of units: nm": ("l.csv", "x,y,z,unit\n10,11,12,nm\n", ONE),
    "column of units: Å": ("l.csv", "x,y,z,units\n100,110,120,Angstrom\n", ONE),
    "column of units: voxels": ("l.csv", "x,y,z,unit\n10,11,12,voxel\n", ONE),
    "column of units: unknown": ("l.csv", "x,y,z,unit\n10,11,12,inch\n", "has inch for unit"),
    "column of units: two": ("l.csv", "x,y,z,unit\n10,11,12,nm\n9,9,9,voxel\n", "has nm, voxel for unit"),
    "two units": ("l.csv", "x_nm,y_nm,z_nm,unit\n10,11,12,voxel\n", "names one unit in its header and another"),
    "size of unit": ("l.csv", "x,y,z,pixel_size\n20,22,24,5\n", ONE),
    "two kinds of places": ("l.csv", "x,y,z,center_x,center_y,center_z\n1,2,3,10,11,12\n", "has both x and center_x"),
    "the same places twice": ("l.csv", "x,y,z,pos_x,pos_y,pos_z\n10,11,12,10,11,12\n", ONE),
    "shifts of cryoCAT": ("l.csv", "x,y,z,shift_x,shift_y,shift_z\n9,12,12,1,-1,0\n", ONE),
    "half of the shifts": ("l.csv", "x,y,z,shift_x\n10,11,12,0\n", ONE),
    "RELION's words, origins": (
        "l.csv",
        "rlnCoordinateX,rlnCoordinateY,rlnCoordinateZ,rlnOriginXAngst,rlnOriginYAngst,rlnOriginZAngst\n12,11,10,20,0,-20\n",
        ONE,
    ),
    "RELION's words, pixel size": (
        "l.csv",
        "rlnTomoName,rlnCoordinateX,rlnCoordinateY,rlnCoordinateZ,rlnTomoTiltSeriesPixelSize\nTS_01,20,22,24,5\n",
        ONE,
    ),
    "Dynamo": ("l.tbl", DYNAMO.format(1, 10.5, 11.5, 12.5), ONE),
    "Dynamo, tabs and comment": ("l.tbl", "# by me\n" + DYNAMO.format(1, 10.5, 11.5, 12.5).replace(" ", "\t"), ONE),
    "Dynamo, short row": (
        "l.tbl",
        DYNAMO.format(1, 10, 11, 12) + "\n" + DYNAMO.format(2, 10, 11, 12)[:-2],
        "line 2 has 34 values where the first row has 35",
    ),
    "Dynamo, part of a tomogram": (
        "l.tbl",
        DYNAMO.format(1, 10, 11, 12).replace("0 1 0 0 0 10", "0 1.5 0 0 0 10"),
        "has 1.5 for its tomogram in row 0, column 20, no whole number",
    ),
    "Dynamo, % of MATLAB": ("l.tbl", "% tag\n" + DYNAMO.format(1, 10, 11, 12), "has 2 columns where a Dynamo table"),
    "JSON with byte order mark": ("l.json", '\ufeff[{"location": {"x": 10, "y": 11, "z": 12}}]', ONE),
    "NDJSON with byte order mark": ("l.ndjson", '\ufeff{"location": {"x": 10, "y": 11, "z": 12}}\n', ONE),
    "NDJSON as .jsonl, empty line": ("l.jsonl", '{"location": {"x": 10, "y": 11, "z": 12}}\n\n', ONE),
    "JSON, a name twice": (
        "l.json",
        '[{"location": {"x": 10, "x": 9, "y": 11, "z": 12}}]',
        "has 'x' twice in one object",
    ),
}

PLACES = "_rlnTomoName\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n"
HEAD = f"data_particles\n\nloop_\n{PLACES}"
OPTICS = "data_optics\n\nloop_\n_rlnOpticsGroup\n_rlnTomoTiltSeriesPixelSize\n"
GROUPED = f"{HEAD}_rlnOpticsGroup\n"
ROW = "TS_01 10 11 12\n"
UNBINNED = "TS_01 20 22 24"
ORIGINS = "".join(f"_rlnOrigin{axis}Angst\n" for axis in "XYZ")

STARS = {
    # situation: (text, right)
    "plain": (HEAD + ROW, ONE),
    "row too short": (HEAD + "TS_01 10 11\n", "line 8 has 3 values for 4 columns"),
    "row too long": (HEAD + ROW + "TS_01 10 11 12 13\n", "line 9 has 5 values for 4 columns"),
    "row on two lines": (HEAD + "TS_01 10\n11 12\n", "line 8 has 2 values for 4 columns"),
    "two rows on one line": (HEAD + ROW.strip() + " " + ROW, "line 8 has 8 values for 4 columns"),
    "commas": (HEAD + "TS_01,10,11,12\n", "line 8 has 1 values for 4 columns"),
    "empty lines between rows": (HEAD + ROW + "\n\nTS_01 14 15 16\n", TWO),
    "comment behind a row": (HEAD + "TS_01 10 11 12 # the best\n", ONE),
    "comment behind a label": (HEAD.replace("Name\n", "Name # of the tomogram\n") + ROW, ONE),
    "quotes": (HEAD + "'TS_01' \"10\" 11 12\n", ONE),
    "byte order mark, CR LF": (("\ufeff" + HEAD + ROW).replace("\n", "\r\n"), ONE),
    "CR": ((HEAD + ROW).replace("\n", "\r"), ONE),
    "words in upper case": (HEAD.replace("data_", "DATA_").replace("loop_", "LOOP_") + ROW, ONE),
    "block and loop on one line": (HEAD.replace("data_particles\n\nloop_", "data_particles loop_") + ROW, ONE),
    "no block": (HEAD.replace("data_particles\n", "") + ROW, "line 2: 'loop_' belongs to no block"),
    "label twice": (HEAD + "_rlnCoordinateX\n" + "TS_01 10 11 12 13\n", "line 8: 'rlnCoordinateX' is there twice"),
    "second loop in a block": (HEAD + ROW + f"loop_\n{PLACES}{ROW}", "line 9: a second table in block 'particles'"),
    "two blocks": (HEAD + ROW + f"\ndata_more\nloop_\n{PLACES}TS_01 14 15 16\n", TWO),
    "two blocks, the second in upper case": (HEAD + ROW + f"\nDATA_more\nloop_\n{PLACES}TS_01 14 15 16\n", TWO),
    "two blocks, columns in another order": (
        HEAD
        + ROW
        + "\ndata_more\nloop_\n_rlnCoordinateZ\n_rlnCoordinateY\n_rlnCoordinateX\n_rlnTomoName\n16 15 14 TS_01\n",
        TWO,
    ),
    "two blocks of one name": (HEAD + ROW + "\n" + HEAD + ROW, "has two blocks of the name 'particles'"),
    "two blocks, one with its unit": (
        HEAD + ROW + f"\ndata_more\nloop_\n{PLACES}_rlnPixelSize\n{UNBINNED} 5\n",
        "by rlnCoordinateX in block 'particles', but by rlnCoordinateX and rlnPixelSize in 'more'",
    ),
    "two blocks, one with origins": (
        HEAD + ROW + f"\ndata_more\nloop_\n{PLACES}{ORIGINS}{ROW.strip()} 1 1 1\n",
        "but by rlnCoordinateX and rlnOriginXAngst",
    ),
    "optics": (f"{OPTICS}1 5\n\n{GROUPED}{UNBINNED} 1\n", ONE),
    "optics, behind": (f"{GROUPED}{UNBINNED} 1\n\n{OPTICS}1 5\n", ONE),
    "optics, as items": (f"data_optics\n_rlnOpticsGroup 1\n_rlnPixelSize 5\n{GROUPED}{UNBINNED} 1\n", ONE),
    "optics, named otherwise": (f"{OPTICS.replace('optics', 'OpticsGroups', 1)}1 5\n\n{GROUPED}{UNBINNED} 1\n", ONE),
    "optics, one group and no column": (f"{OPTICS}1 5\n\n{HEAD}{UNBINNED}\n", ONE),
    "optics, two groups and no column": (f"{OPTICS}1 5\n2 10\n\n{HEAD}{UNBINNED}\n", "2 optics groups, but particles"),
    "optics, group twice": (f"{OPTICS}1 5\n1 10\n\n{GROUPED}{UNBINNED} 1\n", "PixelSize 5 and 10; keep one"),
    "optics, group twice alike": (f"{OPTICS}1 5\n1 5\n\n{GROUPED}{UNBINNED} 1\n", ONE),
    "optics, group lacks": (f"{OPTICS}1 5\n\n{GROUPED}{UNBINNED} 2\n", "names optics group 2 in row 0"),
    "optics, label twice": (
        f"{OPTICS}_rlnOpticsGroup\n1 5 1\n\n{GROUPED}{UNBINNED} 1\n",
        "line 6: 'rlnOpticsGroup' is there twice in block 'optics'",
    ),
    "optics and particles contradict": (
        f"{OPTICS}1 5\n\n{GROUPED}_rlnTomoTiltSeriesPixelSize\n{UNBINNED} 1 10\n",
        "says rlnTomoTiltSeriesPixelSize 10 in row 0 of its particles and 5 in block 'optics'",
    ),
    "general": (f"data_general\n_rlnPixelSize 5\n\n{HEAD}{UNBINNED}\n", ONE),
    "general, without a name": (f"data_\n_rlnPixelSize 5\n\n{HEAD}{UNBINNED}\n", ONE),
    "general, as a table": (f"data_general\nloop_\n_rlnPixelSize\n5\n\n{HEAD}{UNBINNED}\n", ONE),
    "general, several values": (
        f"data_general\nloop_\n_rlnPixelSize\n5\n10\n\n{HEAD}{ROW}",
        "has 2 values of rlnPixelSize",
    ),
    "general and particles contradict": (
        f"data_general\n_rlnPixelSize 5\n\n{HEAD}_rlnPixelSize\n{UNBINNED} 10\n",
        "says rlnPixelSize 10 in row 0 of its particles and 5 in block 'general'",
    ),
    "size is no number": (f"{HEAD}_rlnPixelSize\n{ROW.strip()} nan\n", "has 'nan' for rlnPixelSize in row 0"),
    "other program": ("data_motl\nloop_\n_motl_idx\n_orig_x\n1 10\n", "(it has: motl_idx, orig_x)"),
    "decimal comma": (
        HEAD + "TS_01 10,0 11 12\n",
        "has '10,0' for rlnCoordinateX in row 0, not a number; write a decimal",
    ),
}

CASES = {**TABLES, **{f"STAR, {name}": ("l.star", *case) for name, case in STARS.items()}}


@pytest.mark.parametrize("situation", CASES)
def test_places_or_one_line(situation: str, tmp_path: Path) -> None:
    name, text, right = CASES[situation]
    write_coded(tmp_path / "TS_01.mrc")
    (tmp_path / name).write_bytes(text.encode())
    if isinstance(right, str):
        with pytest.raises(DataError) as caught:
            centres(tmp_path / name)
        assert right in str(caught.value)
        assert "\n" not in str(caught.value)
    else:
        assert centres(tmp_path / name) == [(0, place) for place in right]


OTHERS = {
    "UTF-16": ("x,y,z\n10,11,12\n".encode("utf-16"), "is text in UTF-16"),
    "UTF-16 without a mark": ("x,y,z\n10,11,12\n".encode("utf-16-le"), "null characters"),
    "Latin-1": ("x,y,z,name\n10,11,12,Zürich\n".encode("latin-1"), "the byte 0xfc"),
    "gzip": (gzip.compress(b"x,y,z\n10,11,12\n"), "is compressed"),
    "Excel": (b"PK\x03\x04" + bytes(100), "is a ZIP archive, as Excel's files are"),
    "one endless line": (b"1 " * 2**20, "line 1 has 2,097,152 characters"),
}


@pytest.mark.parametrize("ending", [".csv", ".star", ".tbl", ".txt", ".ndjson"])
@pytest.mark.parametrize("other", OTHERS)
def test_what_is_no_text_is_named(other: str, ending: str, tmp_path: Path) -> None:
    content, right = OTHERS[other]
    (tmp_path / f"l{ending}").write_bytes(content)
    with pytest.raises(DataError, match=right):
        read_particle_list(tmp_path / f"l{ending}")


COLUMNS = (
    "tomogram",
    "Tomo Name",
    "tomo_id",
    "tilt_series",
    "TiltSeries",
    "tomogram_id",
    "ts",
    "run",
    "mic_name",
    "file",
)


@pytest.mark.parametrize("column", COLUMNS)
def test_no_list_of_two_tomograms_is_cut_from_one(column: str, tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text(f"{column},x,y,z\nTS_01,10,11,12\nTS_02,14,15,16\n")
    one = write_coded(tmp_path / "TS_01.mrc")
    with pytest.raises(DataError, match="2 tomograms"):
        centres(tmp_path / "l.csv", tomograms=one)
    write_coded(tmp_path / "TS_02.mrc", 1)
    assert centres(tmp_path / "l.csv") == [(0, TWO[0]), (1, TWO[1])]


@pytest.mark.parametrize("size", ["nan", "0", "-1", "none"])
def test_the_user_overrules_a_size_that_is_none(size: str, tmp_path: Path) -> None:
    write_coded(tmp_path / "TS_01.mrc")
    (tmp_path / "l.star").write_text(f"{HEAD}_rlnPixelSize\n{UNBINNED} {size}\n")
    with pytest.raises(DataError, match="for rlnPixelSize in row 0"):
        centres(tmp_path / "l.star")
    assert centres(tmp_path / "l.star", coordinate_size=5.0) == [(0, ONE[0])]


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".txt"])
def test_every_ending_is_inspected(ending: str, tmp_path: Path) -> None:
    write_coded(tmp_path / "TS_01.mrc")
    (tmp_path / f"l{ending}").write_text("x\ty\tz\n10\t11\t12\n")
    answer = CliRunner().invoke(cryoreg, ["inspect", str(tmp_path / f"l{ending}"), "--set", "dataset.box=4"])
    assert answer.exit_code == 0, answer.output


@pytest.mark.parametrize("path", ["D:\\data\\TS_01.mrc", "\\\\server\\data\\TS_01.mrc", "..\\TS_01.tomostar"])
@pytest.mark.parametrize("name", ["l.csv", "l.star"])
def test_paths_of_windows(name: str, path: str, tmp_path: Path) -> None:
    write_coded(tmp_path / "TS_01.mrc")
    text = f"tomogram,x,y,z\n{path},10,11,12\n" if name == "l.csv" else f"{HEAD}{path} 10 11 12\n"
    (tmp_path / name).write_text(text)
    assert centres(tmp_path / name) == [(0, ONE[0])]
