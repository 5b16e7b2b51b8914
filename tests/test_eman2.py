"""EMAN2's 3D particles: stacks and lists of them, known answers and the one line for each way to get them wrong."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import starfile
from support.coded import coded, write_coded
from support.command_line import ok
from support.eman2_writing import add_image, write_list, write_stack
from support.mrc_writing import noise
from support.refusing import check_dataset, refused

from cryoreg.config.sniffing import sniff
from cryoreg.datasets.io.eman2_lists import read_rows
from cryoreg.datasets.readers.eman2 import Eman2
from cryoreg.datasets.readers.npy_folder import NpyFolder
from cryoreg.datasets.readers.tomogram import TomogramParticles
from cryoreg.datasets.specs import Eman2Spec
from cryoreg.datasets.store.reader import Store
from cryoreg.errors import DataError
from cryoreg.inference.given_classes import as_predictions
from cryoreg.inference.writers import prepare_writer

CLASSES = ("ribosome", "proteasome")


def stack(folder: Path, name: str = "TS_01__ribosome.hdf", count: int = 3, **settings) -> Path:
    return write_stack(folder / "particles3d" / name, noise((count, 4, 5, 6), len(name)), **settings)


def test_each_voxel_is_where_it_was_written(tmp_path):
    """A voxel's value tells its place; no two edges are alike."""
    volumes = [coded(number, (4, 5, 6)) for number in range(2)]
    path = write_stack(tmp_path / "TS_01__ribosome.hdf", volumes)
    dataset = Eman2Spec(root=path).build()
    check_dataset(dataset, volumes, tmp_path)
    assert dataset[1].volume[0, 3, 2, 1] == 500_000 + 1 + 100 * 2 + 10_000 * 3
    assert dataset.ids == ["TS_01__ribosome/0", "TS_01__ribosome/1"]
    assert (dataset.groups, dataset.voxel_size, dataset.box) == (["TS_01", "TS_01"], 10.0, (4, 5, 6))
    assert (dataset.classes, dataset.contrast, dataset.notes) == ([], None, [])


@pytest.mark.parametrize("bits", [3, 5, 8, 12, 16])
def test_few_bits_are_scaled_back(tmp_path, bits):
    """Values that lie on the steps come back as they were; others within half a step."""
    low, step = -37.5, 0.25
    exact = low + step * np.arange(2**bits)[: 4 * 5 * 6]
    exact = np.resize(exact, 4 * 5 * 6)
    exact[-1] = low + step * (2**bits - 1)
    path = write_stack(tmp_path / "a__b.hdf", [exact.reshape(4, 5, 6), noise((4, 5, 6))], bits=bits)
    dataset = Eman2(path)
    np.testing.assert_allclose(dataset[0].volume[0], exact.reshape(4, 5, 6), atol=1e-3 * step)
    volume = noise((4, 5, 6))
    half = np.ptp(volume) / (2**bits - 1) / 2
    assert np.abs(dataset[1].volume[0].numpy() - volume).max() <= half * 1.001


def test_whole_numbers_without_limits_are_as_they_are(tmp_path):
    """As HdfIO2 reads them."""
    volume = np.arange(120, dtype=np.uint16).reshape(4, 5, 6)
    assert np.array_equal(Eman2(write_stack(tmp_path / "a__b.hdf", [volume]))[0].volume[0], volume)


def test_a_folder_of_stacks(tmp_path):
    stack(tmp_path, "TS_02__ribosome.hdf", 2, bits=8)
    stack(tmp_path, "TS_01__ribosome.hdf", 3)
    dataset = Eman2(tmp_path / "particles3d")
    assert dataset.groups == ["TS_01"] * 3 + ["TS_02"] * 2
    assert dataset.ids[3:] == ["TS_02__ribosome/0", "TS_02__ribosome/1"]
    assert (dataset.classes, dataset.labels) == ([], [None] * 5)


def test_labels_of_several_stacks_are_classes(tmp_path):
    stack(tmp_path, "TS_01__ribosome.hdf", 2)
    stack(tmp_path, "TS_01__proteasome.hdf", 1)
    dataset = Eman2(tmp_path / "particles3d")
    assert (dataset.classes, dataset.labels) == (["proteasome", "ribosome"], [0, 1, 1])
    assert "behind '__': proteasome, ribosome" in dataset.notes[0]


