"""Places that were told of another volume than the tomogram: binned, trimmed, turned, or beginning elsewhere."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import starfile
from support.coded import SHAPE, centres, coded, write_coded
from support.command_line import cli
from support.hard_volumes import mrc
from support.particle_writing import PEET_HEADER, coordinates, model_bytes, write_star, write_tomograms_star
from support.tomograms import write_ome_zarr

from cryoreg.datasets.readers.tomogram import TomogramParticles
from cryoreg.datasets.tomograms.files import open_tomogram
from cryoreg.errors import DataError

AT = np.array([[10.0, 11.0, 12.0]])
SIZE = SHAPE[::-1]
LAST = np.array([0.0, 0.0, 0.5])
"""z of a model counts from the middle of the first slice, x and y from its corner."""
Make = Callable[[Path], Path]


def notes(path: Path, **settings: Any) -> str:
    return "\n".join(TomogramParticles(path, box=4, **settings).notes)


def csv(folder: Path, places: Any, header: str = "x,y,z") -> Path:
    lines = [",".join(f"{value:.10g}" for value in place) for place in np.atleast_2d(places)]
    (folder / "p.csv").write_text("\n".join([header, *lines]) + "\n")
    return folder / "p.csv"


# ---- larger volumes ----


def model(folder: Path, image: tuple[int, ...], voxel_size: float | None = None, scale: float = 1.0) -> Path:
    """Write an IMOD model of an image of a size (x, y, z), of which the voxels are ``scale`` of the tomogram's."""
    raw = bytearray(model_bytes((AT + 0.5) / scale - LAST, voxel_size))
    raw[136:148] = struct.pack(">3i", *image)
    (folder / "p.mod").write_bytes(raw)
    return folder / "p.mod"


def peet(folder: Path, image: tuple[int, ...]) -> Path:
    model(folder, image)
    (folder / "p.csv").write_text(f"{PEET_HEADER}\n0.5,0,0,1,1,0,0,0,0,0,0,0,0,0,0,0,10,20,30,0\n")
    return folder / "p.csv"


OF_LARGER: dict[str, Make] = {
    "an image before binning": lambda d: model(d, (100, 80, 60)),
    "an image that was trimmed along z": lambda d: model(d, (50, 40, 90), 10.0),
    "an image that was trimmed, and binned": lambda d: model(d, (100, 80, 180), 5.0, 0.5),
    "an image of which y and z are exchanged": lambda d: model(d, (50, 30, 40), 10.0),
    "PEET's model": lambda d: peet(d, (100, 80, 60)),
}


@pytest.mark.parametrize("situation", OF_LARGER)
def test_a_model_of_a_larger_volume(situation: str, tmp_path: Path) -> None:
    write_coded(tmp_path / "TS_01.mrc")
    path = OF_LARGER[situation](tmp_path)
    with pytest.raises(DataError, match=r"p\.(mod|csv): was made in a volume of \d+×\d+×\d+ voxels \(x y z\), and .*"):
        TomogramParticles(path, box=4)


def test_a_model_from_before_binning_says_its_unit(tmp_path: Path) -> None:
    write_coded(tmp_path / "TS_01.mrc")
    path = model(tmp_path, (100, 80, 60), None, 0.5)
    with pytest.raises(DataError, match=r"if it was binned since, say --set dataset\.coordinate_size=5$"):
        TomogramParticles(path, box=4)
    assert TomogramParticles(path, box=4, coordinate_size=5).places == pytest.approx(AT)


@pytest.mark.parametrize(
    ("image", "voxel_size", "scale"),
    [
        (SIZE, None, 1.0),
        (SIZE, 10.0, 1.0),
        ((101, 81, 61), 5.0, 0.5),  # an odd edge more than twice the tomogram's
        ((11, 12, 13), None, 1.0),  # point2model writes how far its points go
        ((0, 0, 0), None, 1.0),
    ],
)
def test_a_model_of_the_same_volume(
    image: tuple[int, ...], voxel_size: float | None, scale: float, tmp_path: Path
) -> None:
    write_coded(tmp_path / "TS_01.mrc")
    assert TomogramParticles(model(tmp_path, image, voxel_size, scale), box=4).places == pytest.approx(AT)


