"""`cryoreg preview`: the picture shows the views that pretraining would see, the right way up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from matplotlib import image
from support.augmenting import create
from support.synthetic import write_classes

from cryoreg.analysis.examples import choose
from cryoreg.analysis.preview import Looks, draw, look
from cryoreg.contracts import Sample, Subtomograms
from cryoreg.datasets.normalisation import normalise
from cryoreg.randomness import SampleRng
from cryoreg.registry import find_spec
from cryoreg.simulation import optics
from cryoreg_cli.main import cryoreg as command


class Tiny(Subtomograms):
    """Seven noise volumes of two classes, unevenly mixed, and an unlabelled one."""

    classes = ("a", "b")
    labels = (0, 0, 0, 1, 0, 1, None, 1)
    ids = tuple(f"tomogram-with-a-long-name-{index}" for index in range(8))
    groups = (None,) * 8
    voxel_size = None
    box = (8, 8, 8)

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Sample:
        volume = torch.randn(1, *self.box, generator=torch.Generator().manual_seed(index))
        return Sample(volume, self.labels[index], self.ids[index], None)


@pytest.fixture
def cryoreg(monkeypatch, tmp_path):
    """Run a command line in an empty folder; return exit status and everything printed."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        result = CliRunner().invoke(command, ["preview", *map(str, words)])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.output

    return run


@pytest.fixture
def data(tmp_path):
    return ["--dataset", "mrc_folder", "--data", write_classes(tmp_path / "data")]


def test_classes_take_turns():
    assert choose(Tiny(), 5) == [6, 0, 3, 1, 5]
    assert sorted(choose(Tiny(), 100)) == list(range(8))


def test_the_views_are_those_of_pretrainings_first_epoch():
    augmentation = create("cryoet")
    looks = look(Tiny(), [augmentation], count=3, views=2, seed=7)
    volumes = normalise(torch.stack([Tiny()[index].volume for index in (6, 0, 3)]))
    rng = SampleRng.for_batch(seed=7, epoch=0, samples=torch.tensor([6, 0, 3]), view=1)
    np.testing.assert_array_equal(looks.volumes[:, 0], volumes[:, 0])
    np.testing.assert_array_equal(looks.volumes[:, 2], augmentation(volumes, rng)[:, 0])
    assert looks.names == [Tiny.ids[6], f"{Tiny.ids[0]}\na", f"{Tiny.ids[3]}\nb"]


def test_two_augmentations_take_turns():
    looks = look(Tiny(), [create("none"), create("cryoet")], count=2, views=3, seed=0)
    same = [np.array_equal(looks.volumes[:, 0], looks.volumes[:, view]) for view in (1, 2, 3)]
    assert same == [True, False, True]


def panels(looks: Looks, tilt_axis: str = "y") -> list[list[np.ndarray]]:
    """Return the images of each group, in reading order."""
    figure = draw(looks, tilt_axis)
    return [[axes.images[0].get_array() for axes in part.axes] for part in figure.subfigs]


@pytest.mark.parametrize(("tilt_axis", "along_beam"), [("y", (2, 9)), ("x", (2, 7))])
def test_a_bright_voxel_shows_where_it_is(tilt_axis, along_beam):
    """At z = 2, y = 7, x = 9 of 12: seen across the beam only in its own plane, so one voxel per section."""
    volumes = np.zeros((1, 2, 12, 12, 12), dtype=np.float32)
    volumes[0, 0, 6, 7, 9] = 1
    volumes[0, 1, *((2, 6, 9) if tilt_axis == "y" else (2, 7, 6))] = 1
    across, along, _ = panels(Looks(["one"], volumes), tilt_axis)
    assert np.argwhere(across[0]).tolist() == [[7, 9]]
    assert np.argwhere(along[1]).tolist() == [list(along_beam)]


@pytest.mark.parametrize("tilt_axis", ["y", "x"])
def test_the_missing_wedge_is_dark_in_the_spectrum(tilt_axis):
    measured = optics.wedge(optics.frequencies((16, 16, 16), 1.0), 60)
    noise = np.random.default_rng(0).normal(size=(16, 16, 16))
    volume = np.fft.irfftn(np.fft.rfftn(noise) * measured, s=noise.shape).astype(np.float32)
    if tilt_axis == "x":
        volume = volume.transpose(0, 2, 1)
    spectrum = panels(Looks(["one"], volume[None, None]), tilt_axis)[2][0]
    kz, k = np.meshgrid(np.arange(-8, 8), np.arange(-8, 8), indexing="ij")  # frequency 0 is at index 8
    inside = np.abs(kz) > np.tan(np.radians(60)) * np.abs(k) + 1e-9
    assert spectrum[inside].max() < -4 < -2 < spectrum[~inside].min()


