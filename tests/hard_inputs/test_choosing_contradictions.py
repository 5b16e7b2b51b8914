"""Lists and masks that `select` and `open` could take for others: which tomogram, which unit, per cent or share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import starfile
from support.coded import centres, write_coded
from support.command_line import cli
from support.mrc_writing import noise, write_mrc
from support.particle_writing import coordinates, write_star

from cryoreg.datasets.tomograms.telling_apart import named_so, tell_apart
from cryoreg.errors import DataError

SHAPE, SIZE = (16, 20, 24), 10.0
NEAR = np.array([[10.0, 10, 8], [11, 10, 8]])
"""x, y, z of two particles, 1 voxel apart."""


def tomogram(path: Path, size: float | None = SIZE, shape: tuple[int, ...] = SHAPE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_mrc(path, noise(shape), size)


def star(path: Path, names: list[str], places: Any = NEAR, **columns: Any) -> Path:
    return write_star(path, {"rlnMicrographName": names, **coordinates(np.array(places)), **columns})


def select(path: Path, *words: object) -> tuple[int, str]:
    """Return how many particles stay, -1 where an error was told, and what was printed."""
    output = path.with_name(f"out{path.suffix}")
    result = cli("select", path, *words, "--output", output, "--overwrite")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    if result.exit_code:
        assert result.output.count("Error: ") == 1
        return -1, result.output
    return len(starfile.read(output)), result.output


CALLED: dict[str, tuple[list[str], list[str]]] = {
    "one name in two folders": (["a/TS_01.mrc", "b/TS_01.mrc", "b/TS_02.mrc"], ["a/TS_01", "b/TS_01", "TS_02"]),
    "one tomogram, spelled in three ways": (["/d/a/TS_01.mrc", "./a/TS_01.mrc", "TS_01.tomostar"], ["TS_01"] * 3),
    "folders that begin alike": (["x/1/rec.mrc", "x/2/rec.mrc"], ["1/rec", "2/rec"]),
    "folders that end alike": (["x/1/rec.mrc", "y/1/rec.mrc"], ["x/1/rec", "y/1/rec"]),
    "levels of two OME-Zarr images": (["a.zarr/0", "b.zarr/0"], ["a.zarr/0", "b.zarr/0"]),
}


@pytest.mark.parametrize("situation", CALLED)
def test_tomograms_of_one_name_are_told_apart(situation: str) -> None:
    names, expected = CALLED[situation]
    called = tell_apart(names, "list.star")
    assert [called[name] for name in names] == expected


def test_a_name_of_two_tomograms_is_refused() -> None:
    with pytest.raises(DataError, match=r"list\.star: names the tomogram 'TS_01', which may be a/TS_01 or b/TS_01"):
        tell_apart(["a/TS_01.mrc", "b/TS_01.mrc", "TS_01"], "list.star")


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [("a/TS_01.mrc", {"a/TS_01"}), ("TS_01", {"a/TS_01", "b/TS_01"}), ("c/TS_01", set()), ("/c/TS_02.rec", {"TS_02"})],
)
def test_which_tomogram_is_meant(wanted: str, meant: set[str]) -> None:
    assert named_so(wanted, tell_apart(["a/TS_01.mrc", "b/TS_01.mrc", "b/TS_02.mrc"], "")) == meant


def test_particles_of_two_tomograms_of_one_name_are_no_neighbours(tmp_path: Path) -> None:
    path = star(tmp_path / "l.star", ["a/TS_01.mrc", "b/TS_01.mrc"])
    assert select(path, "--distance", "8vx")[0] == 2
    assert select(path, "--tomogram", "a/TS_01.mrc")[0] == 1
    assert select(star(tmp_path / "l.star", ["a/TS_01.mrc", "TS_01"]), "--distance", "8vx")[0] == 1


def picked(folder: Path, of: str, number: int) -> Path:
    """Write what `pick` wrote of a tomogram: its file stands in a column of its own, its name has no folder."""
    write_coded(folder / of, number)
    named = {"rlnTomoName": "TS_01", "rlnMicrographName": "TS_01.mrc", "cryoregTomogramFile": of}
    return write_star(folder / f"{number}.star", {**named, **coordinates(NEAR)})


@pytest.mark.parametrize(
    ("files", "words", "kept"),
    [
        (("a/TS_01.mrc", "b/TS_01.mrc"), ("--distance", "3vx"), [0, 1]),
        (("a/TS_01.mrc", "./a/TS_01.mrc"), ("--distance", "3vx"), [0]),
        (("a/TS_01.mrc", "link/TS_01.mrc"), ("--distance", "3vx"), [0]),
        (("a/TS_01.mrc", "b/TS_01.mrc"), ("--tomogram", "b/TS_01.mrc"), [1, 1]),
        (("a/TS_01.mrc", "b/TS_01.mrc"), ("--per-tomogram", 1), [0, 1]),
        (("a/TS_01.mrc", "b/TS_01.mrc"), (), [0, 0, 1, 1]),
    ],
)
def test_picks_of_two_sessions_with_a_tomogram_of_one_name(
    files: tuple[str, str], words: tuple[object, ...], kept: list[int], tmp_path: Path
) -> None:
    """Voxels of the boxes that are left tell of which tomogram each is."""
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "b").mkdir()
    one, two = (picked(tmp_path, file, number) for number, file in enumerate(files))
    write_coded(tmp_path / "a" / "TS_01.mrc")
    assert cli("select", one, "--merge", two, *words, "--output", tmp_path / "all.star").exit_code == 0
    assert [number for number, _ in centres(tmp_path / "all.star")] == kept


@pytest.mark.parametrize(
    ("second", "words", "told"),
    [
        (NEAR + 10, (), "2 values of rlnTomoParticleName are of two particles (the first: TS_01/1)"),
        (NEAR + 10, ("--class", "1"), None),  # as nothing of the second list stays
        (NEAR, (), None),  # the same particles in both
        ([NEAR[0], NEAR[1] + 5], (), "1 values of rlnTomoParticleName are of two particles (the first: TS_01/2)"),
    ],
)
def test_two_jobs_that_count_particles_from_one(
    second: Any, words: tuple[str, ...], told: str | None, tmp_path: Path
) -> None:
    """RELION's issue 1069: joined and extracted again, both are written into one file."""
    names = {"rlnTomoParticleName": ["TS_01/1", "TS_01/2"]}
    one = star(tmp_path / "one.star", ["TS_01"] * 2, **names, rlnClassNumber=1)
    other = star(tmp_path / "two.star", ["TS_01"] * 2, second, **names, rlnClassNumber=2)
    _, said = select(one, "--merge", other, *words)
    assert ("of two particles" in said) is (told is not None)
    assert (told or "") in " ".join(said.split())


