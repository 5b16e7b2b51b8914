"""MONAI's transforms from a config: what they do is MONAI's, what may be named is ours."""

from __future__ import annotations

import inspect
import tomllib

import monai.transforms
import numpy as np
import pytest
import torch
from support.augmenting import batch, create, streams

from cryoreg.augmentations.monai_pipeline import available
from cryoreg.config import Layer, parse_assignment, resolve
from cryoreg.errors import ConfigError
from cryoreg.registry import find_spec

FLIP = {"name": "RandFlip", "prob": 0.5, "spatial_axis": 0}
NOISE = {"name": "RandGaussianNoise", "prob": 1.0, "std": 0.5, "sample_std": False}


def pipeline(*tables: dict):
    return create("monai", transforms=tables)


def message(*tables: dict) -> str:
    """Return what is said of a pipeline that cannot be made or used."""
    with pytest.raises(ConfigError) as caught:
        pipeline(*tables)(batch(), streams(torch.arange(8)))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- what they do ----


def test_a_pipeline_does_what_monais_transforms_do_with_the_streams_seeds():
    x, samples = batch(), torch.arange(8)
    seeds = streams(samples).bits((3,)).numpy().astype(np.uint64) % 2**32
    expected = []
    for volume, (_, flip_seed, noise_seed) in zip(x, seeds.astype(int), strict=True):
        flip = monai.transforms.RandFlip(prob=0.5, spatial_axis=0).set_random_state(seed=int(flip_seed))
        noise = monai.transforms.RandGaussianNoise(prob=1.0, std=0.5, sample_std=False).set_random_state(
            seed=int(noise_seed)
        )
        expected.append(torch.as_tensor(np.asarray(noise(flip(volume.clone())))))
    assert torch.equal(pipeline(FLIP, NOISE)(x, streams(samples)), torch.stack(expected))


def test_a_flip_happens_to_about_half_of_the_samples_and_about_the_beam():
    x = batch(1).expand(64, -1, -1, -1, -1)
    y = pipeline(FLIP)(x, streams(torch.arange(64)))
    flipped = [torch.equal(view, volume.flip(1)) for view, volume in zip(y, x, strict=True)]
    kept = [torch.equal(view, volume) for view, volume in zip(y, x, strict=True)]
    assert all(a != b for a, b in zip(flipped, kept, strict=True))
    assert 16 < sum(flipped) < 48  # four standard deviations


def test_an_empty_pipeline_returns_the_subtomograms():
    assert torch.equal(pipeline()(batch(), streams(torch.arange(8))), batch())


def test_the_same_transform_twice_draws_twice():
    y = pipeline(NOISE, NOISE)(torch.zeros(1, 1, 8, 8, 8), streams(torch.arange(1)))
    assert y.std() == pytest.approx(0.5 * 2**0.5, rel=0.2)  # not 1, as of the same noise twice


def test_a_crop_may_be_undone():
    crop = {"name": "RandSpatialCrop", "roi_size": [10, 10, 10], "random_size": False}
    y = pipeline(crop, {"name": "SpatialPad", "spatial_size": [20, 24, 28]})(batch(), streams(torch.arange(8)))
    assert y.shape == batch().shape
    assert ((y != 0).flatten(1).sum(dim=1) == 1000).all()


def random_ones() -> list[str]:
    """Return the random transforms of volumes that need no argument."""
    kinds = {name: kind for name, kind in available().items() if name.startswith("Rand") and "Grid" not in name}
    return [name for name, kind in kinds.items() if _needs_nothing(kind)]


def _needs_nothing(kind: type) -> bool:
    parameters = inspect.signature(kind).parameters.values()
    return all(p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)


