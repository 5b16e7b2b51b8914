"""What is read from particle lists, before any tomogram is opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import support.particle_writing as lists
from support.particle_writing import FORMATS, SIZE, XYZ
from support.tomograms import POINTS, SHAPE, write_ome_zarr

from cryoreg.datasets.io.columns import natural_order
from cryoreg.datasets.list_specs import TomogramSpec
from cryoreg.datasets.particles.lists import read_particle_list
from cryoreg.picking.pick_files import Outputs, run_pick
from cryoreg.picking.settings import PickSettings

UNITS = {"relion5": "centred", "csv_angstrom": "angstrom", "copick": "angstrom", "eman2": "middle"}
NAMES = {"relion3": "tomograms/TS_01.mrc", "warp": "TS_01.tomostar", "csv": "TS_01.mrc", "dynamo": "1"}
NAMES |= dict.fromkeys(("stopgap", "em_motive_list", "cryocat"), "1") | {"pytom": "tomograms/TS_01.em"}
UNNAMED = ("csv_spaces", "csv_angstrom", "ndjson", "imod", "imod_points", "peet", "cbox", "coords")
SIZES = {"relion4": 2.5, "relion5": 2.5, "warp": 10.0, "csv_voxel_size": 5.0, "imod": 10.0, "eman2": 2.5}


@pytest.mark.parametrize("kind", FORMATS)
def test_units_names_and_sizes(kind: str, tmp_path: Path) -> None:
    particles = read_particle_list(FORMATS[kind](tmp_path))
    assert len(particles) == len(POINTS)
    assert particles.unit == UNITS.get(kind, "voxel")
    assert set(particles.tomograms) == {None if kind in UNNAMED else NAMES.get(kind, "TS_01")}
    assert len(particles.columns) == len(POINTS)
    if kind in SIZES:
        np.testing.assert_allclose(particles.unit_sizes, SIZES[kind])
    else:
        assert particles.unit_sizes is None


def test_all_columns_are_kept(tmp_path: Path) -> None:
    path = lists.write_star(
        tmp_path / "p.star",
        {**lists.coordinates(XYZ), "rlnTomoName": "007", "rlnOpticsGroup": 1, "rlnMyOwn": [5, 6, 7, 8]},
        {"rlnOpticsGroup": [1], "rlnVoltage": [300.0]},
    )
    particles = read_particle_list(path)
    assert list(particles.columns["rlnMyOwn"]) == [5, 6, 7, 8]
    assert set(particles.columns["rlnVoltage"]) == {300.0}
    assert particles.tomograms == ["007"] * len(POINTS)


def test_centred_coordinates_are_kept_in_angstrom(tmp_path: Path) -> None:
    particles = read_particle_list(lists.relion5(tmp_path))
    np.testing.assert_allclose(particles.coordinates, 2.5 * (XYZ * 4 - SIZE * 2))


def test_dynamo_counts_from_the_corner_of_the_first_voxel(tmp_path: Path) -> None:
    """Dynamo's page "Volume center": the middle of its first pixel [1, 1, 1] is at the coordinate (0.5, 0.5, 0.5)."""
    path = lists.dynamo(tmp_path, column4=0, column5=0, column6=0, column24=0.5, column25=0.5, column26=0.5)
    np.testing.assert_allclose(read_particle_list(path).coordinates, 0, atol=1e-6)


def test_no_tilt_range_of_other_wedges(tmp_path: Path) -> None:
    assert read_particle_list(lists.dynamo(tmp_path)).tilt_ranges == [(-60.0, 55.0)] * len(POINTS)
    assert read_particle_list(lists.dynamo(tmp_path, column13=3)).tilt_ranges == [None] * len(POINTS)
    path = lists.dynamo(tmp_path, column14=0, column15=0)
    assert read_particle_list(path).tilt_ranges == [None] * len(POINTS)


def test_names_of_csv_columns_are_tolerant(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    for header in ("X,Y,Z", " x , y , z ", "x [px],y [px],z [px]", "rlnCoordinateX,rlnCoordinateY,rlnCoordinateZ"):
        path.write_text(f"\ufeff{header}\n# a comment\n1, 2.5, 3\n", encoding="utf-8")
        particles = read_particle_list(path)
        np.testing.assert_array_equal(particles.coordinates, [[1, 2.5, 3]])
        assert particles.unit == "voxel"


def test_natural_order() -> None:
    assert sorted(["10", "b", "9", "a2", "1.5"], key=natural_order) == ["1.5", "9", "10", "a2", "b"]


def test_lists_that_cryoreg_picks(tmp_path: Path) -> None:
    """The STAR file and the CSV of `cryoreg pick` give the same boxes, with the particle in the middle."""
    grid = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    points = [(12, 20, 15), (33, 22, 25)]
    blobs = sum(np.exp(-sum((g - c) ** 2 for g, c in zip(grid, p[::-1], strict=True)) / 8) for p in points)
    noise = np.random.default_rng(0).normal(0, 0.02, SHAPE)
    write_ome_zarr(tmp_path / "TS_01.zarr", {10.0: (blobs + noise).astype(np.float32)})
    outputs = Outputs(tmp_path / "picks.star")
    run_pick([tmp_path / "TS_01.zarr"], PickSettings(radius=40.0, top=2), outputs)
    star, csv = (TomogramSpec(root=path, box=8).build() for path in sorted(tmp_path.glob("picks*"), reverse=True))
    assert len(star) == len(csv) == len(points)
    for i in range(2):
        np.testing.assert_array_equal(star[i].volume, csv[i].volume)
        assert np.unravel_index(int(star[i].volume.argmax()), (8, 8, 8)) == (4, 4, 4)


def upper_suffix(path: Path) -> Path:
    return path.rename(path.with_name(path.stem + path.suffix.upper()))


def rewritten(change: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    def apply(path: Path) -> Path:
        path.write_bytes(change(path.read_bytes()))
        return path

    return apply


AS_OTHERS_SAVE = {
    "ends of line of Windows": rewritten(lambda raw: raw.replace(b"\n", b"\r\n")),
    "byte order mark": rewritten(lambda raw: b"\xef\xbb\xbf" + raw),
    "no last end of line": rewritten(lambda raw: raw.rstrip(b"\n")),
    "blank lines": rewritten(lambda raw: b"\n" + raw + b"\n\n"),
    "trailing blanks": rewritten(lambda raw: raw.replace(b"\n", b" \t\n")),
}
BINARY = ("imod", "em_motive_list")


@pytest.mark.parametrize("kind", FORMATS)
def test_what_editors_do_to_a_file_moves_nothing(kind: str, tmp_path: Path) -> None:
    """Places, tomograms and units are those of the file as its program wrote it."""
    changes = {"suffix": upper_suffix} | ({} if kind in BINARY else AS_OTHERS_SAVE)
    for number, change in enumerate(changes.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = FORMATS[kind](folder)
        before, after = read_particle_list(path), read_particle_list(change(path))
        np.testing.assert_array_equal(after.coordinates, before.coordinates)
        assert (list(after.tomograms), after.unit) == (list(before.tomograms), before.unit)
        assert np.array_equal(after.unit_sizes, before.unit_sizes)