def test_an_id_that_is_a_row_of_two_lists(tmp_path: Path) -> None:
    one, other = (
        star(tmp_path / name, ["TS_01", tomogram]) for name, tomogram in (("1.star", "TS_02"), ("2.star", "TS_03"))
    )
    kept, said = select(one, "--merge", other, "--ids", "TS_01/0")
    assert kept == -1
    assert "TS_01/0: is a row of" in said
    assert select(one, "--merge", other, "--ids", "TS_02/1,TS_03/1")[0] == 2
    images = {"rlnImageName": ["1@a.mrcs", "2@a.mrcs"]}
    one, other = (star(tmp_path / f"{name}.star", ["TS_01"] * 2, **images) for name in "ab")
    assert select(one, "--merge", other, "--ids", "1@a.mrcs")[0] == 2


def test_voxels_of_two_sizes_are_no_unit_of_distances(tmp_path: Path) -> None:
    one = star(tmp_path / "one.star", ["TS_01"] * 2, rlnPixelSize=10.0)
    other = star(tmp_path / "two.star", ["TS_01"] * 2, NEAR * 2, rlnPixelSize=5.0)
    kept, said = select(one, "--merge", other, "--distance", "1.5vx")
    assert kept == -1
    assert "coordinates in 'TS_01' count voxels of 10 Å and 5 Å" in said
    assert select(one, "--merge", other, "--distance", "5A")[0] == 2


def test_lists_that_share_no_tomogram_are_told(tmp_path: Path) -> None:
    one = star(tmp_path / "one.star", ["TS_01"] * 2)
    other = star(tmp_path / "two.star", ["TS_01_10.00Apx"] * 2)
    kept, said = select(one, "--merge", other, "--distance", "8vx")
    assert kept == 2
    assert "note: no tomogram is in both" in said
    assert "('TS_01', 'TS_01_10.00Apx', ...): their particles are not compared" in " ".join(said.split())


def test_confidences_in_per_cent_are_refused(tmp_path: Path) -> None:
    path = star(tmp_path / "l.star", ["TS_01"] * 2, cryoregConfidence=[97.0, 12.0])
    kept, said = select(path, "--min-confidence", "0.8")
    assert kept == -1
    assert "has 97 for cryoregConfidence in row 0, and confidence is from 0 to 1; divide per cent by 100" in said


def test_names_of_an_older_classification_are_told(tmp_path: Path) -> None:
    path = star(tmp_path / "l.star", ["TS_01"] * 2, cryoregClassName="80S", rlnClassNumber=[1, 3])
    kept, said = select(path, "--class", "80S")
    assert kept == 2
    assert "note: class '80S' has several numbers (1, 3)" in said
    assert select(path, "--class", "3")[0] == 1


@pytest.mark.parametrize(("wanted", "kept"), [("1", [0, 2]), ("2", [1])])
def test_a_class_that_is_called_a_number_goes_before_the_number(wanted: str, kept: list[int], tmp_path: Path) -> None:
    path = star(
        tmp_path / "l.star", ["TS_01"] * 3, np.eye(3), cryoregClassName=["1", "80S", "1"], rlnClassNumber=[2, 2, 1]
    )
    if wanted == "2":  # number 2 is that of rows 0 and 1, and no name
        kept = [0, 1]
    assert select(path, "--class", wanted)[0] == len(kept)
    assert starfile.read(tmp_path / "out.star")["rlnCoordinateX"].tolist() == [np.eye(3)[row, 0] for row in kept]


# ---- masks ----


