"""Boxes around listed particles: the bright voxel of each is where the box's centre should be."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import starfile
import support.particle_writing as lists
from support.mrc_writing import noise, write_mrc
from support.particle_writing import FORMATS, SIZE, XYZ, coordinates, csv_of, star_of, write_star, write_tomograms_star
from support.tomograms import POINTS, bright, brightest, open_list, write_ome_zarr, write_tomogram

from cryoreg.errors import DataError

VALUES = [100.0 + i for i in range(len(POINTS))]


def check_centres(dataset, rtol: float = 0.0) -> None:
    """Each box has its own bright voxel, of its own value, at its centre."""
    assert len(dataset) == len(POINTS)
    for i, expected in enumerate(VALUES):
        value, place = brightest(dataset[i].volume)
        assert place == tuple(edge // 2 for edge in dataset.box)
        assert value == pytest.approx(expected, rel=rtol or 1e-6)


def test_coordinates_of_2d_stacks_are_in_the_unit_that_is_told(tmp_path: Path) -> None:
    write_tomogram(tmp_path / "TS_01.mrc")
    flat = {"rlnTomoSubTomosAre2DStacks": 1, "rlnTomoTiltSeriesPixelSize": 2.5, "rlnImagePixelSize": 5.0}
    check_centres(open_list(star_of(tmp_path, **coordinates(XYZ * 2), **flat), coordinate_size=5))


@pytest.mark.parametrize("box", [8, 9])
@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_of_lists(kind: str, box: int, tmp_path: Path) -> None:
    write_tomogram(tmp_path / "TS_01.mrc")
    dataset = open_list(FORMATS[kind](tmp_path), box)
    check_centres(dataset, 1e-4)
    assert dataset.voxel_size == pytest.approx(10)
    assert dataset.box == (box,) * 3
    assert dataset.groups == ["TS_01"] * len(POINTS)
    assert dataset.ids == [f"TS_01/{row}" for row in range(len(POINTS))]
    assert dataset.labels == [0 if kind == "copick" else None] * len(POINTS)
    assert (dataset.origin(2).row, dataset.origin(2).voxel_size) == (2, pytest.approx(10))


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_ome_zarr_and_mrc_give_the_same(zarr_format: int, tmp_path: Path) -> None:
    write_tomogram(tmp_path / "mrc" / "TS_01.mrc")
    write_ome_zarr(tmp_path / "zarr" / "TS_01.zarr", {1.0: bright()}, zarr_format, "nanometer")
    path = csv_of(tmp_path, XYZ + 0.3)
    one, other = (open_list(path, tomograms=tmp_path / kind) for kind in ("mrc", "zarr"))
    for i in range(len(one)):
        np.testing.assert_array_equal(one[i].volume, other[i].volume)
    assert one.voxel_size == pytest.approx(other.voxel_size)


@pytest.mark.parametrize("binning", [2, 4])
def test_coordinates_before_binning(binning: int, tmp_path: Path) -> None:
    write_tomogram(tmp_path / "t.mrc")
    check_centres(open_list(csv_of(tmp_path, XYZ * binning), coordinate_size=10 / binning))


@pytest.mark.parametrize("size", [0, 10, "nan"])
def test_a_dynamo_table_may_tell_the_voxel_size_of_the_tomogram(size: float | str, tmp_path: Path) -> None:
    write_tomogram(tmp_path / "t1.mrc")
    check_centres(open_list(lists.dynamo(tmp_path, column36=float(size))))


def test_a_dynamo_table_of_other_voxels_says_which_are_meant_or_is_refused(tmp_path: Path) -> None:
    write_tomogram(tmp_path / "t1.mrc")
    path = lists.dynamo(tmp_path, column36=5)
    said = r"list\.tbl: tells of 5 Å per pixel in row 0, and .*t1\.mrc has 10 Å: say .*coordinate_size=5 if .* or 10 if"
    with pytest.raises(DataError, match=said):
        open_list(path)
    check_centres(open_list(path, coordinate_size=10))


def test_a_wrong_folder_is_refused_even_where_a_table_knows_the_tomograms(tmp_path: Path) -> None:
    write_tomogram(tmp_path / "TS_01.mrc")
    path = lists.csv(tmp_path)
    write_tomograms_star(tmp_path / "tomograms.star", SIZE, 1.0, rlnTomoReconstructedTomogram="TS_01.mrc")
    with pytest.raises(DataError, match="nowhere: does not exist"):
        open_list(path, tomograms=tmp_path / "nowhere")


@pytest.mark.parametrize("kind", ["csv", "dynamo", "ndjson", "relion3", "warp", "relion4"])
def test_tomograms_star_states_the_unit_of_relions_lists_alone(kind: str, tmp_path: Path) -> None:
    """Who puts a CSV file beside RELION's tomograms.star still counts voxels of the tomogram."""
    write_tomogram(tmp_path / "tomograms" / "TS_01.mrc")
    write_tomograms_star(tmp_path / "tomograms.star", SIZE * 4, 4.0, rlnTomoReconstructedTomogram="tomograms/TS_01.mrc")
    path = lists.FORMATS[kind](tmp_path)
    dataset = open_list(path, tomograms=tmp_path / "tomograms")
    check_centres(dataset, 1e-4)


