"""cryoreg.toml: facts said once, which goes before which, and what contradicts."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import starfile
import tomli_w
from support.command_line import cli, ok, refused
from support.mrc_writing import noise, write_mrc

from cryoreg.config import Layer, find_project, resolve
from cryoreg.config.project import Project
from cryoreg.config.project_text import add, begin, remember
from cryoreg.datasets.specs import StoreSpec

SHAPE = (24, 40, 48)
PLACE = (20, 18, 12)
"""x, y, z of a bright or dark voxel."""
FACTS = {"path": "tomograms", "voxel_size": 10.0, "contrast": "dark", "tilt_range": [-60, 60], "tilt_axis": "y"}


def dark_tomogram(file: Path, voxel_size: float | None = None) -> Path:
    """One very dark voxel in faint noise; no voxel size in the header unless one is given."""
    volume = noise(SHAPE)
    volume[PLACE[::-1]] = -50
    return write_mrc(file, volume, voxel_size=voxel_size)


def write_project(folder: Path, **values: object) -> Path:
    file = folder / "cryoreg.toml"
    file.write_text(tomli_w.dumps(values))
    return file


def inspected(*arguments) -> dict:
    return json.loads(cli("inspect", *arguments, "--json").stdout)


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A folder with two dark tomograms that say nothing, a list, and a project file; commands run below it."""
    for name in ("TS_01", "TS_02"):
        dark_tomogram(tmp_path / "tomograms" / f"{name}.mrc")
    rows = "".join(f"TS_0{n},{PLACE[0]},{PLACE[1]},{PLACE[2]}\n" for n in (1, 2))
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "l.csv").write_text(f"tomogram,x,y,z\n{rows}")
    write_project(tmp_path, classes=["ribosome", "junk"], tomograms=FACTS)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    return tmp_path


def test_all_facts_reach_the_reader_and_it_is_said_from_where(project) -> None:
    found = inspected("../lists/l.csv", "--set", "dataset.box=8")
    known = {key: found[key] for key in ("voxel_size", "contrast", "tilt_range", "tilt_axis")}
    assert known == {"voxel_size": 10.0, "contrast": "bright", "tilt_range": [-60.0, 60.0], "tilt_axis": "y"}
    said = "tomograms ../tomograms, voxel size 10 Å, density dark, tilts -60° to 60°, tilt axis y from ../cryoreg.toml"
    assert said in found["notes"]


def test_dark_is_inverted_once_and_a_store_is_left_alone(project) -> None:
    ok("extract", "../lists/l.csv", "--box", 8, "--output", "set.h5")
    assert StoreSpec(root=Path("set.h5")).build()[0].volume[0, 4, 4, 4] == 50
    again = ok("convert", "set.h5", "--output", "again.h5")
    assert "cryoreg.toml" not in again
    assert StoreSpec(root=Path("again.h5")).build()[0].volume[0, 4, 4, 4] == 50


def test_the_command_line_goes_before_a_config_and_that_before_the_project(project) -> None:
    Path("run.toml").write_text('[dataset]\nvoxel_size = 12.0\ncontrast = "bright"\n')
    shown = ok(
        *("pretrain", "--data", "../lists/l.csv", "--config", "run.toml"),
        *("--set", "dataset.contrast=dark", "--dry-run"),
    )
    rows = {line.split("  ")[0]: line.split("  ")[1:] for line in shown.splitlines()}
    values = {key: [word.strip() for word in rest if word.strip()] for key, rest in rows.items()}
    assert values["dataset.contrast"] == ["dark", "--set"]
    assert values["dataset.voxel_size"] == ["12.0", "run.toml"]
    assert values["dataset.tilt_axis"] == ["y", "../cryoreg.toml"]
    assert values["dataset.tomograms"] == [str(project / "tomograms"), "../cryoreg.toml"]


def test_what_is_recorded_can_be_read_elsewhere(project, monkeypatch) -> None:
    layers = [find_project().layer(), Layer("--data", {"dataset": {"root": project / "lists" / "l.csv", "box": 8}})]
    recorded = resolve("pretrain", layers).to_dict()["dataset"]
    monkeypatch.chdir(project.parent)
    again = resolve("pretrain", [Layer("config", {"dataset": recorded})]).spec("dataset").load()
    assert (again.voxel_size, again.contrast, again.tilt_axis) == (10.0, "bright", "y")
    assert again[1].volume[0, 4, 4, 4] == 50


def test_a_header_that_contradicts_is_an_error_unless_overruled(project) -> None:
    dark_tomogram(project / "tomograms" / "TS_02.mrc", voxel_size=8)
    said = refused("inspect", "../lists/l.csv")
    assert "TS_02.mrc: has voxels of 8 Å, and ../cryoreg.toml says 10 Å" in said
    assert inspected("../lists/l.csv", "--set", "dataset.voxel_size=9")["voxel_size"] == 9
    write_project(project, tomograms={**FACTS, "overrule": True})
    assert inspected("../lists/l.csv")["voxel_size"] == 10


