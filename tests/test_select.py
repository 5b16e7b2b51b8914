"""`cryoreg select`: rows go, all else stays to the character; who stays is what slow loops say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import starfile
from click.testing import CliRunner
from scipy.spatial.distance import pdist
from support import particle_writing

from cryoreg.errors import ConfigError
from cryoreg.selection.distances import Distance
from cryoreg_cli.main import cryoreg

LIST = """# version 30001

data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
_rlnMicrographPixelSize #3
1  first   10.0
2  second  10.0


# chosen by hand
data_particles

loop_
_rlnTomoName #1
_rlnCoordinateX #2
_rlnCoordinateY #3
_rlnCoordinateZ #4
_myOwnColumn #5
_rlnOpticsGroup #6
_rlnClassNumber #7
_cryoregClassName #8
_cryoregConfidence #9
_cryoregUnsure #10
_cryoregFamiliarity #11
_cryoregNoneOfThese #12
"""
ROWS = [
    'TS_1  10.0 10 10  "a b"   1 1 "80S ribosome" 0.9000 0 0.5000 0  # good',
    "TS_1  1.2e1 10 10  007    1 1 '80S ribosome' 0.9500 0 0.0100 1",
    "TS_1  30 10 10  x    2 2 26S 0.4000 1 0.9000 0",
    "TS_2  10 10 10  x    2 2 26S 0.8000 0 0.3000 0",
    "TS_2  10 10 11.5  x  1 1 '80S ribosome' 0.6000 0 0.2000 -1",
    "TS_2  50 50 50  x    1 0 none 0.0000 1 0.0000 1",
]
END = "\ndata_more\n\n_what 'it is'\n"


def write(path: Path, rows: list[str] = ROWS, head: str = LIST) -> Path:
    path.write_text(head + "".join(f"{row}\n" for row in rows) + END, "utf-8")
    return path


@pytest.fixture
def particles(tmp_path) -> Path:
    return write(tmp_path / "list.star")


def select(*words):
    result = CliRunner().invoke(cryoreg, ["select", *map(str, words)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result


def kept(particles: Path, *words) -> list[int]:
    """Return which rows of `ROWS` are left, having made sure that all else is as it was."""
    output = particles.with_name(f"out{particles.suffix}")
    result = select(particles, "--output", output, "--overwrite", *words)
    assert result.exit_code == 0, result.output
    text = output.read_text("utf-8")
    rows = [number for number, row in enumerate(ROWS) if row in text]
    assert text == LIST + "".join(f"{ROWS[row]}\n" for row in rows) + END
    return rows


@pytest.mark.parametrize(
    ("words", "rows"),
    [
        ([], [0, 1, 2, 3, 4, 5]),
        (["--class", "80S ribosome"], [0, 1, 4]),
        (["--class", "1"], [0, 1, 4]),
        (["--class", "26S", "--class", "1"], [0, 1, 2, 3, 4]),
        (["--class", "0", "--class-column", "rlnClassNumber"], [5]),
        (["--min-confidence", "0.6"], [0, 1, 3, 4]),
        (["--min-familiarity", "0.3"], [0, 2, 3]),
        (["--unsure", "drop"], [0, 1, 3, 4]),
        (["--none-of-these", "drop"], [0, 2, 3, 4]),
        (["--none-of-these", "only"], [1, 5]),
        (["--tomogram", "TS_2"], [3, 4, 5]),
        (["--ids", "TS_1/0,TS_2/3"], [0, 3]),
        (["--distance", "25A"], [1, 2, 3, 5]),
        (["--distance", "2.5nm"], [1, 2, 3, 5]),
        (["--distance", "2.1vx"], [1, 2, 3, 5]),
        (["--distance", "15A"], [0, 1, 2, 3, 4, 5]),  # at 15 Å two are not nearer than that
        (["--distance", "25A", "--none-of-these", "drop"], [0, 2, 3]),  # only those that are left have neighbours
        (["--distance", "25A", "--coordinate-size", "20"], [0, 1, 2, 3, 4, 5]),
        (["--per-tomogram", "1"], [1, 3]),
        (["--class", "80S ribosome", "--per-tomogram", "1"], [1, 4]),
    ],
)
def test_who_stays(particles, words, rows):
    assert kept(particles, *words) == rows


def test_it_says_how_many_of_each_class_and_why_others_go(particles, tmp_path):
    result = select(particles, "--output", tmp_path / "o.star", "--unsure", "drop", "--distance", "25A")
    lines = [line.split() for line in result.output.replace("│", " ").splitlines()]
    assert ["26S", "2", "1"] in lines
    assert ["80S", "ribosome", "3", "1"] in lines
    assert ["(no", "class)", "1", "0"] in lines
    assert "2  left out: unsure\n" in result.output
    assert "2  left out: less than 25 Å from a better one\n" in result.output
    assert "the higher cryoregConfidence is better" in result.output
    unknown = select(particles, "--output", tmp_path / "p.star", "--none-of-these", "drop")
    assert "of 1 particles it is not known whether they are none of these" in unknown.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--class", "60S"], "has no class '60S' (there are: 26S, 80S ribosome)"),
        (["--tomogram", "TS_9"], "has no tomogram 'TS_9' (there are: TS_1, TS_2)"),
        (["--class-column", "size"], "has no column 'size'"),
        (["--ids", "TS_9/1"], "has none of the 1 --ids (its first is 'TS_1/0')"),
        (["--min-confidence", "0.99"], "of 6 particles none is left (6 with confidence below 0.99)"),
        (["--distance", "12"], "--distance 12: write a positive number and its unit: 120A, 12nm or 8vx"),
        (["--distance", "0A"], "--distance 0A: write a positive number"),
        (["--merge", "list.star"], "is merged with itself"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(particles, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    result = select(particles, "--output", tmp_path / "o.star", *words)
    assert result.exit_code == 1
    assert message in result.output
    assert result.output.count("\n") == 1
    assert [*tmp_path.iterdir()] == [particles]


def test_the_list_is_never_written_to(particles):
    before = particles.read_bytes()
    result = select(particles, "--output", particles, "--class", "26S", "--overwrite")
    assert result.exit_code == 1
    assert "is what is read" in result.output
    assert particles.read_bytes() == before
    assert "as that is; name it .star" in select(particles, "--output", particles.with_suffix(".csv")).output


def test_a_unit_that_nobody_knows_is_asked_for(tmp_path):
    particles = particle_writing.csv(tmp_path)
    result = select(particles, "--output", tmp_path / "o.csv", "--distance", "10A")
    assert result.exit_code == 1
    assert "say --coordinate-size <Å>, or give the distance in voxels" in result.output
    assert select(particles, "--output", tmp_path / "o.csv", "--distance", "1vx").exit_code == 0
    particles = particle_writing.relion5(tmp_path)
    result = select(particles, "--output", tmp_path / "o.star", "--distance", "3vx")
    assert result.exit_code == 1
    assert "has coordinates in Å; give the distance in Å" in result.output


UNSIZED = (
    "relion3",
    "relion31",
    "csv",
    "csv_spaces",
    "dynamo",
    "stopgap",
    "cryocat",
    "emclarity",
    "pytom",
    "imod_points",
    "cbox",
    "coords",
)
"""Formats that do not say in what coordinates are; optics groups of relion31 tell of images alone."""


NOT_KEPT = ("ndjson", "copick", "imod", "peet", "em_motive_list", "eman2")


@pytest.mark.parametrize("name", [name for name in particle_writing.FORMATS if name not in NOT_KEPT])
def test_distances_are_the_same_in_every_format(name, tmp_path):
    """The points of the support module, in voxels of 10 Å: just above their smallest distance, one goes."""
    particles = particle_writing.FORMATS[name](tmp_path)
    output = tmp_path / f"o{particles.suffix}"
    size = ["--coordinate-size", 10] if name in UNSIZED else []
    nearest = 10 * pdist(particle_writing.XYZ).min()
    for limit, left in ((nearest - 0.5, len(particle_writing.XYZ)), (nearest + 0.5, len(particle_writing.XYZ) - 1)):
        result = select(particles, "--output", output, "--distance", f"{limit:.3f}A", "--overwrite", *size)
        assert f"{left:9,}  {output}" in result.output, result.output


@pytest.mark.parametrize("name", NOT_KEPT)
def test_lists_that_cannot_lose_rows_are_refused(name, tmp_path):
    particles = particle_writing.FORMATS[name](tmp_path)
    result = select(particles, "--output", tmp_path / f"o{particles.suffix}", "--class", "1")
    assert result.exit_code == 1
    assert "is no list that can be kept" in result.output or "cannot lose some" in result.output


def test_the_distance_rule_against_a_slow_loop(tmp_path):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.uniform(0, 40, (120, 3)), columns=list("xyz")).assign(
        tomogram=rng.choice(["a", "b"], 120), confidence=rng.permutation(120) / 120, voxel_size=4.0
    )
    table.to_csv(tmp_path / "l.csv", index=False)
    assert select(tmp_path / "l.csv", "--output", tmp_path / "o.csv", "--distance", "40A").exit_code == 0
    stay: list[int] = []
    for row in np.argsort(-table["confidence"]):
        mine = [other for other in stay if table["tomogram"][other] == table["tomogram"][row]]
        places = table[["x", "y", "z"]].to_numpy() * 4
        if all(np.linalg.norm(places[row] - places[other]) >= 40 for other in mine):
            stay.append(row)
    assert 2 < len(stay) < 110
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "o.csv"), table.loc[sorted(stay)].reset_index(drop=True))


def test_a_table_of_predictions_keeps_its_cells(tmp_path):
    """Quotes, a line break in a cell, a comment, an empty line and Windows' ends of lines stay as they are."""
    head = '# from predict\r\nid,file,row,tomogram,"prediction",confidence,none_of_these\r\n'
    rows = [
        '1,"a\nb",0,t,80S,0.5,0\r\n',
        "\r\n# second\r\n",
        '2,"say ""x""",1,t,\'=x,0.9,0\r\n',
        "3,c,2,u,80S,0.7,1\r\n",
    ]
    (tmp_path / "p.csv").write_bytes((head + "".join(rows)).encode())
    words = [tmp_path / "p.csv", "--output", tmp_path / "o.csv", "--overwrite"]
    assert select(*words, "--class", "80S").exit_code == 0
    assert (tmp_path / "o.csv").read_bytes().decode() == head + rows[0] + rows[1] + rows[3]
    (tmp_path / "ids.csv").write_text("id,class\n2,x\n9,x\n")
    result = select(*words, "--ids", tmp_path / "ids.csv")
    assert "1 of 2 --ids are not listed (the first: 9)" in result.output
    assert (tmp_path / "o.csv").read_bytes().decode() == head + rows[1] + rows[2]
    assert "has no class 'x' (there are: 80S, =x)" in select(*words, "--class", "x").output


