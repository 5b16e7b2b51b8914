import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import mrcfile
import numpy as np
import pytest
import starfile
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from support.tilt_stacks import DIALECTS, EDGE, PIXEL, TILTS, Made, rotations, write_set

import cryoreg
from cryoreg.config.settings import InputSettings
from cryoreg.config.sniffing import choose
from cryoreg.contracts import Origin
from cryoreg.datasets.adaptation import adapt
from cryoreg.datasets.conversion.convert import convert
from cryoreg.datasets.list_specs import TiltStackSpec
from cryoreg.datasets.readers.tilt_stack import TiltStack
from cryoreg.datasets.specs import StoreSpec
from cryoreg.datasets.tilt_stacks.reconstruction import Backprojector
from cryoreg.datasets.tilt_stacks.series import TiltSeries
from cryoreg.errors import DataError
from cryoreg.training.loading import BatchOrder, VolumeLoader
from cryoreg_cli.main import cryoreg as cryoreg_command

ALL_SEEN = str([1] * len(TILTS)).replace(" ", "")


def likeness(made: Made, **settings: Any) -> float:
    """Return how far a reconstruction agrees with what of the density its own weight lets pass."""
    sample = TiltStack(made.path, **{"wiener": 0.01, **settings})[0]
    assert sample.weight is not None
    expected = np.fft.irfftn(np.fft.rfftn(made.density) * sample.weight[0].numpy(), s=(EDGE,) * 3)
    inside = (slice(6, 26),) * 3
    return float(np.corrcoef(sample.volume[0].numpy()[inside].ravel(), expected[inside].ravel())[0, 1])


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("axis", ["x", "y"])
def test_density_comes_back_in_the_frame_of_the_tomogram(dialect: str, axis: str, tmp_path: Path) -> None:
    assert likeness(write_set(tmp_path / "set", dialect, axis=axis)) > 0.97


@pytest.mark.parametrize(
    "settings",
    [
        {"premultiplied": False},
        {"hand": 1},
        {"seen": range(4, 27)},
        {"seen": range(4, 27), "only_seen": True},
        {"origin": (6.0, -9.0, 13.0)},
        {"dtype": np.float32},
    ],
    ids=str,
)
def test_what_a_set_says_of_its_images_is_heeded(settings: dict[str, Any], tmp_path: Path) -> None:
    assert likeness(write_set(tmp_path / "set", **settings)) > 0.97


def change(path: Path, block: str, column: str, values: Any) -> None:
    blocks = starfile.read(path, always_dict=True)
    if column in blocks[block] or values is not None:
        blocks[block][column] = values
    starfile.write(blocks, path, overwrite=True)


def written(rows: NDArray[np.float64]) -> list[str]:
    return [f"[{a},{b},{c},0]" for a, b, c in rows]


def transpose(root: Path) -> None:
    for axis, rows in zip("XYZ", rotations("y").transpose(2, 0, 1), strict=True):
        change(root / "tomograms.star", "TS_01.tomostar", f"rlnTomoProj{axis}", written(rows))


def of_set(file: str, block: str, column: str, values: Any) -> Callable[[Path], None]:
    return lambda root: change(root / file, block, column, values)


TILT_FILE = "tilt_series/TS_01.star"
MUTATIONS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "hand": ("relion5", of_set("tomograms.star", "global", "rlnTomoHand", 1.0)),
    "premultiplied": ("relion5", of_set("particles.star", "optics", "rlnCtfDataAreCtfPremultiplied", 0)),
    "unit of coordinates": ("relion4", of_set("tomograms.star", "global", "rlnTomoTiltSeriesPixelSize", 0.8 * PIXEL)),
    "sign of the tilt": ("relion5", of_set(TILT_FILE, "TS_01", "rlnTomoYTilt", -TILTS)),
    "order of the axes": ("warp", transpose),
    "origin": ("relion5", of_set("particles.star", "particles", "rlnOriginXAngst", 16.0)),
    "tilts seen": ("relion5", of_set("particles.star", "particles", "rlnTomoVisibleFrames", ALL_SEEN)),
    "astigmatism": ("relion5", of_set(TILT_FILE, "TS_01", "rlnDefocusV", 14500.0)),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_wrong_convention_does_not_pass(name: str, tmp_path: Path) -> None:
    dialect, mutate = MUTATIONS[name]
    made = write_set(tmp_path / "set", dialect, seen=range(4, 27))
    right = likeness(made)
    mutate(tmp_path / "set")
    assert likeness(made) < right - 0.03


