"""Folders of particle lists, one for each tomogram: read as one list, or refused with one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.coded import centres, write_coded
from support.particle_writing import CORNER, SIZE, coordinates, model_bytes, write_star
from support.tomograms import SHAPE

from cryoreg.config.sniffing import choose
from cryoreg.datasets.list_specs import TomogramSpec
from cryoreg.datasets.origins import origins_of
from cryoreg.datasets.particles.lists import read_particle_list
from cryoreg.datasets.rows_of_lists import rows_of
from cryoreg.errors import DataError
from cryoreg.inference.prediction_files import new_star_text
from cryoreg.predictions import Predictions

PLACES = {1: [[20, 11, 12], [21, 9, 10]], 2: [[18, 12, 9]], 3: [[22, 13, 14], [19, 10, 11], [17, 12, 13]]}
"""x, y, z of the particles of each tomogram."""
Write = Callable[[Path, np.ndarray], object]


def coords(path: Path, places: np.ndarray) -> None:
    np.savetxt(path.with_suffix(".coords"), places)


def boxes(path: Path, places: np.ndarray) -> None:
    corners = dict(zip(["CoordinateX", "CoordinateY", "CoordinateZ"], (places - [4, 4, 0]).T, strict=True))
    star = write_star(path.with_suffix(".star"), {}, cryolo=corners | {"Width": 8.0, "Height": 8.0})
    star.rename(path.with_suffix(".cbox"))


def models(path: Path, places: np.ndarray) -> None:
    path.with_suffix(".mod").write_bytes(model_bytes(places + CORNER, 10.0))


def table(path: Path, places: np.ndarray) -> None:
    np.savetxt(path.with_suffix(".csv"), places, delimiter=",", header="x,y,z", comments="")


def star(path: Path, places: np.ndarray) -> None:
    write_star(path.with_suffix(".star"), {"rlnMicrographName": f"{path.name}.mrc", **coordinates(places)})


def eman2(path: Path, places: np.ndarray) -> None:
    rows = [[*place, "manual", 0.5, 0] for place in (places - SIZE // 2).tolist()]
    content = {"apix_unbin": 10.0, "boxes_3d": rows, "class_list": {"0": {"name": "ribosome", "boxsize": 8}}}
    path.with_name(f"{path.name}_info.json").write_text(json.dumps(content))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for number in PLACES:
        write_coded(tmp_path / "tomograms" / f"TS_0{number}.mrc", number, shape=SHAPE)
    (tmp_path / "lists").mkdir()
    return tmp_path


def write_all(folder: Path, write: Write) -> None:
    for number, places in PLACES.items():
        write(folder / f"TS_0{number}", np.array(places, float))


@pytest.mark.parametrize("write", [coords, boxes, models, table, star, eman2])
def test_each_list_is_of_the_tomogram_that_it_names_or_is_called_as(write: Write, project: Path) -> None:
    write_all(project / "lists", write)
    expected = [(number, tuple(map(float, place))) for number, places in PLACES.items() for place in places]
    assert centres(project / "lists", tomograms=project / "tomograms") == expected
    assert choose(project / "lists").name == "tomogram"
    dataset = TomogramSpec(root=project / "lists", tomograms=project / "tomograms", box=4).build()
    assert list(dataset.ids) == ["TS_01/0", "TS_01/1", "TS_02/2", "TS_03/3", "TS_03/4", "TS_03/5"]
    origin = dataset.origin(3)
    assert origin is not None
    assert (origin.file, origin.row) == (str(project / "lists"), 3)


def test_tomograms_are_looked_for_beside_the_folder(project: Path) -> None:
    lists = (project / "lists").rename(project / "tomograms" / "lists")
    write_all(lists, coords)
    assert [number for number, _ in centres(lists)] == [1, 1, 2, 3, 3, 3]


@pytest.mark.parametrize("shape", [SHAPE, (31, 41, 51)])
def test_places_go_back_to_relion(shape: tuple[int, int, int], project: Path) -> None:
    """What is written of particles that no STAR file listed means the same voxels: Å from half the size."""
    for number in PLACES:
        write_coded(project / "tomograms" / f"TS_0{number}.mrc", number, shape=shape)
    write_all(project / "lists", coords)
    dataset = TomogramSpec(root=project / "lists", tomograms=project / "tomograms", box=4).build()
    count = len(dataset)
    certain = np.eye(2)[[0] * count]
    classes, sure, none = np.zeros(count, int), np.ones(count), np.zeros(count, bool)
    predictions = Predictions(
        (*dataset.ids,),
        ("a", "b"),
        certain,
        classes,
        sure,
        none,
        0.5,
        None,
        (*origins_of(dataset),),
        (*dataset.groups,),
        {},
    )
    path = project / "classes.star"
    path.write_text(new_star_text(predictions))
    assert centres(path, tomograms=project / "tomograms") == centres(project / "lists", tomograms=project / "tomograms")


def test_places_are_told_from_half_the_size_before_binning(project: Path) -> None:
    """Of 4 · 48 - 2 pixels of 2.5 Å, as where RELION rounds the edges of binned tomograms up."""
    unbinned = 4 * SIZE - 2
    told = {f"rlnTomoSize{axis}": [int(edge)] * 3 for axis, edge in zip("XYZ", unbinned, strict=True)}
    names = {"rlnTomoName": [f"TS_0{number}" for number in PLACES], "rlnTomoTiltSeriesPixelSize": [2.5] * 3}
    write_star(project / "tomograms" / "tomograms.star", names | told | {"rlnTomoTomogramBinning": [4.0] * 3})
    write_all(project / "lists", coords)
    dataset = TomogramSpec(root=project / "lists", tomograms=project / "tomograms", box=4).build()
    places = np.concatenate([np.array(each) for each in PLACES.values()])
    np.testing.assert_allclose([origin.place for origin in origins_of(dataset)], 2.5 * (4 * places - unbinned / 2))
    star_list = {"rlnTomoName": dataset.groups, "rlnOpticsGroup": 1}
    back = coordinates(np.array([origin.place for origin in origins_of(dataset)]), "rlnCenteredCoordinate{}Angst")
    write_star(project / "back.star", star_list | back)
    assert centres(project / "back.star", tomograms=project / "tomograms") == centres(
        project / "lists", tomograms=project / "tomograms"
    )


def test_lists_of_tomograms_without_particles_are_told(project: Path) -> None:
    write_all(project / "lists", coords)
    (project / "lists" / "TS_04.coords").touch()
    particles = read_particle_list(project / "lists")
    assert len(particles) == 6
    assert particles.notes == [f"{project / 'lists'}: 1 of its lists are empty (the first: TS_04.coords)"]


def test_rows_are_those_of_all_lists(project: Path) -> None:
    """Labels and clusters that go by rows are refused where a list has changed since."""
    write_all(project / "lists", coords)
    before = rows_of(project / "lists")
    coords(project / "lists" / "TS_03", np.array(PLACES[3], float) + 1)
    assert before is not None
    assert rows_of(project / "lists") not in (before, None)


def test_folders_that_are_refused(project: Path) -> None:
    lists = project / "lists"

    def refused(message: str) -> None:
        with pytest.raises(DataError, match=message) as caught:
            read_particle_list(lists)
        assert "\n" not in str(caught.value)

    coords(lists / "TS_01", np.array(PLACES[1], float))
    refused("is no folder of particle lists of one kind")  # a single list is given itself
    (lists / "TS_01.coords").rename(lists / "TS_01.rec.coords")
    coords(lists / "TS_01", np.array(PLACES[2], float))
    refused("holds TS_01.coords and TS_01.rec.coords, both of the tomogram 'TS_01'")
    boxes(lists / "TS_02", np.array(PLACES[2], float))
    refused("is no folder of particle lists of one kind")
    with pytest.raises(DataError, match="give a folder of nothing but lists of one kind"):
        choose(lists)


def test_lists_of_two_meanings_are_refused(project: Path) -> None:
    lists = project / "lists"
    write_all(lists, table)
    (lists / "TS_02.csv").write_text("x,y,z\n0.25,0.5,0.125\n")
    with pytest.raises(DataError, match=r"TS_01\.csv and TS_02\.csv, whose coordinates are of two units or frames"):
        read_particle_list(lists)
    (lists / "TS_02.csv").write_text("x,y,z,voxel_size\n20,12,10,5.0\n")
    with pytest.raises(DataError, match=r"TS_02\.csv, which tells a voxel size, and TS_01\.csv, which does not"):
        read_particle_list(lists)