@pytest.mark.parametrize("binning", [2.0, 4.0])
def test_relion5_centred_of_odd_sizes(binning: float, tmp_path: Path) -> None:
    """A tomogram of which the unbinned size is no multiple of the binning, as RELION rounds it."""
    write_tomogram(tmp_path / "TS_01.mrc", voxel_size=2.5 * binning)
    unbinned = SIZE * int(binning) + np.array([1, -1, 1])
    angst = 2.5 * (XYZ * binning - unbinned / 2)
    write_tomograms_star(tmp_path / "tomograms.star", unbinned, binning)
    path = write_star(
        tmp_path / "p.star", {"rlnTomoName": "TS_01", **coordinates(angst, "rlnCenteredCoordinate{}Angst")}
    )
    check_centres(open_list(path), 1e-4)


@pytest.mark.parametrize(("unbinned", "binning"), [(None, 4.0), (SIZE * 4, None), (None, None)])
def test_relion5_binning_and_size_from_the_tomogram(unbinned, binning: float | None, tmp_path: Path) -> None:
    write_tomogram(tmp_path / "TS_01.mrc")
    check_centres(open_list(lists.relion5(tmp_path, unbinned, binning)), 1e-4)


def test_relion5_without_any_table_of_tomograms(tmp_path: Path) -> None:
    write_tomogram(tmp_path / "TS_01.mrc")
    path = lists.relion5(tmp_path)
    (tmp_path / "tomograms.star").unlink()
    check_centres(open_list(path), 1e-4)


def test_a_folder_given_overrules_the_binning_of_other_tomograms(tmp_path: Path) -> None:
    """tomograms.star tells of a reconstruction at binning 2; the folder holds others at binning 4."""
    write_mrc(tmp_path / "rec" / "TS_01.mrc", noise((8, 8, 8)), 5.0)
    write_tomogram(tmp_path / "denoised" / "TS_01.mrc")
    path = lists.relion5(tmp_path)
    write_tomograms_star(tmp_path / "tomograms.star", SIZE * 4, 2.0, rlnTomoReconstructedTomogram=["rec/TS_01.mrc"])
    check_centres(open_list(path, tomograms=tmp_path / "denoised"), 1e-4)
    check_centres(open_list(path, tomograms=tmp_path / "denoised" / "TS_01.mrc"), 1e-4)
    with pytest.raises(DataError, match=r"has 8 voxels along x, but rlnTomoSizeX over the binning \(2\) is 96"):
        open_list(path)
    write_mrc(tmp_path / "rec" / "TS_01.mrc", noise((8, 8, 8)), 7.5)
    with pytest.raises(DataError, match=r"has voxels of 7.5 Å, but its tomograms.star tells of 2.5 Å binned by 2"):
        open_list(path)


def test_relion5_origins_are_turned_and_subtracted(tmp_path: Path) -> None:
    """Rot = 90°: RELION's matrix maps an origin along x to -y, an origin along y to x."""
    write_tomogram(tmp_path / "TS_01.mrc")
    origins = np.tile([30.0, 20.0, -10.0], (len(XYZ), 1))
    turned = np.tile([20.0, -30.0, -10.0], (len(XYZ), 1))
    angst = 2.5 * (XYZ * 4 - SIZE * 2) + turned
    particles = {
        "rlnTomoName": "TS_01",
        **coordinates(angst, "rlnCenteredCoordinate{}Angst"),
        **coordinates(origins, "rlnOrigin{}Angst"),
        "rlnTomoSubtomogramRot": 90.0,
        "rlnTomoSubtomogramTilt": 0.0,
        "rlnTomoSubtomogramPsi": 0.0,
        "rlnTomoTiltSeriesPixelSize": 2.5,
    }
    check_centres(open_list(write_star(tmp_path / "p.star", particles)), 1e-4)