def test_folders_are_classes(tmp_path):
    for name in ("b", "a"):
        write_stack(tmp_path / name / "TS_01__x.hdf", noise((1, 4, 4, 4), ord(name)))
    dataset = Eman2(tmp_path)
    assert (dataset.classes, dataset.labels, dataset.notes) == (["a", "b"], [0, 1], [])


def test_an_attribute_may_be_the_class(tmp_path):
    path = stack(tmp_path)
    with h5py.File(path, "r+") as file:
        file["MDF/images/0"].attrs["EMAN.orig_class"] = np.array([1], np.int32)
    refused(lambda: Eman2(path, label="orig_class"), "slot 1", "no EMAN.orig_class", root=path)
    with h5py.File(path, "r+") as file:
        for number in (1, 2):
            file[f"MDF/images/{number}"].attrs["EMAN.orig_class"] = np.array([0], np.int32)
    dataset = Eman2(path, label="orig_class")
    assert (dataset.classes, dataset.labels) == (["0", "1"], [1, 0, 0])


def test_numbers_are_those_of_eman2(tmp_path):
    """Images may lack: e2spt_extract leaves out particles that it could not reconstruct."""
    path = stack(tmp_path, count=12)
    with h5py.File(path, "r+") as file:
        del file["MDF/images/1"]
    dataset = Eman2(path)
    assert [dataset.origin(index).row for index in range(11)] == [0, *range(2, 12)]


def test_the_tomogram_is_what_the_image_names(tmp_path):
    """As of a stack that e2proc3d appended others to; e2spt_boxer named the tomogram itself."""
    path = write_stack(tmp_path / "all.hdf", noise((1, 4, 4, 4)), class_ptcl_src="particles/TS_07__ribo_bin2.hdf")
    with h5py.File(path, "r+") as file:
        add_image(file, 1, noise((4, 4, 4), 1), apix_x=10.0, ptcl_source_image="TS_08__bin4.hdf")
        add_image(file, 2, noise((4, 4, 4), 2), apix_x=10.0)
    assert Eman2(path).groups == ["TS_07", "TS_08", None]


def test_places_are_from_the_middle_in_voxels_of_the_particle(tmp_path):
    path = stack(tmp_path, places=[(0, 0, 0), (-3, 2.5, 7), (1, 2, 3)], apix=8.0)
    dataset = Eman2(path)
    assert [dataset.origin(index).place for index in range(2)] == [(0, 0, 0), (-24, 20, 56)]
    assert dataset.positions.tolist() == [[0, 0, 0], [-3, 2.5, 7], [1, 2, 3]]
    assert Eman2(path, voxel_size=4.0).origin(1).place == (-12, 10, 28)


def test_places_of_unknown_origin_are_none(tmp_path):
    """Those of e2spt_boxer count from the corner of whatever tomogram it was shown."""
    path = stack(tmp_path, class_ptcl_src=None, file_twod=None, ptcl_source_image="TS_01.hdf")
    dataset = Eman2(path)
    assert dataset.origin(0).place is None
    assert dataset.positions is not None


# Lists


def test_a_list_of_images(tmp_path):
    stack(tmp_path, "TS_01__ribosome.hdf")
    stack(tmp_path, "TS_02__ribosome.hdf", bits=8)
    names = [f"particles3d/TS_0{number}__ribosome.hdf" for number in (1, 2)]
    rows = [(2, names[0], {"class": 1, "score": -0.5}), (0, names[1], {"class": 0}), (0, names[0], {"class": 0})]
    path = write_list(tmp_path / "spt_00" / "aliptcls3d_01.lst", rows)
    dataset = Eman2(path)
    whole = Eman2(tmp_path / "particles3d")
    for index, other in enumerate((2, 3, 0)):
        assert np.array_equal(dataset[index].volume, whole[other].volume)
        assert dataset.groups[index] == whole.groups[other]
    assert dataset.ids[0] == f"{names[0]}/2"
    assert (dataset.classes, dataset.labels) == ([], [None] * 3)
    assert (dataset.origin(1).file, dataset.origin(1).row) == (str(path), 1)
    assert dataset.origin(1).place == whole.origin(3).place
    assert Eman2(path, label="class").labels == [1, 0, 0]
    assert [match.name for match in sniff(path)] == ["eman2"]


