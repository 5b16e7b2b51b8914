"""Subtomograms listed in STAR files, as RELION 3, 3.1, 4, 5 and Warp write them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import pytest
import starfile
from support.mrc_writing import noise, state, write_mrc

from cryoreg.contracts import Origin
from cryoreg.datasets.list_specs import StarSpec
from cryoreg.errors import DataError

BOX = (8, 8, 8)
COUNT = 4


def volume(number: int, shape=BOX) -> np.ndarray:
    """Faint noise, and one voxel of 10 + number at (z, y, x) = (1 + number, 2, 3)."""
    data = 0.1 * noise(shape, number)
    data[(1 + number) % shape[0], 2, 3] = 10 + number
    return data


def write_volumes(folder: Path, names: list[str], voxel_size: float | None = 10.0, shape=BOX) -> list[str]:
    for number, name in enumerate(names):
        write_mrc(folder / name, volume(number, shape), voxel_size)
    return names


def write_list(path: Path, particles: dict, optics: dict | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(particles)
    blocks = {"particles": frame} if optics is None else {"optics": pd.DataFrame(optics), "particles": frame}
    starfile.write(blocks, path)
    return path


def names(folder: str = "Extract/job005") -> list[str]:
    return [f"{folder}/TS_0{1 + i // 2}/sub_{i}.mrc" for i in range(COUNT)]


OPTICS = {"rlnOpticsGroup": [1], "rlnImagePixelSize": [10.0], "rlnImageSize": [8], "rlnImageDimensionality": [3]}
TOMOGRAMS = {"rlnTomoName": ["TS_01", "TS_01", "TS_02", "TS_02"]}
CLASSES = {"rlnClassNumber": [2, 1, 10, 1]}


def relion3(root: Path) -> Path:
    images = write_volumes(root, names())
    frame = pd.DataFrame(
        {
            "rlnMicrographName": [f"Tomograms/TS_0{1 + i // 2}.mrc" for i in range(COUNT)],
            "rlnImageName": images,
            "rlnMagnification": 50000.0,
            "rlnDetectorPixelSize": 50.0,
            **CLASSES,
        }
    )
    (root / "Class3D" / "job009").mkdir(parents=True)
    starfile.write(frame, root / "Class3D" / "job009" / "run_data.star")
    return root / "Class3D" / "job009" / "run_data.star"


def relion31(root: Path) -> Path:
    particles = {"rlnImageName": write_volumes(root, names()), "rlnOpticsGroup": 1, **TOMOGRAMS, **CLASSES}
    return write_list(root / "Refine3D" / "particles.star", particles, OPTICS)


def relion4(root: Path) -> Path:
    particles = {"rlnImageName": write_volumes(root, names()), "rlnOpticsGroup": 1, **TOMOGRAMS, **CLASSES}
    particles |= {"rlnTomoParticleName": [f"TS_0{1 + i // 2}/{i}" for i in range(COUNT)]}
    optics = OPTICS | {"rlnTomoTiltSeriesPixelSize": [2.5], "rlnTomoSubtomogramBinning": [4.0]}
    return write_list(root / "PseudoSubtomo" / "job1" / "particles.star", particles, optics)


def relion5(root: Path) -> Path:
    path = relion4(root)
    blocks = starfile.read(path)
    blocks["optics"]["rlnTomoSubTomosAre2DStacks"] = 0
    blocks["particles"]["rlnCenteredCoordinateXAngst"] = 0.5
    starfile.write(blocks, path, overwrite=True)
    return path


def warp(root: Path) -> Path:
    images = write_volumes(root, [f"../subtomo/TS_0{1 + i // 2}/s_{i}.mrc" for i in range(COUNT)], None)
    particles = {
        "rlnMicrographName": [f"TS_0{1 + i // 2}.tomostar" for i in range(COUNT)],
        "rlnMagnification": 10000.0,
        "rlnDetectorPixelSize": 10.0,
        "rlnImageName": images,
        **CLASSES,
    }
    return write_list(root / "matching.star", particles)


FORMATS: dict[str, Callable[[Path], Path]] = {f.__name__: f for f in (relion3, relion31, relion4, relion5, warp)}


@pytest.mark.parametrize("kind", FORMATS)
def test_every_version(kind: str, tmp_path: Path) -> None:
    path = FORMATS[kind](tmp_path / "project")
    dataset = StarSpec(root=path).build()
    assert len(dataset) == COUNT
    assert dataset.box == BOX
    assert dataset.voxel_size == pytest.approx(10)
    assert dataset.groups == ["TS_01", "TS_01", "TS_02", "TS_02"]
    assert (dataset.classes, dataset.labels) == ([], [None] * COUNT)
    assert dataset.contrast is None
    for i in range(COUNT):
        np.testing.assert_array_equal(dataset[i].volume[0], volume(i))
        assert dataset.origin(i) == Origin(str(path), i, pytest.approx(10))
    assert len(set(dataset.ids)) == COUNT
    again = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(again[3].volume, dataset[3].volume)


def test_classes_of_a_column(tmp_path: Path) -> None:
    dataset = StarSpec(root=relion31(tmp_path), label="rlnClassNumber").build()
    assert dataset.classes == ["1", "2", "10"]
    assert dataset.labels == [1, 0, 2, 0]


def write_stack(path: Path, count: int, space_group: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.stack([volume(number) for number in range(count)])
    with mrcfile.new(path, data if space_group == 401 else data.reshape(-1, 8, 8)) as file:
        file.voxel_size = 10.0
    return path


@pytest.mark.parametrize("space_group", [401, 0])
def test_slots_of_a_stack_count_from_1(space_group: int, tmp_path: Path) -> None:
    write_stack(tmp_path / "stacks" / "all.mrcs", COUNT, space_group)
    images = [f"{slot:06d}@stacks/all.mrcs" for slot in (3, 1, 4)]
    path = write_list(tmp_path / "p.star", {"rlnImageName": images, "rlnOpticsGroup": 1}, OPTICS)
    dataset = StarSpec(root=path).build()
    for i, number in enumerate((2, 0, 3)):
        np.testing.assert_array_equal(dataset[i].volume[0], volume(number))


def test_names_start_in_the_folder_given(tmp_path: Path) -> None:
    write_volumes(tmp_path / "elsewhere", names())
    path = write_list(tmp_path / "lists" / "p.star", {"rlnImageName": names()})
    with pytest.raises(DataError, match=r"p.star: names 'Extract.*sub_0.mrc' in row 0, which is neither in its folder"):
        StarSpec(root=path).build()
    assert len(StarSpec(root=path, folder=tmp_path / "elsewhere").build()) == COUNT


def test_voxel_sizes_of_optics_groups(tmp_path: Path) -> None:
    images = names()
    for number, name in enumerate(images):
        write_mrc(tmp_path / name, volume(number), 10.0 if number < 2 else 20.0)
    optics = {"rlnOpticsGroup": [1, 2], "rlnImagePixelSize": [10.0, 20.0]}
    path = write_list(tmp_path / "p.star", {"rlnImageName": images, "rlnOpticsGroup": [1, 1, 2, 2]}, optics)
    with pytest.raises(DataError, match=r"mixed voxel sizes in .*p.star: row 0 has 10 Å and row 2 20 Å.*rescale_to"):
        StarSpec(root=path).build()
    dataset = StarSpec(root=path, rescale_to=20.0).build()
    assert (dataset.voxel_size, dataset.box) == (20.0, (4, 4, 4))
    np.testing.assert_array_equal(dataset[2].volume[0], volume(2)[2:6, 2:6, 2:6])
    assert StarSpec(root=path, voxel_size=10.0).build().voxel_size == 10.0


def test_header_and_optics_disagree(tmp_path: Path) -> None:
    particles = {"rlnImageName": write_volumes(tmp_path, names(), 7.0), "rlnOpticsGroup": 1}
    path = write_list(tmp_path / "p.star", particles, OPTICS)
    with pytest.raises(DataError, match=r"sub_0.mrc: has 7 Å per voxel in its header and 10 Å in .*p.star; say which"):
        StarSpec(root=path).build()
    assert StarSpec(root=path, voxel_size=7.0).build().voxel_size == 7.0
    write_volumes(tmp_path, names(), 1.0)  # what many programs write where they know of no size
    assert StarSpec(root=path).build().voxel_size == 10.0


def stacked(root: Path) -> Path:
    path = relion4(root)
    blocks = starfile.read(path)
    blocks["optics"]["rlnTomoSubTomosAre2DStacks"] = 1
    starfile.write(blocks, path, overwrite=True)
    return path


def flat(root: Path) -> Path:
    particles = {"rlnImageName": write_volumes(root, names()), "rlnOpticsGroup": 1}
    return write_list(root / "p.star", particles, OPTICS | {"rlnImageDimensionality": [2]})


def mixed_boxes(root: Path) -> Path:
    images = write_volumes(root, names())
    write_mrc(root / images[2], noise((6, 6, 6)))
    return write_list(root / "p.star", {"rlnImageName": images})


def unreadable(root: Path) -> Path:
    images = write_volumes(root, names())
    (root / images[1]).write_bytes(b"not MRC")
    return write_list(root / "p.star", {"rlnImageName": images})


def image_stack(root: Path) -> Path:
    """A pseudo-subtomogram of RELION 5 that its optics group does not mark."""
    with mrcfile.new(root / "s.mrcs", noise((41, 8, 8))) as file:
        file.set_image_stack()
    return write_list(root / "p.star", {"rlnImageName": ["s.mrcs"]})


def slots(root: Path, *slots: str) -> Path:
    write_stack(root / "all.mrcs", COUNT, 401)
    return write_list(root / "p.star", {"rlnImageName": [f"{slot}@all.mrcs" for slot in slots]})


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda d: d / "p.star", "does not exist"),
    "no images": (
        lambda d: write_list(d / "p.star", {"rlnCoordinateX": [1.0], "rlnTomoName": ["a"]}),
        r"no extracted volumes \(rlnImageName\); cut boxes with --dataset tomogram",
    ),
    "no particles": (
        lambda d: write_list(d / "p.star", {"rlnVoltage": [300]}),
        r"has no column rlnImageName or .*rlnVoltage",
    ),
    "2D stacks": (
        stacked,
        r"lists stacks of 2D images, not volumes \(rlnTomoSubTomosAre2DStacks\).*--dataset tomogram",
    ),
    "2D images": (flat, r"not volumes \(rlnImageDimensionality\)"),
    "unmarked 2D stack": (image_stack, "is a stack of images, not a volume"),
    "mixed boxes": (mixed_boxes, "mixed box sizes: .*8×8×8 and .*6×6×6"),
    "no MRC": (unreadable, "sub_1.mrc: is not an MRC file"),
    "twice": (lambda d: slots(d, "1", "2", "1"), r"lists '1@all.mrcs' twice \(rows 0 and 2\)"),
    "slot 0": (lambda d: slots(d, "0"), r"names slot 0 of .*all.mrcs in row 0, which holds 4 volumes"),
    "slot 5": (lambda d: slots(d, "4", "5"), "names slot 5 of .*all.mrcs in row 1"),
    "no slot": (lambda d: slots(d, "one"), "the slot before @ is not a number"),
    "no table": (lambda d: (d / "p.star").write_text("hello\n") and d / "p.star", "holds no STAR table"),
    "an empty block": (lambda d: (d / "p.star").write_text("data_particles\n") and d / "p.star", "holds no STAR table"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_stars(case: str, tmp_path: Path) -> None:
    make, message = BAD[case]
    path = make(tmp_path)
    before = state(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        StarSpec(root=path).build()
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert state(tmp_path) == before


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"particles.star: has no column 'kind' to take classes from \(it has: rlnImage"
    ):
        StarSpec(root=relion31(tmp_path), label="kind").build()
    with pytest.raises(DataError, match=r"which is not in .*nowhere; check dataset.folder"):
        StarSpec(root=relion31(tmp_path / "b"), folder=tmp_path / "nowhere").build()


def test_a_volume_at_fault_is_named(tmp_path: Path) -> None:
    images = write_volumes(tmp_path, names())
    write_mrc(tmp_path / images[2], np.full(BOX, np.nan, np.float32))
    dataset = StarSpec(root=write_list(tmp_path / "p.star", {"rlnImageName": images})).build()
    assert float(dataset[1].volume.max()) == 11
    with pytest.raises(DataError, match=r"sub_2.mrc: holds NaN"):
        dataset[2]
