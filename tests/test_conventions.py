"""What every file reader's spec does with contrast, voxel size and tilts, seen from outside."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from support.mrc_writing import noise, write_mrc
from test_resampling import blob

from cryoreg.contracts import OPTIONAL, Origin, Sample, SubtomogramDataset, Subtomograms
from cryoreg.datasets.conventions import Conventional
from cryoreg.datasets.specs import MrcFolderSpec, NpyFolderSpec
from cryoreg.errors import DataError
from cryoreg.inference.predict import _Tolerant
from cryoreg.wrapped import Wrapped, with_defaults


@pytest.mark.parametrize(
    ("own", "told", "note", "sign"),
    [
        (
            {"contrast": "bright"},
            {"contrast": "dark"},
            "density is bright in them, and dataset.contrast=dark overrules",
            -1,
        ),
        (
            {"contrast": "dark"},
            {"contrast": "bright"},
            "density is dark in them, and dataset.contrast=bright overrules",
            1,
        ),
        ({"contrast": "dark"}, {"contrast": "dark"}, None, -1),
        ({}, {"contrast": "dark"}, None, -1),
        ({"tilt_range": (-60.0, 60.0)}, {"tilt_range": (-40.0, 40.0)}, "tilts are from -60° to 60°, and", 1),
        ({"tilt_range": (-60.0, 60.0)}, {"tilt_range": (-60.2, 60.0)}, None, 1),
        ({"tilt_axis": "y"}, {"tilt_axis": "x"}, "tilts are about y, and dataset.tilt_axis=x overrules it", 1),
    ],
)
def test_what_is_said_against_the_data_is_told(own, told, note, sign):
    """As where a store of dark tomograms, which was inverted when it was made, is said to be dark again."""
    volume = noise()
    served = Conventional(InMemory([volume], [10.0], **own), **told)
    assert ("overrules" in " ".join(served.notes)) is (note is not None)
    assert (note or "") in " ".join(served.notes)
    np.testing.assert_array_equal(served[0].volume[0], sign * volume)
    assert served.origin(0).tilt_range == told.get("tilt_range")


class InMemory:
    """A reader's data set with a voxel size for each subtomogram."""

    classes = ("a",)

    def __init__(self, volumes, sizes, **known):
        self.volumes, self.sizes = volumes, sizes
        self.ids = [str(i) for i in range(len(volumes))]
        self.labels, self.groups = [0] * len(volumes), ["t"] * len(volumes)
        self.box, self.voxel_size = volumes[0].shape, sizes[0]
        for name, value in known.items():
            setattr(self, name, value)

    def origin(self, index):
        return Origin("particles.star", index, self.sizes[index])

    def __len__(self):
        return len(self.volumes)

    def __getitem__(self, index):
        volume = torch.from_numpy(np.asarray(self.volumes[index], np.float32))[None]
        return Sample(volume, self.labels[index], self.ids[index], self.groups[index])


class Bare:
    """The least that a data set must offer."""

    classes, labels, ids, groups = (), (None,), ("0",), (None,)
    voxel_size, box = None, (2, 2, 2)

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return Sample(torch.zeros(1, 2, 2, 2), None, "0", None)


class Defaults(Bare, Subtomograms):
    """The same with the base class."""


KNOWN = {
    "positions": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]],
    "contrast": "bright",
    "tilt_range": (-50.0, 40.0),
    "tilt_axis": "x",
    "notes": ["odd"],
    "lists": {"particles.star": "rows:1"},
    "simulated": True,
    "weighted": True,
    "optimisation_set": "optimisation_set.star",
    "clean": None,
    "duplicates": ["a", None],
    "columns": {"score": np.arange(2)},
    "origin": lambda index: Origin("list.star", index + 7),
    "prefetch": lambda indices: None,
}
"""A value for all that a data set may say of itself, none of them the default."""


@pytest.mark.parametrize("wrap", [Wrapped, Conventional, with_defaults, _Tolerant])
@pytest.mark.parametrize("name", OPTIONAL)
def test_wrappers_pass_on_all_that_is_known(wrap, name):
    """Also of a third party's set that has no base class, and each name alone."""
    value = InMemory([noise(), noise()], [10.0, 10.0]) if name == "clean" else KNOWN[name]
    reader = InMemory([noise(), noise()], [10.0, 10.0], **{name: value})
    served = getattr(wrap(reader), name)
    if name == "clean":
        assert torch.equal(served[1].volume, value[1].volume)
    elif name == "origin":
        assert served(1) == Origin("list.star", 8)
    elif name == "prefetch":
        heard = []
        reader.prefetch = heard.extend
        wrap(reader).prefetch([1, 0])
        assert heard == [1, 0]
    else:
        assert served == value


@pytest.mark.parametrize("name", OPTIONAL)
def test_what_a_third_partys_set_does_not_know_has_the_default(name):
    bare, known = with_defaults(Bare()), Defaults()
    if name == "prefetch":
        assert bare.prefetch([0]) is None
    elif name == "origin":
        assert bare.origin(0) is known.origin(0) is None
    else:
        assert getattr(bare, name) == getattr(known, name)


