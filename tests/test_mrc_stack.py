"""Stacks of volumes: slots are what mrcfile sees in them, and the one line for each way to get them wrong."""

from __future__ import annotations

import os

import mrcfile
import numpy as np
import pytest
from support.mrc_writing import edit, noise, state, write_mrc
from support.refusing import check_dataset, refused

from cryoreg.contracts import Origin
from cryoreg.datasets.io.mrc import read_header, read_slot, read_volume
from cryoreg.datasets.readers.mrc_stack import MrcStack
from cryoreg.datasets.specs import MrcStackSpec
from cryoreg.errors import DataError

UNKNOWN = {"dmin": 0, "dmax": -1}


def write_images(path, volumes: np.ndarray, **header):
    """Write cubes (N, n, n, n) as a series of images, as RELION does."""
    return write_mrc(path, volumes.reshape(-1, *volumes.shape[2:]), ispg=0, mz=1, **header)


@pytest.mark.parametrize("edge", [4, 5])
@pytest.mark.parametrize("compression", [None, "gzip", "bzip2"])
def test_a_volume_stack_is_read_slot_by_slot(tmp_path, edge, compression):
    suffix = {None: "", "gzip": ".gz", "bzip2": ".bz2"}[compression]
    volumes = noise((3, edge, edge, edge))
    path = write_mrc(tmp_path / f"a.mrcs{suffix}", volumes, compression=compression)
    dataset = MrcStack(path)
    check_dataset(dataset, list(volumes), tmp_path)
    assert list(dataset.ids) == ["a/0", "a/1", "a/2"]
    assert list(dataset.labels) == [None] * 3
    assert not dataset.classes
    assert dataset.voxel_size == pytest.approx(10)
    assert dataset.origin(2) == Origin(str(path), 2, dataset.voxel_size)
    assert any("compressed" in note for note in dataset.notes) == bool(compression)


