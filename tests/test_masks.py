"""Masks of tomograms: distances are those of scipy's transform, facts are checked, `pick` and `select` obey."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import starfile
from scipy.ndimage import distance_transform_edt
from support.command_line import cli
from support.mrc_writing import noise, write_mrc
from support.particle_writing import FORMATS
from support.tomograms import POINTS, bright, write_tomogram

import cryoreg as cryoreg_package
from cryoreg.datasets.particles.lists import read_particle_list
from cryoreg.datasets.tomograms.files import open_tomogram
from cryoreg.datasets.tomograms.masks import Mask, Where, masks_for
from cryoreg.datasets.tomograms.matching import match_masks
from cryoreg.errors import ConfigError, DataError

SHAPE = (12, 16, 20)
"""z, y, x: no two edges are alike."""
SIZE = 8.0


def mask_of(folder: Path, inside: np.ndarray, size: float | None = SIZE, shape=SHAPE, name="lamella.mrc", **header):
    """Return a mask of a tomogram of SHAPE voxels of SIZE Å."""
    tomogram = folder / "TS_01.mrc"
    if not tomogram.exists():
        write_mrc(tomogram, noise(shape), SIZE)
    path = write_mrc(folder / name, inside, size, **header)
    return Mask(Where(path, "keep", 0.0), path, open_tomogram(tomogram))


def one_voxel(x: int, y: int, z: int, shape=SHAPE, dtype=np.int8) -> np.ndarray:
    inside = np.zeros(shape, dtype)
    inside[z, y, x] = 1
    return inside


def test_axes_and_the_first_voxel_are_those_of_the_coordinates(tmp_path):
    mask = mask_of(tmp_path, one_voxel(17, 3, 9))
    places = np.array([[17, 3, 9], [18, 3, 9], [17, 5, 9], [17, 3, 6], [14, 3, 5], [3, 17, 9], [17.25, 3, 9]], float)
    nearest = np.array([np.nan, 1, 2, 3, 5, np.hypot(14, 14), np.nan])
    expected = np.where(np.isnan(nearest), [-0.5] * 6 + [-0.25], nearest - 0.5) * SIZE
    np.testing.assert_allclose(mask.distances(places), expected)


def test_distances_are_those_of_scipys_transform(tmp_path):
    inside = noise(SHAPE, 3) > 1.2
    inside[4:9, 3:12, 5:15] = True
    mask = mask_of(tmp_path, inside.astype(np.int8))
    z, y, x = np.indices(SHAPE).reshape(3, -1)
    outside, depth = distance_transform_edt(~inside), distance_transform_edt(inside)
    expected = np.where(inside, 0.5 - depth, outside - 0.5) * SIZE
    np.testing.assert_allclose(mask.distances(np.stack([x, y, z], 1)), expected.ravel())


@pytest.mark.parametrize(
    ("values", "inside"),
    [
        (np.float32([0, 255]), [False, True]),
        (np.int8([0, -1]), [False, True]),
        (np.float32([0, 0.5]), [False, True]),
        (np.float32([0.49, 0.9]), [False, True]),
    ],
)
def test_two_values_or_shares_make_a_mask(tmp_path, values, inside):
    volume = np.full(SHAPE, values[0])
    volume[6:] = values[1]
    mask = mask_of(tmp_path, volume)
    assert (mask.distances(np.array([[5, 5, 2], [5, 5, 9]])) < 0).tolist() == inside


@pytest.mark.parametrize("values", [(0, 1, 2), (0, 0.5, 3), (-2, 0, 1), (3, 4, 4)])
def test_what_is_no_mask_is_refused(tmp_path, values):
    volume = np.zeros(SHAPE, np.float32)
    volume[:4], volume[4:8], volume[8:] = values
    with pytest.raises(DataError, match=r"lamella\.mrc: is no mask.*write the part that is meant"):
        mask_of(tmp_path, volume).distances(np.zeros((1, 3)))


@pytest.mark.parametrize(("value", "distance"), [(0, np.inf), (1, -np.inf)])
def test_a_mask_without_a_surface_is_infinitely_far(tmp_path, value, distance):
    mask = mask_of(tmp_path, np.full(SHAPE, value, np.int8))
    assert mask.distances(np.array([[0, 0, 0], [3.0, 4, 5]])).tolist() == [distance] * 2


# ---- facts: voxel size, binning, origin ----


def test_a_binned_mask_measures_in_angstroms(tmp_path):
    inside = one_voxel(4, 2, 3, (6, 8, 10))
    mask = mask_of(tmp_path, inside, 2 * SIZE)
    # its voxel (4, 2, 3) is the tomogram's (8, 4, 6); five of its voxels of 16 Å along y
    np.testing.assert_allclose(mask.distances(np.array([[8, 4, 6], [8, 14, 6]])), [-SIZE, 4.5 * 2 * SIZE])


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((6, 8, 10), None),  # by its shape
        ((6, 8, 10), 1.0),  # 1 Å is what programs write that know none
        ((6, 8, 9), 16.0),  # binning cuts what is left over
        (SHAPE, SIZE * 1.004),  # headers round
        (SHAPE, None),
        ((24, 32, 40), 4.0),
    ],
)
def test_sizes_that_agree_are_taken(tmp_path, shape, size):
    mask = mask_of(tmp_path, np.ones(shape, np.int8), size)
    np.testing.assert_allclose(mask._edge, SIZE * SHAPE[1] / shape[1])


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        (SHAPE, 16.0),  # another voxel size in the same voxels
        ((12, 16, 19), SIZE),  # cut
        ((12, 20, 16), SIZE),  # axes exchanged
        ((6, 8, 10), SIZE),  # binned with the old voxel size
        ((6, 16, 10), None),
    ],
)
def test_sizes_that_contradict_each_other_are_refused(tmp_path, shape, size):
    with pytest.raises(DataError, match=r"lamella\.mrc: is no mask of .*TS_01\.mrc: it has .* voxels \(x y z\)"):
        mask_of(tmp_path, np.ones(shape, np.int8), size)


def test_origins_are_compared(tmp_path):
    write_mrc(tmp_path / "TS_01.mrc", noise(SHAPE), SIZE, origin=(80, 0, -40))
    for origin in ((0, 0, 0), (80, 0, -40), (83, 4, -40)):
        mask_of(tmp_path, np.ones(SHAPE, np.int8), origin=origin)
    with pytest.raises(DataError, match=r"begins at 0, 80, -40 Å .* and .*TS_01\.mrc at 80, 0, -40 Å"):
        mask_of(tmp_path, np.ones(SHAPE, np.int8), origin=(0, 80, -40))
    with pytest.raises(DataError, match=r"begins at 0, 0, 72 Å \(x y z\)"):
        mask_of(tmp_path, np.ones(SHAPE, np.int8), nzstart=9)


# ---- words and names ----


@pytest.mark.parametrize(
    ("text", "distance", "words"),
    [
        ("0", 0, "inside lamella"),
        ("120A", 120, "within 120 Å of lamella"),
        ("12 nm", 120, "within 120 Å of lamella"),
        ("-30Å", -30, "30 Å or deeper inside lamella"),
    ],
)
def test_distances_have_units(text, distance, words):
    where = Where.parse(Path("masks/lamella.mrc"), "keep", text)
    assert (where.distance, str(where)) == (distance, words)


@pytest.mark.parametrize("text", ["120", "8vx", "near", "", "nan A"])
def test_what_is_no_distance_is_refused(text):
    with pytest.raises(ConfigError, match="write a distance with its unit"):
        Where.parse(Path("lamella.mrc"), "keep", text)


@pytest.mark.parametrize(
    ("tomogram", "files", "expected"),
    [
        ("TS_01.mrc", ["TS_01.mrc", "TS_02.mrc"], "TS_01.mrc"),
        ("TS_01.mrc", ["TS_01_mask.mrc", "TS_011_mask.mrc"], "TS_01_mask.mrc"),
        ("rec_TS_01_bin4.mrc", ["TS_01_bin8_lamella_mask.mrc", "TS_02.mrc"], "TS_01_bin8_lamella_mask.mrc"),
        ("TS_01_10.00Apx.mrc", ["mask_TS_01.mrc"], "mask_TS_01.mrc"),
        ("TS_01.mrc", ["TS_01_MemBrain_seg_v10_alpha_segmented.mrc"], "TS_01_MemBrain_seg_v10_alpha_segmented.mrc"),
        ("TS_01.mrc", ["TS_02_mask.mrc"], None),
        ("TS_01.mrc", ["TS_01_mask.mrc", "TS_01_membrane.mrc"], None),
    ],
)
def test_masks_are_matched_by_name(tomogram, files, expected):
    found = match_masks([tomogram], files).found.get(tomogram)
    assert (found and found.file) == expected


def test_a_folder_gives_each_tomogram_its_own(tmp_path):
    masks, tomograms = tmp_path / "lamellae", []
    for number in (1, 2):
        tomograms.append(open_tomogram(write_mrc(tmp_path / f"TS_{number}.mrc", noise(SHAPE), SIZE)))
        write_mrc(masks / f"TS_{number}_mask.mrc", one_voxel(number, 0, 0), SIZE)
    found = masks_for([Where(masks, "keep", 0.0)], tomograms)
    assert [each.distances(np.eye(3)[:1] * 2)[0] < 0 for (each,) in found] == [False, True]
    (masks / "TS_2_mask.mrc").unlink()
    with pytest.raises(DataError, match=r"lamellae: TS_2\.mrc is in the name of no mask \(but TS_1_mask\.mrc\)"):
        masks_for([Where(masks, "keep", 0.0)], tomograms)
    write_mrc(masks / "TS_2_membrane.mrc", one_voxel(0, 0, 0), SIZE)
    write_mrc(masks / "TS_2_lamella.mrc", one_voxel(0, 0, 0), SIZE)
    with pytest.raises(DataError, match=r"TS_2\.mrc may mean TS_2_lamella\.mrc or TS_2_membrane\.mrc"):
        masks_for([Where(masks, "keep", 0.0)], tomograms)
    with pytest.raises(DataError, match=r"is one mask for 2 tomograms; give a folder"):
        masks_for([Where(masks / "TS_1_mask.mrc", "keep", 0.0)], tomograms)


# ---- commands ----


@pytest.fixture
def half(tmp_path) -> Path:
    """A tomogram with four particles, two at x < 20 and two beyond, and a mask of the half of x < 20."""
    shape = (24, 32, 40)
    z, y, x = np.indices(shape)
    volume = 0.05 * noise(shape)
    for cx in (8, 16, 24, 32):
        volume += np.exp(-((x - cx) ** 2 + (y - 16) ** 2 + (z - 12) ** 2) / 6).astype(np.float32)
    write_mrc(tmp_path / "TS_01.mrc", volume.astype(np.float32), 10.0)
    write_mrc(tmp_path / "masks" / "near.mrc", (x < 20).astype(np.int8), 10.0)
    return tmp_path


PICK = ("--radius", 30, "--distance", 60, "--per-tomogram", 4, "--contrast", "bright")


@pytest.mark.parametrize(
    ("words", "xs"),
    [
        ((), [8, 16, 24, 32]),
        (("keep", "0"), [8, 16]),
        (("drop", "0"), [24, 32]),
        (("keep", "50A"), [8, 16, 24]),  # the surface is at 19.5, the particle at 24, 45 Å away
        (("keep", "4nm"), [8, 16]),
        (("drop", "-40A"), [16, 24, 32]),
        (("mark", "50A"), [8, 16, 24, 32]),
    ],
)
def test_pick_where(half, words, xs):
    where = ["--where", half / "masks" / "near.mrc", *words] if words else []
    result = cli("pick", half / "TS_01.mrc", *PICK, *where, "--output", half / "picks.star")
    assert result.exit_code == 0, result.output
    table = pd.read_csv(half / "picks.csv").sort_values("x")
    assert table["x"].tolist() == xs
    star = starfile.read(half / "picks.star")["particles"]
    marked = {"cryoregDistance_near", "cryoregWithin_near"}
    assert marked.isdisjoint(star) if "mark" not in words else marked <= set(star)
    if "mark" in words:
        assert table["distance_near"].tolist() == [-115, -35, 45, 125]
        assert table["within_near"].tolist() == [1, 1, 1, 0]


def test_a_template_moves_picks_before_they_are_judged(half):
    z, y, x = np.indices((12, 12, 12)) - 6
    write_mrc(half / "template.mrc", np.exp(-(x**2 + y**2 + z**2) / 6).astype(np.float32), 10.0)
    words = ("--template", half / "template.mrc", "--rotations", 1, "--per-tomogram", 2)
    result = cli(
        "pick", half / "TS_01.mrc", *PICK, *words, "--where", half / "masks/near.mrc", "keep", "0",
        "--output", half / "picks.star",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert sorted(pd.read_csv(half / "picks.csv")["x"]) == [8, 16]


def test_no_picks_left_is_said(half):
    write_mrc(half / "empty.mrc", np.zeros((24, 32, 40), np.int8), 10.0)
    result = cli(
        "pick", half / "TS_01.mrc", *PICK, "--where", half / "empty.mrc", "keep", "0", "--output", half / "p.star"
    )
    assert result.exit_code == 1
    assert "no picks are left by --where" in result.output
    assert not (half / "p.star").exists()


STAR = """data_particles