def test_all_blocks_of_a_list_are_read(tmp_path: Path) -> None:
    """As cryoCAT and crYOLO write them, a table for each tomogram; the points are those of the other formats."""
    write_tomogram(tmp_path / "TS_01.mrc")
    head = "loop_\n_rlnTomoName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\n_rlnCoordinateZ #4\n"
    rows = [f"TS_01 {x} {y} {z}\n" for x, y, z in POINTS]
    blocks = [f"data_{name}\n\n{head}{''.join(part)}\n" for name, part in (("a", rows[:1]), ("b", rows[1:]))]
    (tmp_path / "list.star").write_text("".join([*blocks, f"data_none\n{head}"]))
    dataset = open_list(tmp_path / "list.star")
    assert [dataset.origin(index).row for index in range(len(dataset))] == list(range(len(POINTS)))
    check_centres(dataset)


def test_origins_in_voxels_are_subtracted(tmp_path: Path) -> None:
    write_tomogram(tmp_path / "TS_01.mrc")
    origins = np.tile([2.0, -1.0, 3.0], (len(XYZ), 1))
    particles = {"rlnTomoName": "TS_01", **coordinates(XYZ + origins), **coordinates(origins, "rlnOrigin{}")}
    check_centres(open_list(write_star(tmp_path / "p.star", particles)))


def test_tomograms_star_names_the_files(tmp_path: Path) -> None:
    write_tomogram(tmp_path / "Reconstruct" / "job007" / "rec_odd_name.mrc")
    (tmp_path / "Extract").mkdir()
    star = write_tomograms_star(
        tmp_path / "Reconstruct" / "tomograms.star",
        SIZE * 4,
        4.0,
        rlnTomoReconstructedTomogram=["Reconstruct/job007/rec_odd_name.mrc"],
    )
    path = lists.relion5(tmp_path / "Extract")
    (tmp_path / "Extract" / "tomograms.star").unlink()
    check_centres(open_list(path, tomograms=star), 1e-4)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("TS_01", "TS_01.mrc"),
        ("TS_01", "TS_01_10.00Apx.mrc"),
        ("TS_01", "rec_TS_01.mrc"),
        ("TS_01.tomostar", "TS_01_10.00Apx.mrc"),
        ("TS_01.mrc", "TS_01.rec"),
        ("somewhere/else/TS_01.mrc", "TS_01.mrc"),
        ("3", "tomo_03_10.00Apx.mrc"),
        ("007", "007.mrc"),
        ("töμo", "töμo.mrc"),
    ],
)
def test_names_of_tomograms(name: str, file: str, tmp_path: Path) -> None:
    for other in ("TS_011.mrc", "TS_02_10.00Apx.mrc", "tomo_13_10.00Apx.mrc", "TS_01.txt"):
        write_mrc(tmp_path / other, noise((8, 8, 8)))
    write_tomogram(tmp_path / file)
    check_centres(open_list(csv_of(tmp_path, [(*p, name) for p in POINTS], ("x", "y", "z", "tomogram"))))


def test_dynamo_index_beside_the_table_and_given(tmp_path: Path) -> None:
    write_tomogram(tmp_path / "data" / "a.mrc")
    path = lists.dynamo(tmp_path, column20=12)
    (tmp_path / "list.doc").write_text("11 data/b.mrc\n12 data/a.mrc\n")
    check_centres(open_list(path), 1e-4)
    (tmp_path / "list.doc").rename(tmp_path / "data" / "index.doc")
    check_centres(open_list(path, tomograms=tmp_path / "data" / "index.doc"), 1e-4)