@pytest.mark.parametrize("edge", [4, 5])
def test_a_bright_voxel_is_where_it_was_written(tmp_path, edge):
    volumes = np.zeros((4, edge, edge, edge), np.float32)
    places = [(0, 0, 0), (edge // 2, 1, 2), (1, edge - 1, 0), (edge - 1, edge - 1, edge - 1)]
    for volume, place in zip(volumes, places, strict=True):
        volume[place] = 1
    for write in (write_mrc, write_images):
        dataset = MrcStack(write(tmp_path / "a.mrcs", volumes), box=edge)
        assert [np.argwhere(s.volume[0].numpy()).tolist() for s in dataset] == [[list(place)] for place in places]


def test_images_are_cut_into_cubes(tmp_path):
    volumes = noise((3, 4, 4, 4))
    write_images(tmp_path / "a.mrcs", volumes)
    check_dataset(MrcStackSpec(root=tmp_path / "a.mrcs", box=4).build(), list(volumes), tmp_path)


def test_voxel_size_of_images_is_that_of_their_pixels(tmp_path):
    """Along z, a series of images has a length of 1, 0 or n pixels, as the program likes."""
    path = write_images(tmp_path / "a.mrcs", noise((3, 4, 4, 4)), voxel_size=(7, 7, 900))
    assert MrcStack(path, box=4).voxel_size == pytest.approx(7)


@pytest.mark.parametrize("dtype", ["i1", "i2", ">i2", "u2", "f2", ">f4"])
def test_every_mode(tmp_path, dtype):
    volumes = np.arange(2 * 64).reshape(2, 4, 4, 4).astype(dtype)
    check_dataset(MrcStack(write_mrc(tmp_path / "a.mrcs", volumes)), list(volumes), tmp_path)


def test_bytes_of_every_slot_are_unsigned_where_the_header_says_so(tmp_path):
    unsigned = np.clip(np.random.default_rng(1).normal(128, 30, (3, 8, 8, 8)), 0, 255).astype("u1")
    path = write_mrc(tmp_path / "a.mrcs", unsigned.view("i1"), dmin=unsigned.min(), dmax=unsigned.max())
    check_dataset(MrcStack(path), list(unsigned), tmp_path)


def test_stacks_of_a_flat_folder_are_classes(tmp_path):
    write_mrc(tmp_path / "ribosome.mrcs", noise((2, 4, 4, 4), 1))
    write_mrc(tmp_path / "proteasome.mrc", noise((1, 4, 4, 4), 2))
    dataset = MrcStack(tmp_path)
    check_dataset(dataset, [noise((4, 4, 4), 2), *noise((2, 4, 4, 4), 1)], tmp_path)
    assert dataset.classes == ["proteasome", "ribosome"]
    assert list(dataset.labels) == [0, 1, 1]
    assert dataset.ids == ["proteasome/0", "ribosome/0", "ribosome/1"]
    assert "taken for a class" in dataset.notes[0]


def test_stacks_in_class_folders(tmp_path):
    for seed, name in enumerate(["a/tomo1", "a/tomo2", "b/tomo1"]):
        write_mrc(tmp_path / f"{name}.mrcs", noise((2, 4, 4, 4), seed))
    dataset = MrcStack(tmp_path)
    assert (dataset.classes, list(dataset.labels)) == (["a", "b"], [0, 0, 0, 0, 1, 1])
    assert dataset.ids[-1] == "b/tomo1/1"
    assert not dataset.notes


def test_the_only_stack_of_a_folder_is_unlabelled(tmp_path):
    write_mrc(tmp_path / "all.mrcs", noise((2, 4, 4, 4)))
    assert not MrcStack(tmp_path).classes


def test_a_slot_is_read_without_the_others(tmp_path):
    """A sparse stack of 4 GB, of which only one slot holds anything."""
    volumes = noise((2, 32, 32, 32))
    path = write_mrc(tmp_path / "a.mrcs", volumes, nz=32 * 32768)
    edit(path, 1024 + 20000 * 4 * 32**3, volumes[1].tobytes())
    os.truncate(path, 1024 + 32768 * 4 * 32**3)
    assert read_header(path, stack=True).volumes == 32768
    np.testing.assert_array_equal(read_slot(path, 20000), volumes[1])


def test_a_cube_that_is_a_volume_is_a_stack_of_one(tmp_path):
    check_dataset(MrcStack(write_mrc(tmp_path / "a.mrc", noise((4, 4, 4)))), [noise((4, 4, 4))], tmp_path)


def test_slots_agree_with_mrcfile(tmp_path):
    path = write_mrc(tmp_path / "a.mrcs", noise((3, 4, 5, 6)))
    stored = mrcfile.read(path)
    for slot in range(3):
        np.testing.assert_array_equal(read_slot(path, slot), stored[slot])


# ---- what is refused


def bad(value: float) -> np.ndarray:
    volumes = noise((3, 4, 4, 4))
    volumes[1] = value if np.isfinite(value) else np.where(volumes[1] > 1, value, volumes[1])
    return volumes


WRONG = {
    "no volumes": (noise((12, 4, 4)), {"ispg": 0, "mz": 1}, None, "12 images of 4×4, not marked as volumes"),
    "box of another size": (noise((12, 4, 4)), {"ispg": 0, "mz": 1}, 5, "no whole number of 5³ boxes"),
    "sections left over": (noise((10, 4, 4)), {"ispg": 0, "mz": 1}, 4, "no whole number of 4³ boxes"),
    "sections left over by the header": (noise((3, 4, 4, 4)), {"mz": 5}, None, "no whole number of volumes of 5"),
    "no sections": (noise((3, 4, 4, 4)), {"mz": 0}, None, "no whole number of volumes of 0"),
    "single sections": (noise((3, 4, 4, 4)), {"mz": 1}, None, "of a single section each"),
    "box against the header": (noise((3, 4, 4, 4)), {}, 6, "volumes of 4 sections by its header, not of 6"),
    "complex": (noise((3, 4, 4, 4)).astype("c8"), {}, None, "complex numbers"),
    "image": (noise((4, 4)), {}, 4, "2D image"),
    "header too large": (noise((3, 4, 4, 4)), {"nz": 2**30}, None, "truncated"),
}


@pytest.mark.parametrize(("data", "header", "box", "phrase"), WRONG.values(), ids=WRONG)
def test_wrong_stacks_are_refused_on_opening(tmp_path, data, header, box, phrase):
    path = write_mrc(tmp_path / "a.mrcs", data, **header)
    refused(lambda: MrcStack(path, box=box), phrase, root=path)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("value", "phrase"), [(np.nan, "NaN"), (np.inf, "NaN"), (2.0, "constant"), (0, "constant")])
def test_a_bad_slot_is_named(tmp_path, value, phrase):
    path = write_mrc(tmp_path / "a.mrcs", bad(value))
    dataset = MrcStack(path)
    assert dataset[0].volume.std() > 0
    refused(lambda: dataset[1], "a.mrcs, slot 1: ", phrase, root=path)


DAMAGED = {
    "truncated": (lambda path: os.truncate(path, 1500), "is truncated"),
    "empty": (lambda path: os.truncate(path, 0), "is empty"),
    "text": (lambda path: path.write_text("no stack" * 300), "not an MRC file"),
    "folder": (lambda path: (path.unlink(), path.mkdir()), "holds no MRC stacks"),
    "missing": (lambda path: path.unlink(), "does not exist"),
}


@pytest.mark.parametrize(("damage", "phrase"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_stacks(tmp_path, damage, phrase):
    path = write_mrc(tmp_path / "a.mrcs", noise((3, 4, 4, 4)))
    damage(path)
    refused(lambda: MrcStack(path), phrase, root=path)


def test_a_truncated_compressed_stack(tmp_path):
    path = write_mrc(tmp_path / "a.mrcs.gz", noise((3, 4, 4, 4)), compression="gzip")
    os.truncate(path, path.stat().st_size - 9)
    dataset = MrcStack(path)
    refused(lambda: dataset[2], "cannot be read", root=path)


def test_mixed_boxes_and_voxel_sizes(tmp_path):
    first = write_mrc(tmp_path / "a.mrcs", noise((2, 4, 4, 4)))
    write_mrc(tmp_path / "b.mrcs", noise((2, 5, 5, 5)))
    refused(lambda: MrcStack(tmp_path), "mixed box sizes", "b.mrcs is 5×5×5", root=first)
    write_mrc(tmp_path / "b.mrcs", noise((2, 4, 4, 4)), voxel_size=8)
    refused(lambda: MrcStack(tmp_path), "mixed voxel sizes", "b.mrcs 8 Å", root=first)
    assert MrcStack(tmp_path, voxel_size=9).voxel_size == 9


def test_a_slot_that_a_list_makes_up(tmp_path):
    path = write_mrc(tmp_path / "a.mrcs", noise((2, 4, 4, 4)))
    for slot in (-1, 2):
        refused(lambda slot=slot: read_slot(path, slot), f"no slot {slot}", root=path)


def test_the_reader_of_single_volumes_points_to_this_one(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", noise((2, 4, 4, 4)))
    refused(lambda: read_volume(path), "--dataset mrc_stack", root=path)


def test_non_ascii_paths_and_read_only_files(tmp_path):
    path = write_mrc(tmp_path / "Übung ä[1]/プロテアソーム.mrcs", noise((2, 4, 4, 4)))
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        before = state(path)
        assert MrcStack(path.parent)[1].id == "プロテアソーム/1"
        assert state(path) == before
    finally:
        path.parent.chmod(0o755)


def test_a_stack_that_shrinks_later(tmp_path):
    path = write_mrc(tmp_path / "a.mrcs", noise((3, 4, 4, 4)))
    dataset = MrcStack(path)
    write_mrc(path, noise((2, 4, 4, 4)))
    with pytest.raises(DataError, match="no slot 2"):
        dataset[2]
