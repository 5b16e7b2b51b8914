"""Which tomogram is meant: names of lists against names of files, all together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.coded import centres, write_coded
from support.particle_writing import coordinates, write_star, write_tomograms_star
from support.tomograms import write_ome_zarr

from cryoreg.datasets.list_specs import TomogramSpec
from cryoreg.datasets.tomograms.matching import bare, match_names
from cryoreg.errors import DataError
from cryoreg.selection.listed import Listed

NONE, UNCLEAR = "none", "unclear"
MEANT = {
    # situation: (names, files, what each name means)
    "exact": (["TS_01.mrc"], ["TS_01.mrc", "TS_01.rec"], ["TS_01.mrc"]),
    "no ending": (["TS_01"], ["TS_01.mrc"], ["TS_01.mrc"]),
    "another ending": (["TS_01.mrc"], ["TS_01.rec"], ["TS_01.rec"]),
    "tomostar of Warp": (["TS_01.tomostar"], ["TS_01_10.00Apx.mrc"], ["TS_01_10.00Apx.mrc"]),
    "Warp keeps .mrc": (["TS_01.mrc.tomostar"], ["TS_01.mrc_10.00Apx.mrc"], ["TS_01.mrc_10.00Apx.mrc"]),
    "RELION 5": (["TS_01"], ["rec_TS_01.mrc"], ["rec_TS_01.mrc"]),
    "RELION 5, two digits": (["TS_1", "TS_11"], ["rec_TS_1.mrc", "rec_TS_11.mrc"], ["rec_TS_1.mrc", "rec_TS_11.mrc"]),
    "IMOD": (["TS_01"], ["TS_01_full_rec.mrc"], ["TS_01_full_rec.mrc"]),
    "IMOD, binned SIRT": (["TS_01"], ["TS_01_bin4_SIRT.rec"], ["TS_01_bin4_SIRT.rec"]),
    "AreTomo": (["TS_01.mrc"], ["TS_01_Vol.mrc"], ["TS_01_Vol.mrc"]),
    "EMAN": (["TS_01"], ["TS_01__bin4.mrc"], ["TS_01__bin4.mrc"]),
    "a half by its name": (["TS_01"], ["TS_01_even.mrc"], ["TS_01_even.mrc"]),
    "the whole before its halves": (["TS_01"], ["TS_01.mrc", "TS_01_even.mrc", "TS_01_odd.mrc"], ["TS_01.mrc"]),
    "the whole before its halves, of AreTomo": (
        ["TS_01"],
        ["TS_01_EVN_Vol.mrc", "TS_01_ODD_Vol.mrc", "TS_01_Vol.mrc"],
        ["TS_01_Vol.mrc"],
    ),
    "the whole before its halves, of RELION": (
        ["TS_1", "TS_2"],
        ["rec_TS_1.mrc", "rec_TS_1_half1.mrc", "rec_TS_1_half2.mrc", "rec_TS_2.mrc", "rec_TS_2_half1.mrc"],
        ["rec_TS_1.mrc", "rec_TS_2.mrc"],
    ),
    "a half that the list names": (
        ["TS_01_half2"],
        ["rec_TS_01_half1.mrc", "rec_TS_01_half2.mrc", "rec_TS_01.mrc"],
        ["rec_TS_01_half2.mrc"],
    ),
    "the other half than the list names": (["TS_01_half2"], ["rec_TS_01_half1.mrc"], [NONE]),
    "a mask alone": (["TS_01"], ["TS_01_mask.mrc"], [NONE]),
    "a mask beside": (["TS_01"], ["TS_01_10.00Apx.mrc", "TS_01_mask.mrc"], ["TS_01_10.00Apx.mrc"]),
    "scores of template matching": (["TS_01"], ["TS_01_scores.mrc", "rec_TS_01.mrc"], ["rec_TS_01.mrc"]),
    "a mask that is meant": (["TS_01_mask"], ["TS_01.mrc", "TS_01_mask.mrc"], ["TS_01_mask.mrc"]),
    "two halves": (["TS_01"], ["TS_01_even.mrc", "TS_01_odd.mrc"], [UNCLEAR]),
    "two binnings": (["TS_01"], ["TS_01_bin4.mrc", "TS_01_bin8.mrc"], [UNCLEAR]),
    "two binnings, one named": (["TS_01_bin8"], ["TS_01_bin4.mrc", "TS_01_bin8.mrc"], ["TS_01_bin8.mrc"]),
    "another binning than named": (["TS_01_bin8"], ["TS_01_bin4.mrc"], [NONE]),
    "another pixel size than named": (["TS_01_10.00Apx"], ["TS_01_13.50Apx.mrc"], [NONE]),
    "denoised, in the list": (["TS_01_denoised.mrc"], ["TS_01.mrc"], ["TS_01.mrc"]),
    "a word before": (["TS_01"], ["grid2_TS_01.mrc"], ["grid2_TS_01.mrc"]),
    "a word behind": (["TS_01"], ["TS_01_lamella.mrc"], ["TS_01_lamella.mrc"]),
    "a date before": (["TS_01"], ["2023-10-12_TS_01.mrc"], ["2023-10-12_TS_01.mrc"]),
    "part of a word": (["TS_1"], ["TS_11.mrc"], [NONE]),
    "part of a word, before": (["S_01"], ["TS_01.mrc"], [NONE]),
    "a letter behind": (["TS_01"], ["TS_01b.mrc"], [NONE]),
    "PACEtomo": (
        ["Position_1", "Position_1_2"],
        ["Position_1_10.00Apx.mrc", "Position_1_2_10.00Apx.mrc"],
        ["Position_1_10.00Apx.mrc", "Position_1_2_10.00Apx.mrc"],
    ),
    "PACEtomo in RELION 5": (
        ["Position_1_2", "Position_1"],
        ["rec_Position_1.mrc", "rec_Position_1_2.mrc"],
        ["rec_Position_1_2.mrc", "rec_Position_1.mrc"],
    ),
    "PACEtomo, the first is absent": (["Position_1"], ["Position_1_2.mrc"], [NONE]),
    "PACEtomo, the first is absent, both named": (
        ["Position_1", "Position_1_2"],
        ["Position_1_2.mrc"],
        [NONE, "Position_1_2.mrc"],
    ),
    "PACEtomo, the second is absent": (["Position_1", "Position_1_2"], ["Position_1.mrc"], ["Position_1.mrc", NONE]),
    "a file with an owner is not lent": (
        ["TS_01", "grid2_TS_01"],
        ["grid2_TS_01.mrc"],
        [NONE, "grid2_TS_01.mrc"],
    ),
    "one file, two names": (["TS_01_even", "TS_01_odd"], ["TS_01.mrc"], [UNCLEAR, UNCLEAR]),
    "one file, two folders": (["a/TS_01.mrc", "b/TS_01.mrc"], ["TS_01.mrc"], [UNCLEAR, UNCLEAR]),
    "one file, two spellings": (["TS_01", "TS_01.tomostar"], ["TS_01.mrc"], ["TS_01.mrc", "TS_01.mrc"]),
    "number": (["3"], ["tomo_03.mrc", "tomo_13.mrc"], ["tomo_03.mrc"]),
    "number with zeros": (["007"], ["007.mrc", "7.rec"], ["007.mrc"]),
    "number beside a binning": (["1", "2"], ["ts_1_bin2.mrc", "ts_2_bin2.mrc"], ["ts_1_bin2.mrc", "ts_2_bin2.mrc"]),
    "number of a binning": (["4"], ["ts_1_bin4.mrc"], [NONE]),
    "number of a pixel size": (["10"], ["ts_1_10.00Apx.mrc"], [NONE]),
    "number of a plain pixel size": (["13"], ["ts_1_13.48.mrc"], [NONE]),
    "number of a half": (["1"], ["ts_2_half1.mrc"], [NONE]),
    "number of a binning, nothing else": (["4"], ["bin4.mrc"], [NONE]),
    "number of a binning in front": (["4"], ["bin4_tomogram.mrc"], [NONE]),
    "number of a binning in the middle": (["4"], ["ts_bin4_lamella.mrc"], [NONE]),
    "number beside a binning in front": (["1"], ["bin4_ts_1.mrc"], ["bin4_ts_1.mrc"]),
    "number of a pixel size in front": (["10"], ["10.00Apx_ts.mrc"], [NONE]),
    "number of whole Å": (["10"], ["ts_10A.mrc"], [NONE]),
    "number beside whole Å": (["1"], ["ts_1_10A.mrc"], ["ts_1_10A.mrc"]),
    "number of a version": (["2"], ["tomo_v2.mrc"], [NONE]),
    "number of iterations": (["10"], ["tomo_iter10.mrc"], [NONE]),
    "number of a voltage": (["300"], ["tomo_300kV.mrc"], [NONE]),
    "number in a word": (["1"], ["ts1_b4.mrc"], ["ts1_b4.mrc"]),
    "number of a half in front": (["1"], ["half1_ts_2.mrc"], [NONE]),
    "one of two numbers": (["1"], ["Position_1_2.mrc"], [NONE]),
    "sums of numbers": (["12"], ["Position_1_2.mrc"], [NONE]),
    "case": (["ts_01"], ["TS_01.mrc"], [NONE]),
    "case of what is added": (["TS_01"], ["REC_TS_01_BIN4.MRC"], ["REC_TS_01_BIN4.MRC"]),
    "a name that is all addition": (["rec"], ["rec.mrc"], ["rec.mrc"]),
    "dots": (["a.b"], ["a.b.mrc", "a.mrc"], ["a.b.mrc"]),
    "nothing there": (["TS_01"], [], [NONE]),
}


@pytest.mark.parametrize("situation", MEANT)
def test_names_mean_files(situation: str) -> None:
    names, files, meant = MEANT[situation]
    for listed in (files, files[::-1]):
        matches = match_names(names, listed)
        found = {name: match.file for name, match in matches.found.items()}
        assert [found.get(name, UNCLEAR if name in matches.unclear else NONE) for name in names] == meant


def test_the_reason_is_told() -> None:
    files = ["a.mrc", "rec_b_bin4.mrc", "x_c.mrc", "d.rec"]
    matches = match_names(["a.mrc", "b", "c", "d"], files).found
    assert {name: match.reason for name, match in matches.items()} == {
        "a.mrc": "the exact name",
        "d": "the name without ending",
        "b": "the name without what programs add",
        "c": "the name as words",
    }


@pytest.mark.parametrize("name", ["TS_01", "TS_01.mrc", "a/b/TS_01.ome.zarr/", "TS_01.mrc.tomostar", "TS_01.mrc.gz"])
def test_bare_names(name: str) -> None:
    assert bare(name) == "TS_01"


# ---- the same through readers


def star(folder: Path, places: list[tuple[float, float, float, str]], column: str = "rlnTomoName") -> Path:
    xyz = np.array([row[:3] for row in places], dtype=float)
    return write_star(folder / "p.star", {column: [row[3] for row in places], **coordinates(xyz)})


def dynamo(folder: Path, places: list[tuple[float, float, float, int]]) -> Path:
    table = np.zeros((len(places), 35))
    for row, (x, y, z, number) in enumerate(places):
        table[row, 19], table[row, 23:26] = number, (x + 0.5, y + 0.5, z + 0.5)
    np.savetxt(folder / "crop.tbl", table, fmt="%.5g")
    return folder / "crop.tbl"


def test_the_folder_that_the_user_names_overrules_the_list(tmp_path: Path) -> None:
    write_coded(tmp_path / "tomograms" / "TS_01.mrc", 0)
    write_coded(tmp_path / "denoised" / "TS_01.mrc", 1)
    path = star(tmp_path, [(10, 11, 12, "tomograms/TS_01.mrc")], "rlnMicrographName")
    assert centres(path) == [(0, (10, 11, 12))]
    assert centres(path, tomograms=tmp_path / "denoised") == [(1, (10, 11, 12))]
    assert centres(path, tomograms=tmp_path / "denoised" / "TS_01.mrc") == [(1, (10, 11, 12))]


def test_a_path_below_the_folder_that_the_user_names(tmp_path: Path) -> None:
    write_coded(tmp_path / "project" / "a" / "TS_01.mrc", 0)
    write_coded(tmp_path / "project" / "b" / "TS_01.mrc", 1)
    rows = [(10, 11, 12, "a/TS_01.mrc"), (14, 15, 16, "b/TS_01.mrc")]
    path = star(tmp_path, rows, "rlnMicrographName")
    assert centres(path, tomograms=tmp_path / "project") == [(0, (10, 11, 12)), (1, (14, 15, 16))]


def test_what_the_folder_lacks_is_not_taken_from_elsewhere(tmp_path: Path) -> None:
    write_coded(tmp_path / "tomograms" / "TS_01.mrc")
    write_coded(tmp_path / "denoised" / "TS_02.mrc")
    path = star(tmp_path, [(10, 11, 12, "tomograms/TS_01.mrc")], "rlnMicrographName")
    with pytest.raises(DataError, match=r"'tomograms/TS_01.mrc', which is not in .*denoised \(it holds TS_02.mrc"):
        centres(path, tomograms=tmp_path / "denoised")
    path = star(tmp_path, [(10, 11, 12, "../tomograms/TS_01.mrc")], "rlnMicrographName")
    with pytest.raises(DataError, match="is not in"):
        centres(path, tomograms=tmp_path / "denoised")


def test_the_only_file_for_two_names_is_refused(tmp_path: Path) -> None:
    write_coded(tmp_path / "TS_01.mrc")
    path = star(tmp_path, [(10, 11, 12, "TS_01_even"), (10, 11, 12, "TS_01_odd")])
    with pytest.raises(DataError, match=r"'TS_01_even' and 'TS_01_odd', but .* a single file for both \(TS_01.mrc\)"):
        centres(path)


@pytest.mark.parametrize("separator", [" ", "\t", "  \t "])
@pytest.mark.parametrize("ending", [".doc", ".vll"])
def test_a_table_of_numbers_decides(separator: str, ending: str, tmp_path: Path) -> None:
    """By the names of files, 1 and 2 would be the other way round."""
    write_coded(tmp_path / "a" / "ts_1.mrc", 0)
    write_coded(tmp_path / "a" / "ts_2.mrc", 1)
    lines = {
        ".doc": f"2{separator}a/ts_1.mrc\n\n1{separator}a/ts_2.mrc\n",
        ".vll": "a/ts_2.mrc\n* apix = 10\na/ts_1.mrc\n",
    }
    path = dynamo(tmp_path, [(10, 11, 12, 1), (14, 15, 16, 2)])
    (tmp_path / f"index{ending}").write_text(lines[ending])
    turned = [(1, (10, 11, 12)), (0, (14, 15, 16))]
    assert centres(path, tomograms=tmp_path / f"index{ending}") == turned
    (tmp_path / "crop.doc").write_text("1 a/ts_1.mrc\n2 a/ts_2.mrc\n")
    assert centres(path) == [(0, (10, 11, 12)), (1, (14, 15, 16))]
    assert centres(path, tomograms=tmp_path / f"index{ending}") == turned
    assert centres(path, tomograms=tmp_path / "a") == [(0, (10, 11, 12)), (1, (14, 15, 16))]


TABLES = {
    # situation: (tables beside crop.tbl, what is told of them)
    "one, of another name": ({"index.doc": "21"}, "index.doc"),
    "the list's own, and another": ({"crop.doc": "21", "all.doc": "12"}, None),
    "two that say the same": ({"b.doc": "21", "a.doc": "21"}, "a.doc and b.doc"),
    "two that add to each other": ({"b.doc": "2", "a.doc": " 1"}, "a.doc and b.doc"),
    "a letter beside": ({"a.doc": "", "b.doc": "21"}, "b.doc"),
}


def write_tables(folder: Path, tables: dict[str, str]) -> Path:
    """Two tomograms, files that give their numbers names ("21": 1 is ts_2.mrc), and a list of particles in both."""
    for number in (1, 2):
        write_coded(folder / f"ts_{number}.mrc", number - 1)
    for name, files in tables.items():
        rows = [f"{row} ts_{file}.mrc" for row, file in enumerate(files, 1) if file != " "]
        (folder / name).write_text("\n".join(rows) or "Dear all,\nhere are the tomograms.")
    return dynamo(folder, [(10, 11, 12, 1), (14, 15, 16, 2)])


@pytest.mark.parametrize(("tables", "told"), TABLES.values(), ids=TABLES)
def test_which_tables_of_numbers_are_taken_is_told(tables, told, tmp_path: Path) -> None:
    path = write_tables(tmp_path, tables)
    assert [found for found, _ in centres(path)] == [1, 0]
    said = [note for note in TomogramSpec(root=path, box=4).open().notes if "beside the list" in note]
    assert said == ([f"tomograms are those of their numbers in {told}, beside the list"] if told else [])
    index = tmp_path / "told.vll"
    index.write_text("ts_1.mrc\nts_2.mrc\n")
    assert [found for found, _ in centres(path, tomograms=index)] == [0, 1]
    assert not any("beside the list" in note for note in TomogramSpec(root=path, box=4, tomograms=index).open().notes)


def test_tables_of_numbers_that_contradict_are_refused(tmp_path: Path) -> None:
    path = write_tables(tmp_path, {"b.doc": "21", "a.doc": "12"})
    with pytest.raises(
        DataError, match=r"1 is ts_1\.mrc by .*a\.doc and ts_2\.mrc by .*b\.doc.*dataset.tomograms=<one"
    ):
        TomogramSpec(root=path, box=4).open()
    with pytest.raises(DataError, match=r"a\.doc"):
        TomogramSpec(root=path, box=4, tomograms=tmp_path).open()
    assert [found for found, _ in centres(path, tomograms=tmp_path / "b.doc")] == [1, 0]
    dynamo(tmp_path, [(10, 11, 12, 3)])  # of which neither knows
    write_coded(tmp_path / "3.mrc", 2)
    assert [found for found, _ in centres(path)] == [2]


def test_a_number_that_the_table_lacks(tmp_path: Path) -> None:
    write_coded(tmp_path / "ts_1.mrc")
    write_coded(tmp_path / "ts_3.mrc")
    path = dynamo(tmp_path, [(10, 11, 12, 3)])
    (tmp_path / "index.doc").write_text("1 ts_1.mrc\n")
    with pytest.raises(DataError, match=r"'3', which is not in .*index.doc \(it holds ts_1.mrc"):
        centres(path, tomograms=tmp_path / "index.doc")


def test_a_number_of_two_files(tmp_path: Path) -> None:
    write_coded(tmp_path / "ts_1.mrc")
    path = dynamo(tmp_path, [(10, 11, 12, 1)])
    (tmp_path / "index.doc").write_text("1 ts_1.mrc\n1 ts_2.mrc\n")
    with pytest.raises(DataError, match=r"gives tomogram 1 two files, ts_1\.mrc and ts_2\.mrc"):
        centres(path, tomograms=tmp_path / "index.doc")


def test_denoised_where_tomograms_star_has_nothing_else(tmp_path: Path) -> None:
    write_coded(tmp_path / "x" / "TS_01_denoised.mrc")
    column = {"rlnTomoReconstructedTomogramDenoised": ["x/TS_01_denoised.mrc"]}
    table = write_tomograms_star(tmp_path / "tomograms.star", None, 4.0, **column)
    assert centres(star(tmp_path, [(40, 44, 48, "TS_01")]), tomograms=table) == [(0, (10, 11, 12))]


def test_halves_in_tomograms_star_are_named(tmp_path: Path) -> None:
    write_coded(tmp_path / "x" / "TS_01_half1.mrc")
    column = {"rlnTomoReconstructedTomogramHalf1": ["x/TS_01_half1.mrc"]}
    table = write_tomograms_star(tmp_path / "tomograms.star", None, 4.0, **column)
    with pytest.raises(DataError, match=r"tomograms.star has rlnTomoReconstructedTomogramHalf1, no whole tomogram"):
        centres(star(tmp_path, [(40, 44, 48, "TS_01")]), tomograms=table)


def test_zarr_images_have_names_too(tmp_path: Path) -> None:
    from support.coded import coded

    for number, name in enumerate(("Position_1", "Position_1_2")):
        write_ome_zarr(tmp_path / f"{name}.ome.zarr", {10.0: coded(number)})
    path = star(tmp_path, [(10, 11, 12, "Position_1"), (14, 15, 16, "Position_1_2")])
    assert centres(path) == [(0, (10, 11, 12)), (1, (14, 15, 16))]


def test_a_list_that_names_no_tomogram_means_that_which_it_is_called(tmp_path: Path) -> None:
    """As crYOLO's lists are, and the models of IMOD; with one tomogram of another name there, a note asks."""
    for number in (1, 2, 3):
        write_coded(tmp_path / f"TS_0{number}_10.00Apx.mrc", number)
    path = tmp_path / "TS_02.coords"
    path.write_text("20 11 12\n21 9 10\n")
    assert centres(path) == [(2, (20.0, 11.0, 12.0)), (2, (21.0, 9.0, 10.0))]
    assert not [note for note in TomogramSpec(root=path, box=4).build().notes if "is it of this one" in note]
    [note] = Listed.read(str(path)).notes_on_moved(tmp_path / "best.coords")
    assert f"is of {tmp_path / 'TS_02_10.00Apx.mrc'}, which nothing says of {tmp_path / 'best.coords'}" in note
    with pytest.raises(
        DataError, match=r"TS_02\.coords: names no tomogram and is of .*TS_02.*, but .* would be of .*TS_03"
    ):
        Listed.read(str(path)).notes_on_moved(tmp_path / "TS_03.coords")
    picks = path.rename(tmp_path / "TS_04.coords")
    with pytest.raises(DataError, match=r"does not name its tomograms, and .* holds 3"):
        centres(picks)
    for number in (2, 3):
        (tmp_path / f"TS_0{number}_10.00Apx.mrc").unlink()
    assert centres(picks)[0] == (1, (20.0, 11.0, 12.0))
    notes = TomogramSpec(root=picks, box=4).build().notes
    assert [note for note in notes if "TS_01_10.00Apx.mrc: is the only one there for TS_04.coords" in note]
