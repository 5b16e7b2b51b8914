"""Columns and files whose meaning a list or a folder tells beside what is looked for; each names the report."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from support.coded import centres, write_coded
from support.mrc_writing import noise, write_mrc
from support.particle_writing import write_star

from cryoreg.datasets.readers.star import Star
from cryoreg.datasets.readers.tomogram import TomogramParticles
from cryoreg.errors import DataError

ONE, TWO = (0, (10, 11, 12)), (1, (14, 15, 16))
PLACES = {"X": [10, 14], "Y": [11, 15], "Z": [12, 16]}


# ---- columns that name the tomogram


@pytest.mark.parametrize("column", ["experiment", "Experiment ID", "rlnTomoName", "rlnMicrographName"])
def test_the_tomogram_of_tables_of_others(column: str, tmp_path: Path) -> None:
    """The CZII challenge calls it ``experiment``; starfile and pandas carry RELION's words into CSV."""
    write_coded(tmp_path / "TS_5_4.mrc")
    (tmp_path / "l.csv").write_text(f"{column},x,y,z\nTS_5_4,10,11,12\nTS_69_2,14,15,16\n")
    with pytest.raises(DataError, match="TS_69_2"):
        centres(tmp_path / "l.csv")
    write_coded(tmp_path / "TS_69_2.mrc", 1)
    assert centres(tmp_path / "l.csv") == [ONE, TWO]


def test_a_list_of_the_czii_challenge(tmp_path: Path) -> None:
    """https://www.kaggle.com/competitions/czii-cryo-et-object-identification"""
    write_coded(tmp_path / "TS_5_4.mrc")
    write_coded(tmp_path / "TS_69_2.mrc", 1)
    (tmp_path / "l.csv").write_text(
        "id,experiment,particle_type,x,y,z\n0,TS_5_4,ribosome,10,11,12\n1,TS_69_2,apo-ferritin,14,15,16\n"
    )
    particles = TomogramParticles(tmp_path / "l.csv", box=4)
    assert particles.groups == ["TS_5_4", "TS_69_2"]
    assert [particles.classes[label] for label in particles.labels if label is not None] == ["ribosome", "apo-ferritin"]


@pytest.mark.parametrize("column", ["dataset", "prefix", "wrpSourceName"])
@pytest.mark.parametrize("told", [False, True])
def test_names_in_a_column_of_another_name_are_no_single_tomogram(column: str, told: bool, tmp_path: Path) -> None:
    one = write_coded(tmp_path / "rec_TS_01_bin4.mrc")
    (tmp_path / "l.csv").write_text(f"{column},x,y,z\nTS_01,10,11,12\nTS_02,14,15,16\n")
    with pytest.raises(DataError, match=f"in its column {column.lower()}, where it has 'TS_02' in row 1"):
        centres(tmp_path / "l.csv", tomograms=one if told else None)


@pytest.mark.parametrize("column", ["ptmMicrographName", "rlnTomoReconstructedTomogram"])
def test_names_in_a_column_of_another_name_in_star(column: str, tmp_path: Path) -> None:
    """Words of pytom-match-pick of which some were renamed, https://github.com/SBC-Utrecht/pytom-match-pick."""
    one = write_coded(tmp_path / "TS_01.mrc")
    table = {column: ["TS_01", "TS_02"], **{f"rlnCoordinate{axis}": values for axis, values in PLACES.items()}}
    write_star(tmp_path / "l.star", table)
    with pytest.raises(DataError, match=f"in its column {column}, where it has 'TS_02' in row 1"):
        centres(tmp_path / "l.star", tomograms=one)


def test_columns_that_do_not_name_other_tomograms(tmp_path: Path) -> None:
    """One name in all rows, texts of which none is the tomogram's, and classes that are called as it is."""
    write_coded(tmp_path / "TS_01.mrc")
    table = {"dataset": "TS_01", "note": ["good", "1"], "class": ["TS_01", "bad"], **PLACES}
    pd.DataFrame(table).to_csv(tmp_path / "l.csv", index=False)
    assert centres(tmp_path / "l.csv") == [ONE, (0, TWO[1])]


# ---- volumes that were turned as they were made


@pytest.mark.parametrize(
    ("angles", "turned"), [((0, 0, 0), 0), ((30, 0, -30), 0), ((0, 90, 0), 3), ((0, 0, 90), 3), (None, 0)]
)
def test_volumes_of_relion_4_that_are_turned_say_so(
    angles: tuple[float, float, float] | None, turned: int, tmp_path: Path
) -> None:
    """Pseudo-subtomograms lie as rlnTomoSubtomogramRot, ... say, and their wedges with them."""
    files = [write_mrc(tmp_path / f"{number}_data.mrc", noise((8, 8, 8), number)).name for number in range(3)]
    words = dict(zip(("Rot", "Tilt", "Psi"), angles or (), strict=False))
    table = {"rlnImageName": files, **{f"rlnTomoSubtomogram{word}": angle for word, angle in words.items()}}
    notes = [note for note in Star(write_star(tmp_path / "l.star", table)).notes if "are turned" in note]
    assert [f"{turned} of 3 volumes" in note for note in notes] == [True] * bool(turned)