@pytest.mark.parametrize("name", random_ones())
def test_no_random_transform_uses_a_global_generator(name):
    table = {"name": name, **({"prob": 1.0} if "prob" in inspect.signature(available()[name]).parameters else {})}
    x = torch.randn(3, 1, 12, 12, 12, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    np.random.seed(1)
    first = pipeline(table)(x, streams(torch.arange(3)))
    torch.manual_seed(2)
    np.random.seed(2)
    assert torch.equal(pipeline(table)(x, streams(torch.arange(3))), first)


# ---- what may be named ----


@pytest.mark.parametrize(
    "name",
    ["Lambda", "RandLambda", "LoadImage", "SaveImage", "Compose", "OneOf", "RandFlipd", "ToTensor", "DataStats",
     "TorchVision", "Randomizable", "RandImageFilter", "SimulateDelay"],
)  # fmt: skip
def test_what_runs_code_or_touches_files_is_refused(name):
    assert hasattr(monai.transforms, name)
    assert f"transform 1: {name} cannot be used here" in message({"name": name})


def test_only_transforms_of_volumes_are_available():
    assert {"RandFlip", "RandAffine", "RandBiasField", "RandGibbsNoise", "Rand3DElastic"} <= available().keys()
    risky = ("ambda", "Load", "Save", "Write", "Compose", "Torch")
    assert not [name for name in available() if any(word in name for word in risky)]


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ([{"name": "RandFlp"}], "transform 1: MONAI has no transform 'RandFlp'; did you mean 'RandFlip'"),
        ([FLIP, {"prob": 0.5}], "transform 2 has no name"),
        ([{"name": 3}], "transform 1 has no name"),
        (
            [{"name": "RandFlip", "probs": 0.5}],
            "RandFlip: got an unexpected keyword argument 'probs'; did you mean 'prob'",
        ),
        ([{"name": "SpatialPad"}], "SpatialPad: missing a required argument: 'spatial_size'"),
        (
            [{"name": "RandBiasField", "degree": 0}],
            "RandBiasField, cannot be made with these arguments: degree should be",
        ),
        (
            [FLIP, {"name": "Rotate90", "spatial_axes": [1, 7]}],
            "transform 2, Rotate90, fails on a volume of shape (1, 20, 24, 28)",
        ),
        ([{"name": "RandSpatialCrop", "roi_size": 8}, FLIP], "transform 1, RandSpatialCrop, makes volumes of"),
        ([{"name": "GridSplit"}], "GridSplit, fails on a volume of shape"),
        (
            [{"name": "RandSpatialCropSamples", "roi_size": 8, "num_samples": 2}],
            "RandSpatialCropSamples, returns a list, not one volume",
        ),
    ],
)
def test_mistakes_are_one_line_that_names_the_transform(tables, expected):
    found = message(*tables)
    assert found.startswith("augmentation.transforms: ")
    assert expected in found


def test_only_plain_values_are_taken():
    with pytest.raises(ValueError, match="transforms"):
        find_spec("augmentation", "monai")[1](transforms=[{"name": "CropForeground", "select_fn": print}])


# ---- in a config ----


def test_a_pipeline_survives_toml_json_and_the_command_line():
    text = (
        '[{name="RandFlip", prob=0.5, spatial_axis=0}, {name="RandGaussianNoise", prob=1.0, std=0.5, sample_std=false}]'
    )
    named = Layer("test", {"augmentation": {"name": "monai"}})
    config = resolve("pretrain", [named, parse_assignment(f"augmentation.transforms={text}")])
    spec = config.spec("augmentation")
    assert [dict(table) for table in spec.transforms] == [FLIP, NOISE]
    again = resolve("pretrain", [Layer("file", tomllib.loads(config.to_toml()))])
    assert again.to_dict() == config.to_dict()
    assert type(spec).model_validate_json(spec.model_dump_json()) == spec


def test_the_default_pipeline_survives_toml():
    config = resolve("pretrain", [Layer("test", {"augmentation": {"name": "monai"}})])
    assert resolve("pretrain", [Layer("file", tomllib.loads(config.to_toml()))]).to_dict() == config.to_dict()