def half(shape: tuple[int, ...] = SHAPE, value: float = 1, dtype: Any = np.int8) -> np.ndarray:
    """Return a mask of what is below x = half of the width."""
    inside = np.zeros(shape, dtype)
    inside[:, :, : shape[2] // 2] = value
    return inside


def masked(folder: Path, mask: np.ndarray, size: float | None) -> tuple[int, str]:
    """Return how many of two particles, one on each side of the middle, are kept by a mask."""
    tomogram(folder / "TS_01.mrc")
    write_mrc(folder / "mask" / "m.mrc", mask, size) if (folder / "mask").mkdir() is None else None
    path = star(folder / "l.star", ["TS_01"] * 2, [[3.0, 10, 8], [20, 10, 8]])
    return select(path, "--where", folder / "mask" / "m.mrc", "keep", "0")


MASKS: dict[str, tuple[np.ndarray, float | None, int | str]] = {
    "labels 0 and 255": (half(value=255, dtype=np.uint8), SIZE, 1),
    "labels 0 and -1": (half(value=-1), SIZE, 1),
    "binned by 2": (half((8, 10, 12)), 2 * SIZE, 1),
    "binned by 2, with a header of 1 Å": (half((8, 10, 12)), 1.0, 1),
    "finer by 2": (half((32, 40, 48)), SIZE / 2, 1),
    "finer by 2, without a size": (half((32, 40, 48)), 0.0, 1),
    "a header of another size": (half(), 2 * SIZE, "is no mask of"),
    "axes turned": (half().transpose(2, 1, 0).copy(), SIZE, "is no mask of"),
    "outside 1 and inside 2": (half() + np.int8(1), SIZE, "is no mask, which has 0 and one other value"),
    "shares below a half": (half(value=0.4, dtype=np.float32), SIZE, "to 0.4, and inside is 0.5 or more"),
    "nothing": (half(value=0), SIZE, "none is left"),
}


@pytest.mark.parametrize("situation", MASKS)
def test_masks_of_other_makes(situation: str, tmp_path: Path) -> None:
    mask, size, expected = MASKS[situation]
    kept, said = masked(tmp_path, mask, size)
    if isinstance(expected, str):
        assert kept == -1
        assert expected in said
    else:
        assert kept == expected
        assert starfile.read(tmp_path / "out.star")["rlnCoordinateX"].tolist() == [3]


def test_one_mask_is_not_that_of_two_tomograms_of_one_name(tmp_path: Path) -> None:
    for name in ("a", "b"):
        tomogram(tmp_path / name / "TS_01.mrc")
    (tmp_path / "masks").mkdir()
    write_mrc(tmp_path / "masks" / "TS_01_mask.mrc", half(), SIZE)
    path = star(tmp_path / "l.star", ["a/TS_01.mrc", "b/TS_01.mrc"])
    kept, said = select(path, "--where", tmp_path / "masks", "keep", "0")
    assert kept == -1
    assert "cannot tell the mask of" in said


# ---- viewers ----


def test_files_for_viewers_of_tomograms_of_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither takes the other's place."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        tomogram(tmp_path / name / "TS_01.mrc")
    path = star(tmp_path / "l.star", ["a/TS_01.mrc", "b/TS_01.mrc"], [[1.0, 2, 3], [4, 5, 6]])
    result = cli("open", path, "--viewer", "imod", "--files-only", "--output", "out")
    assert result.exit_code == 0, result.output
    texts = {name: (tmp_path / "out" / f"{name}_TS_01.txt").read_text().split()[2:5] for name in ("a", "b")}
    assert texts == {"a": ["1.500", "2.500", "3.000"], "b": ["4.500", "5.500", "6.000"]}
    one = cli("open", path, "--viewer", "imod", "--files-only", "--output", "one", "--tomogram", "b/TS_01.mrc")
    assert one.exit_code == 0, one.output
    assert [file.name for file in (tmp_path / "one").iterdir()] == ["b_TS_01.txt"]


def test_predictions_of_a_list_that_was_picked_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("TS_01", "TS_02"):
        tomogram(tmp_path / f"{name}.mrc")
    path, table = star(tmp_path / "l.star", ["TS_01", "TS_02"]), tmp_path / "p.csv"
    table.write_text(f"id,file,row,prediction\nTS_01/0,{path},0,ring\nTS_02/1,{path},1,rod\n")
    words = ("open", table, "--viewer", "imod", "--files-only", "--overwrite", "--output", "out")
    assert cli(*words).exit_code == 0
    star(path, ["TS_02", "TS_01"])
    said = " ".join(cli(*words).output.split())
    assert f"p.csv: says 'TS_01/0' of what is 'TS_02/0' in {path} by now; predict it anew" in said


def test_viewers_are_not_told_confidences_in_per_cent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tomogram(tmp_path / "TS_01.mrc")
    path = star(tmp_path / "l.star", ["TS_01"] * 2, cryoregConfidence=[97.0, 12.0])
    result = cli("open", path, "--viewer", "imod", "--files-only")
    assert result.exit_code == 1
    assert "has 97 for cryoregConfidence in row 0" in result.output
