"""Layers for napari: places, colours and sizes that are known; in napari itself where it is installed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryoreg.errors import DataError
from cryoreg.seams import Shown, misfit
from cryoreg_napari.reader import read, reader_of
from cryoreg_napari.viewer import NapariViewer

SHAPE = (6, 8, 10)


@pytest.fixture
def shown(tmp_path: Path) -> Shown:
    """A tomogram whose voxels hold x + 100 y + 10000 z, and three particles in it."""
    z, y, x = np.indices(SHAPE, dtype=np.float32)
    with mrcfile.new(tmp_path / "TS_01.mrc", x + 100 * y + 10_000 * z) as file:
        file.voxel_size = 12.5
    return Shown(
        name="TS_01",
        tomogram=tmp_path / "TS_01.mrc",
        shape=SHAPE,
        voxel_size=12.5,
        ids=["TS_01/0", "TS_01/1", "TS_01/2"],
        places=[(1.0, 2.0, 3.0), (9.5, 4.0, 0.0), (5.0, 7.0, 5.0)],
        classes=["80S", "", "80S"],
        confidences=[1.0, None, 0.5],
        radii=[80.0, 80.0, 56.0],
        colours={"26S": (0, 0, 0), "80S": (255, 51, 0), "": (150, 150, 150)},
    )


@pytest.fixture
def file(shown: Shown, tmp_path: Path) -> str:
    """What `cryoreg open` writes."""
    [[program, *_, path]] = NapariViewer().prepare(shown, tmp_path)
    assert program == "napari"
    return path


def test_it_fits_the_seam() -> None:
    assert misfit("viewer", NapariViewer) == ""


def test_layers(file: str) -> None:
    [(volume, image, kind), (sure, of_80s, _), (rest, without, _)] = read(file)
    assert (kind, image["scale"], volume.shape) == ("image", [12.5] * 3, SHAPE)
    assert volume[tuple(sure[0].astype(int))] == 1 + 200 + 30_000  # the point lies on its voxel
    assert sure.tolist() == [[3, 2, 1], [5, 7, 5]]
    assert of_80s["size"].tolist() == [12.8, 8.96]  # diameters, voxels
    assert of_80s["face_color"].tolist() == [1, 0.2, 0, 1]
    assert of_80s["features"]["id"] == ["TS_01/0", "TS_01/2"]
    assert (without["name"], rest.tolist()) == ("no class", [[0, 4, 9.5]])
    assert np.isnan(without["features"]["confidence"]).all()


def test_only_its_own_files_are_read(file: str, tmp_path: Path) -> None:
    assert reader_of(file) is read
    assert reader_of([file, file]) is None
    assert reader_of(str(tmp_path / "other.json")) is None
    for text in ("{", "[]", "{}", json.dumps({"format": "other"})):
        Path(file).write_text(text)
        with pytest.raises(DataError, match=r"is no file of `cryoreg open` .*; write it again"):
            read(file)


@pytest.mark.filterwarnings("ignore:out_of_slice_display:FutureWarning")
def test_napari_takes_them_by_the_manifest(file: str) -> None:
    """Its own model of a window, which needs no screen."""
    components = pytest.importorskip("napari.components")
    pytest.importorskip("npe2").PluginManager.instance().discover()
    model = components.ViewerModel()
    model.open(file, plugin="cryoreg-napari")
    assert [layer.name for layer in model.layers] == ["TS_01", "80S", "no class"]
    points = model.layers["80S"]
    np.testing.assert_allclose(points.data_to_world(points.data[0]), [37.5, 25, 12.5])
    np.testing.assert_allclose(points.size, [12.8, 8.96])
    np.testing.assert_allclose(points.face_color, [[1, 0.2, 0, 1]] * 2)
    assert points.features["confidence"].tolist() == [1, 0.5]


@pytest.mark.skipif("DISPLAY" not in os.environ, reason="needs a screen with OpenGL: xvfb-run pytest ...")
@pytest.mark.filterwarnings("ignore:out_of_slice_display:FutureWarning", "ignore:System theme")
def test_a_window_shows_them_in_their_colours(file: str) -> None:
    """A red ball stands in the window as long as its layer is shown; the tomogram is grey."""
    napari = pytest.importorskip("napari")
    pytest.importorskip("qtpy")
    viewer = napari.Viewer(show=False)
    try:
        viewer.open(file, plugin="cryoreg-napari")
        viewer.dims.set_point(0, 3 * 12.5)
        shown = reds(viewer.screenshot(canvas_only=False, flash=False))
        viewer.layers["80S"].visible = False
        hidden = reds(viewer.screenshot(canvas_only=False, flash=False))
    finally:
        viewer.close()
    assert shown > 1000
    assert hidden < 100  # of the icons


def reds(picture: np.ndarray) -> int:
    """Return how many pixels are red."""
    red, _, blue = np.moveaxis(picture[..., :3].astype(int), -1, 0)
    return int((red - blue > 100).sum())