def test_weight_is_the_part_that_was_measured(tmp_path: Path) -> None:
    """Tilts about y leave a wedge along z, of which no image tells."""
    weight = TiltStack(write_set(tmp_path / "set").path)[0].weight
    assert weight is not None
    assert weight.shape == (1, EDGE, EDGE, EDGE // 2 + 1)
    assert float(weight.min()) >= 0
    assert float(weight.max()) < 1
    z, x = np.meshgrid(np.fft.fftfreq(EDGE, 1 / EDGE), np.arange(EDGE // 2 + 1), indexing="ij")
    angle = np.degrees(np.arctan2(np.abs(z), x))
    ring = (np.hypot(z, x) > 5) & (np.hypot(z, x) < 10)
    across = weight[0].mean(dim=1).numpy()  # summed over the tilt axis
    assert across[ring & (angle > 72)].max() < 0.02 * across[ring & (angle < 55)].mean()
    assert across[ring & (angle < 55)].min() > 0


def test_geometry_is_told(tmp_path: Path) -> None:
    dataset = TiltStackSpec(root=write_set(tmp_path / "set", seen=range(4, 27), particles=2).path).load()
    assert (len(dataset), dataset.box, dataset.voxel_size) == (2, (EDGE,) * 3, PIXEL)
    assert (dataset.tilt_axis, dataset.tilt_range) == ("y", (float(TILTS[4]), float(TILTS[26])))
    assert (dataset.contrast, list(dataset.groups)) == ("bright", ["TS_01", "TS_01"])
    assert dataset.origin(1) == Origin(str(tmp_path / "set" / "particles.star"), 1, PIXEL, (-44.0, 44.0))
    again = pickle.loads(pickle.dumps(dataset))
    torch.testing.assert_close(again[1].volume, dataset[1].volume, rtol=0, atol=0)


def plain_series(turns: NDArray[np.float64], **changed: Any) -> TiltSeries:
    zeros, ones = np.zeros(len(turns)), np.ones(len(turns))
    fields = dict.fromkeys(("defocus", "astigmatism", "azimuth", "phase_shift", "exposure", "b_factor"), zeros)
    optics = {"voltage": 300.0, "cs": 2.7, "amplitude_contrast": 0.07, "defocus_slope": -1.0}
    placed = {"unit_size": 1.0, "centre": None, "centred": True}
    return TiltSeries(**{"rotations": turns, "scale": ones, **fields, **optics, **placed, **changed})


def test_shares_against_torch_fourier_slice() -> None:
    slicing = pytest.importorskip("torch_fourier_slice", reason="needs torch-fourier-slice, of the extra tilt-series")
    turns = rotations("y", (-40.0, 0.0, 25.0))
    projector = Backprojector(plain_series(turns), 8, 1.0)
    images = np.random.default_rng(0).normal(size=(3, 8, 8)).astype(np.float32)
    padded = np.fft.ifftshift(np.pad(images, ((0, 0), (4, 4), (4, 4))), axes=(1, 2))
    spectra = np.fft.fftshift(np.fft.rfft2(padded).astype(np.complex64), axes=1)
    into_volume = torch.from_numpy(turns.transpose(0, 2, 1).copy())
    theirs = slicing.insert_central_slices_rfft_3d(
        torch.from_numpy(spectra), (16,) * 3, into_volume, fftfreq_max=7 / 16
    )
    weights = np.ones((3, len(projector.section.u)), np.float32)
    for ours, other in zip(projector._insert(projector._spectra(images), weights), theirs, strict=True):
        # Their plane x = 0 lacks the conjugates of what lies beside it.
        np.testing.assert_allclose(np.fft.fftshift(ours, axes=(0, 1))[:, :, 1:], other[:, :, 1:], atol=2e-5)


def test_transfer_against_torch_ctf() -> None:
    torch_ctf = pytest.importorskip("torch_ctf", reason="needs torch-ctf, of the extra dev")
    told = {"defocus": 20000.0, "astigmatism": 900.0, "azimuth": 0.4, "phase_shift": 0.3}
    series = plain_series(np.eye(3)[None], **{name: np.array([value]) for name, value in told.items()})
    projector = Backprojector(series, 16, PIXEL)
    angles = (np.degrees(0.4), 300.0, 2.7, 0.07, np.degrees(0.3))
    theirs = torch_ctf.calculate_ctf_2d(1.93, 0.09, *angles, PIXEL, (32, 32), rfft=True, fftshift=False).numpy()
    ours = projector.transfer(np.array([0.0, 0.0, 700.0]))
    np.testing.assert_allclose(ours[0], theirs[projector.section.v, projector.section.u], atol=1e-3)


def test_every_command_chooses_the_reader(tmp_path: Path) -> None:
    made = write_set(tmp_path / "set")
    for path in (made.path, tmp_path / "set" / "particles.star"):
        assert choose(path).name == "tilt_stack"


def remove(file: str, block: str, column: str) -> Callable[[Path], None]:
    def act(root: Path) -> None:
        blocks = starfile.read(root / file, always_dict=True)
        blocks[block] = blocks[block].drop(columns=column)
        starfile.write(blocks, root / file, overwrite=True)

    return act


def rewrite(file: str, old: str, new: str) -> Callable[[Path], None]:
    def act(root: Path) -> None:
        text = (root / file).read_text()
        assert old in text
        (root / file).write_text(text.replace(old, new))

    return act


def unlink(file: str) -> Callable[[Path], None]:
    return lambda root: (root / file).unlink()


def images(count: int, edge: int = EDGE) -> Callable[[Path], None]:
    def act(root: Path) -> None:
        with mrcfile.new(
            root / "stacks/0_stack2d.mrcs", np.ones((count, edge, edge), np.float32), overwrite=True
        ) as file:
            file.set_image_stack()

    return act


SET, TABLE, TOMOGRAMS = "optimisation_set.star", "particles.star", "tomograms.star"
FAULTS: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "no tomograms": ("relion5", unlink(TOMOGRAMS), r"set.star: names 'tomograms.star' \(rlnTomoTomogramsFile"),
    "a set without them": ("relion5", rewrite(SET, "Tomograms", "Other"), "has no rlnTomoTomogramsFile"),
    "no particles": ("relion5", unlink(TABLE), r"'particles.star' \(rlnTomoParticlesFile\)"),
    "no tilt series": ("relion5", unlink(TILT_FILE), r"tomograms.star: names .*\(rlnTomoTiltSeriesStarFile\)"),
    "other tomograms": ("relion5", rewrite(TOMOGRAMS, "\nTS_01", "\nTS_02"), "lists no tomogram 'TS_01'"),
    "no hand": ("relion5", remove(TOMOGRAMS, "global", "rlnTomoHand"), "tomograms.star: has no column rlnTomoHand"),
    "no defocus": ("relion5", remove(TILT_FILE, "TS_01", "rlnDefocusU"), "TS_01.star: has no column rlnDefocusU"),
    "no exposure": ("relion5", remove(TILT_FILE, "TS_01", "rlnMicrographPreExposure"), "rlnMicrographPreExposure"),
    "no geometry": ("relion5", remove(TILT_FILE, "TS_01", "rlnTomoYTilt"), "has no projections of 'TS_01'"),
    "no size": ("warp", remove(TOMOGRAMS, "global", "rlnTomoSizeX"), "lacks one of .*rlnTomoSizeX"),
    "no coordinates": ("relion5", rewrite(TABLE, "rlnCentered", "rlnOther"), "has no coordinates"),
    "half of a matrix": ("warp", of_set(TOMOGRAMS, "TS_01.tomostar", "rlnTomoProjX", "[1,0]"), "row 0, not 4 numbers"),
    "frames": ("warp", of_set(TOMOGRAMS, "global", "rlnTomoFrameCount", 7), "7 for rlnTomoFrameCount .* 31 tilts"),
    "no frames": ("warp", of_set(TOMOGRAMS, "global", "rlnTomoFrameCount", "many"), "'many' for rlnTomoFrameCount in"),
    "part of a frame": ("warp", of_set(TOMOGRAMS, "global", "rlnTomoFrameCount", 31.5), "31.5 for rlnTomoFrameCount"),
    "visible": ("relion5", rewrite(TABLE, "[1,1,", "[1,"), "30 tilts for rlnTomoVisibleFrames in row 0"),
    "images": ("relion5", images(20), "31 of 31 tilts in row 0 .* 20 images"),
    "no square": ("relion5", images(31, 33), "0_stack2d.mrcs: has images of 33×33 pixels"),
    "single images": ("relion5", rewrite(TABLE, "stacks/", "1@stacks/"), r"names one image.*\(rlnImageName\)"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_one_line_names_file_and_column(name: str, tmp_path: Path) -> None:
    dialect, spoil, message = FAULTS[name]
    made = write_set(tmp_path / "set", dialect)
    spoil(tmp_path / "set")
    with pytest.raises(DataError, match=message) as caught:
        TiltStack(made.path)
    assert "\n" not in str(caught.value)


def test_mirrors_are_refused(tmp_path: Path) -> None:
    made = write_set(tmp_path / "set", "warp")
    change(tmp_path / "set" / "tomograms.star", "TS_01.tomostar", "rlnTomoProjY", written(-rotations("y")[:, 1]))
    with pytest.raises(DataError, match=r"projection of 'TS_01.tomostar' in row 0 that mirrors \(rlnTomoProjX"):
        TiltStack(made.path)


def test_coordinates_outside_ask_for_their_unit(tmp_path: Path) -> None:
    made = write_set(tmp_path / "set", "warp")
    with pytest.raises(DataError, match=r"rlnCoordinate[XYZ] in row 0 that lies outside .*dataset.coordinate_size"):
        TiltStack(made.path, coordinate_size=12.0)


def test_weights_go_with_volumes_to_another_grid(tmp_path: Path) -> None:
    """A box cut to its half has every other frequency; larger voxels lose the finest ones."""
    made = write_set(tmp_path / "set")
    known = TiltStack(made.path)
    weight = known[0].weight
    assert weight is not None
    for wanted, expected in (
        (InputSettings(box=EDGE // 2), weight[:, ::2, ::2, ::2]),
        (InputSettings(voxel_size=2 * PIXEL, box=EDGE // 2), None),
    ):
        served = adapt(known, wanted)
        other = served[0].weight
        assert served.weighted
        assert other is not None
        assert other.shape == (1, EDGE // 2, EDGE // 2, EDGE // 4 + 1)
        if expected is None:
            low = [*range(-EDGE // 4 + 1, EDGE // 4)]
            expected, other = (part[0][low][:, low][:, :, : EDGE // 4] for part in (weight, other))
        torch.testing.assert_close(other, expected)


@pytest.mark.parametrize("resident", [True, False])
def test_the_loader_serves_weights_where_they_are_wanted(resident: bool, tmp_path: Path) -> None:
    dataset = TiltStackSpec(root=write_set(tmp_path / "set", particles=3).path).load()
    order = BatchOrder(torch.arange(3), 2, seed=0, drop_last=False)
    for wanted in (True, False):
        loader = VolumeLoader(dataset, order, torch.device("cpu"), resident, workers=0, weights=wanted)
        for batch in loader.epoch():
            assert (batch.weights is not None) is wanted
            if batch.weights is not None:
                for index, weight in zip(batch.samples.tolist(), batch.weights, strict=True):
                    torch.testing.assert_close(weight, dataset[index].weight)


def test_a_store_keeps_weights(tmp_path: Path) -> None:
    known = TiltStackSpec(root=write_set(tmp_path / "set", particles=2).path).load()
    convert(known, tmp_path / "set.h5")
    store = StoreSpec(root=tmp_path / "set.h5").load()
    assert store.weighted
    for index in (0, 1):
        torch.testing.assert_close(store[index].volume, known[index].volume, rtol=0, atol=0)
        torch.testing.assert_close(store[index].weight, known[index].weight, rtol=1e-3, atol=1e-4)
    content = bytearray((tmp_path / "set.h5").read_bytes())
    with h5py.File(tmp_path / "set.h5") as file:
        content[file["weight"].id.get_offset() + 99] ^= 1
    (tmp_path / "bad.h5").write_bytes(content)
    with pytest.raises(DataError, match="is not as it was written"):
        StoreSpec(root=tmp_path / "bad.h5").load()[0]


@pytest.mark.slow
def test_a_set_is_pretrained_on_converted_and_classified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All commands take an optimisation set; what they write is one again, with all that it had."""
    monkeypatch.chdir(tmp_path)
    made = write_set(tmp_path / "set", particles=24, tomograms=6)
    change(tmp_path / "set" / "particles.star", "particles", "rlnOurs", [f"{number % 2}" for number in range(24)])
    before = (tmp_path / "set" / "particles.star").read_text()
    command("inspect", str(made.path))
    command("convert", "--data", str(made.path), "--output", "set.h5")
    cpu: dict[str, Any] = {"device": "cpu", "workers": 0, "precision": "fp32"}
    fast = {**cpu, "epochs": 1, "batch_size": 4, "augmentation": "cryoet"}
    data = {"name": "tilt_stack", "root": made.path, "label": "rlnOurs"}
    cryoreg.pretrain("p", dataset=data, method="simclr", encoder={"name": "rb3d", "width": 4}, **fast)
    cryoreg.finetune("f", pretrained="p", dataset=data, **fast)
    command("predict", "f", "--data", str(made.path), "--output", "set/new.star", "--device", "cpu")
    after = (tmp_path / "set" / "new.star").read_text()
    assert "_rlnClassNumber" in after
    plain = re.sub(r"_(rlnClassNumber|cryoreg\w+) #\d+\n", "", after)
    assert re.sub(r" [12] [01] [01]\.\d{4} [01]( [01]\.\d{4} [01])?(?=\n|$)", "", plain) == before
    assert choose(Path("set/new_optimisation_set.star")).name == "tilt_stack"


def command(*words: str) -> None:
    result = CliRunner().invoke(cryoreg_command, words)
    assert result.exit_code == 0, result.output
