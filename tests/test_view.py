"""`cryoreg view`: surfaces of known area and place, slices the right way round, files that are whole."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from matplotlib import image
from support.mrc_writing import state, write_mrc
from support.synthetic import write_classes

from cryoreg.analysis import slices
from cryoreg.analysis.examples import find
from cryoreg.analysis.isosurface import isosurface, low_pass, without_dust, z_score
from cryoreg.analysis.view import Look, Subject, draw, subjects, surface
from cryoreg.contracts import Sample, Subtomograms
from cryoreg.errors import ConfigError, DataError
from cryoreg_cli.main import cryoreg as command

RAW = Look(low_pass=0, dust=0)


def distance(centre, shape=(40, 44, 48)) -> np.ndarray:
    """Voxels from ``centre`` (z, y, x)."""
    return np.sqrt(((np.indices(shape) - np.reshape(centre, (3, 1, 1, 1))) ** 2).sum(0)).astype(np.float32)


@pytest.mark.parametrize("voxel_size", [None, 1.0, 13.48])
@pytest.mark.parametrize("radius", [6, 12.3])
def test_a_spheres_area_place_and_outside(radius, voxel_size):
    mesh = isosurface(radius - distance((18, 20, 26)), 0, voxel_size)
    unit = voxel_size or 1
    assert mesh.area == pytest.approx(4 * math.pi * (radius * unit) ** 2, rel=0.03)
    xyz = np.array([26, 20, 18]) * unit
    away = mesh.vertices - xyz
    np.testing.assert_allclose(np.linalg.norm(away, axis=1), radius * unit, rtol=0.02)
    outwards = ((mesh.vertices[mesh.faces].mean(1) - xyz) * mesh.normals).sum(1)
    assert outwards.min() >= 0  # that of a triangle without area
    assert np.median(outwards) == pytest.approx(radius * unit, rel=0.02)


def test_a_surface_is_closed_where_it_meets_the_box():
    ball = isosurface(10 - distance((0, 20, 20)), 0)
    assert ball.vertices[:, 2].min() == pytest.approx(-0.5, abs=0.5)
    edges = np.sort(ball.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    assert set(np.unique(edges, axis=0, return_counts=True)[1]) == {2}


def test_the_level_counts_standard_deviations_above_the_mean():
    """The surface of minus the distance is a sphere, whose radius follows from mean and standard deviation."""
    volume = -distance((20, 22, 24))
    for level in (1.5, 2.0):
        radius = -(volume.mean() + level * volume.std())
        mesh = surface(Subject("ball", 100 * volume + 7, 2.0), RAW._replace(level=level))
        assert mesh.area == pytest.approx(4 * math.pi * (2 * radius) ** 2, rel=0.03)


def test_the_filter_passes_half_at_its_resolution():
    wave = np.cos(2 * np.pi * np.arange(80) / 8, dtype=np.float32)
    volume = np.broadcast_to(wave, (4, 4, 80))
    for resolution, passed in ((8.0, 0.5), (16.0, 0.5**4), (0.0, 1.0)):
        assert low_pass(volume, resolution)[0, 0, 40] == pytest.approx(passed, abs=0.01)


def test_the_resolution_is_in_angstrom_where_the_voxels_size_is_known():
    volume = np.random.default_rng(0).normal(size=(16, 16, 16)).astype(np.float32)
    in_voxels = surface(Subject("a", volume, None), Look(low_pass=5, dust=0))
    in_angstrom = surface(Subject("a", volume, 3.0), Look(low_pass=15, dust=0))
    np.testing.assert_allclose(3 * in_voxels.vertices, in_angstrom.vertices, rtol=1e-4, atol=1e-3)


def test_dust_goes_and_the_rest_stays():
    volume = np.zeros((12, 12, 12), np.float32)
    volume[2:5, 2:5, 2:5] = 1  # 27 voxels
    volume[8, 8, 8:10] = 1
    kept = without_dust(volume, 0.5, 3)
    assert kept.sum() == 27
    assert not kept[8].any()
    np.testing.assert_array_equal(without_dust(volume, 0.5, 2), volume)
    np.testing.assert_array_equal(without_dust(volume, 0.5, 99), kept, "the largest region is no dust")


def test_z_scores():
    scores = z_score(np.arange(24, dtype=np.float32).reshape(2, 3, 4))
    assert (scores.mean(), scores.std()) == pytest.approx((0, 1), abs=1e-6)


PLACE = (5, 14, 22)
"""z, y, x of a blob in a box of 20×24×28."""


def blob() -> Subject:
    return Subject("blob", np.exp(-(distance(PLACE, (20, 24, 28)) ** 2) / 8), 10.0)


def test_a_blob_is_where_it_is_in_every_slice():
    """Through the middle voxel (10, 12, 14), and so at some distance from the blob, the nearest pixel is brightest."""
    z, y, x = PLACE
    planes = slices.central_slices(blob().volume)
    found = [tuple(map(int, np.unravel_index(plane.image.argmax(), plane.image.shape))) for plane in planes]
    assert [(plane.normal, plane.up, plane.right) for plane in planes] == [
        ("z", "y", "x"),
        ("y", "z", "x"),
        ("x", "z", "y"),
    ]
    assert found == [(y, x), (z, x), (z, y)]


def test_a_blob_is_where_it_is_in_the_mesh():
    np.testing.assert_allclose(surface(blob(), RAW).vertices.mean(0), 10 * np.array(PLACE[::-1]), atol=1)


@pytest.mark.parametrize(("view", "axes"), [("z", "xy"), ("y", "xz"), ("x", "yz")])
def test_a_view_along_an_axis_looks_as_its_slice(view, axes):
    """The drawn surface's centre, in its panel, is where the blob is in the slice."""
    figure = draw([blob()], RAW._replace(views=(view,)))
    scene = figure.axes[3]
    pixels = drawn(figure)
    box = scene.get_window_extent()
    height = pixels.shape[0]
    part = pixels[height - int(box.y1) : height - int(box.y0), int(box.x0) : int(box.x1)]
    rows, columns = np.nonzero(part.min(2) < 250)
    places = dict(zip("zyx", PLACE, strict=True))
    edges = {"z": 20, "y": 24, "x": 28}
    shown = {
        axes[0]: columns.mean() / part.shape[1] - 0.5,
        axes[1]: 0.5 - rows.mean() / part.shape[0],
    }
    for axis, offset in shown.items():
        expected = (places[axis] + 0.5) / edges[axis] - 0.5
        assert offset * expected > 0
        assert abs(offset) == pytest.approx(abs(expected) * edges[axis] / max(edges[a] for a in axes), abs=0.12)