def test_the_same_size_and_one_angstrom_are_no_contradiction(project) -> None:
    dark_tomogram(project / "tomograms" / "TS_01.mrc", voxel_size=10.04)
    dark_tomogram(project / "tomograms" / "TS_02.mrc", voxel_size=1)
    assert inspected("../lists/l.csv")["voxel_size"] == 10


def test_tomograms_and_lists_elsewhere_are_none_of_the_project(project, tmp_path_factory) -> None:
    other = tmp_path_factory.mktemp("other")
    for name in ("TS_01", "TS_02"):
        dark_tomogram(other / f"{name}.mrc", voxel_size=5)
    told = inspected("../lists/l.csv", "--set", f"dataset.tomograms={other}")
    (other / "l.csv").write_bytes((project / "lists" / "l.csv").read_bytes())
    for found in (told, inspected(other / "l.csv")):
        assert (found["voxel_size"], found["contrast"]) == (5.0, None)
        assert not any("cryoreg.toml" in note for note in found["notes"])


def test_subtomograms_have_facts_of_their_own(project) -> None:
    for number in range(3):
        write_mrc(project / "volumes" / f"{number}.mrc", noise((8, 8, 8), number), voxel_size=None)
        write_mrc(project / "others" / f"{number}.mrc", noise((8, 8, 8), number), voxel_size=None)
    write_project(project, subtomograms={"path": "volumes", "voxel_size": 4, "contrast": "dark"})
    found = inspected("../volumes")
    assert (found["voxel_size"], found["contrast"]) == (4.0, "bright")
    assert inspected("../others")["voxel_size"] is None
    write_mrc(project / "volumes" / "0.mrc", noise((8, 8, 8), 0), voxel_size=6)
    said = refused("inspect", "../volumes")
    assert "voxel size" in said
    assert "../cryoreg.toml says 4 Å of all" in said


def test_a_store_whose_contrast_contradicts_is_an_error(project) -> None:
    ok("extract", "../lists/l.csv", "--box", 8, "--output", "../set.h5")
    write_project(project, subtomograms={"path": "set.h5", "contrast": "dark"})
    assert "says itself that density is bright, and ../cryoreg.toml says dark" in refused("inspect", "../set.h5")


BAD = {
    "unknown key": ("clases = []", "../cryoreg.toml: has no key 'clases'; did you mean 'classes'?"),
    "unknown fact": ('[tomograms]\npath = "t"\nvoxelsize = 4', "tomograms.voxelsize (../cryoreg.toml): not a fact of"),
    "no path": ("[tomograms]\nvoxel_size = 4", "[tomograms] does not say of which files; add path"),
    "no table": ("tomograms = 4", "'tomograms' must be a table"),
    "no number": ('[tomograms]\npath = "t"\nvoxel_size = -1', "tomograms.voxel_size (../cryoreg.toml): should be"),
    "contrast": ('[tomograms]\npath = "t"\ncontrast = "black"', "tomograms.contrast (../cryoreg.toml): should be"),
    "tilts": ('[tomograms]\npath = "t"\ntilt_range = [60, -60]', "smallest and the largest tilt, between -90 and 90"),
    "double": ('classes = ["a", "a"]', "should be different names"),
    "no toml": ("classes = ", "is not TOML"),
}


@pytest.mark.parametrize(("text", "said"), BAD.values(), ids=BAD)
def test_mistakes_are_one_line(project, text, said) -> None:
    (project / "cryoreg.toml").write_text(text)
    assert said in refused("inspect", "../lists/l.csv")


def test_the_nearest_file_upwards_counts(project) -> None:
    assert find_project(project / "below").file == project / "cryoreg.toml"
    inner = write_project(project / "below", weights="rb3d_universe")
    assert find_project(project / "below") == Project(inner, weights="rb3d_universe")
    assert find_project(Path("/")) is None


def test_init_writes_what_is_known_and_never_twice(project) -> None:
    (project / "cryoreg.toml").unlink()
    ok("init", "--tomograms", "../tomograms", "--voxel-size", 10, "--tilt-range", -60, 60, "--classes", "a b, c")
    text = Path("cryoreg.toml").read_text()
    written = Project.read(Path("cryoreg.toml"))
    assert (written.classes, written.weights, written.subtomograms) == (("a b", "c"), None, None)
    assert written.tomograms.covers("../tomograms/TS_01.mrc")
    assert (written.tomograms.voxel_size, written.tomograms.contrast) == (10.0, None)
    assert written.tomograms.tilt_range == (-60.0, 60.0)
    assert "is there already, and yours to change" in refused("init")
    assert Path("cryoreg.toml").read_text() == text


def test_a_bare_init_is_a_valid_file_that_says_nothing(tmp_path) -> None:
    file = begin(tmp_path, {}, {})
    assert Project.read(file) == Project(file)
    uncommented = file.read_text().replace("# classes", "classes").replace("# weights", "weights")
    for key in ("[tomograms]", "path", "voxel_size", "contrast", "tilt_range", "tilt_axis"):
        uncommented = uncommented.replace(f"# {key}", key)
    file.write_text(uncommented)
    assert Project.read(file).tomograms.tilt_axis == "y"


