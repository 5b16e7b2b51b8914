"""What holds for every command that takes data: what it takes from a project file, and what it says as JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import starfile
import tomli_w
from support.command_line import cli, ok, refused
from support.mrc_writing import noise, write_mrc
from support.untrained import make_run

from cryoreg.analysis import view
from cryoreg.analysis.averaging.sources import of_data
from cryoreg.config import find_project
from cryoreg.datasets.specs import StoreSpec
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
    "suggest": ("suggest", RUN, *DATA, "--labels-from", "../labels.csv", "--count", 2),
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

SLOW_MARK = [pytest.mark.slow]


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """Two dark tomograms that say nothing, masks of them, a list, a project file, a run of other data elsewhere."""
    make_run(tmp_path / "run", box=BOX)
    folder = tmp_path / "project"
    for seed, name in enumerate(("TS_01", "TS_02")):
        write_mrc(folder / "tomograms" / f"{name}.mrc", noise(SHAPE, seed), voxel_size=None)
        write_mrc(folder / "masks" / f"{name}.mrc", np.ones(SHAPE, np.float32), voxel_size=None)
    (folder / "l.csv").write_text("\n".join(("tomogram,x,y,z,class", *ROWS)))
    (folder / "labels.csv").write_text("".join(["id,class\n", *(f"TS_01/{row},{'ab'[row % 2]}\n" for row in range(8))]))
    (folder / "cryoreg.toml").write_text(tomli_w.dumps({"tomograms": FACTS}))
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")
    monkeypatch.setattr(opening, "serve", lambda *_: None)
    return folder


def test_every_command_is_here() -> None:
    assert {line[0] for line in LINES.values()} | set(NO_DATA) == set(cryoreg.list_commands(None))
    assert not {line[0] for line in LINES.values()} & set(NO_DATA)


@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW_MARK if name in SLOW else []) for name in LINES])
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


def test_a_table_of_predictions_is_data_and_says_their_classes(project) -> None:
    rows = [f"TS_01/{row},{project}/l.csv,{row},{'xy'[row % 3 == 0]}" for row in range(12)]
    Path("p.csv").write_text("\n".join(["id,file,row,prediction", *rows]))
    found = of_data(Path("p.csv"), "y", settings={"box": BOX}, project=find_project())
    assert found.indices == [0, 3, 6, 9]
    Path("p.csv").write_text("\n".join(["id,file,row,prediction", "TS_01/0,gone.star,0,x"]))
    assert "'gone.star', which is not there as its data; say --data DATA --labels-from p.csv" in refused(
        *("average", "x", "--data", "p.csv", "--output", "out.mrc")
    )


def test_a_list_with_classes_leads_to_its_tomograms_from_another_folder(project) -> None:
    ok("pick", "--diameter", 40, "--output", "../picks.star")
    (project / "cryoreg.toml").unlink()
    ok("predict", RUN, "--data", "../picks.star", "--output", "classes.star")
    before, after = (starfile.read(path)["particles"] for path in ("../picks.star", "classes.star"))
    assert set(before["cryoregTomogramFile"]) == {"tomograms/TS_01.mrc", "tomograms/TS_02.mrc"}
    assert set(after["cryoregTomogramFile"]) == {f"{project}/tomograms/TS_01.mrc", f"{project}/tomograms/TS_02.mrc"}
    assert f"{len(before)}" in ok("inspect", "classes.star")


def test_a_run_is_evaluated_as_it_was(project, monkeypatch) -> None:
    data = {"name": "tomogram", "root": f"{project}/l.csv", "tomograms": f"{project}/tomograms", "box": BOX}
    make_run(project / "own", dataset={**data, "voxel_size": 8.0})
    said = ok("evaluate", "../own", "--data", LIST)
    assert "from ../cryoreg.toml" not in said
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode, **more: mode != os.W_OK and access(path, mode, **more))
    Path("../own/evaluation_test.json").unlink()
    again = ok("evaluate", "../own", "--data", LIST)
    assert "warning: nothing may be written in" in again
    assert refused("report", "../own", "--data", LIST).endswith(
        "/own: nothing may be written there; say --output FILE.html"
    )
    assert next(line for line in said.splitlines() if line.startswith("accuracy")) in again
    assert not Path("../own/evaluation_test.json").exists()


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


FILES_ALONE = {"benchmark", "embed", "explain", "finetune", "label", "open", "pretrain", "preview", "view"}
"""Commands whose result is a file, a folder, a run or a page."""


def rows_of(path: str) -> int:
    return len(Path(path).read_text().split()) - 1


CHECKS = {
    "average": lambda said: (said["class"], said["particles"], len(said["files"])) == ("a", 12, 4),
    "cluster": lambda said: sum(said["sizes"]) == rows_of(said["output"]) == 24,
    "convert": lambda said: said["subtomograms"] == len(StoreSpec(root=Path(said["output"])).build()) == 24,
    "extract": lambda said: said["next"].startswith("cryoreg finetune --data out.h5"),
    "inspect": lambda said: said["classes"] == {"a": 12, "b": 12},
    "pick": lambda said: said["picks"] == sum(each["picks"] for each in said["tomograms"]) == rows_of(said["csv"]),
    "predict": lambda said: sum(each["subtomograms"] for each in said["classes"]) == rows_of(said["output"]) == 24,
    "report": lambda said: said["next"][0].startswith("cryoreg ") and said["verdict"],
    "select": lambda said: said["files"] == [{"path": "out.csv", "particles": said["kept"]}] and said["listed"] == 24,
    "suggest": lambda said: len({each["id"] for each in said["suggestions"]}) == 2 and said["labelled"] == 8,
}


def test_what_is_more_than_a_file_is_said_as_json() -> None:
    taking_data = {line[0] for line in LINES.values()}
    speak = {name for name in taking_data if "--json" in cli(name, "--help").stdout}
    assert speak == CHECKS.keys() == taking_data - FILES_ALONE


@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW_MARK if name in SLOW else []) for name in CHECKS])
def test_json_says_what_is_done_and_nothing_else_is_on_stdout(project, name) -> None:
    result = cli(*LINES[name], "--json")
    said = json.loads(result.stdout)
    assert CHECKS[name](said), said
    assert "from ../cryoreg.toml" in result.stderr or name == "inspect"
    assert ("output" in said) == (name != "inspect")
