"""Folders of MRC files: classes, ids, and the one line for each way to get them wrong."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from support.mrc_writing import noise, open_files, state, write_mrc

from cryoreg.contracts import SubtomogramDataset
from cryoreg.datasets.readers.mrc_folder import MrcFolder
from cryoreg.datasets.specs import MrcFolderSpec
from cryoreg.errors import DataError

DATA = Path(__file__).parents[1] / ".." / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data, which is not part of the project")


@pytest.fixture
def labelled(tmp_path):
    """Three files in two classes."""
    root = tmp_path / "set"
    for seed, name in enumerate(["ribosome/1.mrc", "proteasome/b.REC", "proteasome/a.map"]):
        write_mrc(root / name, noise(seed=seed))
    return root


def refused(root, *phrases: str, use=len) -> None:
    with pytest.raises(DataError) as caught:
        use(MrcFolder(root))
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert "; " in message, "no word on what to do"
    for phrase in phrases:
        assert phrase in message


def test_folders_are_classes(labelled):
    dataset = MrcFolderSpec(root=labelled).build()
    assert isinstance(dataset, SubtomogramDataset)
    assert list(dataset.classes) == ["proteasome", "ribosome"]
    assert list(dataset.ids) == ["proteasome/a", "proteasome/b", "ribosome/1"]
    assert list(dataset.labels) == [0, 0, 1]
    assert list(dataset.groups) == [None] * 3
    assert (dataset.box, dataset.voxel_size, len(dataset)) == ((6, 5, 4), pytest.approx(10), 3)


def test_samples(labelled):
    samples = list(MrcFolder(labelled))
    assert [sample.id for sample in samples] == ["proteasome/a", "proteasome/b", "ribosome/1"]
    assert [sample.label for sample in samples] == [0, 0, 1]
    for sample, seed in zip(samples, (2, 1, 0), strict=True):
        assert sample.volume.dtype == torch.float32
        assert sample.volume.shape == (1, 6, 5, 4)
        np.testing.assert_array_equal(sample.volume[0], noise(seed=seed))


def test_flat_folder_is_unlabelled(tmp_path):
    for name in ("b.mrc", "a.mrc.gz", "sub.dots.mrc"):
        write_mrc(tmp_path / name, noise(), compression="gzip" if name.endswith("gz") else None)
    (tmp_path / "notes").mkdir()
    dataset = MrcFolder(tmp_path)
    assert list(dataset.ids) == ["a", "b", "sub.dots"]
    assert list(dataset.labels) == [None] * 3
    assert list(dataset.classes) == []
    assert dataset[0].label is None


def test_hidden_and_other_files_are_ignored(labelled):
    for name in ("._x.mrc", "proteasome/._a.mrc", "proteasome/README.txt", "notes.txt", ".git/x.mrc", "ribosome/mrc"):
        (labelled / name).parent.mkdir(exist_ok=True)
        (labelled / name).write_bytes(b"no volume")
    assert len(MrcFolder(labelled)) == 3


def test_a_single_class_can_be_read(labelled):
    shutil.rmtree(labelled / "ribosome")
    assert list(MrcFolder(labelled).classes) == ["proteasome"]


def test_links_are_followed(labelled, tmp_path):
    (tmp_path / "linked").symlink_to(labelled)
    assert len(MrcFolder(tmp_path / "linked")) == 3


def test_voxel_size_setting_overrules_the_headers(labelled):
    write_mrc(labelled / "ribosome/1.mrc", noise(), voxel_size=0)
    write_mrc(labelled / "proteasome/a.map", noise(), voxel_size=12)
    assert MrcFolderSpec(root=labelled, voxel_size=7.5).build().voxel_size == 7.5


def test_voxel_sizes_within_a_percent_are_one(labelled):
    write_mrc(labelled / "ribosome/1.mrc", noise(), voxel_size=10.05)
    assert MrcFolder(labelled).voxel_size == pytest.approx(10)


def test_voxel_size_is_none_where_no_header_says(tmp_path):
    write_mrc(tmp_path / "a.mrc", noise(), voxel_size=0)
    assert MrcFolder(tmp_path).voxel_size is None


# ---- what is refused


def test_missing_root(tmp_path):
    refused(tmp_path / "nowhere", f"{tmp_path}/nowhere: no such file or directory")


def test_root_is_a_file(labelled):
    refused(labelled / "ribosome/1.mrc", "not a directory")


@pytest.mark.parametrize("folders", [[], ["a"], ["a", "b"]])
def test_no_files(tmp_path, folders):
    for folder in folders:
        (tmp_path / folder).mkdir()
    refused(tmp_path, f"{tmp_path}: holds no MRC files")


def test_empty_class(labelled):
    (labelled / "empty").mkdir()
    refused(labelled, f"{labelled}/empty: this class holds no MRC files")


def test_mixed_layouts(labelled):
    write_mrc(labelled / "stray.mrc", noise())
    refused(labelled, "stray.mrc", "proteasome", "beside")


def test_mixed_boxes_name_two_files_and_their_sizes(labelled):
    write_mrc(labelled / "ribosome/1.mrc", noise((6, 5, 5)))
    refused(labelled, "mixed box sizes", f"{labelled}/proteasome/a.map is 6×5×4", "ribosome/1.mrc is 6×5×5")


@pytest.mark.parametrize(("other", "shown"), [(10.2, "10.2 Å"), (0, "none in its header")])
def test_mixed_voxel_sizes_name_two_files_and_their_sizes(labelled, other, shown):
    write_mrc(labelled / "ribosome/1.mrc", noise(), voxel_size=other)
    refused(labelled, "mixed voxel sizes", "proteasome/a.map has 10 Å", f"ribosome/1.mrc {shown}")


def test_voxels_that_are_no_cubes(labelled):
    write_mrc(labelled / "ribosome/1.mrc", noise(), voxel_size=(10, 10, 15))
    refused(labelled, "ribosome/1.mrc: has voxels of 10 × 10 × 15 Å")
    assert MrcFolder(labelled, voxel_size=10).voxel_size == 10


def test_one_id_for_two_files(labelled):
    write_mrc(labelled / "ribosome/1.rec", noise())
    refused(labelled, "ribosome/1.mrc and 1.rec", "'ribosome/1'")


def test_a_truncated_file_is_found_on_opening(labelled):
    os.truncate(labelled / "ribosome/1.mrc", 1100)
    refused(labelled, f"{labelled}/ribosome/1.mrc: is truncated")


def test_a_folder_named_like_a_file(labelled):
    (labelled / "ribosome/x.mrc").mkdir()
    refused(labelled, "ribosome/x.mrc: is a folder")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_nan_voxels_are_found_on_reading(labelled):
    data = noise()
    data[0, 0, 0] = np.nan
    write_mrc(labelled / "ribosome/1.mrc", data)
    assert len(MrcFolder(labelled)) == 3
    refused(labelled, f"{labelled}/ribosome/1.mrc: holds NaN", use=list)


def test_a_file_that_changes_its_size_later(labelled):
    dataset = MrcFolder(labelled)
    write_mrc(labelled / "ribosome/1.mrc", noise((4, 5, 6)))
    with pytest.raises(DataError, match="changed its size"):
        dataset[2]


# ---- habits


def test_opening_reads_no_voxels(labelled, monkeypatch):
    monkeypatch.setattr("cryoreg.datasets.io.mrc._bytes", lambda *_: pytest.fail("opened for its voxels"))
    assert len(MrcFolder(labelled)) == 3


def test_nothing_is_changed_or_left_open(labelled):
    before, files = state(labelled), open_files()
    dataset = MrcFolder(labelled)
    samples = [dataset[i] for _ in range(5) for i in range(3)]
    assert state(labelled) == before
    assert open_files() == files
    assert len(samples) == 15


def test_pickled_copy_is_the_same_set(labelled):
    dataset = MrcFolder(labelled, voxel_size=8)
    copy = pickle.loads(pickle.dumps(dataset))
    assert (copy.ids, copy.labels, copy.box, copy.voxel_size) == (dataset.ids, dataset.labels, (6, 5, 4), 8)
    assert torch.equal(copy[1].volume, dataset[1].volume)


@pytest.mark.slow
def test_spawned_workers_read_it(labelled):
    dataset = MrcFolder(labelled)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        volume = pool.map(_volume, [(dataset, 2)])[0]
    np.testing.assert_array_equal(volume, noise(seed=0))


def _volume(job: tuple[MrcFolder, int]) -> np.ndarray:
    dataset, index = job
    return dataset[index].volume[0].numpy()


@needs_data
def test_density_maps_have_mixed_boxes():
    refused(DATA / "density_maps", "mixed box sizes", "1bxn.mrc is 52×52×52", "1qvr.mrc is 56×56×56")


@needs_data
@pytest.mark.parametrize("name", ["atpase", "hsp60", "putative_prohibitin"])
def test_experimental_averages(tmp_path, name):
    (tmp_path / f"{name}.mrc").symlink_to((DATA / "real" / f"{name}.mrc").resolve())
    dataset = MrcFolder(tmp_path)
    assert dataset.voxel_size == pytest.approx(7.84)
    assert dataset[0].volume.shape == (1, *dataset.box)
    assert dataset[0].volume.std() > 0


@pytest.mark.parametrize("name", ["Übung プ [1]", "\udcff"], ids=ascii)
def test_names_beyond_ascii_and_read_only_media(tmp_path, name):
    """Also one that is no UTF-8; a folder that may not be written stands for a mounted disc."""
    root = tmp_path / name
    write_mrc(tmp_path / "a.mrc", noise())
    (root / name).mkdir(parents=True)
    (tmp_path / "a.mrc").rename(root / name / "a.mrc")
    (root / name).chmod(0o555)
    try:
        before = state(root)
        dataset = MrcFolder(root)
        assert (dataset.ids, dataset.classes) == ([f"{name}/a"], [name])
        np.testing.assert_array_equal(dataset[0].volume[0], noise())
        assert state(root) == before
    finally:
        (root / name).chmod(0o755)


def test_classes_of_unequal_size(tmp_path):
    for name in ("a/1", "a/2", "a/3", "b/1"):
        write_mrc(tmp_path / f"{name}.mrc", noise())
    assert list(MrcFolder(tmp_path).labels) == [0, 0, 0, 1]