def drawn(figure) -> np.ndarray:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


def test_slices_are_drawn_upwards_with_a_bar_of_a_round_length():
    figure = draw([blob(), blob()._replace(voxel_size=None)], RAW)
    panels = [panel for panel in figure.axes if panel.images]
    assert all(panel.images[0].origin == "lower" for panel in panels)
    labels = [panel.artists[0].txt_label.get_text() for panel in panels]
    assert labels == ["10 nm", "10 nm", "5 nm", "10 voxels", "10 voxels", "5 voxels"]
    bars = [panel.artists[0].size_bar.get_children()[0].get_width() for panel in panels]
    assert bars == [10, 10, 5, 10, 10, 5]


class Dark(Subtomograms):
    """Two subtomograms, dark."""

    contrast = "dark"
    classes = ("a",)
    labels = (0, None)
    ids = ("one", "two")
    groups = (None, None)
    voxel_size = 4.0

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Sample:
        return Sample(torch.full((1, 2, 2, 2), index + 1.0), self.labels[index], self.ids[index], None)


def test_dark_density_is_inverted():
    one, two = subjects(Dark(), [0, 1])
    assert (one.name, one.voxel_size, one.volume.max()) == ("one\na", 4, -1)
    assert (two.name, two.volume.max()) == ("two", -2)


