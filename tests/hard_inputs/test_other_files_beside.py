"""Columns and files whose meaning a list or a folder tells beside what is looked for; each names the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.coded import centres, coded, write_coded
from support.mrc_writing import noise, write_mrc
from support.particle_writing import write_star

from cryoreg.datasets.readers.star import Star
from cryoreg.datasets.readers.tomogram import TomogramParticles
from cryoreg.datasets.tomograms.files import open_tomogram
from cryoreg.datasets.tomograms.kinds import tomograms_in
from cryoreg.errors import DataError

ONE, TWO = (0, (10, 11, 12)), (1, (14, 15, 16))
PLACES = {"X": [10, 14], "Y": [11, 15], "Z": [12, 16]}


# ---- columns that name the tomogram


@pytest.mark.parametrize("column", ["experiment", "Tomogram Index", "rlnTomoName", "rlnMicrographName"])
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


@pytest.mark.parametrize("key", ["run_name", "tomogram"])
@pytest.mark.parametrize("name", ["l.ndjson", "l.json"])
def test_points_that_name_their_tomograms(name: str, key: str, tmp_path: Path) -> None:
    """The portal's points do not; those of several tomograms that somebody put together do."""
    one = write_coded(tmp_path / "TS_01.mrc")
    points = [
        {"location": {"x": x, "y": x + 1, "z": x + 2}, key: tomogram} for x, tomogram in ((10, "TS_01"), (14, "TS_02"))
    ]
    text = json.dumps(points) if name == "l.json" else "\n".join(map(json.dumps, points))
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match="2 tomograms"):
        centres(tmp_path / name, tomograms=one)
    write_coded(tmp_path / "TS_02.mrc", 1)
    assert centres(tmp_path / name) == [ONE, TWO]


# ---- columns that move particles

ORIGINS = [f"rlnOrigin{axis}Angstrom" for axis in "XYZ"]


@pytest.mark.parametrize("name", ["l.star", "l.csv", "words.csv"])
def test_origins_as_relions_pages_call_them(name: str, tmp_path: Path) -> None:
    """EMAN2 and others know rlnOriginXAngstrom; RELION reads rlnOriginXAngst alone."""
    write_coded(tmp_path / "TS_01.mrc")
    places = {axis if name == "l.csv" else f"rlnCoordinate{axis}": values for axis, values in PLACES.items()}
    for origin in (0, 20):
        table = pd.DataFrame({**places, **dict.fromkeys(ORIGINS, origin)})
        if name == "l.star":
            write_star(tmp_path / name, {**table})
        else:
            table.to_csv(tmp_path / name, index=False)
        if origin:
            with pytest.raises(DataError, match="which RELION calls rlnOriginXAngst"):
                centres(tmp_path / name)
        else:
            assert centres(tmp_path / name) == [ONE, (0, TWO[1])]


@pytest.mark.parametrize("column", ["shift{}", "{}shift", "t{}", "trans_{}", "{}origin", "refined_{}", "{}_new"])
def test_columns_that_may_move_particles_are_told(column: str, tmp_path: Path) -> None:
    write_coded(tmp_path / "TS_01.mrc")
    names = [column.format(axis) for axis in "xyz"]
    for value in (0, 2):
        table = {**PLACES, **dict.fromkeys(names, value)}
        pd.DataFrame(table).to_csv(tmp_path / "l.csv", index=False)
        notes = TomogramParticles(tmp_path / "l.csv", box=4).notes
        assert sum(", ".join(names) in note for note in notes) == bool(value)


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


# ---- tilt series beside tomograms

TILTS = np.linspace(-60, 60, 41)
LAYOUTS = {
    # layout: (type, NINT and NREAL, bytes of each section, where the tilt is, as what, times what)
    "SerialEM": (b"SERI", (8, 3), 8, 0, "i2", 100),
    "AreTomo": (b"AGAR", (0, 32), 128, 0, "f4", 1),
    "integers before": (b"\0\0\0\0", (2, 3), 20, 8, "f4", 1),
    "FEI": (b"FEI1", (0, 0), 768, 100, "f8", 1),
}