def test_a_set_with_the_base_class_is_not_wrapped_again():
    assert with_defaults(known := Defaults()) is known


@pytest.mark.parametrize(
    ("told", "stored", "sign", "served"),
    [
        (None, None, 1, None),
        ("bright", None, 1, "bright"),
        ("dark", None, -1, "bright"),
        (None, "dark", -1, "bright"),
        (None, "bright", 1, "bright"),
        ("bright", "dark", 1, "bright"),
        ("dark", "dark", -1, "bright"),
    ],
)
def test_density_is_served_bright_once_its_contrast_is_known(told, stored, sign, served):
    known = {"contrast": stored} if stored else {}
    dataset = Conventional(InMemory([noise()], [10.0], **known), told)
    np.testing.assert_array_equal(dataset[0].volume[0], sign * noise())
    assert dataset.contrast == served


def test_dark_files_are_inverted_once_and_left_alone(tmp_path):
    write_mrc(tmp_path / "a.mrc", noise())
    dataset = MrcFolderSpec(root=tmp_path, contrast="dark").build()
    for _ in range(2):
        np.testing.assert_array_equal(dataset[0].volume[0], -noise())
    np.testing.assert_array_equal(MrcFolderSpec(root=tmp_path).build()[0].volume[0], noise())


def test_dark_and_rescaled_is_inverted_once(tmp_path):
    write_mrc(tmp_path / "a.mrc", -blob(32, 10, (20, -30, 45), 30))
    dataset = MrcFolderSpec(root=tmp_path, contrast="dark", rescale_to=16).build()
    np.testing.assert_allclose(dataset[0].volume[0], blob(20, 16, (20, -30, 45), 30), atol=2e-3)


@pytest.mark.parametrize(
    ("edge", "target", "box"), [(32, 13.3, 24), (33, 13.3, 25), (32, 20, 16), (28, 10, 28), (31, 5, 62), (5, 40, 1)]
)
def test_boxes_keep_their_extent_rounded_to_whole_voxels(tmp_path, edge, target, box):
    np.save(tmp_path / "a.npy", noise((edge,) * 3))
    dataset = NpyFolderSpec(root=tmp_path, voxel_size=10, rescale_to=target).build()
    assert dataset.box == (box,) * 3 == tuple(dataset[0].volume.shape[1:])
    assert dataset.voxel_size == target
    assert dataset.origin(0) == Origin(str(tmp_path / "a.npy"), None, 10)


def test_mixed_voxel_sizes_become_one():
    """Two subtomograms of one molecule at 8 and 12 Å: served alike, in the largest box that both fill."""
    place, sigma = (-25.0, 10.0, 30.0), 30.0
    volumes = [blob(32, size, place, sigma) for size in (8.0, 12.0)]
    dataset = Conventional(InMemory(volumes, [8.0, 12.0]), rescale_to=10)
    assert (dataset.box, dataset.voxel_size) == ((26, 26, 26), 10)
    for index in range(2):
        np.testing.assert_allclose(dataset[index].volume[0], blob(26, 10, place, sigma), atol=2e-3)
    assert [dataset.origin(i).voxel_size for i in range(2)] == [8, 12]


def test_rescaling_without_a_voxel_size_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", noise())
    with pytest.raises(DataError, match=r"a\.npy: has no voxel size to rescale from; say --set dataset\.voxel_size"):
        NpyFolderSpec(root=tmp_path, rescale_to=10).build()


def test_tilts_are_those_told_else_those_of_the_files():
    reader = InMemory([noise()], [10.0], tilt_range=(-50.0, 51.0), tilt_axis="x")
    assert (Conventional(reader).tilt_range, Conventional(reader).tilt_axis) == ((-50, 51), "x")
    told = Conventional(reader, tilt_range=(-60, 60), tilt_axis="y")
    assert (told.tilt_range, told.tilt_axis) == ((-60, 60), "y")
    assert Conventional(InMemory([noise()], [10.0])).tilt_range is None


def test_the_rest_is_the_readers(tmp_path):
    reader = InMemory([noise(), noise(seed=1)], [10.0, 10.0], notes=["a note"])
    dataset = pickle.loads(pickle.dumps(Conventional(reader, "dark", 8.0)))
    assert isinstance(dataset, SubtomogramDataset)
    for name in ("classes", "labels", "ids", "groups", "notes"):
        assert list(getattr(dataset, name)) == list(getattr(reader, name))
    assert (dataset[1].label, dataset[1].id, dataset[1].group) == (0, "1", "t")
    assert dataset[1].volume.dtype == torch.float32


def test_a_reader_without_origins_is_described_by_its_ids():
    reader = Bare()
    reader.voxel_size = 9.0
    assert Conventional(reader).origin(0) == Origin("0", voxel_size=9.0)