def test_lists_of_other_writers(tmp_path):
    """#LST has no length; text that is no JSON, Windows' ends of line and a byte order mark change nothing."""
    stack(tmp_path)
    name = "particles3d/TS_01__ribosome.hdf"
    path = tmp_path / "a.lst"
    for text in (
        f"#LST\n1\t{name}\n0\t{name}\n",
        f"#LSX\r\n# a comment\r\n# 80\r\n1\t{name}\tTransform()  \r\n0\t{name}\r\n",
        f"\ufeff#LSX\n# a comment\n# 80\n1 {name}\n\n0 {name} -0.3;Transform()\n",
    ):
        path.write_bytes(text.encode())
        assert [(row.number, row.file) for row in read_rows(str(path))] == [(1, name), (0, name)]
        assert Eman2(path).ids == [f"{name}/1", f"{name}/0"]


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("#LSX\n# comment\n# 20\n", "lists no images"),
        ("#LSX\n# comment\n# 20\n-1\tparticles3d/TS_01__ribosome.hdf\n", "line 4 is no number"),
        ("#LSX\n# comment\n# 20\n1\n", "line 4 is no number"),
        ("#LSX\n# comment\n# 20\n3\tparticles3d/TS_01__ribosome.hdf\n", "holds no image 3 (counted from 0)"),
        ("#LSX\n# comment\n# 20\n0\tparticles3d/nothing.hdf\n", "names 'particles3d/nothing.hdf' in row 0"),
        ("#LSX\n# comment\n# 20\n0\ta.lst\n", "is no HDF5 file"),
        ("#LSX\n# comment\n# 20\n" + "0\tparticles3d/TS_01__ribosome.hdf\n" * 2, "twice (rows 0 and 1)"),
        ("0\tparticles3d/TS_01__ribosome.hdf\n", "does not begin with #LSX"),
    ],
)
def test_lists_that_are_wrong(tmp_path, text, phrase):
    stack(tmp_path)
    path = tmp_path / "a.lst"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        Eman2Spec(root=path).build()
    assert phrase in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_names_start_in_the_folder_that_is_said(tmp_path):
    stack(tmp_path / "project")
    path = write_list(tmp_path / "a.lst", [(0, "particles3d/TS_01__ribosome.hdf", None)])
    refused(lambda: Eman2(path), "dataset.folder", root=path)
    assert len(Eman2(path, folder=tmp_path / "project")) == 1


# Refusals


def test_stacks_of_2d_images(tmp_path):
    whole = "particles3d/TS_01__ribosome.hdf"
    path = write_stack(tmp_path / "particles" / "TS_01__ribosome.hdf", noise((3, 4, 5)), file_threed=whole)
    refused(lambda: Eman2(path), "image of 4×5 pixels", f"3D particles ({whole})", root=path)
    with pytest.raises(DataError, match="give EMAN2's 3D particles"):
        sniff(path)


def test_transforms(tmp_path):
    path = stack(tmp_path, is_complex=1)
    refused(lambda: Eman2(path), "Fourier transform", root=path)


def test_boxes_and_voxel_sizes_must_be_alike(tmp_path):
    path = stack(tmp_path)
    with h5py.File(path, "r+") as file:
        add_image(file, 3, noise((4, 4, 4)), apix_x=10.0)
    refused(lambda: Eman2(path), "mixed box sizes", "slot 3", root=path)
    other = write_stack(tmp_path / "other.hdf", noise((2, 4, 4, 4)))
    with h5py.File(other, "r+") as file:
        file["MDF/images/1"].attrs["EMAN.apix_x"] = np.array([5.0], np.float32)
    refused(lambda: Eman2(other), "voxels of 5 × 10 × 10 Å", root=other)
    with h5py.File(other, "r+") as file:
        for axis in "yz":
            file["MDF/images/1"].attrs[f"EMAN.apix_{axis}"] = np.array([5.0], np.float32)
    refused(lambda: Eman2(other), "mixed voxel sizes", "dataset.voxel_size", root=other)
    assert Eman2(other, voxel_size=9.0).voxel_size == 9.0


def test_voxel_sizes_that_are_not_told(tmp_path):
    """None is none, and exactly 1 Å is what EMAN2 writes where it knows of none."""
    without = stack(tmp_path, "a__b.hdf", apix=None)
    assert (Eman2(without).voxel_size, Eman2(without).origin(0).place) == (None, None)
    with pytest.raises(DataError, match=r"has no voxel size to rescale from; say --set dataset\.voxel_size"):
        Eman2Spec(root=without, rescale_to=5.0).build()
    one = Eman2(stack(tmp_path, "c__d.hdf", apix=1.0))
    assert "exactly 1 Å" in one.notes[0]
    assert Eman2(stack(tmp_path, "c__d.hdf", apix=1.0), voxel_size=1.0).notes == []
    wrong = stack(tmp_path, "e__f.hdf", apix=-2.0)
    refused(lambda: Eman2(wrong), "no voxel has", root=wrong)