# ---- smaller units ----


def corner(folder: Path, share: float, count: int = 20) -> np.ndarray:
    """Return places up to a share of the coded tomogram."""
    places = np.random.default_rng(0).uniform(0, 1, (count, 3))
    places[0] = 1.0
    return share * places * SIZE


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0.24, "the first 1/4 of their tomograms along x, y and z.*coordinate_size=40"),
        (0.49, "the first 1/2 .*=20"),
        (0.55, None),
    ],
)
def test_particles_that_all_lie_in_one_corner(share: float, said: str | None, tmp_path: Path) -> None:
    """After 3dem/relion#1334: places of a binned tomogram that are taken for those of another one."""
    write_coded(tmp_path / "TS_01.mrc")
    found = notes(csv(tmp_path, corner(tmp_path, share)))
    match = [line for line in found.splitlines() if "all 20 particles lie in" in line]
    assert len(match) == (said is not None)
    if said:
        assert re.search(said, match[0])


def test_a_unit_that_the_list_states_is_doubted_too(tmp_path: Path) -> None:
    """After 3dem/relion#1059: voxels of the tomogram, where tomograms.star makes them pixels of the tilt series."""
    write_coded(tmp_path / "TS_01.mrc")
    write_tomograms_star(tmp_path / "tomograms.star", np.array(SIZE) * 4, 4.0)
    path = write_star(tmp_path / "p.star", {"rlnTomoName": "TS_01", **coordinates(corner(tmp_path, 0.95))})
    assert "the first 1/4 of their tomograms" in notes(path)
    assert "say --set dataset.coordinate_size=10" in notes(path)
    assert "particles lie in the first" not in notes(path, coordinate_size=10)


def test_a_few_particles_may_lie_in_a_corner(tmp_path: Path) -> None:
    write_coded(tmp_path / "TS_01.mrc")
    assert "particles lie in the first" not in notes(csv(tmp_path, corner(tmp_path, 0.2, 19)))


# ---- distances ----


def relion4(folder: Path) -> Path:
    """Two particles 30 Å apart and one far away, in pixels of the tilt series, as tomograms.star alone says."""
    write_coded(folder / "TS_01.mrc")
    write_tomograms_star(folder / "tomograms.star", None, None)
    places = np.array([[10.0, 11, 12], [13, 11, 12], [30, 30, 20]])
    return write_star(folder / "p.star", {"rlnTomoName": "TS_01", **coordinates(places * 4)})


def kept(path: Path, *words: object) -> tuple[int, str]:
    output = path.with_name(f"out{path.suffix}")
    result = cli("select", path, *words, "--output", output, "--overwrite")
    assert result.exit_code == 0, result.output
    return len(starfile.read(output)) if path.suffix == ".star" else output.read_text().count("\n") - 1, result.output


@pytest.mark.parametrize("told", ["tomograms", "voxel size", "project"])
def test_distances_in_the_unit_of_tomograms_star(told: str, tmp_path: Path) -> None:
    """The voxels of the tomogram, 10 Å, are no unit of coordinates that count pixels of 2.5 Å."""
    path = relion4(tmp_path)
    words = {"tomograms": ["--tomograms", tmp_path], "voxel size": ["--voxel-size", 10], "project": []}[told]
    if told == "project":
        (tmp_path / "cryoreg.toml").write_text(f'[tomograms]\npath = "{tmp_path}"\nvoxel_size = 10\n')
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path)
            assert kept(path, "--distance", "50A")[0] == 2
        return
    assert kept(path, "--distance", "50A", *words)[0] == 2


