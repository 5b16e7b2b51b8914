"""The lab's layout: pairs by number, the beam brought to axis 0 without mirroring."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from support.mrc_writing import noise, state, write_mrc

from cryoreg.contracts import SubtomogramDataset
from cryoreg.datasets.readers.lab import Lab
from cryoreg.datasets.specs import LabSpec
from cryoreg.errors import DataError

LAYOUT = Path(__file__).parents[1] / ".." / "shared" / "data" / "lab_layout"
needs_data = pytest.mark.skipif(not LAYOUT.is_dir(), reason="needs ../shared/data, which is not part of the project")


def write_label(root: Path, number: int | str, name: str) -> Path:
    path = root / "json_label" / f"target{number}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"loc": [1.0, 2.0, 3.0], "rotate": [0.1, 0.2, 0.3], "name": name}))
    return path


def write_volume(root: Path, number: int | str, data: np.ndarray, voxel_size: float = 0) -> Path:
    return write_mrc(root / "subtomogram_mrc" / f"tomotarget{number}.mrc", data, voxel_size)


@pytest.fixture
def root(tmp_path):
    """Numbers with gaps, whose sorting as text differs from that as numbers."""
    for number, name in ((9, "ribosome"), (10, "proteasome"), (101, "ribosome")):
        write_volume(tmp_path, number, noise(seed=number))
        write_label(tmp_path, number, name)
    return tmp_path


def refused(root, *phrases: str) -> None:
    with pytest.raises(DataError) as caught:
        Lab(root)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert "; " in message, "no word on what to do"
    for phrase in phrases:
        assert phrase in message


def test_files_are_paired_by_number(root):
    dataset = LabSpec(root=root).build()
    assert isinstance(dataset, SubtomogramDataset)
    assert list(dataset.ids) == ["tomotarget9", "tomotarget10", "tomotarget101"]
    assert list(dataset.classes) == ["proteasome", "ribosome"]
    assert [dataset.classes[sample.label] for sample in dataset] == ["ribosome", "proteasome", "ribosome"]
    assert dataset.voxel_size is None
    assert dataset[1].id == "tomotarget10"


def test_voxel_size_is_the_settings_or_the_headers(root):
    assert LabSpec(root=root, voxel_size=10).build().voxel_size == 10
    for number in (9, 10, 101):
        write_volume(root, number, noise(seed=number), voxel_size=12)
    assert LabSpec(root=root).build().voxel_size == pytest.approx(12)


def test_beam_becomes_axis_0(root):
    dataset = Lab(root)
    stored = noise(seed=10)  # (z, y, x) = (6, 5, 4), the beam along x
    volume = dataset[1].volume[0].numpy()
    assert dataset.box == volume.shape == (4, 6, 5)
    for z, y, x in np.ndindex(stored.shape):
        assert volume[x, z, y] == stored[z, y, x]


def handedness(points: np.ndarray) -> float:
    """Return the sign of the volume that three arms span from the first point; a mirror turns it."""
    return float(np.sign(np.linalg.det(points[1:] - points[0])))


def test_a_chiral_molecule_keeps_its_hand(root):
    """A corner with arms of 2, 3 and 4 voxels, told apart by their brightness."""
    stored = np.zeros((8, 8, 8), np.float32)
    arms = np.array([(1, 1, 1), (3, 1, 1), (1, 4, 1), (1, 1, 5)])
    stored[tuple(arms.T)] = (1, 2, 3, 4)
    for number in (9, 10, 101):
        write_volume(root, number, stored)
    read = Lab(root)[0].volume[0].numpy()
    found = np.array([np.argwhere(read == brightness)[0] for brightness in (1, 2, 3, 4)])
    assert handedness(found) == handedness(arms)
    mirrored = stored.transpose(2, 1, 0)  # the trap: the test must be able to see it
    wrong = np.array([np.argwhere(mirrored == brightness)[0] for brightness in (1, 2, 3, 4)])
    assert handedness(wrong) == -handedness(arms)


def test_macos_and_other_files_are_ignored(root):
    (root / "subtomogram_mrc" / "._tomotarget9.mrc").write_bytes(b"no volume")
    (root / "json_label" / "._target9.json").write_bytes(b"\xb0\xff")
    (root / "json_label" / "README").write_text("labels")
    assert len(Lab(root)) == 3


# ---- what is refused


def test_volume_without_label(root):
    for number in (8, 7):
        write_volume(root, number, noise())
    refused(root, "2 of 5 files have no partner", "json_label", "the first being", "tomotarget7.mrc")


def test_label_without_volume(root):
    write_label(root, 102, "ribosome")
    refused(root, "1 of 4 files", "subtomogram_mrc", "target102.json")


@pytest.mark.parametrize("folder", ["subtomogram_mrc", "json_label"])
def test_missing_or_empty_folder(root, folder):
    for path in (root / folder).iterdir():
        path.unlink()
    refused(root, f"{root}/{folder}: holds no")
    (root / folder).rmdir()
    refused(root, f"{root}/{folder}: no such file or directory", "the lab's layout has the folders")


def test_missing_root(tmp_path):
    refused(tmp_path / "nowhere", "nowhere", "no such file")


def test_name_without_number(root):
    write_mrc(root / "subtomogram_mrc" / "extra.mrc", noise())
    refused(root, "extra.mrc: has no number")


def test_one_number_twice(root):
    write_volume(root, "009", noise())
    refused(root, "tomotarget9.mrc: has the same number as tomotarget009.mrc")


@pytest.mark.parametrize(
    ("content", "phrase"),
    [
        (b'{"name": "ribosome"', "is not valid JSON"),
        (b"", "is not valid JSON"),
        (b"\xff\xfe\x00garbage", "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON"),
        (b'{"loc": [1, 2, 3]}', "has no class in its field 'name'"),
        (b'{"name": 7}', "has no class in its field 'name'"),
        (b'{"name": "  "}', "has no class in its field 'name'"),
        (b'["ribosome"]', "has no class in its field 'name'"),
    ],
)
def test_bad_labels(root, content, phrase):
    (root / "json_label" / "target10.json").write_bytes(content)
    refused(root, f"{root}/json_label/target10.json: {phrase}")


def test_label_that_is_a_folder(root):
    (root / "json_label" / "target10.json").unlink()
    (root / "json_label" / "target10.json").mkdir()
    refused(root, "target10.json: is a directory")


def test_truncated_volume(root):
    os.truncate(root / "subtomogram_mrc" / "tomotarget10.mrc", 1030)
    refused(root, "tomotarget10.mrc: is truncated")


def test_mixed_boxes(root):
    write_volume(root, 101, noise((6, 6, 6)))
    refused(root, "mixed box sizes", "tomotarget9.mrc is 6×5×4", "tomotarget101.mrc is 6×6×6")


# ---- the lab's own layout, on files that this project did not make


@pytest.fixture(scope="module")
def layout() -> Lab:
    return Lab(LAYOUT)


@needs_data
def test_layout_is_read_in_full_and_left_alone():
    before = state(LAYOUT)
    dataset = pickle.loads(pickle.dumps(Lab(LAYOUT)))
    samples = list(dataset)
    assert state(LAYOUT) == before
    assert len(samples) == len(list((LAYOUT / "json_label").glob("*.json")))
    assert dataset.box == (32, 32, 32)
    assert len(dataset.classes) == 10


@needs_data
def test_layout_labels_and_voxels_belong_to_the_number(layout):
    for i, name in enumerate(layout.ids):
        number = name.removeprefix("tomotarget")
        label = json.loads((LAYOUT / "json_label" / f"target{number}.json").read_text())
        assert layout.classes[layout.labels[i]] == label["name"]
        stored = mrcfile.read(LAYOUT / "subtomogram_mrc" / f"tomotarget{number}.mrc")
        np.testing.assert_array_equal(layout[i].volume[0], np.moveaxis(stored, 2, 0))


@needs_data
def test_layout_wedge_lies_around_axis_0(layout):
    """With tilts up to ±60°, nothing is seen within 30° of the beam; other directions are."""
    frequency = np.stack(np.meshgrid(*[np.fft.fftfreq(32)] * 3, indexing="ij"))
    radius = np.sqrt((frequency**2).sum(axis=0))
    shell = (radius > 0.1) & (radius < 0.45)
    amplitude = sum(np.abs(np.fft.fftn(sample.volume[0].numpy())) for sample in layout)
    beam, *others = (amplitude[shell & (np.abs(axis) > radius * np.cos(np.radians(30)))].mean() for axis in frequency)
    assert beam < min(others) / 2