def test_several_tomograms_classes_and_tilts(tmp_path: Path) -> None:
    other = [(12, 13, 14), (30, 20, 22)]
    write_tomogram(tmp_path / "a.mrc")
    write_mrc(tmp_path / "b.mrc", bright(other, seed=1) + 50)
    rows = [(*POINTS[0], "a", "x"), (*other[0], "b", "y"), (*POINTS[1], "a", "y"), (*other[1], "b", "")]
    path = csv_of(tmp_path, rows, ("x", "y", "z", "tomogram", "class"))
    dataset = open_list(path)
    assert dataset.classes == ["x", "y"]
    assert dataset.labels == [0, 1, 1, None]
    assert dataset.groups == ["a", "b", "a", "b"]
    assert [round(brightest(dataset[i].volume)[0]) for i in range(4)] == [100, 150, 101, 151]
    assert pickle.loads(pickle.dumps(dataset))[1].volume.max() == dataset[1].volume.max()


def test_numbered_classes_and_a_column_asked_for(tmp_path: Path) -> None:
    write_tomogram(tmp_path / "TS_01.mrc")
    particles = {"rlnTomoName": "TS_01", **coordinates(XYZ), "rlnClassNumber": [10, 9, 10, 2], "rlnGroup": list("abab")}
    path = write_star(tmp_path / "p.star", particles)
    assert open_list(path).classes == ["2", "9", "10"]
    assert open_list(path, label="rlnGroup").labels == [0, 1, 0, 1]


def test_tilt_ranges(tmp_path: Path) -> None:
    write_tomogram(tmp_path / "TS_01.mrc")
    dataset = open_list(lists.dynamo(tmp_path))
    assert dataset.tilt_range == dataset.origin(1).tilt_range == (-60, 55)
    rows = [(*p, -50 - i, 60) for i, p in enumerate(POINTS)]
    dataset = open_list(csv_of(tmp_path, rows, ("x", "y", "z", "tilt_min", "tilt_max")))
    assert dataset.tilt_range is None
    assert dataset.origin(2).tilt_range == (-52, 60)


@pytest.mark.parametrize("column", ["rlnTomoYTilt", "rlnTomoNominalStageTiltAngle"])
def test_tilt_ranges_of_relion_tilt_series(column: str, tmp_path: Path) -> None:
    write_tomogram(tmp_path / "TS_01.mrc")
    path = lists.relion5(tmp_path)
    (tmp_path / "tilt_series").mkdir()
    series = pd.DataFrame({"rlnMicrographName": list("abc"), column: [0.1, -57.3, 60.2]})
    starfile.write({"TS_01": series}, tmp_path / "tilt_series" / "TS_01.star")
    write_tomograms_star(
        tmp_path / "tomograms.star", SIZE * 4, 4.0, rlnTomoTiltSeriesStarFile=["tilt_series/TS_01.star"]
    )
    dataset = open_list(path)
    assert dataset.tilt_range == dataset.origin(3).tilt_range == (-57.3, 60.2)


def test_the_exact_name_wins_and_folders_above_are_not_searched(tmp_path: Path) -> None:
    write_tomogram(tmp_path / "lists" / "TS_01.rec")
    for name in ("lists/TS_01.mrc", "TS_01.mrc", "TS_02.mrc"):
        write_mrc(tmp_path / name, noise((8, 8, 8)))
    rows = [(*p, "TS_01.rec") for p in POINTS]
    check_centres(open_list(csv_of(tmp_path / "lists", rows, ("x", "y", "z", "tomogram"))))
    with pytest.raises(DataError, match=r"'TS_02.mrc', which is not in .*lists"):
        open_list(csv_of(tmp_path / "lists", [(1, 2, 3, "TS_02.mrc")], ("x", "y", "z", "tomogram")))


def test_boxes_over_the_edge_are_padded_and_counted(tmp_path: Path) -> None:
    points = [(0, 20, 20), (20, 20, 20), (47, 43, 39)]
    write_tomogram(tmp_path / "t.mrc", points)
    dataset = open_list(csv_of(tmp_path, points))
    assert [brightest(dataset[i].volume) for i in (0, 1)] == [(100, (4, 4, 0)), (101, (4, 4, 4))]
    np.testing.assert_array_equal(dataset[0].volume[0, :, :, 0], dataset[0].volume[0, :, :, 4])
    assert len(dataset.notes) == 2
    assert dataset.notes[0].startswith("2 of 3 boxes reach beyond their tomograms (the first: t/0)")
    assert not any("beyond" in note for note in open_list(csv_of(tmp_path, points[1:2])).notes)


