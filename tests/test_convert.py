"""Converting: every round trip gives the same subtomograms and the same split, also after a kill."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import h5py
import mrcfile
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from scipy.spatial.transform import Rotation
from support.mrc_writing import edit, noise, state, write_mrc
from support.storing import dies, kill_self, layout, rich_layout, volume, write_store
from support.synthetic import write_classes

from cryoreg.contracts import Origin, Sample
from cryoreg.datasets.conversion.convert import convert
from cryoreg.datasets.conversion.mrc_folders import LabWriter, MrcFolderWriter
from cryoreg.datasets.fingerprint import fingerprint
from cryoreg.datasets.readers.lab import Lab
from cryoreg.datasets.readers.mrc_folder import MrcFolder
from cryoreg.datasets.splits import split
from cryoreg.datasets.store.reader import Store
from cryoreg.errors import DataError, OutputError
from cryoreg.wrapped import Wrapped
from cryoreg_cli.main import cryoreg

READERS = {"store": Store, "mrc_folder": MrcFolder, "lab": Lab}


@pytest.fixture
def source(tmp_path):
    return MrcFolder(write_classes(tmp_path / "source", per_class=6))


@pytest.fixture
def lab(tmp_path):
    """Boxes with three different edges; numbers with gaps."""
    for number, name in ((9, "a"), (10, "b"), (101, "a")):
        write_mrc(tmp_path / f"lab/subtomogram_mrc/tomotarget{number}.mrc", volume(number), 0)
        label = tmp_path / f"lab/json_label/target{number}.json"
        label.parent.mkdir(exist_ok=True)
        label.write_text(json.dumps({"loc": [1, 2, 3], "rotate": [0, 0, 0], "name": name}))
    return Lab(tmp_path / "lab")


def same_volumes(one, other) -> bool:
    return all(torch.equal(one[i].volume, other[i].volume) for i in range(len(one)))


class Mortal(Wrapped):
    """A data set that kills its process at a row."""

    def __init__(self, dataset, row: int) -> None:
        super().__init__(dataset)
        self.row, self.read = row, []

    def __getitem__(self, index: int) -> Sample:
        if index == self.row:
            kill_self()
        self.read.append(index)
        return self.dataset[index]


# ---- round trips


def test_a_store_has_the_split_and_fingerprint_of_its_source(source, tmp_path):
    done = convert(source, tmp_path / "s.h5")
    dataset = Store(done.path)
    assert (done.written, done.resumed, done.left_out) == (12, 0, {})
    assert fingerprint(dataset) == fingerprint(source)
    assert all(np.array_equal(a, b) for a, b in zip(split(dataset), split(source), strict=True))
    assert same_volumes(dataset, source)
    assert [dataset.origin(i).file for i in range(12)] == list(source.files)
    assert dataset.voxel_size == 10


def test_a_store_of_a_store_is_the_same(tmp_path):
    source = Store(write_store(tmp_path / "a.h5", rich_layout()))
    dataset = Store(convert(source, tmp_path / "b.h5").path)
    assert fingerprint(dataset) == fingerprint(source)
    assert same_volumes(dataset, source)
    assert same_volumes(dataset.clean, source.clean)
    assert (dataset.contrast, dataset.tilt_range, dataset.tilt_axis) == ("bright", (-60.0, 50.0), "x")
    for name, values in source.columns.items():
        np.testing.assert_array_equal(dataset.columns[name], values)
    assert dataset.origin(0) == source.origin(0)


def test_mrc_folders_there_and_back(source, tmp_path):
    there = Store(convert(source, tmp_path / "s.h5").path)
    back = MrcFolder(convert(there, tmp_path / "mrc", "mrc_folder").path)
    assert fingerprint(back) == fingerprint(source)
    assert same_volumes(back, source)
    assert back.voxel_size == 10


def test_a_flat_folder(tmp_path):
    path = write_store(tmp_path / "s.h5", layout(3, labels=[None] * 3, classes=[], ids=["a/b", ".c", "α"]))
    back = MrcFolder(convert(Store(path), tmp_path / "mrc", "mrc_folder").path)
    assert list(back.ids) == ["_c", "a_b", "α"]
    np.testing.assert_array_equal(back[1].volume[0], volume(0))
    assert back.classes == []


def test_the_lab_there_and_back(lab, tmp_path):
    there = Store(convert(lab, tmp_path / "s.h5").path)
    assert there.box == (6, 4, 5)
    back = Lab(convert(there, tmp_path / "back", "lab").path)
    assert fingerprint(back) == fingerprint(lab)
    for number in (9, 10, 101):
        with mrcfile.open(tmp_path / f"back/subtomogram_mrc/tomotarget{number}.mrc") as file:
            np.testing.assert_array_equal(file.data, volume(number))
        label = json.loads((tmp_path / f"back/json_label/target{number}.json").read_text())
        assert label == {"loc": None, "rotate": None, "name": "ab"[number == 10]}


def test_the_labs_own_files(shared_data, tmp_path):
    """Written by another program: volumes come back bit by bit."""
    lab = Lab(shared_data / "lab_layout")
    back = convert(lab, tmp_path / "back", "lab").path
    assert fingerprint(Lab(back)) == fingerprint(lab)
    for file in list((shared_data / "lab_layout/subtomogram_mrc").iterdir())[:10]:
        with mrcfile.open(file) as one, mrcfile.open(back / "subtomogram_mrc" / file.name) as other:
            np.testing.assert_array_equal(one.data, other.data)


def test_poses_in_the_lab_s_axes(tmp_path):
    """A bright voxel is found in the lab's file where `loc` says, and `rotate` brings the structure's axis there."""
    turn = Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix()
    shift = np.array([1, -2, 3])  # x, y, z in voxels
    voxels = np.zeros((11, 10, 9), dtype=np.float32)
    z, y, x = (edge // 2 + s for edge, s in zip(voxels.shape, shift[::-1], strict=True))
    voxels[z, y, x] = 1
    plan = layout(1, box=voxels.shape, columns={"rotation": ("f8", (3, 3)), "shift": ("f8", (3,))}, voxel_size=8.0)
    with LabWriter(tmp_path / "lab", plan) as writer:
        writer.put(0, voxels, columns={"rotation": turn, "shift": 8.0 * shift})
        writer.finish()
    label = json.loads((tmp_path / "lab/json_label/target0.json").read_text())
    with mrcfile.open(tmp_path / "lab/subtomogram_mrc/tomotarget0.mrc") as file:
        found = np.argwhere(file.data)[0][::-1]
    np.testing.assert_allclose(label["loc"], found)
    beam = Rotation.from_euler("ZYZ", label["rotate"]).inv().apply([1, 0, 0])
    np.testing.assert_allclose(beam, turn.T @ [0, 0, 1], atol=1e-12)


def test_clean_copies_are_opened_twice_however_many_there_are(source, tmp_path):
    """Once to know that there are any: the demo set reads its cache whenever it is asked."""

    class Simulated(Mortal):
        opened = 0

        @property
        def clean(self):
            self.opened += 1
            return source

    simulated = Simulated(source, -1)
    assert same_volumes(Store(convert(simulated, tmp_path / "s.h5").path).clean, source)
    assert simulated.opened == 2


# ---- interrupted


@pytest.mark.slow
@pytest.mark.parametrize("to", READERS)
def test_killed_it_goes_on_where_it_was(source, tmp_path, to, monkeypatch):
    monkeypatch.setattr("cryoreg.datasets.store.writer._FLUSH_SECONDS", 0)
    path = tmp_path / "out"
    for row in (3, 8):
        assert dies(lambda row=row: convert(Mortal(source, row), path, to))
        assert not path.exists()
    again = Mortal(source, -1)
    done = convert(again, path, to)
    assert (done.written, done.resumed) == (12, 8)
    assert again.read == list(range(8, 12))
    back = READERS[to](path)
    assert len(back) == 12
    assert same_volumes(back, source)
    assert sorted(os.listdir(tmp_path)) == ["out", "source"]


@pytest.mark.parametrize("to", ["mrc_folder", "lab"])
def test_torn_files_are_written_again(source, tmp_path, to):
    """A power failure can leave a renamed file empty."""
    path = tmp_path / "out"
    assert dies(lambda: convert(Mortal(source, 4), path, to))
    torn = sorted(file for file in (tmp_path / ".out.part").rglob("*.mrc"))[1]
    torn.write_bytes(b"")
    done = convert(source, path, to)
    assert done.resumed == 3
    assert same_volumes(READERS[to](path), source)


@pytest.mark.parametrize("to", READERS)
def test_another_data_set_does_not_go_on(source, tmp_path, to):
    path = tmp_path / "out"
    assert dies(lambda: convert(Mortal(source, 4), path, to, {"root": "a"}))
    with pytest.raises(DataError, match="other data or settings"):
        convert(source, path, to, {"root": "b"})


@pytest.mark.parametrize("to", READERS)
def test_what_exists_is_kept(source, tmp_path, to):
    path = tmp_path / "out"
    convert(source, path, to)
    before = state(tmp_path)
    with pytest.raises(OutputError, match=r"exists already; choose another name or say --overwrite"):
        convert(source, path, to)
    assert state(tmp_path) == before
    convert(source, path, to, {"again": True}, overwrite=True)
    assert same_volumes(READERS[to](path), source)
    assert sorted(os.listdir(tmp_path)) == ["out", "source"]


@pytest.mark.parametrize(
    ("to", "place"),
    [("store", ""), ("mrc_folder", ""), ("lab", ""), ("mrc_folder", "class0"), ("lab", "subtomogram_mrc")],
)
def test_a_link_in_the_place_of_the_part_is_not_followed(source, tmp_path, to, place):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    link = tmp_path / ".out.part" / place
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(foreign / "x" if to == "store" else foreign)
    with pytest.raises(DataError, match=f"is a link to {foreign}"):
        convert(source, tmp_path / "out", to)
    assert not list(foreign.iterdir())


def test_a_folder_of_others_is_never_replaced(source, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    for to in READERS:
        with pytest.raises(OutputError, match=r"out: (exists already, and thesis.tex|is a folder)"):
            convert(source, tmp_path / "out", to, overwrite=True)
    assert os.listdir(tmp_path / "out") == ["thesis.tex"]


@pytest.mark.parametrize("to", ["mrc_folder", "lab"])
def test_a_folder_into_which_somebody_put_a_file_is_not_replaced(source, tmp_path, to):
    convert(source, tmp_path / "out", to)
    mine = tmp_path / "out" / ("class0" if to == "mrc_folder" else "subtomogram_mrc") / "mine.mrc"
    mine.write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"out: exists already, and .*mine\.mrc in it is none of cryoreg's"):
        convert(source, tmp_path / "out", to, overwrite=True)
    assert mine.read_bytes() == b"mine"
    mine.unlink()
    assert convert(source, tmp_path / "out", to, overwrite=True).written == len(source)


@pytest.mark.parametrize("to", READERS)
def test_what_is_read_is_never_replaced(source, tmp_path, to):
    """Neither a list, a store or a volume that the rows come from, nor a folder around them."""
    convert(source, tmp_path / "first", to)
    again = READERS[to](tmp_path / "first")
    before = state(tmp_path)
    target = tmp_path / "first" if to != "store" else Path(source.origin(0).file)
    rows = again if to != "store" else source
    with pytest.raises(OutputError, match="is what is read, which is never changed"):
        convert(rows, target, to, {"root": str(tmp_path / "first")}, overwrite=True)
    assert state(tmp_path) == before


@pytest.mark.parametrize("to", READERS)
def test_overwrite_gives_up_what_another_call_left(source, tmp_path, to):
    path = tmp_path / "out"
    assert dies(lambda: convert(Mortal(source, 4), path, to, {"root": "a"}))
    with pytest.raises(DataError, match=r"was begun with other data or settings; .* --overwrite"):
        convert(source, path, to, {"root": "b"})
    assert convert(source, path, to, {"root": "b"}, overwrite=True).resumed == 0
    assert sorted(os.listdir(tmp_path)) == ["out", "source"]


@pytest.mark.parametrize("to", READERS)
def test_a_call_that_fails_at_the_first_subtomogram_leaves_nothing(source, tmp_path, to):
    edit(Path(source.files[0]), 1024, np.full(5, np.nan, "f4").tobytes())
    for _ in range(2):
        with pytest.raises(DataError, match="class0/000"):
            convert(source, tmp_path / "out", to)
        assert os.listdir(tmp_path) == ["source"]


# ---- bad subtomograms


@pytest.fixture
def damaged(source):
    for name in ("class0/002", "class1/004"):
        file = next(file for file in source.files if name in file)
        edit(Path(file), 1024, np.full(5, np.nan, "f4").tobytes())
    return source


def test_a_bad_subtomogram_ends_it_with_one_line_and_nothing_is_lost(damaged, tmp_path):
    before = state(tmp_path / "source")
    with pytest.raises(DataError) as error:
        convert(damaged, tmp_path / "s.h5")
    assert "class0/002" in str(error.value)
    assert "--skip-bad" in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert state(tmp_path / "source") == before
    with h5py.File(tmp_path / ".s.h5.part", "r") as part:
        assert part["state"][()].tolist() == [1, 1] + [0] * 10


@pytest.mark.parametrize("to", READERS)
def test_bad_subtomograms_are_left_out_on_demand(damaged, tmp_path, to):
    done = convert(damaged, tmp_path / "out", to, skip_bad=True)
    assert list(done.left_out) == ["class0/002", "class1/004"]
    assert all("NaN" in reason for reason in done.left_out.values())
    back = READERS[to](tmp_path / "out")
    assert done.written == len(back) == 10
    kept = [i for i in range(12) if damaged.ids[i] not in done.left_out]
    for one, other in zip(range(10), kept, strict=True):
        assert torch.equal(back[one].volume, damaged[other].volume)
    if to == "store":
        assert back.left_out == list(done.left_out)
    else:
        assert json.loads((tmp_path / "out/.cryoreg.json").read_text())["left_out"] == list(done.left_out)


@pytest.mark.parametrize("to", READERS)
def test_all_bad_is_no_data_set(source, tmp_path, to):
    for file in source.files:
        edit(Path(file), 1024, np.full(5, np.nan, "f4").tobytes())
    with pytest.raises(DataError):
        convert(source, tmp_path / "out", to, skip_bad=True)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_not_a_bad_subtomogram(source, tmp_path, small_files_only):
    with pytest.raises(DataError, match=r"cannot write .*s\.h5") as error:
        _limited(source, tmp_path / "s.h5", small_files_only)
    assert "--skip-bad" not in str(error.value)
    small_files_only(None)
    assert convert(source, tmp_path / "s.h5").written == 12


def _limited(source, path: Path, limit) -> None:
    class Filling(Mortal):
        def __getitem__(self, index: int) -> Sample:
            if index == 5:
                limit(10_000)
            return super().__getitem__(index)

    convert(Filling(source, -1), path, skip_bad=True)


@pytest.mark.parametrize(
    ("writer", "change", "phrase"),
    [
        (MrcFolderWriter, {"labels": [0, None]}, "s1: has no class"),
        (LabWriter, {"labels": [0, None]}, "s1: has no class"),
        (MrcFolderWriter, {"classes": ["a/b", "c"]}, "class 'a/b'"),
        (MrcFolderWriter, {"ids": ["x/y", "x_y"], "labels": [0, 0]}, "x_y"),
        (MrcFolderWriter, {"ids": ["x", "X"], "labels": [0, 0]}, "x"),
    ],
)
def test_layouts_that_folders_cannot_hold(tmp_path, writer, change, phrase):
    with pytest.raises(DataError, match=re.escape(phrase)):
        writer(tmp_path / "out", layout(2, **change))
    assert os.listdir(tmp_path) == []


# ---- the command


def run(*arguments: object):
    result = CliRunner().invoke(cryoreg, ["convert", *map(str, arguments)], catch_exceptions=False)
    return result.exit_code, result.output


def test_the_command(tmp_path):
    root = write_classes(tmp_path / "source", per_class=3)
    call = ("--dataset", "mrc_folder", "--data", root, "--output", tmp_path / "s.h5", "--set", "dataset.contrast=dark")
    code, output = run(*call)
    assert code == 0, output
    assert "s.h5" in output
    assert "6 subtomograms" in output
    dataset = Store(tmp_path / "s.h5")
    assert dataset.contrast == "bright"
    torch.testing.assert_close(dataset[0].volume, -MrcFolder(root)[0].volume)
    assert dataset.settings["contrast"] == "dark"
    assert dataset.settings["name"] == "mrc_folder"
    code, output = run(*call)
    assert code == 1
    assert output.splitlines() == [output.strip()]
    assert "--overwrite" in output
    assert run(*call, "--overwrite")[0] == 0
    back = ("--dataset", "store", "--data", tmp_path / "s.h5", "--output", tmp_path / "lab", "--to", "lab")
    assert run(*back)[0] == 0
    assert len(Lab(tmp_path / "lab")) == 6


@pytest.mark.parametrize(("to", "axis", "said"), [("mrc_folder", "x", True), ("lab", "y", True), ("lab", "x", False)])
def test_what_mrc_files_cannot_hold_can_be_said_again(tmp_path, to, axis, said):
    root = write_classes(tmp_path / "source", per_class=3)
    known = [f"dataset.{each}" for each in ("contrast=dark", "tilt_range=[-50, 55]", f"tilt_axis={axis}")]
    sets = [part for each in known for part in ("--set", each)]
    call = ("--dataset", "mrc_folder", "--data", root, "--output", tmp_path / "out", "--to", to)
    code, output = run(*call, *sets)
    assert code == 0, output
    hint = output.splitlines()[1].partition("when you read it: ")[2]
    assert (f"dataset.tilt_axis={axis}" in hint) is said
    code, output = run("--dataset", to, "--data", tmp_path / "out", "--output", tmp_path / "s.h5", *hint.split())
    assert code == 0, output
    dataset = Store(tmp_path / "s.h5")
    assert (dataset.contrast, dataset.tilt_range, dataset.tilt_axis) == ("bright", (-50, 55), axis)


@pytest.mark.parametrize("axis", ["x", "y", None])
def test_the_labs_layout_has_the_tilt_axis_of_what_cryoreg_wrote(tmp_path, axis):
    """Else the reader makes it x, as that of the lab is: `simulate --lab`, and data of which nobody knows."""
    root = write_classes(tmp_path / "source", per_class=3)
    known = [] if axis is None else ["--set", f"dataset.tilt_axis={axis}"]
    call = ("--dataset", "mrc_folder", "--data", root, "--output", tmp_path / "out", "--to", "lab")
    assert run(*call, *known)[0] == 0
    assert Lab(tmp_path / "out").tilt_axis == axis
    for content in ("[]", "{}", '{"tilt_axis": "z"}', "{"):
        (tmp_path / "out" / ".cryoreg.json").write_text(content)
        assert Lab(tmp_path / "out").tilt_axis == "x"


def test_home_is_where_the_tilde_points(tmp_path, monkeypatch):
    """The shell leaves --output=~/s.h5 as it is."""
    monkeypatch.setenv("HOME", str(tmp_path))
    root = write_classes(tmp_path / "source", per_class=3)
    code, output = run("--dataset", "mrc_folder", "--data", root, "--output=~/s.h5")
    assert code == 0, output
    assert (tmp_path / "s.h5").is_file()


def test_notes_of_the_reader_are_shown(tmp_path):
    for name in "ab":
        write_mrc(tmp_path / "stacks" / f"{name}.mrcs", noise((2, 8, 8, 8)))
    code, output = run("--dataset", "mrc_stack", "--data", tmp_path / "stacks", "--output", tmp_path / "s.h5")
    assert code == 0, output
    assert "note: every stack is taken for a class" in output


def test_an_interrupted_command_says_that_nothing_is_lost(tmp_path, monkeypatch):
    root = write_classes(tmp_path / "source", per_class=3)

    def interrupted(self, row, *content):
        raise KeyboardInterrupt

    monkeypatch.setattr("cryoreg.datasets.store.writer.StoreWriter.put", interrupted)
    code, output = run("--dataset", "mrc_folder", "--data", root, "--output", tmp_path / "s.h5")
    assert code == 130
    assert "what was written is kept; the same command goes on" in output


def test_the_command_lists_what_it_left_out(tmp_path):
    root = write_classes(tmp_path / "source", per_class=3)
    write_mrc(root / "class1" / "001.mrc", np.ones((8, 8, 8), np.float32))
    call = ("--dataset", "mrc_folder", "--data", root, "--output", tmp_path / "s.h5")
    code, output = run(*call)
    assert code == 1
    assert "class1/001" in output
    code, output = run(*call, "--skip-bad")
    assert code == 0
    assert "5 subtomograms" in output
    assert "1 left out: class1/001" in output
    assert "constant" in output


def test_origins_survive(tmp_path):
    path = write_store(tmp_path / "a.h5", rich_layout())
    assert Store(convert(Store(path), tmp_path / "b.h5").path).origin(3) == Origin("list.star", 9, 10.0, (-40.0, 40.0))