def test_facts_without_files_and_files_that_are_not_there(project) -> None:
    (project / "cryoreg.toml").unlink()
    assert cli("init", "--voxel-size", 4).exit_code == 2
    assert "gone: does not exist" in refused("init", "--tomograms", "gone")
    assert not Path("cryoreg.toml").exists()


MINE = '# mine\nweights = "rb3d_universe"\n\n[ tomograms ] # here\npath = "tomograms"\ncontrast = "bright"\n# end'


def test_what_is_added_changes_nothing_that_a_user_wrote(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "cryoreg.toml"
    file.write_text(MINE)
    values = {"path": Path("tomograms"), "contrast": "dark", "voxel_size": 4.5, "tilt_axis": None}
    assert add(file, "tomograms", values, "pick") == ["voxel_size"]
    lines = file.read_text().splitlines()
    assert [line for line in lines if not line.startswith("voxel_size = 4.5")] == MINE.splitlines()
    facts = Project.read(file).tomograms
    assert (facts.voxel_size, facts.contrast) == (4.5, "bright")
    assert add(file, "tomograms", values, "pick") == []
    assert add(file, "tomograms", {**values, "path": "others", "tilt_axis": "x"}, "pick") == []
    assert add(file, "subtomograms", {"path": "v", "voxel_size": 4.5}, "pick") == ["path", "voxel_size"]
    assert Project.read(file).subtomograms.voxel_size == 4.5


@pytest.mark.parametrize("text", ['tomograms = {path = "t"}', 'tomograms.path = "t"'])
def test_a_table_that_is_written_otherwise_is_left_alone(tmp_path, monkeypatch, text) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "cryoreg.toml"
    file.write_text(text)
    assert add(file, "tomograms", {"path": "t", "contrast": "dark"}, "pick") == []
    assert file.read_text() == text


def test_outputs_elsewhere_begin_no_project(tmp_path, monkeypatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert remember("tomograms", {"path": "t"}, tmp_path / "out.star", "pick") is None
    assert remember("tomograms", {"path": "t"}, Path("out.star"), "pick")
    assert [each.name for each in (tmp_path / "here").iterdir()] == ["cryoreg.toml"]


@pytest.mark.parametrize("place", [("--tomograms", "../tomograms"), ("--set", "dataset.tomograms=../tomograms")])
@pytest.mark.parametrize("size", [("--voxel-size", 5), ("--set", "dataset.voxel_size=5")])
@pytest.mark.parametrize("tilts", [("--tilt-range", -40, 50), ("--set", "dataset.tilt_range=[-40,50]")])
def test_extract_keeps_what_settings_say_as_what_options_say(project, place, size, tilts) -> None:
    (project / "cryoreg.toml").unlink()
    dark_tomogram(project / "tomograms" / "TS_01.mrc", voxel_size=10)
    Path("l.csv").write_text(f"tomogram,x,y,z\nTS_01,{PLACE[0]},{PLACE[1]},{PLACE[2]}\n")
    more = ("--set", "dataset.tilt_axis=x", "--set", "dataset.contrast=dark")
    ok("extract", "l.csv", *place, *size, *tilts, *more, "--box", 8, "--output", "set.h5")
    kept = dict(Project.read(Path("cryoreg.toml")).tomograms)
    assert Path(kept.pop("path")).resolve() == (project / "tomograms").resolve()
    told = {"voxel_size": 5, "contrast": "dark", "tilt_range": (-40, 50), "tilt_axis": "x"}
    assert kept == {**told, "overrule": True}


@pytest.mark.parametrize(("header", "overrules"), [(10, True), (5, False), (1, False), (None, False)])
@pytest.mark.parametrize("place", ["one", "folder", "table"])
def test_extract_keeps_that_it_was_told_against_headers(project, place, header, overrules) -> None:
    """What follows reads the tomograms as `extract` was told, as after `pick`."""
    (project / "cryoreg.toml").unlink()
    rows = ["tomogram,x,y,z", *(f"{name},{PLACE[0]},{PLACE[1]},{PLACE[2]}" for name in ("TS_01", "TS_02"))]
    for name in ("TS_01", "TS_02"):
        dark_tomogram(project / "tomograms" / f"{name}.mrc", voxel_size=header)
    told = {"one": "TS_01.mrc", "folder": "", "table": "tomograms.star"}[place]
    Path("l.csv").write_text("\n".join(rows[: 2 if place == "one" else 3]))
    if place == "table":
        table = pd.DataFrame({"rlnTomoName": ["TS_01", "TS_02"]})
        table["rlnTomoReconstructedTomogram"] = "tomograms/" + table["rlnTomoName"] + ".mrc"
        starfile.write({"global": table}, project / "tomograms" / "tomograms.star")
    words = ("--tomograms", f"../tomograms/{told}", "--voxel-size", 5, "--box", 8, "--output", "set.h5")
    said = ok("extract", "l.csv", *words)
    assert Project.read(Path("cryoreg.toml")).tomograms.overrule == overrules
    assert ("facts for the commands that follow, over what the files say" in said) == overrules
    assert inspected("l.csv", "--box", 8)["voxel_size"] == 5