def test_particles_at_one_place_are_told_and_stay_together(tmp_path: Path) -> None:
    """The same place in two tomograms is two; places a tenth of a voxel apart are two, as well."""
    for name in ("TS_01", "TS_02"):
        write_tomogram(tmp_path / f"{name}.mrc")
    rows = [(20, 25, 30), (30, 25, 20), (20, 25, 30), (20, 25, 30), (20, 25, 30.1), (30, 25, 20)]
    frame = pd.DataFrame(rows, columns=["x", "y", "z"]).assign(tomogram=["TS_01"] * 5 + ["TS_02"])
    frame.to_csv(tmp_path / "list.csv", index=False)
    dataset = open_list(tmp_path / "list.csv")
    keys = list(dataset.duplicates)
    assert keys[0] == keys[2] == keys[3] is not None
    assert (keys[1], keys[4], keys[5]) == (None, None, None)
    told = "2 of 6 particles are at the very place of another one (the first: rows 0 and 2)"
    assert any(told in note for note in dataset.notes)
    frame.drop([2, 3]).to_csv(tmp_path / "list.csv", index=False)
    assert open_list(tmp_path / "list.csv").duplicates is None


@pytest.mark.parametrize(("box", "rescale_to"), [(46, None), (400, None), (24, 20.0)])
def test_a_box_wider_than_its_tomogram_is_refused(box: int, rescale_to: float | None, tmp_path: Path) -> None:
    write_tomogram(tmp_path / "t.mrc")
    with pytest.raises(
        DataError, match=r"t.mrc: is 48 voxels wide along x and 44 along y, too small.*dataset.box="
    ) as error:
        open_list(csv_of(tmp_path, XYZ), box=box, rescale_to=rescale_to)
    assert "\n" not in str(error.value)


def test_a_box_deeper_than_a_thin_tomogram_is_padded_with_a_note(tmp_path: Path) -> None:
    write_tomogram(tmp_path / "t.mrc")
    dataset = open_list(csv_of(tmp_path, XYZ), box=44)
    assert dataset[0].volume.shape == (1, 44, 44, 44)
    assert "beyond their tomograms" in dataset.notes[0]


def test_rescaling_keeps_the_centre_and_halves_the_grid(tmp_path: Path) -> None:
    grid = np.meshgrid(*(np.arange(n) for n in (50, 52, 54)), indexing="ij")
    for name, scale in (("a", 1.0), ("b", 2.0)):
        blob = np.exp(-sum((g - c) ** 2 for g, c in zip(grid, (24, 25, 26), strict=True)) / (2 * (4.0 / scale) ** 2))
        write_mrc(tmp_path / f"{name}.mrc", blob.astype(np.float32), 10.0 * scale)
    path = csv_of(tmp_path, [(26, 25, 24, "a"), (26, 25, 24, "b")], ("x", "y", "z", "tomogram"))
    with pytest.raises(DataError, match=r"mixed voxel sizes.*rescale_to"):
        open_list(path)
    dataset = open_list(path, box=12, rescale_to=20.0)
    places = np.meshgrid(*(np.arange(12) - 6,) * 3, indexing="ij")
    expected = np.exp(-sum(p**2 for p in places) / (2 * 2.0**2))
    assert dataset.voxel_size == 20.0
    for i in range(2):
        np.testing.assert_allclose(dataset[i].volume[0], expected, atol=0.01)
    assert [dataset.origin(i).voxel_size for i in range(2)] == [10.0, 20.0]
    assert open_list(path, voxel_size=10.0).voxel_size == 10.0


def test_contrast_is_told_by_the_user(tmp_path: Path) -> None:
    write_mrc(tmp_path / "t.mrc", -bright())
    dataset = open_list(csv_of(tmp_path, XYZ), contrast="dark")
    check_centres(dataset)
    assert dataset.contrast == "bright"
    assert open_list(csv_of(tmp_path, XYZ)).contrast is None


def test_a_header_that_rounds_does_not_move_particles(tmp_path: Path) -> None:
    """9.98 Å in the header and 4 pixels of 2.5 Å are the same binning."""
    write_tomogram(tmp_path / "TS_01.mrc", voxel_size=9.98)
    check_centres(open_list(lists.relion4(tmp_path)))