def test_subtomograms_by_id():
    assert find(Dark(), ["two", "one"]) == [1, 0]
    with pytest.raises(DataError, match="no subtomogram 'too'; did you mean 'two'"):
        find(Dark(), ["too"])


def test_no_surface_above_the_highest_voxel():
    with pytest.raises(ConfigError, match=r"blob: no voxel reaches 99 σ.*; say --level or --low-pass"):
        surface(blob(), Look(level=99))
    with pytest.raises(ConfigError, match="no surface at level -1: voxels go from 0"):
        isosurface(np.eye(3, dtype=np.float32)[None].repeat(3, 0), -1)


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run `cryoreg view` in a folder with a data set and a map; return exit status and everything printed."""
    monkeypatch.chdir(tmp_path)
    write_classes(tmp_path / "data")
    write_mrc(tmp_path / "ball.mrc", 6 - distance((10, 10, 10), (20, 20, 20)))

    def invoke(*words):
        result = CliRunner().invoke(command, ["view", *map(str, words)])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.output

    return invoke


@pytest.mark.slow
def test_a_data_set_by_itself_as_figure_and_page(run, tmp_path):
    before = state(tmp_path / "data")
    words = ("--views", "z", "--views", "oblique", "--html", "a.html", "--output", "a.png")
    status, output = run("data", "--ids", "class0/001,class1/002", *words)
    assert (status, output) == (0, "view      a.png\nview      a.html\n")
    height, width = image.imread(tmp_path / "a.png").shape[:2]
    assert (width, height) == pytest.approx((200 * (1.3 + 5 * 1.9), 200 * (2 * 1.9 + 0.3)), abs=1)
    page = (tmp_path / "a.html").read_text()
    assert page.count('"flatshading":false') == 2
    assert "class1\\u002f002" in page or "class1/002" in page
    assert "<script src" not in page
    assert state(tmp_path / "data") == before


@pytest.mark.slow
@pytest.mark.parametrize(("name", "head"), [("a.pdf", b"%PDF"), ("a.svg", b"<?xml"), ("a.PNG", b"\x89PNG")])
def test_a_single_map(run, tmp_path, name, head):
    assert run("ball.mrc", "--output", name) == (0, f"view      {name}\n")
    assert (tmp_path / name).read_bytes().startswith(head)
    status, output = run("ball.mrc", "--output", name, "--invert", "--level", "1")
    assert (status, output) == (
        1,
        f"Error: {name}: exists already; choose another name or say --overwrite\n",
    )
    assert run("ball.mrc", "--output", name, "--overwrite")[0] == 0


def test_the_default_is_a_png_beside(run, tmp_path):
    assert run("data", "--dataset", "mrc_folder", "--count", 1)[0] == 0
    assert (tmp_path / "view.png").is_file()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["data", "--ids", "class0/1"], "no subtomogram 'class0/1'"),
        (["data", "--level", 90], "no voxel reaches 90 σ"),
        (["data", "--output", "a.jpg"], "a.jpg: a figure is png, pdf or svg"),
        (["data", "--output", "nowhere/a.png"], "nowhere/a.png: there is no folder nowhere; make it first"),
        (["data", "--set", "method.name=moco"], "--set dataset.key=value"),
        (["ball.mrc", "--ids", "a"], "ball.mrc: is a single volume; leave out --ids"),
        (["nowhere"], "no such file"),
        (["broken.mrc"], "broken.mrc"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(run, tmp_path, words, expected):
    (tmp_path / "broken.mrc").write_bytes(b"no map")
    before = state(tmp_path)
    status, output = run(*words)
    assert (status, output.count("\n")) == (1, 1), output
    assert expected in output
    assert state(tmp_path) == before


def test_the_labs_maps_have_surfaces(shared_data):
    from cryoreg.analysis.view import single

    subject = single(shared_data / "real" / "hsp60.mrc")
    mesh = surface(subject, Look())
    extent = np.ptp(mesh.vertices, axis=0)
    assert extent[2] == pytest.approx(240, abs=40)  # along its axis, Å
    assert extent[:2] == pytest.approx([150, 150], abs=30)
