"""The script says what it should of volumes whose levels and sizes are known; bad folders are refused in one line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from click.testing import CliRunner, Result

from cryoreg.errors import ConfigError, DataError, OutputError
from cryoreg_chimerax.command import chimerax
from cryoreg_chimerax.pairs import find_pairs, measure

CXC = "side-by-side.cxc"


def write(path: Path, box: tuple[int, int, int] = (4, 4, 4), voxel_size: float = 10.0) -> Path:
    """Half of the voxels are 1, half are 3: mean 2, standard deviation 1."""
    data = np.ones(box, np.float32)
    data[::2] = 3
    with mrcfile.new(path, data, overwrite=True) as file:
        file.voxel_size = voxel_size
    return path


def write_pair(folder: Path, identifier: str, *names: str) -> None:
    write(folder / f"{identifier}.mrc")
    for name in names:
        write(folder / f"{identifier}_gradcam_{name}.mrc")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(chimerax, [str(each) for each in arguments])


def test_script_of_two_particles(tmp_path: Path) -> None:
    for identifier, name in (("a", "1bxn"), ("b", "features")):
        write_pair(tmp_path, identifier, name, "random")
    result = run(tmp_path)
    assert (result.exit_code, result.output) == (0, f"2 subtomograms: chimerax {tmp_path / CXC}\n")
    assert (tmp_path / CXC).read_text() == (
        'open "a.mrc" name "a"\n'
        'open "a_gradcam_1bxn.mrc" name "a, Grad-CAM 1bxn"\n'
        "volume #1 style surface step 1 level 4\n"
        "hide #2 models\n"
        "color sample #1 map #2 palette 0,#3b4cc0:0.5,#dddddd:1,#b40426\n"
        'open "b.mrc" name "b"\n'
        'open "b_gradcam_features.mrc" name "b, Grad-CAM features"\n'
        "volume #3 style surface step 1 level 4\n"
        "hide #4 models\n"
        "color sample #3 map #4 palette 0,#3b4cc0:0.5,#dddddd:1,#b40426\n"
        "move x 50 coordinateSystem #1 models #3,4\n"
        "view\n"
        'label #1 models text "a: 1bxn"\n'
        'label #3 models text "b: features"\n'
    )


def test_five_particles_stand_in_rows_of_three(tmp_path: Path) -> None:
    for identifier in "abcde":
        write_pair(tmp_path, identifier, "features")
    run(tmp_path)
    moves = [line for line in (tmp_path / CXC).read_text().splitlines() if line.startswith("move")]
    assert [line.partition(" coord")[0] for line in moves] == [
        *("move x 50", "move x 100", "move y -50", "move x 50", "move y -50")
    ]
    assert [line.rpartition("#")[2] for line in moves] == ["3,4", "5,6", "7,8", "9,10", "9,10"]


@pytest.mark.parametrize(("sigma", "level"), [("0", "2"), ("1.5", "3.5"), ("-1", "1")])
def test_sigma_sets_the_level(tmp_path: Path, sigma: str, level: str) -> None:
    write_pair(tmp_path, "a", "features")
    run(tmp_path, "--sigma", sigma)
    assert f"volume #1 style surface step 1 level {level}\n" in (tmp_path / CXC).read_text()


@pytest.mark.parametrize("sigma", ["nan", "inf"])
def test_a_level_that_is_no_number_is_refused(tmp_path: Path, sigma: str) -> None:
    write_pair(tmp_path, "a", "features")
    with pytest.raises(ConfigError, match=f"--sigma {sigma}: is no level"):
        chimerax.main([str(tmp_path), "--sigma", sigma], standalone_mode=False)
    assert not (tmp_path / CXC).exists()


def test_a_map_can_be_chosen(tmp_path: Path) -> None:
    write_pair(tmp_path, "a", "1bxn", "random")
    assert run(tmp_path, "--map", "random").exit_code == 0
    assert 'open "a_gradcam_random.mrc"' in (tmp_path / CXC).read_text()


def test_a_script_elsewhere_finds_the_files(tmp_path: Path) -> None:
    (tmp_path / "explained").mkdir()
    (tmp_path / "scripts").mkdir()
    write_pair(tmp_path / "explained", "a", "features")
    run(tmp_path / "explained", "--output", tmp_path / "scripts" / "mine.cxc")
    assert 'open "../explained/a.mrc"' in (tmp_path / "scripts" / "mine.cxc").read_text()


def test_boxes_without_a_voxel_size_are_taken_for_1_angstrom(tmp_path: Path) -> None:
    for name in ("a.mrc", "a_gradcam_x.mrc"):
        write(tmp_path / name, (4, 6, 8), voxel_size=0)
    [pair] = find_pairs(tmp_path)
    assert measure(pair) == (2, 1, 8)


def test_what_cryoreg_explain_writes_is_found(tmp_path: Path) -> None:
    """Its own naming functions, with an id that they have to change."""
    from cryoreg.analysis.explain import file_stems
    from cryoreg.datasets.io.mrc_writing import write_mrc

    [stem], [name] = file_stems(["TS 1/0012"]), file_stems(["beta-galactosidase"])
    for file in (f"{stem}.mrc", f"{stem}_gradcam_{name}.mrc", f"{stem}_gradcam_random.mrc"):
        write_mrc(tmp_path / file, np.random.default_rng(0).random((4, 4, 4)).astype(np.float32), 13.5)
    [pair] = find_pairs(tmp_path)
    assert (pair.id, pair.name) == ("TS_1_0012", "beta-galactosidase")
    assert measure(pair).extent == pytest.approx(54)


def damaged(folder: Path) -> None:
    write_pair(folder, "a", "x")
    (folder / "a.mrc").write_bytes((folder / "a.mrc").read_bytes()[:1100])


def of_two_boxes(folder: Path) -> None:
    write_pair(folder, "a", "x")
    write(folder / "a.mrc", (4, 4, 6))


def not_finite(folder: Path) -> None:
    write_pair(folder, "a", "x")
    with mrcfile.open(folder / "a.mrc", mode="r+") as file:
        file.data[0] = np.nan


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda folder: None, "holds no Grad-CAM .*cryoreg explain RUN"),
    "no maps": (lambda folder: write(folder / "a.mrc"), "holds no Grad-CAM"),
    "no volume": (lambda folder: write(folder / "a_gradcam_x.mrc"), r"has no subtomogram a\.mrc beside it"),
    "two maps": (lambda folder: write_pair(folder, "a", "x", "y"), r"a: has several Grad-CAMs \(x, y\)"),
    "damaged": (damaged, r"a\.mrc: cannot be read"),
    "two boxes": (of_two_boxes, r"a_gradcam_x\.mrc: has 4×4×4 voxels, a\.mrc 4×4×6"),
    "not finite": (not_finite, r"a\.mrc: is no volume of finite voxels"),
    "odd name": (lambda folder: write_pair(folder, 'a" ; exit "', "x"), "ChimeraX would misread this name"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_folders_are_refused_in_one_line_and_nothing_is_written(tmp_path: Path, case: str) -> None:
    prepare, message = BAD[case]
    prepare(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        chimerax.main([str(tmp_path)], standalone_mode=False)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / CXC).exists()


def test_missing_folders_and_maps_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent: holds no Grad-CAM"):
        find_pairs(tmp_path / "absent")
    write_pair(tmp_path, "a", "x")
    with pytest.raises(DataError, match=r"a: has no Grad-CAM 'z' \(it has: x\); choose another --map"):
        find_pairs(tmp_path, "z")


def test_a_script_is_replaced_only_when_told(tmp_path: Path) -> None:
    write_pair(tmp_path, "a", "x")
    (tmp_path / CXC).write_text("mine")
    with pytest.raises(OutputError, match="exists already; choose another name or say --overwrite"):
        chimerax.main([str(tmp_path)], standalone_mode=False)
    assert (tmp_path / CXC).read_text() == "mine"
    assert run(tmp_path, "--overwrite").exit_code == 0
    assert (tmp_path / CXC).read_text().startswith("open")


def test_the_command_is_light() -> None:
    code = "import sys, cryoreg_chimerax.command; print(sorted({'torch', 'numpy', 'mrcfile'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "[]"