loop_
_rlnTomoName #1
_rlnCoordinateX #2
_rlnCoordinateY #3
_rlnCoordinateZ #4
_mine #5
TS_01  8 16 12 'a b'
TS_01  24 16 12 c  # here
"""
CSV = 'tomogram,x,y,z,mine\nTS_01,8,16,12,"a,b"\nTS_01,24,16,12,\n'


def test_select_where_keeps_what_the_list_has(half):
    (half / "list.star").write_text(STAR)
    mask = half / "masks" / "near.mrc"
    result = cli("select", half / "list.star", "--where", mask, "drop", "0", "--output", half / "out.star")
    assert result.exit_code == 0, result.output
    assert (half / "out.star").read_text() == STAR.replace("TS_01  8 16 12 'a b'\n", "")
    assert "1  left out: inside near" in result.output


def test_select_marks_star_and_csv(half):
    (half / "list.star").write_text(STAR)
    (half / "list.csv").write_text(CSV)
    words = ("--where", half / "masks" / "near.mrc", "mark", "50A", "--output")
    assert cli("select", half / "list.star", *words, half / "out.star").exit_code == 0
    out = starfile.read(half / "out.star")
    assert out["cryoregDistance_near"].tolist() == [-115, 45]
    assert out["cryoregWithin_near"].tolist() == [1, 1]
    assert "TS_01  24 16 12 c 45.0 1  # here\n" in (half / "out.star").read_text()
    assert cli("select", half / "list.csv", *words, half / "out.csv").exit_code == 0
    assert (half / "out.csv").read_text() == (
        'tomogram,x,y,z,mine,distance_near,within_near\nTS_01,8,16,12,"a,b",-115.0,1\nTS_01,24,16,12,,45.0,1\n'
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tomogram x y z\nTS_01 8 16 12\n", "tomogram x y z distance_near within_near\nTS_01 8 16 12 -115.0 1\n"),
        (
            "# tomogram;x;y;z\r\nTS_01;8;16;12\r\n",
            "# tomogram;x;y;z;distance_near;within_near\r\nTS_01;8;16;12;-115.0;1\r\n",
        ),
        (
            "x;y;z\n8;16;12;\n",  # a separator at the end of a row, as some programs write
            "x;y;z;distance_near;within_near\n8;16;12;-115.0;1\n",
        ),
        (
            "sep=,\n# note\nx,y,z\n# more\n8,16,12",
            "sep=,\n# note\nx,y,z,distance_near,within_near\n# more\n8,16,12,-115.0,1",
        ),
    ],
)
def test_text_tables_of_every_kind_get_columns(half, text, expected):
    (half / "list.txt").write_bytes(text.encode())
    words = ("--where", half / "masks" / "near.mrc", "mark", "50A", "--output", half / "out.txt")
    result = cli("select", half / "list.txt", *words)
    assert result.exit_code == 0, result.output
    assert (half / "out.txt").read_bytes().decode() == expected


def test_python_selects_as_the_command_does(half):
    (half / "list.star").write_text(STAR)
    mask = half / "masks" / "near.mrc"
    words = ("--where", mask, "mark", "50A", "--ids", "TS_01/1", "--distance", "20vx")
    assert cli("select", half / "list.star", *words, "--output", half / "a.star").exit_code == 0
    marks = [(mask, "mark", "50A")]
    found = cryoreg_package.select(half / "list.star", half / "b.star", where=marks, ids="TS_01/1", distance="20vx")
    assert (half / "a.star").read_bytes() == (half / "b.star").read_bytes()
    assert found.files == {half / "b.star": 1}
    (half / "more.star").write_text(STAR)
    drop = [(mask, "drop", "0")]
    merged = cryoreg_package.select(half / "list.star", half / "c.star", merge=half / "more.star", where=drop)
    assert merged.chosen.kept.tolist() == [False, True] * 2


def test_select_finds_tomograms_elsewhere_and_refuses_what_it_cannot_write(half, tmp_path):
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "list.star").write_text(STAR)
    words = ("--where", half / "masks" / "near.mrc", "keep", "0", "--output", lists / "out.star")
    alone = cli("select", lists / "list.star", *words)
    assert alone.exit_code == 1
    assert "--tomograms <folder>" in alone.output
    assert cli("select", lists / "list.star", *words, "--tomograms", half).exit_code == 0
    (lists / "list.csv").write_text("tomogram,x,y,z,within_near\nTS_01,8,16,12,1\n")
    mark = ("--where", half / "masks" / "near.mrc", "mark", "0", "--tomograms", half)
    again = cli("select", lists / "list.csv", *mark, "--output", lists / "o.csv")
    assert "has a column 'within_near' already" in again.output
    twice = cli("select", lists / "list.star", *mark, *mark, "--output", lists / "p.star")
    assert "two masks that mark are called 'near'" in twice.output


@pytest.mark.parametrize("kind", ["dynamo", "emclarity", "imod_points", "pytom"])
def test_lists_without_columns_lose_rows_and_are_not_marked(kind, tmp_path):
    tomogram = write_tomogram(tmp_path / "TS_01.mrc")
    mask = write_mrc(tmp_path / "mask.mrc", (np.indices(bright().shape)[2] < 22).astype(np.int8), 10.0)
    path = FORMATS[kind](tmp_path)
    output = tmp_path / f"{'TS_01x' if kind == 'emclarity' else 'out'}{path.suffix}"
    words = ("--tomograms", tomogram, "--output", output)
    marked = cli("select", path, "--where", mask, "mark", "0", *words)
    assert (marked.exit_code, marked.output.count("\n")) == (1, 1)
    assert "without columns for marks; use keep or drop" in marked.output
    assert cli("select", path, "--where", mask, "keep", "0", *words).exit_code == 0
    found = read_particle_list(output).coordinates
    np.testing.assert_allclose(found, read_particle_list(path).coordinates[[x < 22 for x, _, _ in POINTS]])


def test_lists_are_marked_together(half):
    (half / "list.star").write_text(STAR)
    (half / "more.star").write_text(STAR.replace(" 8 16", " 32 16"))
    words = ("--where", half / "masks" / "near.mrc", "mark", "0", "--merge", half / "more.star")
    result = cli("select", half / "list.star", *words, "--output", half / "out.star")
    assert result.exit_code == 0, result.output
    out = starfile.read(half / "out.star")
    assert out["rlnCoordinateX"].tolist() == [8, 24, 32, 24]
    assert out["cryoregDistance_near"].tolist() == [-115, 45, 125, 45]
