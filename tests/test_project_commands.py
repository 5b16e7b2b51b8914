"""Every command that takes data reads the project file, says what it took, and refuses what contradicts it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tomli_w
from support.command_line import ok, refused
from support.mrc_writing import noise, write_mrc
from support.untrained import make_run

from cryoreg.analysis import view
from cryoreg.labelling import opening
from cryoreg_cli.main import cryoreg

SHAPE = (24, 40, 48)
FACTS = {"path": "tomograms", "voxel_size": 10.0, "contrast": "dark", "tilt_range": [-60, 60], "tilt_axis": "y"}
ROWS = [
    f"{name},{x},{y},12,{'ab'[x % 2]}" for name in ("TS_01", "TS_02") for x in (14, 19, 24, 29) for y in (12, 20, 28)
]
LIST, BOX = "../l.csv", 12
DATA = ("--data", LIST, "--box", BOX)
RUN = "../../run"
LINES = {
    "average": ("average", "a", *DATA, "--output", "out.mrc"),
    "average of a run": ("average", "class1", "--run", RUN, *DATA, "--output", "out.mrc"),
    "benchmark": ("benchmark", "gupta2022-real", "--data", LIST, "--dataset", "tomogram", "--dry-run"),
    "cluster": ("cluster", RUN, *DATA, "--clusters", 2, "--output", "out.csv"),
    "convert": ("convert", LIST, "--box", BOX, "--output", "out.h5"),
    "embed": ("embed", RUN, *DATA, "--output", "out.csv"),
    "explain": ("explain", RUN, *DATA, "--count", 1, "--output", "out"),
    "extract": ("extract", LIST, "--box", BOX, "--output", "out.h5"),
    "finetune": ("finetune", *DATA, "--from", "scratch", "--epochs", 1, "--run-dir", "out"),
    "inspect": ("inspect", LIST, "--box", BOX),
    "label": ("label", LIST, "--box", BOX, "--no-browser"),
    "open": ("open", LIST, "--viewer", "imod", "--files-only", "--output", "out"),
    "open a run": ("open", RUN, "--data", LIST, "--viewer", "imod", "--files-only", "--output", "out"),
    "pick": ("pick", "--diameter", 40, "--output", "out.star"),
    "predict": ("predict", RUN, *DATA, "--output", "out.csv"),
    "pretrain": ("pretrain", *DATA, "--batch-size", 4, "--epochs", 1, "--run-dir", "out"),
    "preview": ("preview", LIST, "--box", BOX, "--count", 1, "--output", "out.png"),
    "report": ("report", RUN, *DATA, "--output", "out.html"),
    "select": ("select", LIST, "--distance", "50A", "--output", "out.csv"),
    "select by masks": ("select", LIST, "--where", "../masks", "keep", 0, "--output", "out.csv"),
    "suggest": ("suggest", RUN, *DATA, "--query", "random", "--count", 2),
    "view": ("view", LIST, "--box", BOX, "--count", 1, "--output", "out.png"),
}
"""The first word is the command, the last one is as short as can be."""
NO_DATA = {
    "init": "writes the project file",
    **dict.fromkeys(("simulate", "demo"), "makes its data itself"),
    **dict.fromkeys(("check", "completion", "doctor", "help", "list", "new", "show"), "is about the installation"),
    "evaluate": "has the data of the run, as they were",
    "export": "writes what a run holds",
}
SLOW = {"average", "average of a run", "explain", "finetune", "pretrain", "preview", "report", "view"}


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """Two dark tomograms that say nothing, masks of them, a list, a project file, a run of other data elsewhere."""
    make_run(tmp_path / "run", box=BOX)
    folder = tmp_path / "project"
    for seed, name in enumerate(("TS_01", "TS_02")):
        write_mrc(folder / "tomograms" / f"{name}.mrc", noise(SHAPE, seed), voxel_size=None)
        write_mrc(folder / "masks" / f"{name}.mrc", np.ones(SHAPE, np.float32), voxel_size=None)
    (folder / "l.csv").write_text("\n".join(("tomogram,x,y,z,class", *ROWS)))
    (folder / "cryoreg.toml").write_text(tomli_w.dumps({"tomograms": FACTS}))
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")
    monkeypatch.setattr(opening, "serve", lambda *_: None)
    return folder


def test_every_command_is_here() -> None:
    assert {line[0] for line in LINES.values()} | set(NO_DATA) == set(cryoreg.list_commands(None))
    assert not {line[0] for line in LINES.values()} & set(NO_DATA)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in LINES]
)
def test_what_is_taken_is_said(project, name) -> None:
    said = [line for line in ok(*LINES[name]).splitlines() if "from ../cryoreg.toml" in line]
    assert len(said) == 1, said
    assert "voxel size 10 Å" in said[0]
    assert said[0].startswith("note: ")


def test_a_distance_is_in_the_voxels_that_the_project_says(project) -> None:
    for distance, left in (("50A", 24), ("51A", 12)):  # neighbours are 5 voxels of 10 Å apart
        ok("select", LIST, "--distance", distance, "--output", f"{distance}.csv")
        assert len(Path(f"{distance}.csv").read_text().split()) == 1 + left
    (project / "cryoreg.toml").unlink()
    assert "does not say how large the voxels of its coordinates are" in refused(*LINES["select"])


def test_a_run_is_evaluated_as_it_was(project) -> None:
    data = {"name": "tomogram", "root": f"{project}/l.csv", "tomograms": f"{project}/tomograms", "box": BOX}
    make_run(project / "own", dataset={**data, "voxel_size": 8.0})
    assert "from ../cryoreg.toml" not in ok("evaluate", "../own", "--data", LIST)


def test_one_volume_is_drawn_as_the_project_says(project, monkeypatch) -> None:
    drawn = []
    monkeypatch.setattr(view, "run_view", lambda subjects, *_: drawn.extend(subjects))
    file = write_mrc(project / "tomograms" / "TS_01.mrc", noise(SHAPE), voxel_size=None)
    for words in ((), ("--invert",), ("--set", "dataset.contrast=bright", "--voxel-size", 4)):
        ok("view", file, *words)
    assert [subject.voxel_size for subject in drawn] == [10, 10, 4]
    assert [float(subject.volume[0, 0, 0] / noise(SHAPE)[0, 0, 0]) for subject in drawn] == [-1, -1, 1]
    write_mrc(file, noise(SHAPE), voxel_size=8)
    assert "has voxels of 8 Å, and ../cryoreg.toml says 10 Å" in refused("view", file)
    assert "is a single volume, of which --box says nothing" in refused("view", file, "--box", 8)


@pytest.mark.parametrize("name", LINES)
def test_a_header_that_contradicts_is_refused(project, name) -> None:
    write_mrc(project / "tomograms" / "TS_02.mrc", noise(SHAPE), voxel_size=8)
    assert "TS_02.mrc: has voxels of 8 Å, and ../cryoreg.toml says 10 Å" in refused(*LINES[name])
    assert not [each for each in Path().iterdir() if each.name.startswith("out")]