@pytest.mark.parametrize("bits", [None, 8])
def test_damaged_files(tmp_path, bits):
    path = stack(tmp_path, bits=bits)
    whole = path.read_bytes()
    for length in (0, 7, 100, len(whole) // 2, len(whole) - 40):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError) as caught:
            list(Eman2(path))
        assert len(str(caught.value).splitlines()) == 1


def test_volumes_that_were_never_written(tmp_path):
    """A few bytes can claim any amount of memory."""
    path = stack(tmp_path)
    with h5py.File(path, "r+") as file:
        del file["MDF/images/1/image"]
        file["MDF/images/1"].create_dataset("image", (4000, 4000, 4000), "f4", chunks=(1, 256, 256), compression="gzip")
    refused(lambda: Eman2(path), "slot 1", "of which 0 were written", root=path)


def test_a_file_that_shrinks_after_it_was_opened(tmp_path):
    path = stack(tmp_path)
    dataset = Eman2(path)
    path.write_bytes(path.read_bytes()[:1000])
    refused(lambda: [dataset[index] for index in range(3)], "copy it again", root=path)


def test_voxels_that_no_density_has(tmp_path):
    bad = noise((3, 4, 5, 6))
    bad[1, 0, 0, 0], bad[2] = np.nan, 0
    dataset = Eman2(write_stack(tmp_path / "a__b.hdf", bad))
    refused(lambda: dataset[1], "slot 1", "NaN", root=tmp_path / "a__b.hdf")
    refused(lambda: dataset[2], "slot 2", "constant", root=tmp_path / "a__b.hdf")


def test_nothing_is_read_from_other_files(tmp_path):
    """HDF5 could tell the library to."""
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(4 * 120))
    path = stack(tmp_path)
    with h5py.File(path, "r+") as file:
        del file["MDF/images/0/image"]
        file["MDF/images/0"].create_dataset("image", (4, 5, 6), "f4", external=[(str(secret), 0, 480)])
    refused(lambda: Eman2(path), "no voxels in this file", root=path)
    with h5py.File(path, "r+") as file:
        del file["MDF/images/0"]
        file["MDF/images/0"] = h5py.ExternalLink(str(secret), "x")
    refused(lambda: Eman2(path), "holds no image 0", root=path)


def test_hdf5_of_others(tmp_path):
    path = tmp_path / "a.hdf"
    with h5py.File(path, "w") as file:
        file["x"] = 1
    refused(lambda: Eman2(path), "no images of EMAN2", root=path)
    with pytest.raises(DataError, match="convert it to MRC"):
        sniff(path)


@pytest.mark.parametrize("what", ["particles3d", "particles3d/TS_01__ribosome.hdf"])
def test_commands_find_the_reader(tmp_path, what):
    stack(tmp_path, count=6)
    assert [match.name for match in sniff(tmp_path / what)] == ["eman2"]
    said = ok("inspect", tmp_path / what)
    assert "eman2" in said
    assert "10 Å" in said


def test_a_tomogram_of_eman2(tmp_path):
    path = write_stack(tmp_path / "TS_01__bin4.hdf", [noise((4, 300, 5))])
    with pytest.raises(DataError, match=r"whole tomogram by its size; convert it to MRC \(e2proc3d\.py\)"):
        sniff(path)


# Predictions


def predicted(dataset, output: Path, rows=(0, 2)) -> Path:
    """Write classes for some rows: the second class, then the first."""
    write = prepare_writer(output, "list" if output.suffix == ".lst" else None, dataset, CLASSES)
    given = as_predictions(dataset, rows, CLASSES, [1, 0], np.array([0.75, 0.5]))
    output.write_bytes(write(given._replace(probabilities=np.full((2, 2), 0.5))))
    return output