def write_series(path: Path, layout: str, tilts: np.ndarray = TILTS, order: str = "<") -> Path:
    """Write a tilt series whose header calls it a volume, and whose extended header has its tilts."""
    kind, numbers, length, place, dtype, times = LAYOUTS[layout]
    values = np.round(tilts * times).astype(f"{order}{dtype}") if times > 1 else tilts.astype(f"{order}{dtype}")
    records = np.zeros((len(tilts), length), np.uint8)
    records[:, place : place + values.itemsize] = values.view(np.uint8).reshape(len(tilts), -1)
    if kind == b"FEI1":
        records[:, :4] = np.frombuffer(np.array(length, f"{order}i4").tobytes(), np.uint8)
    raw = bytearray(write_mrc(path, coded(1, (len(tilts), 40, 50)).astype(f"{order}f4")).read_bytes())
    raw[92:96] = np.array(records.size, f"{order}i4").tobytes()
    raw[104:108] = kind
    raw[128:132] = np.array(numbers, f"{order}i2").tobytes()
    path.write_bytes(bytes(raw[:1024]) + records.tobytes() + bytes(raw[1024:]))
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_tilt_series_is_no_tomogram(layout: str, order: str, tmp_path: Path) -> None:
    """Old programs write space group 0 and MZ = NZ for both; SerialEM, IMOD, FEI and AreTomo keep the tilts."""
    path = write_series(tmp_path / "TS_01.mrc", layout, order=order)
    with pytest.raises(DataError, match=r"is a tilt series, no tomogram: .* each of its 41 sections \(-60° to 60°\)"):
        open_tomogram(path)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("tilts", [np.zeros(41), np.full(41, 12.0), np.r_[TILTS[:20], np.zeros(21)], TILTS * 10])
def test_what_volumes_have_in_the_place_of_tilts(tilts: np.ndarray, layout: str, tmp_path: Path) -> None:
    """AreTomo writes one record for each section of a volume, too."""
    path = write_series(tmp_path / "TS_01_Vol.mrc", layout, np.clip(tilts, -300, 300))
    assert float(open_tomogram(path)[12:13, 11:12, 10:11][0, 0, 0]) == coded(1)[12, 11, 10]


SERIES = {
    "AreTomo 3": (["TS_01.mrc", "TS_01_EVN.mrc", "TS_01_ODD.mrc", "TS_01_CTF.mrc"], "TS_01_Vol.mrc"),
    "etomo": (["TS_01.mrc", "TS_01_preali.mrc", "TS_01_ali.mrc"], "TS_01_full_rec.mrc"),
    "etomo, older": (["TS_01.mrc", "TS_01.ali"], "TS_01.rec"),
    "RELION 5": (["TS_01.mrc"], "rec_TS_01.mrc"),
}


@pytest.mark.parametrize("name", ["TS_01", "TS_01.mrc", "TS_01.tomostar"])
@pytest.mark.parametrize("makes", SERIES)
def test_a_tilt_series_beside_its_tomogram_is_not_taken_for_it(makes: str, name: str, tmp_path: Path) -> None:
    """AreTomo 3 saves both into one folder: https://github.com/czimaginginstitute/AreTomo3"""
    series, tomogram = SERIES[makes]
    for file in series:
        write_series(tmp_path / file, "AreTomo")
    (tmp_path / "l.csv").write_text(f"tomogram,x,y,z\n{name},10,11,12\n")
    with pytest.raises(DataError, match=r"is a tilt series|which may be"):
        centres(tmp_path / "l.csv")
    write_coded(tmp_path / tomogram)
    assert centres(tmp_path / "l.csv") == [ONE]
    assert tomograms_in(tmp_path) == [tomogram]