def test_a_dynamo_table_by_class_and_correlation(tmp_path):
    count = len(particle_writing.XYZ)
    classes, correlation = np.arange(count) % 2 + 1, np.linspace(0.1, 0.9, count)
    particles = particle_writing.dynamo(tmp_path, column22=classes, column10=correlation)
    lines = particles.read_text().splitlines(keepends=True)
    assert select(particles, "--output", tmp_path / "o.tbl", "--class", "2").exit_code == 0
    assert (tmp_path / "o.tbl").read_text() == "".join(lines[1::2])
    result = select(particles, "--output", tmp_path / "p.tbl", "--distance", "9999vx")
    assert "the higher column10 is better" in result.output
    assert (tmp_path / "p.tbl").read_text() == lines[-1]


def test_split_writes_a_file_for_each(particles, tmp_path):
    result = select(particles, "--output", tmp_path / "s.star", "--split", "class", "--unsure", "drop")
    assert result.exit_code == 0, result.output
    assert sorted(file.name for file in tmp_path.glob("s_*")) == ["s_26S.star", "s_80S_ribosome.star"]
    assert len(starfile.read(tmp_path / "s_80S_ribosome.star")["particles"]) == 3
    again = select(particles, "--output", tmp_path / "s.star", "--split", "class")
    assert again.exit_code == 1
    assert "exists already" in again.output
    assert not (tmp_path / "s_none.star").exists()
    assert select(particles, "--output", tmp_path / "t.star", "--split", "tomogram").exit_code == 0
    whole = starfile.read(particles)["particles"]
    for name in ("TS_1", "TS_2"):
        part = starfile.read(tmp_path / f"t_{name}.star")["particles"]
        pd.testing.assert_frame_equal(
            part, whole[whole["rlnTomoName"] == name].reset_index(drop=True), check_dtype=False
        )


