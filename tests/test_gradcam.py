"""Grad-CAM against autograd by hand and known answers; `cryoreg explain` and its files."""

from __future__ import annotations

import re
from collections import defaultdict

import mrcfile
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from matplotlib import image
from scipy import ndimage
from support.encoding import built, default_spec, smallest_edge, volumes
from support.synthetic import write_classes
from torch import Tensor, nn

import cryoreg
from cryoreg import registry
from cryoreg.analysis import slices
from cryoreg.analysis.explain import Written, chimerax_script, file_stems, part_of
from cryoreg.analysis.gradcam import explain, grad_cam, predicted_class
from cryoreg.analysis.gradcam_figure import compare_networks, draw_comparison
from cryoreg.contracts import Encoder
from cryoreg.datasets.normalisation import normalise
from cryoreg.errors import ConfigError
from cryoreg.inference.trained import Trained
from cryoreg.learners.full import FullFineTuning
from cryoreg_cli.main import cryoreg as command

ENCODERS = [component.name for component in registry.components("encoders") if component.builtin]
FAST = {"batch_size": 8, "device": "cpu", "workers": 0, "precision": "fp32", "epochs": 1}


class Small(Encoder):
    """A convolution to a map of half the edge, and features that are no linear function of it."""

    num_features = 6

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Sequential(nn.Conv3d(1, 4, 2, stride=2), nn.ReLU(inplace=True))
        self.mix = nn.Linear(8, 6)

    def forward_features(self, x: Tensor) -> Tensor:
        return self.convolution(x)

    def forward(self, x: Tensor) -> Tensor:
        made = self.forward_features(x)
        return torch.tanh(self.mix(torch.cat([made.mean((2, 3, 4)), made.amax((2, 3, 4))], dim=1)))


def by_hand(module: nn.Module, x: Tensor, target: int | None) -> np.ndarray:
    """Selvaraju et al. 2017, equations 1 and 2, and an interpolation by scipy."""
    learns = isinstance(module, FullFineTuning)
    encoder = module.encoder if learns else module
    kept = []
    handle = encoder.convolution.register_forward_hook(lambda _, __, output: kept.append(output))
    made = module.classify(x) if learns else module(x)
    handle.remove()
    score = (made * (made / made.norm()).detach()).sum() if target is None else made[0][0, target]
    (gradient,) = torch.autograd.grad(score, kept[0])
    weights = gradient[0].mean((1, 2, 3))
    cam = sum(weight * channel for weight, channel in zip(weights, kept[0][0], strict=True)).clamp_min(0)
    assert cam.any(), "take another seed"
    large = ndimage.zoom(cam.detach().numpy(), 2, order=1, mode="nearest", grid_mode=True)
    return large / large.max()


@pytest.mark.parametrize("target", [0, 1, 2])
def test_a_classifiers_class_as_by_hand(target):
    torch.manual_seed(1)
    classifier = FullFineTuning(Small(), 3)
    x = volumes(1, (8, 10, 12))
    np.testing.assert_allclose(explain(classifier, x, target), by_hand(classifier, x, target), atol=1e-5)
    assert explain(classifier, x, target).max() == pytest.approx(1)


def test_an_encoders_features_as_by_hand():
    torch.manual_seed(0)
    encoder = Small()
    x = volumes(1, (8, 10, 12))
    np.testing.assert_allclose(explain(encoder, x), by_hand(encoder, x, None), atol=1e-5)


def test_without_a_target_the_predicted_class_is_explained():
    torch.manual_seed(4)
    classifier = FullFineTuning(Small(), 3)
    x = volumes(1, (8, 8, 8))
    predicted = int(classifier.classify(x).logits.argmax())
    np.testing.assert_array_equal(explain(classifier, x), explain(classifier, x, predicted))
    assert not np.allclose(explain(classifier, x), explain(classifier, x, (predicted + 1) % 3))


class Blobs(Encoder):
    """One channel answers to bright blobs, one to dark ones; a cell for every ``step`` voxels."""

    num_features = 2

    def __init__(self, step: int = 2, margin: int = 0) -> None:
        super().__init__()
        self.step, self.map_margin = step, margin

    def forward_features(self, x: Tensor) -> Tensor:
        edge = x.shape[-1] - self.map_margin
        inner = x[..., self.map_margin : edge, self.map_margin : edge, self.map_margin : edge]
        coarse = nn.functional.avg_pool3d(inner, self.step)
        return torch.cat([coarse, -coarse], dim=1).relu()

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_features(x).mean((2, 3, 4))


def with_blob(place: tuple[int, int, int], edge: int = 24) -> Tensor:
    zyx = np.indices((edge,) * 3) - np.reshape(place, (3, 1, 1, 1))
    return torch.tensor(np.exp(-(zyx**2).sum(0) / 2), dtype=torch.float32)[None, None]


