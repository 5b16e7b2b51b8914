"""The lab's archives: the same volumes as in its folders, and the one line for each way to get them wrong."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.mrc_writing import noise, write_mrc
from support.refusing import check_dataset, refused

from cryoreg.datasets.readers.lab import Lab, open_lab
from cryoreg.datasets.specs import LabSpec
from cryoreg.errors import DataError

SHAPE = (6, 5, 4)
VOLUMES = noise((5, *SHAPE))
SERVED = [np.moveaxis(volume, 2, 0) for volume in VOLUMES]
"""The beam, along the last axis of the files, becomes the first, by a rotation."""
IDS = ["ribosome", "apo", "ribosome", "apo", "ribosome"]


def write_pickle(path: Path, content: object, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def write_hdf5(path: Path, **content) -> Path:
    with h5py.File(path, "w") as file:
        for name, value in content.items():
            options = {"chunks": True, "compression": "gzip"} if name.endswith("_zipped") else {}
            file.create_dataset(name.removesuffix("_zipped"), data=value, **options)
    return path


def records(volumes=VOLUMES, ids=IDS) -> list[dict]:
    return [{"v": volume, "id": name} for volume, name in zip(volumes, ids, strict=True)]


# ---- pickles


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_list_of_records(tmp_path, protocol):
    dataset = LabSpec(root=write_pickle(tmp_path / "a.pickle", records(), protocol), voxel_size=13.6).build()
    check_dataset(dataset, SERVED, tmp_path)
    assert (dataset.classes, list(dataset.labels)) == (["apo", "ribosome"], [1, 0, 1, 0, 1])
    assert (dataset.box, dataset.voxel_size, dataset.tilt_axis) == ((4, 6, 5), 13.6, "x")
    assert list(dataset.ids) == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("channel", [False, True])
def test_a_dictionary_of_arrays(tmp_path, channel):
    last = (..., None) if channel else ...
    content = {"ribosome": VOLUMES[:3][last], b"apo": list(VOLUMES[3:4]), "single": VOLUMES[4]}
    dataset = open_lab(write_pickle(tmp_path / "a.pkl", content))
    check_dataset(dataset, SERVED, tmp_path)
    assert dataset.classes == ["apo", "ribosome", "single"]
    assert dataset.ids == ["ribosome/0", "ribosome/1", "ribosome/2", "apo/0", "single/0"]
    assert list(dataset.labels) == [1, 1, 1, 0, 2]


def test_large_volumes_are_read_from_their_place_in_the_file(tmp_path):
    volumes = noise((3, 16, 16, 16))
    for content in (records(volumes, IDS[:3]), {"a": volumes}, {"a": list(volumes)}):
        path = write_pickle(tmp_path / "a.pkl", content)
        dataset = open_lab(path)
        check_dataset(dataset, [np.moveaxis(volume, 2, 0) for volume in volumes], tmp_path)
        assert len(pickle.dumps(dataset)) < path.stat().st_size / 10


@pytest.mark.parametrize(
    "ids", [[10, 9, 10, 2, 2], np.array([10, 9, 10, 2, 2]), ["10", "9", "10", "2", "2"], [10.0, 9.0, 10.0, 2.0, 2.0]]
)
def test_numbered_classes_are_ordered_by_number(tmp_path, ids):
    dataset = open_lab(write_pickle(tmp_path / "a.pkl", records(ids=list(ids))))
    assert (dataset.classes, list(dataset.labels)) == (["2", "9", "10"], [2, 1, 2, 0, 0])


def test_archives_hold_what_the_folder_holds(tmp_path):
    """The molecule keeps its hand: a pickle of the arrays that mrcfile reads gives the samples of `Lab`."""
    (tmp_path / "json_label").mkdir()
    for number, (volume, name) in enumerate(zip(VOLUMES, IDS, strict=True)):
        write_mrc(tmp_path / "subtomogram_mrc" / f"tomotarget{number}.mrc", volume)
        (tmp_path / "json_label" / f"target{number}.json").write_text(f'{{"name": "{name}"}}')
    folder, archive = Lab(tmp_path), open_lab(write_pickle(tmp_path / "a.pkl", records()))
    assert (folder.classes, list(folder.labels), folder.box) == (archive.classes, list(archive.labels), archive.box)
    for a, b in zip(folder, archive, strict=True):
        np.testing.assert_array_equal(a.volume, b.volume)


class Evil:
    def __reduce__(self):
        return os.system, ("touch evil",)


PICKLES = {
    "evil": ([{"v": Evil(), "id": "a"}], "would run code"),
    "no keys": ([{"volume": VOLUMES[0], "class": "a"}], "entry 0 has the keys 'volume', 'class', not the keys 'v'"),
    "no id": ([*records(), {"v": VOLUMES[0]}], "entry 5 has the keys 'v', not"),
    "list of arrays": ([VOLUMES[0]], "entry 0 has a NumPy array"),
    "number": (7, "holds a value of type int"),
    "array": (VOLUMES, "holds a NumPy array"),
    "empty list": ([], "holds no volumes"),
    "empty dictionary": ({}, "holds no volumes"),
    "list for a volume": ([{"v": [[1.0]], "id": "a"}], "entry 0 holds a value of type list"),
    "text for volumes": ({"a": "none"}, "entry a holds a value of type str"),
    "image": ([{"v": VOLUMES[0, 0], "id": "a"}], "shape 5×4, not that of a volume"),
    "stack in a record": ([{"v": VOLUMES, "id": "a"}], "shape 5×6×5×4"),
    "mixed boxes": ([*records(), {"v": noise((4, 4, 4)), "id": "a"}], "mixed box sizes"),
    "complex": ([{"v": VOLUMES[0].astype("c8"), "id": "a"}], "of type 'c8'"),
    "objects": ([{"v": VOLUMES[0].astype(object), "id": "a"}], "Python objects"),
    "no class": ([{"v": VOLUMES[0], "id": None}], "neither text nor a whole number"),
    "blank class": ([{"v": VOLUMES[0], "id": " "}], "neither text nor a whole number"),
    "half a class": ([{"v": VOLUMES[0], "id": 0.5}], "neither text nor a whole number"),
    "long class": ([{"v": VOLUMES[0], "id": b"x" * 9999}], "neither text nor a whole number"),
}


@pytest.mark.parametrize(("content", "phrase"), PICKLES.values(), ids=PICKLES)
def test_wrong_pickles(tmp_path, monkeypatch, content, phrase):
    monkeypatch.chdir(tmp_path)
    path = write_pickle(tmp_path / "a.pkl", content)
    refused(lambda: open_lab(path), phrase, root=path)
    assert os.listdir(tmp_path) == ["a.pkl"]


def test_voxels_of_pickles_are_checked(tmp_path):
    for value, phrase in ((np.nan, "NaN"), (3, "constant")):
        path = write_pickle(tmp_path / "a.pkl", records([np.full(SHAPE, value, np.float32)], ["a"]))
        dataset = open_lab(path)
        refused(lambda dataset=dataset: dataset[0], "entry 0", phrase, root=path)


# ---- HDF5

NUMBERS = np.array([1, 0, 1, 0, 1])
TARGETS = {
    "numbers": NUMBERS,
    "column": NUMBERS[:, None],
    "floats": NUMBERS.astype("f4"),
    "one-hot": np.eye(2, dtype="f4")[NUMBERS],
    "names": np.array([b"1", b"0", b"1", b"0", b"1"]),
}


@pytest.mark.parametrize("stored", ["dataset_1", "dataset_1_zipped"])
@pytest.mark.parametrize("channel", [False, True])
@pytest.mark.parametrize("target", TARGETS)
def test_hdf5(tmp_path, stored, channel, target):
    volumes = VOLUMES[..., None] if channel else VOLUMES
    path = write_hdf5(tmp_path / "a.h5", **{stored: volumes, "target": TARGETS[target]})
    dataset = LabSpec(root=path).build()
    check_dataset(dataset, SERVED, tmp_path)
    assert (dataset.classes, list(dataset.labels)) == (["0", "1"], [1, 0, 1, 0, 1])
    assert dataset.box == (4, 6, 5)


def test_hdf5_without_classes_is_unlabelled(tmp_path):
    dataset = open_lab(write_hdf5(tmp_path / "a.h5", dataset_1=VOLUMES.astype(">f8")))
    check_dataset(dataset, [volume.astype("f4") for volume in SERVED], tmp_path)
    assert (list(dataset.classes), list(dataset.labels)) == ([], [None] * 5)


ARCHIVES = {
    "no volumes": ({"images": VOLUMES, "target": NUMBERS}, "has no 'dataset_1' (N, D, H, W), but 'images', 'target'"),
    "nothing": ({}, "but nothing"),
    "lengths differ": ({"dataset_1": VOLUMES, "target": NUMBERS[:4]}, "5 volumes in 'dataset_1' and 4 classes"),
    "one class": ({"dataset_1": VOLUMES, "target": 3}, "5 volumes in 'dataset_1' and 1 classes"),
    "not one-hot": ({"dataset_1": VOLUMES, "target": np.ones((5, 3))}, "not one-hot"),
    "too many axes": ({"dataset_1": VOLUMES, "target": np.ones((5, 3, 3))}, "of 3 axes"),
    "half classes": ({"dataset_1": VOLUMES, "target": NUMBERS / 2}, "neither text nor a whole number"),
    "one volume": ({"dataset_1": VOLUMES[0]}, "is one volume"),
    "images": ({"dataset_1": VOLUMES[:, 0, 0]}, "shape 5×4"),
    "no samples": ({"dataset_1": VOLUMES[:0]}, "holds no volumes"),
    "complex": ({"dataset_1": VOLUMES.astype("c8")}, "complex"),
    "text": ({"dataset_1": np.full(VOLUMES.shape, b"x")}, "not numbers"),
}


@pytest.mark.parametrize(("content", "phrase"), ARCHIVES.values(), ids=ARCHIVES)
def test_wrong_hdf5(tmp_path, content, phrase):
    path = write_hdf5(tmp_path / "a.h5", **content)
    refused(lambda: open_lab(path), phrase, root=path)


@pytest.mark.parametrize("stored", ["dataset_1", "dataset_1_zipped"])
def test_voxels_of_hdf5_are_checked(tmp_path, stored):
    volumes = VOLUMES.copy()
    volumes[2] = 1
    volumes[3, 0, 0, 0] = np.inf
    path = write_hdf5(tmp_path / "a.h5", **{stored: volumes})
    dataset = open_lab(path)
    refused(lambda: dataset[2], "a.h5, slot 2: is constant", root=path)
    refused(lambda: dataset[3], "a.h5, slot 3: holds NaN", root=path)


@pytest.mark.parametrize("kept", [9, 100, 0.5, 0.99])
def test_truncated_hdf5(tmp_path, kept):
    path = write_hdf5(tmp_path / "a.h5", dataset_1=VOLUMES, target=NUMBERS)
    os.truncate(path, kept if kept > 1 else int(path.stat().st_size * kept))
    refused(lambda: list(open_lab(path)), root=path)


def test_damaged_chunks(tmp_path):
    path = write_hdf5(tmp_path / "a.h5", dataset_1_zipped=noise((5, 16, 16, 16)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4000] = b"\0" * 4000
    path.write_bytes(content)
    refused(lambda: list(open_lab(path)), root=path)


def test_a_group_is_no_array(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group("dataset_1")
    refused(lambda: open_lab(tmp_path / "a.h5"), "has no 'dataset_1'", root=tmp_path / "a.h5")


def test_empty_and_missing_files(tmp_path):
    (tmp_path / "a.pkl").touch()
    refused(lambda: open_lab(tmp_path / "a.pkl"), "truncated", root=tmp_path / "a.pkl")
    refused(lambda: open_lab(tmp_path / "b.pkl"), root=tmp_path / "b.pkl")


@pytest.mark.parametrize("name", ["ä プ.pkl", "ä プ.h5", "\udcff.pkl", "\udcff.h5"], ids=ascii)
def test_names_beyond_ascii_and_read_only_folders(tmp_path, name):
    """Also one that is no UTF-8, as old file systems have them."""
    path = tmp_path / "ö" / name
    path.parent.mkdir()
    if name.endswith(".pkl"):
        write_pickle(path, records())
    else:
        write_hdf5(tmp_path / "a.h5", dataset_1=VOLUMES, target=IDS).rename(path)
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        check_dataset(open_lab(path), SERVED, tmp_path)
    finally:
        path.parent.chmod(0o755)


@pytest.mark.parametrize("name", ["a.pkl", "a.h5"])
def test_files_without_permission(tmp_path, monkeypatch, name):
    path = tmp_path / name
    path.touch()

    def denied(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", denied)  # the superuser may read everything
    with pytest.raises(DataError, match=r"may not be read; ask its owner"):
        open_lab(path)


@pytest.mark.parametrize("name", ["a.pkl", "a.h5"])
def test_any_damage_ends_in_one_line(tmp_path, name):
    """A few hundred flipped bytes, one or two at a time; what is still readable is read."""
    path = tmp_path / name
    whole = (write_pickle(path, records()) if name == "a.pkl" else write_hdf5(path, dataset_1=VOLUMES)).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(300):
        content = bytearray(whole)
        for place in rng.integers(0, len(content), rng.integers(1, 3)):
            content[place] = rng.integers(256)
        path.write_bytes(content)
        try:
            list(open_lab(path))
        except DataError as error:
            assert len(str(error).splitlines()) == 1  # noqa: PT017