OTHER = """
data_optics
loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnMicrographPixelSize #3
second  1  10.0
first  2  5.0

data_particles
loop_
_rlnCoordinateX
_rlnTomoName
_rlnCoordinateY
_rlnCoordinateZ
_myOwnColumn
_rlnOpticsGroup
_rlnClassNumber
_cryoregClassName
_cryoregConfidence
_cryoregUnsure
_cryoregFamiliarity
_cryoregNoneOfThese
90  TS_3  80 70 "c d"  1 2 26S 0.7 0 0.1 0
91  TS_3  81 71 y  2 1 '80S ribosome' 0.99 0 0.1 0
"""


def test_merged_lists_keep_columns_by_name_and_every_particle_its_optics(particles, tmp_path):
    (tmp_path / "b.star").write_text(OTHER + END)
    output = tmp_path / "m.star"
    result = select(particles, "--merge", tmp_path / "b.star", "--output", output, "--min-confidence", "0.7")
    assert result.exit_code == 0, result.output
    merged = starfile.read(output)
    table, optics = merged["particles"], merged["optics"].set_index("rlnOpticsGroup")
    assert list(table["rlnTomoName"]) == ["TS_1", "TS_1", "TS_2", "TS_3", "TS_3"]
    assert list(table["rlnCoordinateX"]) == [10, 12, 10, 90, 91]
    assert list(table["myOwnColumn"].astype(str)) == ["a b", "007", "x", "c d", "y"]
    assert list(optics.loc[table["rlnOpticsGroup"], "rlnMicrographPixelSize"]) == [10, 10, 10, 10, 5]
    assert list(optics["rlnOpticsGroupName"]) == ["first", "second", "first_2"]
    assert output.read_text().startswith(LIST.partition("1  first")[0])
    assert output.read_text().endswith(END)
    third = write(tmp_path / "c.star", [ROWS[0].replace("TS_1", "TS_4")])
    words = ["--merge", tmp_path / "b.star", "--merge", third, "--output", tmp_path / "n.star"]
    assert select(particles, *words).exit_code == 0
    assert len(starfile.read(tmp_path / "n.star")["particles"]) == len(ROWS) + 3