def test_distances_in_a_unit_that_overrules_the_list(tmp_path: Path) -> None:
    """What is called nm are voxels of 10 Å: both are one, and the second particle is 30 Å from the first."""
    path = csv(tmp_path, [[10, 11, 12], [13, 11, 12], [30, 30, 20]], "x_nm,y_nm,z_nm")
    assert kept(path, "--distance", "50A", "--coordinate-size", 10)[0] == 2
    assert kept(path, "--distance", "50A", "--coordinate-size", 20)[0] == 3


def test_what_masks_assume_is_said(tmp_path: Path) -> None:
    path = relion4(tmp_path)
    mask = mrc(tmp_path / "masks" / "lamella.mrc", np.ones(SHAPE, "f4") * (coded() > 0))
    count, said = kept(path, "--where", mask, "keep", "0")
    assert count == 3
    assert "note: " in said
    assert "coordinates: voxels of 2.5 Å (tomograms.star), 4 to one of the tomogram" in said


# ---- beginnings ----


def zarr(folder: Path, transformations: list[dict], unit: str = "angstrom", common: list[dict] | None = None) -> Path:
    path = write_ome_zarr(folder / "TS_01.zarr", {10.0: coded()}, 2, unit)
    attributes = json.loads((path / ".zattrs").read_text())
    image = attributes["multiscales"][0]
    image["datasets"][0]["coordinateTransformations"] += transformations
    if common:
        image["coordinateTransformations"] = common
    (path / ".zattrs").write_text(json.dumps(attributes))
    return path


def moved(*translation: float) -> dict:
    return {"type": "translation", "translation": list(translation)}


BEGIN: dict[str, tuple[Callable[[Path], Any], str | None]] = {
    # situation: (tomogram, where it says that it begins)
    "ORIGIN": (lambda d: mrc(d / "TS_01.mrc", coded(), origin=(500, 0, 20)), "500, 0, 20"),
    "NSTART": (lambda d: mrc(d / "TS_01.mrc", coded(), start=(5, 6, 7)), "50, 60, 70"),
    "half a voxel": (lambda d: mrc(d / "TS_01.mrc", coded(), origin=(5, 5, 5)), None),
    "OME-Zarr": (lambda d: zarr(d, [moved(70, 60, 50)]), "50, 60, 70"),
    "OME-Zarr, of all levels": (lambda d: zarr(d, [], common=[moved(70, 60, 50)]), "50, 60, 70"),
    "OME-Zarr, of a level and of all": (
        lambda d: zarr(d, [moved(30, 30, 30)], common=[{"type": "scale", "scale": [2, 2, 2]}, moved(10, 0, 0)]),
        "60, 60, 70",
    ),
    "nothing": (lambda d: write_coded(d / "TS_01.mrc"), None),
}


@pytest.mark.parametrize("situation", BEGIN)
def test_angstroms_in_a_volume_that_begins_elsewhere(situation: str, tmp_path: Path) -> None:
    make, begin = BEGIN[situation]
    make(tmp_path)
    in_angstroms = csv(tmp_path, AT * 10, "x_angstrom,y_angstrom,z_angstrom")
    told = notes(in_angstroms)
    assert ("begins at" in told) == (begin is not None)
    assert begin is None or f"begins at {begin} Å (x, y, z) by its own words, and Å of the list are counted" in told
    assert "begins at" not in notes(csv(tmp_path, AT))
    if "of all" not in situation:
        assert centres(in_angstroms if begin is None else csv(tmp_path, AT)) == [(0, tuple(AT[0]))]


# ---- turns ----


@pytest.mark.parametrize(
    ("shape", "told"), [((96, 40, 90), True), ((40, 90, 96), False), ((96, 80, 90), False), ((48, 20, 48), False)]
)
def test_a_slab_across_y(shape: tuple[int, int, int], told: bool, tmp_path: Path) -> None:
    """After turonova/novaCTF#8: a tomogram that was not turned about x, of which the beam is along y."""
    tomogram = open_tomogram(write_coded(tmp_path / "TS_01.mrc", shape=shape))
    assert any("is a slab across y (90×40×96 voxels, x y z)" in note for note in tomogram.notes) == told