@pytest.mark.parametrize("place", [(12, 12, 12), (8, 15, 11), (15, 9, 7)])
@pytest.mark.parametrize(("step", "margin"), [(1, 0), (2, 0), (4, 0), (1, 3), (2, 3)])
def test_the_map_is_largest_at_the_blob(place, step, margin):
    classifier = FullFineTuning(Blobs(step, margin), 2)
    with torch.no_grad():
        classifier.head.weight.copy_(torch.eye(2))
    cam = explain(classifier, with_blob(place), target=0)
    found = np.unravel_index(cam.argmax(), cam.shape)
    assert np.abs(np.subtract(found, place)).max() <= step
    centre = ndimage.center_of_mass(cam)
    assert np.abs(np.subtract(centre, place)).max() < max(0.1, step / 2)
    assert cam[:margin].sum() == cam[..., cam.shape[2] - margin :].sum() == 0


def test_nothing_speaks_for_a_class_without_evidence():
    classifier = FullFineTuning(Blobs(), 2)
    with torch.no_grad():
        classifier.head.weight.copy_(-torch.eye(2))
    assert not explain(classifier, with_blob((12, 12, 12)), target=0).any()


def box_with_places(name: str) -> tuple[int, int, int]:
    """The smallest box, longer along z alone if need be, of which the encoder's map has two cells."""
    spec, encoder = default_spec(name), built(name).eval()
    edge = smallest_edge(spec)
    if spec.exact_box:
        return edge, edge, edge
    for length in (edge, 2 * edge, 4 * edge, 8, 16, 32, 33, 48, 64):
        if length >= edge and length % spec.box_step() == 0:
            with torch.no_grad():
                if encoder.forward_features(volumes(1, (length, edge, edge)))[0, 0].numel() > 1:
                    return length, edge, edge
    raise AssertionError(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_can_be_explained_and_is_left_as_it_was(name):
    classifier = FullFineTuning(built(name), 3).eval()
    x = volumes(1, box_with_places(name))
    before = {key: value.clone() for key, value in classifier.state_dict().items()}
    for module in (classifier, classifier.encoder):
        cam = explain(module, x)
        assert cam.shape == x.shape[2:]
        assert cam.dtype == np.float32
        assert 0 <= cam.min() <= cam.max() <= 1
        assert cam.max() == pytest.approx(1) or not cam.any()
    assert all(torch.equal(value, before[key]) for key, value in classifier.state_dict().items())
    assert all(parameter.grad is None for parameter in classifier.parameters())


def test_yopos_map_leaves_out_its_margin():
    cam = explain(built("yopo"), volumes(1))
    assert not cam[:6].any()
    assert not cam[..., -6:].any()
    assert cam[6].any()


class Aside(Small):
    """Does not use its map."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3, 4)) * torch.ones(6)


@pytest.mark.parametrize(
    ("encoder", "box", "expected"),
    [
        (Small(), 2, "reduces a box of 2×2×2 voxels to a single cell.*; take an encoder"),
        (Aside(), 8, "its features are not computed from the map"),
    ],
)
def test_networks_that_cannot_be_explained(encoder, box, expected):
    with pytest.raises(ConfigError, match=expected):
        explain(encoder, volumes(1, (box,) * 3))


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A fine-tuning run of a tiny network on two classes."""
    folder = tmp_path_factory.mktemp("explained")
    root = write_classes(folder / "data", per_class=10)
    encoder = {"name": "rb3d", "width": 4}
    cryoreg.finetune(folder / "run", encoder=encoder, dataset={"name": "mrc_folder", "root": root}, **FAST)
    return folder / "run"


@pytest.mark.slow
def test_of_a_run(tuned):
    trained = Trained.classifier(tuned)
    x = normalise(trained.dataset[3].volume[None])
    assert predicted_class(trained, 3) == int(trained.module.classify(x).logits.argmax())
    for target in (None, 0, 1):
        np.testing.assert_array_equal(grad_cam(trained, 3, target), explain(trained.module, x, target))
    encoder = Trained.encoder(tuned)
    np.testing.assert_array_equal(grad_cam(encoder, 3), grad_cam(trained.encoder_alone(), 3))
    assert predicted_class(encoder, 3) is None
    assert not np.allclose(grad_cam(encoder, 3), grad_cam(encoder.untrained(), 3))
    for wrong, target in ((trained, 2), (trained, -1), (encoder, 1)):
        with pytest.raises(ConfigError, match=f"encoder 'rb3d': there is no class {target}"):
            grad_cam(wrong, 3, target)


def test_the_figure_shows_slices_under_the_maps_of_each_network(tuned):
    trained = Trained.classifier(tuned)
    page = draw_comparison(compare_networks(trained, [0, 12])).axes[0]
    panels = defaultdict(list)  # place -> what is drawn there, in that order
    for picture in page.images:
        panels[tuple(picture.get_extent())].append(picture.get_array())
    assert len(panels) == 2 * 3 * 4
    volume = normalise(trained.dataset[12].volume[None])[0, 0].numpy()
    networks = (trained.untrained(), trained.encoder_alone(), trained)
    maps = [slices.central_slices(grad_cam(network, 12)) for network in networks]
    expected = {id(plane): plane.image for planes in maps for plane in planes}
    drawn = [over for under, *rest in panels.values() for over in rest]
    assert len(drawn) == 2 * 3 * 3
    for wanted in expected.values():
        assert any(np.array_equal(wanted, shown) for shown in drawn)
    for wanted in slices.central_slices(volume):
        assert sum(np.array_equal(wanted.image, drawn[0]) for drawn in panels.values()) == 4
    names = [text.get_text() for text in page.texts if "explained" in text.get_text()]
    predicted = trained.card["classes"][predicted_class(trained, 12)]
    assert names[1] == f"class1/002\nclass1\nexplained: {predicted}"


def run(*words):
    result = CliRunner().invoke(command, ["explain", *map(str, words)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


@pytest.mark.slow
def test_the_command_writes_volumes_maps_a_figure_and_a_script(tuned, tmp_path):
    output = tmp_path / "new" / "out"
    status, text = run(tuned, "--ids", "class0/003,class1/001", "--target", "class1", "--random", "--output", output)
    assert status == 0, text
    stems = ["class0_003", "class1_001"]
    files = [f"{stem}{end}.mrc" for stem in stems for end in ("", "_gradcam_class1", "_gradcam_random")]
    assert {path.name for path in output.iterdir()} == {*files, "gradcam.png", "open.cxc"}
    trained = Trained.classifier(tuned)
    expected = [trained.dataset[3].volume[0], grad_cam(trained, 3, 1), grad_cam(trained.untrained(), 3)]
    for file, volume in zip(files, expected, strict=False):
        with mrcfile.open(output / file) as mrc:
            np.testing.assert_allclose(mrc.data, volume, atol=1e-6)
            assert mrc.data.dtype == np.float32
            assert mrc.voxel_size.tolist() == (10, 10, 10)
            assert mrc.header.origin.tolist() == (0, 0, 0)
            assert mrc.is_volume()
    assert image.imread(output / "gradcam.png").std() > 0.1
    assert re.findall('open "(.*)"', (output / "open.cxc").read_text()) == files


@pytest.mark.slow
def test_test_part_features_and_overwriting(tuned, tmp_path):
    for words in ((), ("--overwrite",)):
        status, text = run(tuned / "encoder.safetensors", "--count", 3, "--output", tmp_path, *words)
        assert status == 0, text
    held_out = cryoreg.evaluate(tuned, "test", device="cpu").ids
    volumes_of = {path.name.replace("_gradcam_features.mrc", "") for path in tmp_path.glob("*_features.mrc")}
    assert len(volumes_of) == 3
    assert volumes_of <= set(file_stems(held_out))
    assert {stem.partition("_")[0] for stem in volumes_of} == {"class0", "class1"}


@pytest.mark.parametrize(("part", "size"), [("test", 4), ("val", 4), ("train", 12), ("all", 20)])
def test_classes_take_turns_in_a_part(tuned, part, size):
    trained = Trained.classifier(tuned)
    chosen = part_of(trained, part, 99)
    assert len(set(chosen)) == size
    assert [trained.dataset.labels[index] for index in chosen] == [0, 1] * (size // 2)
    assert part_of(trained, part, 3) == chosen[:3]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--ids", "class0/03"], "no subtomogram 'class0/03'; did you mean 'class0/003'"),
        (["--target", "clas1"], "no class 'clas1'; did you mean 'class1'"),
        (["--output", "full"], "full: exists already"),
        (["--output", "full/file"], "full/file: exists already"),
        (["--data", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(tuned, tmp_path, monkeypatch, words, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("kept")
    status, text = run(tuned, "--output", "out", *words)
    assert (status, text.count("\n")) == (1, 1), text
    assert expected in text
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "file"]


def test_encoders_have_no_classes_to_explain(tuned, tmp_path):
    status, text = run(tuned / "encoder.safetensors", "--target", "class0", "--output", tmp_path / "out")
    assert (status, text.count("\n")) == (1, 1)
    assert "is an encoder, which has no classes to explain" in text


def test_file_names_are_safe_and_differ():
    names = ["a/b@1", "A b_1", "../../etc", "é", "", "a_b_1", ".hidden"]
    assert file_stems(names) == ["a_b_1", "A_b_1-2", "etc", "unnamed", "unnamed-2", "a_b_1-3", "hidden"]


def test_the_script_samples_the_map_of_each_volume(tmp_path):
    written = [Written(tmp_path / f"{n}.mrc", (tmp_path / f"{n}_c.mrc", tmp_path / f"{n}_r.mrc"), n) for n in (1, 2)]
    lines = chimerax_script(written).splitlines()
    assert [line for line in lines if line.startswith("open")] == [
        f'open "{n}{end}.mrc"' for n in (1, 2) for end in ("", "_c", "_r")
    ]
    assert [line.split(" palette")[0] for line in lines if "sample" in line] == [
        "color sample #1 map #2",
        "color sample #4 map #5",
    ]
    assert "volume #4 style surface step 1 level 2" in lines
    assert [line for line in lines if line.startswith("hide")] == [f"hide #{n} models" for n in (2, 3, 5, 6, 4)]