def test_star_has_places_that_lead_back_into_the_tomogram(tmp_path):
    """A box that is cut at the place has the voxel there in its middle."""
    write_coded(tmp_path / "TS_01.mrc", voxel_size=20.0)
    places = [(0, 0, 0), (1, 1, 1), (-8, 4, -6)]
    path = stack(tmp_path, places=places, apix=10.0)
    star = predicted(Eman2(path), tmp_path / "out.star")
    table = starfile.read(star)
    assert table["rlnTomoName"].tolist() == ["TS_01"] * 2
    assert table["cryoregRow"].tolist() == [0, 2]
    assert table["cryoregFile"].tolist() == [str(path)] * 2
    assert table["rlnClassNumber"].tolist() == [2, 1]
    assert "rlnImageName" not in table
    boxes = TomogramParticles(star, box=4, coordinate_size=10.0)
    centres = [float(boxes[index].volume[0, 2, 2, 2]) for index in range(2)]
    # the middle of 50 × 40 × 30 voxels is (25, 20, 15); steps of 10 Å are half a voxel
    assert centres == [25 + 100 * 20 + 10_000 * 15, 21 + 100 * 22 + 10_000 * 12]


def test_csv_has_places(tmp_path):
    path = stack(tmp_path, places=[(0, 0, 0), (1, 1, 1), (-8, 4, -6)], apix=8.0)
    csv = predicted(Eman2(path), tmp_path / "out.csv").read_text().splitlines()
    assert csv[0].endswith("rlnCenteredCoordinateXAngst,rlnCenteredCoordinateYAngst,rlnCenteredCoordinateZAngst")
    assert csv[2].endswith("-64.000,32.000,-48.000")


def test_a_store_keeps_places(tmp_path):
    path = stack(tmp_path, places=[(0, 0, 0), (1, 1, 1), (-8, 4, -6)], apix=8.0)
    ok("convert", "--data", path, "--output", tmp_path / "set.h5")
    table = starfile.read(predicted(Store(tmp_path / "set.h5"), tmp_path / "out.star"))
    assert table["rlnCenteredCoordinateXAngst"].tolist() == [0, -64]


def test_star_needs_places(tmp_path):
    path = stack(tmp_path, class_ptcl_src=None, file_twod=None)
    with pytest.raises(DataError, match=r"places in tomograms, but these are in .*; write CSV"):
        predicted(Eman2(path), tmp_path / "out.star")


def test_a_new_list(tmp_path):
    path = stack(tmp_path)
    new = predicted(Eman2(path), tmp_path / "out.lst")
    lines = new.read_text().split("\n")
    assert (lines[0], lines[-1]) == ("#LSX", "")
    assert {len(line) + 1 for line in lines[3:-1]} == {int(lines[2].split()[1])}
    number, file, said = lines[3].rstrip().split("\t")
    assert (number, file) == ("0", str(path))
    assert json.loads(said) == {
        "class": 2,
        "cryoregClassName": "proteasome",
        "cryoregConfidence": 0.75,
        "cryoregUnsure": 0,
    }
    again = Eman2(new, label="cryoregClassName")
    assert (again.classes, again.labels) == (["proteasome", "ribosome"], [0, 1])


def test_a_list_that_is_kept(tmp_path):
    stack(tmp_path)
    name, matrix = (
        "particles3d/TS_01__ribosome.hdf",
        {"__class__": "Transform", "matrix": "[1,0,0,0.5,0,1,0,0,0,0,1,0]"},
    )
    rows = [(2, name, {"class": 1, "score": -0.125, "xform.align3d": matrix}), (1, name, None), (0, name, {"class": 0})]
    path = write_list(tmp_path / "spt_00" / "a.lst", rows)
    new = predicted(Eman2(path), tmp_path / "spt_00" / "b.lst")
    said = [(row.number, row.file, row.said) for row in read_rows(str(new))]
    assert [each[:2] for each in said] == [(2, name), (1, name), (0, name)]
    assert {key: said[0][2][key] for key in ("score", "xform.align3d")} == {"score": -0.125, "xform.align3d": matrix}
    assert [each[2]["class"] for each in said] == [2, 0, 1]
    assert [each[2].get("cryoregPreviousClassNumber") for each in said] == [1, None, 0]
    assert said[1][2]["cryoregClassName"] == "none"
    third = predicted(Eman2(new), tmp_path / "spt_00" / "c.lst")
    assert [row.said.get("cryoregPreviousClassNumber") for row in read_rows(str(third))] == [1, None, 0]


def test_lists_of_what_is_not_eman2s(tmp_path):
    (tmp_path / "a").mkdir()
    np.save(tmp_path / "a" / "b.npy", noise((3, 4, 4, 4)))
    with pytest.raises(DataError, match=r"no images of EMAN2.*; write CSV"):
        predicted(NpyFolder(tmp_path / "a"), tmp_path / "out.lst")
