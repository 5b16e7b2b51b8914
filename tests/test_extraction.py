"""`cryoreg extract`, and the way from a bright voxel in a tomogram to the middle of a box."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.command_line import cli, ok
from support.mrc_writing import noise, state, write_mrc

from cryoreg.datasets.specs import MrcFolderSpec, StoreSpec

SHAPE = (24, 32, 40)
BRIGHT = [(9, 11, 8), (30, 12, 10), (20, 22, 15)]
"""x, y, z of single voxels."""


def speckled(sign=1, seed=0) -> np.ndarray:
    volume = noise(SHAPE, seed) * 0.1
    for x, y, z in BRIGHT:
        volume[z, y, x] = sign * 50
    return volume


@pytest.fixture
def picked(tmp_path: Path) -> Path:
    """Two tomograms, the second dark on bright and with another name than ASCII has, and their picks."""
    write_mrc(tmp_path / "tomograms" / "a.mrc", speckled(seed=1))
    write_mrc(tmp_path / "tomograms" / "b é.mrc", speckled(seed=2))
    ok("pick", tmp_path / "tomograms", "--radius", 20, "--top", 3, "--output", tmp_path / "picks.star")
    return tmp_path


@pytest.mark.parametrize("listed", ["picks.star", "picks.csv"])
@pytest.mark.parametrize("box", [8, 9])
def test_bright_voxels_come_to_the_middle(picked, box, listed) -> None:
    before = state(picked / "tomograms")
    ok(
        "extract", "--data", picked / listed, "--tomograms", picked / "tomograms", "--box", box,
        "--output", picked / "set.h5",
    )  # fmt: skip
    dataset = StoreSpec(root=picked / "set.h5").build()
    assert len(dataset) == 6
    assert dataset.box == (box, box, box)
    assert dataset.voxel_size == pytest.approx(10.0)
    assert len(set(dataset.groups)) == 2
    for index in range(len(dataset)):
        volume = dataset[index].volume[0].numpy()
        assert np.unravel_index(volume.argmax(), volume.shape) == (box // 2,) * 3
        assert volume.max() == pytest.approx(50, rel=1e-3)
    assert state(picked / "tomograms") == before


def test_boxes_are_the_tomogram_around_the_picks(picked) -> None:
    """Sub-voxel picks aside, extraction copies voxels."""
    output = ("--tomograms", picked / "tomograms", "--box", 8, "--output", picked / "boxes", "--to", "mrc_folder")
    ok("extract", "--data", picked / "picks.star", *output)
    dataset = MrcFolderSpec(root=picked / "boxes").build()
    known = [speckled(seed=seed)[z - 4 : z + 4, y - 4 : y + 4, x - 4 : x + 4] for seed in (1, 2) for x, y, z in BRIGHT]
    found = [dataset[index].volume[0].numpy() for index in range(len(dataset))]
    assert sorted(v.tobytes() for v in found) == sorted(v.tobytes() for v in known)


def test_dark_density_is_inverted(tmp_path) -> None:
    file = write_mrc(tmp_path / "t.mrc", speckled(sign=-1))
    assert "density dark" in ok("pick", file, "--radius", 20, "--top", 3, "--output", tmp_path / "p.star")
    common = ("extract", "--data", tmp_path / "p.star", "--tomograms", tmp_path, "--box", 8)
    ok(*common, "--output", tmp_path / "as_is.h5")
    ok(*common, "--contrast", "dark", "--output", tmp_path / "bright.h5")
    as_is, bright = (StoreSpec(root=tmp_path / f"{name}.h5").build() for name in ("as_is", "bright"))
    assert bright.contrast == "bright"
    for index in range(3):
        assert as_is[index].volume[0, 4, 4, 4] == pytest.approx(-50, rel=1e-3)
        np.testing.assert_allclose(bright[index].volume, -as_is[index].volume, atol=1e-3)


def test_rescaled_boxes_keep_the_middle(picked) -> None:
    common = ("extract", "--data", picked / "picks.star", "--tomograms", picked / "tomograms", "--box", 8)
    ok(*common, "--rescale-to", 20, "--output", picked / "coarse.h5", "--set", "dataset.tilt_range=[-50, 50]")
    dataset = StoreSpec(root=picked / "coarse.h5").build()
    assert dataset.voxel_size == pytest.approx(20.0)
    assert dataset.tilt_range == (-50, 50)
    for index in range(len(dataset)):
        volume = dataset[index].volume[0].numpy()
        assert volume.shape == (8, 8, 8)
        assert np.unravel_index(volume.argmax(), volume.shape) == (4, 4, 4)


BAD = {
    "no list": (["--data", "nowhere.star", "--tomograms", "tomograms"], "nowhere.star"),
    "no tomogram": (["--data", "picks.star", "--tomograms", "."], "picks.star: names the tomogram 'a'"),
    "setting": (["--data", "picks.star", "--tomograms", "tomograms", "--set", "dataset.bx=3"], "bx"),
    "exists": (["--data", "picks.star", "--tomograms", "tomograms", "--output", "old.h5"], "old.h5"),
}


OWN_OPTIONS = {
    "box": (["--box", 400], "too small for boxes of 400 voxels; say --box <fewer voxels>"),
    "tomograms": (["--tomograms", "."], "say --tomograms <folder>"),
    "voxel size": (["--tomograms", "sizeless", "--rescale-to", 20], "say --voxel-size <Å>"),
    "bad value": (["--set", "dataset.box=none"], "--box: should be"),
    "no own option": (["--tomograms", "sizeless", "--set", "dataset.coordinate_size=x"], "dataset.coordinate_size"),
}


@pytest.mark.parametrize("name", OWN_OPTIONS)
def test_messages_name_the_options_of_the_command(picked, monkeypatch, name) -> None:
    monkeypatch.chdir(picked)
    for tomogram in ("a", "b é"):
        write_mrc(picked / "sizeless" / f"{tomogram}.mrc", speckled(), voxel_size=None)
    arguments, message = OWN_OPTIONS[name]
    result = cli("extract", "--data", "picks.star", "--tomograms", "tomograms", "--output", "set.h5", *arguments)
    assert result.exit_code == 1, result.output
    assert message in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert "--set dataset." not in result.output


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_writes_nothing(picked, monkeypatch, name) -> None:
    monkeypatch.chdir(picked)
    (picked / "old.h5").write_text("precious")
    before = state(picked)
    arguments, message = BAD[name]
    result = cli("extract", "--output", "set.h5", "--box", 8, *arguments)
    assert result.exit_code == 1, result.output
    assert message in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert state(picked) == before
