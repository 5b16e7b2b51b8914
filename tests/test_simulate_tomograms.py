"""`cryoreg simulate --tomogram`: files that the other commands read as typed, the same for the same seed."""

from __future__ import annotations

import shlex
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import pytest
import starfile
from support.command_line import cli
from support.mrc_writing import state, write_mrc

from cryoreg.datasets.list_specs import TomogramSpec
from cryoreg.datasets.specs import StoreSpec
from cryoreg.picking.scoring import score

SMALL = ("--size", 60, 50, 40, "--particles", 6, "--count", 2, "--snr", 5)


@pytest.fixture(scope="module")
def structures(tmp_path_factory) -> Path:
    """Two maps of 10 Å: a ball and a rod."""
    folder = tmp_path_factory.mktemp("structures")
    z, y, x = np.indices((14, 14, 14)) - 6.5
    write_mrc(folder / "ball.mrc", 5 * (x**2 + y**2 + z**2 < 16).astype(np.float32))
    write_mrc(folder / "rod.mrc", 5 * (y**2 + z**2 < 4).astype(np.float32))
    return folder


@pytest.fixture(scope="module")
def made(structures, tmp_path_factory) -> tuple[Path, str]:
    """Two tomograms, and what the command said."""
    folder = tmp_path_factory.mktemp("made") / "sim"
    result = cli("simulate", "--tomogram", "--structures", structures, *SMALL, "--output", folder)
    assert result.exit_code == 0, result.output
    return folder, result.output


def test_files_and_lists(made):
    folder, _ = made
    assert sorted(file.name for file in folder.iterdir()) == [
        "TS_01.mrc",
        "TS_02.mrc",
        "particles.csv",
        "particles.star",
    ]
    for name in ("TS_01.mrc", "TS_02.mrc"):
        with mrcfile.open(folder / name) as file:
            assert file.data.shape == (40, 50, 60)
            assert file.voxel_size.x == pytest.approx(10)
    star, table = starfile.read(folder / "particles.star")["particles"], pd.read_csv(folder / "particles.csv")
    assert star["rlnTomoName"].tolist() == ["TS_01"] * 6 + ["TS_02"] * 6
    assert star["class"].tolist() == table["class"].tolist() == ["ball", "rod"] * 6
    np.testing.assert_allclose(star[[f"rlnCoordinate{axis}" for axis in "XYZ"]], table[["x", "y", "z"]])


@pytest.mark.parametrize("name", ["particles.star", "particles.csv"])
def test_particles_are_where_the_lists_say(made, name):
    """Density is brightest near the middle of boxes cut there, of no axis order but the right one."""
    dataset = TomogramSpec(root=made[0] / name, box=15).load()
    mean = np.mean([dataset[index].volume[0].numpy() for index in range(len(dataset))], axis=0)
    assert np.unravel_index(mean.argmax(), mean.shape) == pytest.approx((7, 7, 7), abs=2)
    assert sorted(dataset.classes) == ["ball", "rod"]
    assert (dataset.tilt_range, dataset.tilt_axis, dataset.contrast) == ((-60, 60), "y", "bright")
    assert dataset.voxel_size == pytest.approx(10)


def test_the_next_line_works_as_typed(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = next(line for line in made[1].splitlines() if line.startswith("next")).removeprefix("next").split("#")[0]
    _, *words = shlex.split(command)
    result = cli(*words)
    assert result.exit_code == 0, result.output
    store = StoreSpec(root=tmp_path / "particles.h5").load()
    assert (len(store), store.box, store.tilt_range) == (12, (32, 32, 32), (-60, 60))


def test_pick_finds_them(made, tmp_path):
    folder, _ = made
    words = ("--radius", 40, "--contrast", "bright", "--margin", 3, "--per-tomogram", 8)
    assert cli("pick", folder, *words, "--output", tmp_path / "picks.star").exit_code == 0
    picks, particles = pd.read_csv(tmp_path / "picks.csv"), pd.read_csv(folder / "particles.csv")
    picks["tomogram"] = picks["tomogram"].map(lambda file: Path(file).name)
    balls = particles[particles["class"] == "ball"]  # a filter for balls answers less to rods
    for name in ("TS_01.mrc", "TS_02.mrc"):
        of = [table.loc[table["tomogram"] == name, ["x", "y", "z"]].to_numpy() for table in (picks, balls)]
        assert score(*of, tolerance=2).recall >= 2 / 3


def test_a_seed_is_a_series(structures, made, tmp_path):
    words = ("simulate", "--tomogram", "--structures", structures, *SMALL)
    assert cli(*words, "--output", tmp_path / "again").exit_code == 0
    files = {Path(name).name: content for name, (_, content) in state(made[0]).items()}
    again = {Path(name).name: content for name, (_, content) in state(tmp_path / "again").items()}
    assert again["particles.star"] == files["particles.star"]
    first, second = (mrcfile.read(made[0] / f"TS_0{number}.mrc") for number in (1, 2))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(mrcfile.read(tmp_path / "again" / "TS_02.mrc"), second)
    assert cli(*words, "--count", 1, "--first", 1, "--output", tmp_path / "later").exit_code == 0
    np.testing.assert_array_equal(mrcfile.read(tmp_path / "later" / "TS_02.mrc"), second)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--universe", 3), "--universe and --tomogram exclude each other"),
        (("--mode", "fast"), "--mode and --tomogram exclude each other"),
        (("--preset", "liu2020"), "counts in a mostly empty box, that of a tomogram around each particle; say --snr"),
        (("--size", 10, 10, 10), "of 100; ask for fewer, or more voxels"),
    ],
)
def test_mistakes_are_said_in_one_line(structures, tmp_path, words, message):
    out = tmp_path / "sim"
    result = cli("simulate", "--tomogram", "--structures", structures, *words, "--output", out)
    assert result.exit_code != 0
    assert message in result.output
    assert not out.exists()


def test_options_of_tomograms_mean_nothing_without_them(tmp_path):
    result = cli("simulate", "--count", 2, "--output", tmp_path / "x.h5")
    assert "--count goes with --tomogram" in result.output


def test_a_folder_that_holds_something_is_kept(structures, made, tmp_path):
    before = state(made[0])
    result = cli("simulate", "--tomogram", "--structures", structures, *SMALL, "--output", made[0])
    assert "exists already; choose another name or say --overwrite" in result.output
    assert state(made[0]) == before


@pytest.mark.parametrize("option", ["--tomogram", ""])
def test_voxel_size_and_box_hold_for_presets_too(option, tmp_path):
    words = ("simulate", *filter(None, [option]), "--voxel-size", 20, "--show-settings")
    shown = dict(line.split()[:2] for line in cli(*words).output.splitlines())
    assert shown["voxel_size"] == "20.0"
    assert shown["box"] == ("16" if option else "32")
