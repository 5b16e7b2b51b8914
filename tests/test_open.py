"""`cryoreg open`: places, colours and sizes reach the viewer; where there is none, nothing is written."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from support.command_line import cli
from support.mrc_writing import noise, write_mrc
from support.particle_writing import FORMATS
from support.tomograms import POINTS, write_tomogram
from support.untrained import make_run

from cryoreg import extract, predict
from cryoreg.seams import misfit
from cryoreg.viewing.imod import ImodViewer
from cryoreg.viewing.sources import Told, colours_of, open_source

SHAPE = (20, 30, 40)
LIST = """data_optics

loop_
_rlnOpticsGroup #1
_rlnMicrographPixelSize #2
1 5.0

data_particles

loop_
_rlnTomoName #1
_rlnCoordinateX #2
_rlnCoordinateY #3
_rlnCoordinateZ #4
_rlnOpticsGroup #5
_cryoregClassName #6
_cryoregConfidence #7
TS_01 20 40 10 1 '80S ribosome' 1.0
TS_01 60 8 30 1 26S 0.5
TS_02 10 20 30 1 none 0.0
TS_01 22 42 12 1 '80S ribosome' 0.75
"""
"""In voxels of 5 Å: the tomograms' are twice as large."""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two tomograms, a list of four particles, and a PATH on which there is nothing."""
    for name in ("TS_01", "TS_02"):
        write_mrc(tmp_path / f"{name}.mrc", noise(SHAPE), 10.0, origin=(100, 200, 300))
    (tmp_path / "classes.star").write_text(LIST)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("CRYOREG_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: object) -> Result:
    return cli("open", *words)


def install(project: Path, *names: str, ends: int = 0) -> Path:
    """Put programs on the PATH that note how they are called, and write the file that their last word names."""
    for name in names:
        program = project / "bin" / name
        program.write_text(f'#!/bin/sh\necho {name} "$@" >> {project}/called\nexit {ends}\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return project / "called"


def test_what_is_shown(project):
    first, second = open_source(project / "classes.star", Told())
    assert (first.name, first.shape, first.voxel_size) == ("TS_01", SHAPE, 10.0)
    assert first.tomogram == project / "TS_01.mrc"
    np.testing.assert_allclose(first.places, [(10, 20, 5), (30, 4, 15), (11, 21, 6)])
    assert first.classes == ["80S ribosome", "26S", "80S ribosome"]
    assert first.confidences == [1, 0.5, 0.75]
    np.testing.assert_allclose(first.radii, [80, 56, 68])  # 80 Å, from 0.4 of it
    assert first.ids == ["TS_01/0", "TS_01/1", "TS_01/3"]
    assert second.classes == [""]
    assert list(first.colours) == ["26S", "80S ribosome", ""]
    assert first.colours == second.colours
    assert len(set(first.colours.values())) == 3


def test_colours_go_round_and_none_is_grey():
    colours = colours_of([*map(str, range(30)), ""])
    assert list(colours) == [*map(str, range(30)), ""]
    assert colours["0"] == colours["14"] != colours["13"]
    assert colours[""] == (150, 150, 150)


@pytest.mark.parametrize("source", ["csv", "predictions"])
def test_other_sources(project, source):
    """A CSV list of points without classes; a table of predictions that names rows of the list."""
    if source == "csv":
        (project / "s.csv").write_text("tomogram,x,y,z\nTS_02,1,2,3\n")
    else:
        (project / "s.csv").write_text(
            f"id,file,row,tomogram,prediction,confidence\na,{project}/classes.star,3,TS_01,60S,0.5\n"
        )
    [shown] = open_source(project / "s.csv", Told())
    if source == "csv":
        assert (shown.places, shown.classes, shown.radii) == ([(1, 2, 3)], [""], [80])
    else:
        assert (shown.places, shown.classes, shown.ids) == ([(11, 21, 6)], ["60S"], ["a"])
        assert shown.radii == [56]


@pytest.mark.parametrize("kind", FORMATS)
def test_lists_of_every_program_are_shown_at_their_places(kind, tmp_path):
    tomogram = write_tomogram(tmp_path / "TS_01.mrc")
    [shown] = open_source(FORMATS[kind](tmp_path), Told(tomogram))
    np.testing.assert_allclose(shown.places, POINTS, atol=2e-3)


def test_a_store_is_shown_where_its_particles_are(project):
    """As its list is: the tomograms that it was cut out of are there, or where the user says."""
    extract("classes.star", "boxes.h5", box=8, label="cryoregClassName", skip_bad=True)
    listed, cut = (open_source(project / name, Told()) for name in ("classes.star", "boxes.h5"))
    assert [each.name for each in cut] == ["TS_01", "TS_02"]
    for one, other in zip(cut, listed, strict=True):
        same = ("tomogram", "shape", "voxel_size", "places")
        assert [getattr(one, key) for key in same] == [getattr(other, key) for key in same]
        assert [name.rpartition("/")[2] for name in one.ids] == [name.rpartition("/")[2] for name in other.ids]
    assert cut[0].classes == ["80S ribosome", "26S", "80S ribosome"]
    assert cut[0].radii == [80, 80, 80]
    install(project, "3dmod", "point2model")
    assert "TS_01  3 particles of 26S, 80S ribosome" in run("boxes.h5").output
    (project / "moved").mkdir()
    for name in ("TS_01", "TS_02"):
        (project / f"{name}.mrc").rename(project / "moved" / f"{name}.mrc")
    assert "boxes.h5: has boxes, and not the list and tomograms that" in run("boxes.h5").output
    [first, _] = open_source(project / "boxes.h5", Told(tomograms=project / "moved"))
    assert first.tomogram == project / "moved" / "TS_01.mrc"
    assert first.places == cut[0].places
    write_mrc(project / "moved" / "TS_01.mrc", noise(SHAPE, seed=5), 10.0, origin=(100, 200, 300))
    assert "--class-column a: goes with a list, and boxes.h5 is none" in run("boxes.h5", "--class-column", "a").output
    refused = run("boxes.h5", "--tomograms", "moved")
    assert (refused.exit_code, refused.output.count("\n")) == (1, 1)
    assert "or open the list of its particles" in refused.output


def test_a_runs_classifier_is_asked(project):
    """The classes and confidences are those that `predict` writes into the list."""
    data = {"name": "tomogram", "root": str(project / "classes.star"), "box": 8, "label": "cryoregClassName"}
    make_run(project / "run", dataset=data)
    said = predict(project / "run", device="cpu")
    first, second = open_source(project / "run", Told())
    np.testing.assert_allclose(first.places, [(10, 20, 5), (30, 4, 15), (11, 21, 6)])
    assert [*first.ids, *second.ids] == ["TS_01/0", "TS_01/1", "TS_01/3", "TS_02/2"]
    by_id = dict(zip(said.ids, said.predictions, strict=True))
    for each in (first, second):
        assert each.classes == [said.classes[by_id[name]] for name in each.ids]
    assert set(first.colours) <= {*said.classes}
    (project / "one.star").write_text(LIST.replace("TS_01 60 8 30 1 26S 0.5\n", ""))
    shown = open_source(project / "run", Told(data=project / "one.star"))
    assert [len(each.places) for each in shown] == [2, 1]


def test_imod_gets_points_of_its_own_frame(project):
    install(project, "3dmod", "point2model")
    [shown, _] = open_source(project / "classes.star", Told())
    model, view = ImodViewer().prepare(shown, project)
    assert (project / "TS_01.txt").read_text() == (
        "2 1 10.500 20.500 5.000 8.00\n1 1 30.500 4.500 15.000 5.60\n2 1 11.500 21.500 6.000 6.80\n"
    )
    assert model[:5] == ["point2model", "-scat", "-sizes", "-sphere", "8"]
    colours = [",".join(map(str, shown.colours[name])) for name in ("26S", "80S ribosome")]
    assert model[5:13] == ["-name", "26S", "-color", colours[0], "-name", "80S ribosome", "-color", colours[1]]
    assert view == ["3dmod", str(project / "TS_01.mrc"), str(project / "TS_01.mod")]
    assert misfit("viewer", ImodViewer) == ""


def test_the_viewer_on_the_path_is_started(project):
    called = install(project, "3dmod", "point2model")
    result = run(project / "classes.star")
    assert result.exit_code == 0, result.output
    assumed, shown = result.output.splitlines()
    assert assumed.endswith("TS_01.mrc and 1 more: coordinates: voxels of 5 Å (the list), 2 to one of the tomogram")
    assert shown == "TS_01  3 particles of 26S, 80S ribosome"
    model, view = called.read_text().splitlines()
    assert view.startswith(f"3dmod {project}/TS_01.mrc {project}/cache/open/classes-")
    written = Path(view.split()[-1]).with_suffix(".txt")
    assert written.is_file()
    assert str(written) in model
    assert run(project / "classes.star", "--tomogram", "TS_02.mrc").exit_code == 0  # again, in the same place
    assert "TS_02.mrc" in called.read_text().splitlines()[-1]


def test_without_a_viewer_one_line_says_so_and_nothing_is_written(project):
    before = sorted(project.rglob("*"))
    for words in ((), ("--viewer", "imod")):
        result = run(project / "classes.star", *words)
        assert result.exit_code == 1
        assert result.output.count("\n") == 1
        assert "install IMOD (https://bio3d.colorado.edu/imod)" in result.output
    assert sorted(project.rglob("*")) == before
    install(project, "3dmod")
    half = run(project / "classes.star")
    assert "point2model is not on the PATH: install IMOD" in half.output


def test_files_only(project):
    result = run(project / "classes.star", "--viewer", "imod", "--files-only")
    assert result.exit_code == 0, result.output
    assert sorted(file.name for file in (project / "classes_imod").iterdir()) == ["TS_01.txt", "TS_02.txt"]
    assert f"next      3dmod {project}/TS_01.mrc classes_imod/TS_01.mod\n" in result.output
    again = run(project / "classes.star", "--viewer", "imod", "--files-only")
    assert "exists already; choose another name or say --overwrite" in again.output
    assert run(project / "classes.star", "--viewer", "imod", "--files-only", "--overwrite").exit_code == 0
    undecided = run(project / "classes.star", "--files-only")
    assert "--files-only: for which viewer? say --viewer" in undecided.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tomogram", "TS_09"], "has no particles in a tomogram 'TS_09' (there are: TS_01, TS_02)"),
        (["--viewer", "imodd"], "did you mean 'imod'"),
        (["--data", "x.star"], "--data x.star: goes with a run, and classes.star is none"),
        (["--class-column", "size"], "has no column 'size'"),
    ],
)
def test_mistakes_are_said(project, words, message):
    install(project, "3dmod", "point2model")
    result = run("classes.star", *words)
    assert result.exit_code == 1
    assert message in result.output