def test_every_panel_has_the_same_grey_scale_and_upwards_is_up():
    figure = draw(look(Tiny(), [create("cryoet")], count=3, views=2, seed=0), "y")
    for part in figure.subfigs[:2]:
        assert len(part.axes) == 9
        for axes in part.axes:
            assert axes.images[0].get_clim() == (-4, 4)
            assert axes.images[0].origin == "lower"
    assert [axes.get_title() for axes in figure.subfigs[1].axes[:3]] == ["as it is", "view 1", "view 2"]


@pytest.mark.slow
def test_it_writes_a_png_and_says_where(cryoreg, data, tmp_path):
    words = [
        *data,
        "--augmentation",
        "cryoet",
        "--set",
        "augmentation.rotation=in_plane",
        "--count",
        "3",
        "--views",
        "2",
    ]
    status, output = cryoreg(*words, "--output", "look.png")
    assert (status, output) == (0, "preview   look.png\n")
    picture = image.imread(tmp_path / "look.png")
    height, width = picture.shape[:2]
    assert (height, width) == pytest.approx((120 * (0.5 + 3 * 1.15), 120 * (1.4 + 9 * 1.15)), abs=1)
    assert picture[..., 0].std() > 0.1
    first = (tmp_path / "look.png").read_bytes()
    cryoreg(*words, "--output", "look.png", "--overwrite", "--seed", "1")
    other = (tmp_path / "look.png").read_bytes()
    cryoreg(*words, "--output", "look.png", "--overwrite")
    assert (tmp_path / "look.png").read_bytes() == first != other
    assert {entry.name for entry in tmp_path.iterdir()} == {"data", "look.png"}


def test_it_says_where_the_wedge_is_not_that_of_the_data(cryoreg, data):
    tilts = ["--augmentation", "cryoet", "--set", "dataset.tilt_range=[-48,50]", "--count", 1, "--views", 1]
    status, output = cryoreg(*data, *tilts)
    assert status == 0, output
    assert "note: the tilts of the data are from -48° to 50°, and the missing wedge of cryoet is that of ±60°" in output
    assert "tilts" not in cryoreg(*data, *tilts, "--set", "augmentation.tilt=49", "--overwrite")[1]


@pytest.mark.slow
def test_it_takes_the_config_of_a_run(cryoreg, data, tmp_path):
    (tmp_path / "run.toml").write_text(
        f'[dataset]\nname = "mrc_folder"\nroot = "{data[-1]}"\n[augmentation]\nname = "none"\n'
    )
    status, output = cryoreg("--config", "run.toml")
    assert status == 0, output
    assert (tmp_path / "preview.png").is_file()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--augmentation", "cryoett"], "did you mean 'cryoet'"),
        (["--augmentation", "monai", "--set", 'augmentation.transforms=[{name="RandFlp"}]'], "did you mean 'RandFlip'"),
        (["--set", "augmentation.nose=1"], "augmentation.nose"),
        (["--output", "nowhere/look.png"], "nowhere/look.png: there is no folder nowhere; make it first"),
        (["--data", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_one_line(cryoreg, data, words, expected):
    status, output = cryoreg(*data, *words)
    assert (status, output.count("\n")) == (1, 1), output
    assert expected in output


HELP = """
import sys
from click.testing import CliRunner
from cryoreg_cli.main import cryoreg
result = CliRunner().invoke(cryoreg, ["preview", "--help"])
assert "--views" in result.output, result.output
assert not {"matplotlib", "torch", "numpy"} & set(sys.modules)
"""


def test_help_does_not_import_matplotlib():
    subprocess.run([sys.executable, "-c", HELP], check=True, timeout=60)


def test_the_labs_data_have_their_wedge_across_x(shared_data: Path):
    lab = find_spec("dataset", "lab")[1](root=shared_data / "lab_layout").build()
    looks = look(lab, [create("none")], count=6, views=1, seed=0)
    edge = lab.box[0]
    kz, k = np.meshgrid(np.arange(edge) - edge // 2, np.arange(edge) - edge // 2, indexing="ij")
    missing = (np.abs(kz) > 2 * np.tan(np.radians(60)) * np.abs(k)) & (np.abs(kz) < edge / 4)
    along_y, along_x = (
        np.mean([spectrum[missing].mean() for spectrum in panels(looks, tilt_axis)[2]]) for tilt_axis in "yx"
    )
    assert along_x < along_y - 0.5  # powers of ten