def test_lists_that_are_not_alike_are_not_merged(particles, tmp_path):
    def refused(text: str) -> str:
        (tmp_path / "b.star").write_text(text)
        result = select(particles, "--merge", tmp_path / "b.star", "--output", tmp_path / "m.star")
        assert result.exit_code == 1
        assert result.output.count("\n") == 1
        return result.output

    assert "'another' is in" in refused((OTHER + END).replace("_myOwnColumn", "_another"))
    assert "says in block 'more'" in refused(OTHER + END.replace("it is", "it was"))
    assert "other columns of optics groups" in refused((OTHER + END).replace("_rlnOpticsGroupName", "_rlnVoltage", 1))
    first, second = particle_writing.dynamo(tmp_path), tmp_path / "second.tbl"
    second.write_text(first.read_text())
    result = select(first, "--merge", second, "--output", tmp_path / "m.tbl")
    assert result.exit_code == 1
    assert "has the tag 1, as" in result.output


def test_fractions_are_not_merged_with_voxels(tmp_path):
    """Both are rlnCoordinateX; fractions are known by all of a list being from 0 to 1."""
    head = "data_\n\nloop_\n_rlnMicrographName\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n"
    voxels, fractions = tmp_path / "v.star", tmp_path / "f.star"
    voxels.write_text(f"{head}TS_1.mrc 10 20 5\n")
    fractions.write_text(f"{head}TS_2.mrc 0.25 0.5 0.5\n")
    for one, other in ((voxels, fractions), (fractions, voxels)):
        result = select(one, "--merge", other, "--output", tmp_path / "m.star")
        assert result.exit_code == 1
        assert f"{fractions} has fractions of its tomograms' size (Warp's matching), and {voxels} has" in result.output
    second = tmp_path / "f2.star"
    second.write_text(fractions.read_text().replace("0.25", "0.75"))
    assert select(fractions, "--merge", second, "--output", tmp_path / "m.star").exit_code == 0


def test_lists_that_name_no_tomograms_are_told_of(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("x,y,z\n1,2,3\n")
    said = select(tmp_path / "a.csv", "--merge", tmp_path / "b.csv", "--output", tmp_path / "m.csv").output
    assert f"{tmp_path}/a.csv and {tmp_path}/b.csv do not name their tomograms, and merged are of one" in said


@pytest.mark.parametrize(
    ("text", "length", "in_voxels"),
    [("120A", 120, False), ("12 nm", 120, False), ("1.5Å", 1.5, False), ("8vx", 8, True), ("8 voxels", 8, True)],
)
def test_distances_are_read(text, length, in_voxels):
    assert Distance.parse(text) == (length, in_voxels)


@pytest.mark.parametrize("text", ["", "A", "-3A", "3 kg", "1e3A", "nan A"])
def test_distances_without_a_unit_are_refused(text):
    with pytest.raises(ConfigError, match="write a positive number and its unit"):
        Distance.parse(text)