def test_tomograms_elsewhere_and_without_a_voxel_size(project):
    (project / "lists").mkdir()
    (project / "lists" / "a.csv").write_text("tomogram,x,y,z\nTS_03,1,2,3\n")
    write_mrc(project / "TS_03.mrc", noise(SHAPE), None)
    install(project, "3dmod", "point2model")
    assert "--tomograms <folder>" in run(project / "lists" / "a.csv").output
    there = (project / "lists" / "a.csv", "--tomograms", project)
    assert "has no voxel size; say --voxel-size <Å>" in run(*there).output
    assert run(*there, "--voxel-size", 8).exit_code == 0


def test_a_viewer_that_fails_is_said(project):
    install(project, "3dmod", "point2model", ends=3)
    result = run(project / "classes.star")
    assert result.exit_code == 1
    assert result.output.rstrip().endswith("ended with 3")


VIEWER = '''
"""A viewer that writes what it is shown. Imports nothing heavy."""

import json

from cryoreg.seams import Viewer


class PlainViewer(Viewer):
    """Plain text."""

    programs = ("plainly", "plain")
    install = "pip install plainly"

    def prepare(self, shown, folder):
        file = folder / f"{shown.name}.json"
        file.write_text(json.dumps([shown.name, shown.places]))
        return [["plainly", str(file)]]
'''


def test_a_viewer_that_cannot_be_made_hides_no_other(project, fake_plugin: Callable[..., Path]):
    module = VIEWER + "\n    def __init__(self):\n        raise RuntimeError('no licence')\n"
    fake_plugin("bad", "[cryoreg.viewers]\nbad = bad_specs:PlainViewer\n", module=module)
    install(project, "3dmod", "point2model")
    assert run(project / "classes.star").exit_code == 0
    missing = run(project / "classes.star", "--viewer", "bad")
    assert "viewer 'bad' of bad 1.0 fails with RuntimeError: no licence; update or uninstall bad" in missing.output


def test_a_package_brings_a_viewer(project, fake_plugin: Callable[..., Path]):
    fake_plugin("plain", "[cryoreg.viewers]\nplain = plain_specs:PlainViewer\n", module=VIEWER)
    called = install(project, "plain")  # the second of its names
    assert run(project / "classes.star").exit_code == 0
    name, file = called.read_text().split()
    assert name == "plain"
    assert json.loads(Path(file).read_text()) == ["TS_01", [[10, 20, 5], [30, 4, 15], [11, 21, 6]]]
    missing = run(project / "classes.star", "--viewer", "imod")
    assert "3dmod is not on the PATH" in missing.output
