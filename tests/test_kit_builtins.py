"""Every built-in component passes the kit that plugins run. What only one of them promises has tests of its own."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.eman2_writing import write_stack
from support.mrc_writing import noise, write_mrc
from support.particle_writing import relion31, write_star
from support.storing import rich_layout, write_store
from support.synthetic import write_classes
from support.tilt_stacks import write_set
from support.tomograms import write_tomogram

from cryoreg import registry
from cryoreg.contracts import Encoder
from cryoreg.datasets.readers import demo
from cryoreg.kinds import Kind
from cryoreg.specs import EncoderSpec, Spec
from cryoreg.testing import Check, checks_for, parametrize_with_checks
from cryoreg.testing.encoder_checks import built

SMALL: dict[str, dict[str, Any]] = {
    "byol": {"hidden_dim": 32, "output_dim": 16},
    "dino": {"n_prototypes": 16, "warmup_steps": 4, "freeze_steps": 2, "local_views": 2, "hidden_dim": 32},
    "s4l": {"settings": {"hidden_dim": 32, "output_dim": 32}},
    "mae": {"decoder_dim": 24, "decoder_depth": 1},
    "moco": {"queue_size": 20, "hidden_dim": 32, "output_dim": 16},
    "nrcl": {"queue_size": 20, "hidden_dim": 32, "output_dim": 16},
    "simclr": {"hidden_dim": 32, "output_dim": 16},
    "simsiam": {"hidden_dim": 32, "output_dim": 32, "predictor_dim": 8},
    "supcon": {"hidden_dim": 32, "output_dim": 16},
    "swav": {"n_prototypes": 8, "queue_size": 24, "queue_start": 2, "freeze_steps": 2, "local_views": 2},
    "vicreg": {"hidden_dim": 32, "output_dim": 32},
}
"""Settings under which the kit's short runs meet all that methods do at certain steps, at little cost."""


def builtins(kind: Kind) -> dict[str, type[Spec]]:
    return {c.name: c.spec() for c in registry.components(registry.group_of(kind)) if c.builtin}


def specs(kind: Kind) -> list[Spec]:
    return [spec(**SMALL.get(name, {})) for name, spec in builtins(kind).items()]


LARGE = {
    *("cb3d", "densenet121_3d", "resnet10_3d", "resnet18_3d", "resnet34_3d", "resnet50_3d"),
    *("timm3d", "vit_small_3d", "vit_tiny_3d", "yopo"),
}
"""Encoders that take seconds to build, to compile and to run in other precisions."""
ENCODERS = {name: spec() for name, spec in builtins("encoder").items()}
QUICK = [spec for name, spec in ENCODERS.items() if name not in LARGE]


OTHERS = [spec for kind in ("method", "augmentation", "weights", "learner", "query") for spec in specs(kind)]


@parametrize_with_checks([*QUICK, *OTHERS])
def test_builtin_passes_the_kit(spec: Spec, check: Check) -> None:
    check(spec)


@functools.lru_cache(maxsize=2)
def drawn(kind: type[EncoderSpec], seed: int) -> Encoder:
    return built(kind(), seed)


def copy_of(spec: EncoderSpec, seed: int = 0) -> Encoder:
    return copy.deepcopy(drawn(type(spec), seed))


@pytest.mark.slow
@parametrize_with_checks([ENCODERS[name] for name in sorted(LARGE)])
def test_large_encoder_passes_the_kit(spec: Spec, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weights, which take longer to draw than most checks take, are drawn once; each check gets a copy."""
    monkeypatch.setattr("cryoreg.testing.encoder_checks.built", copy_of)
    check(spec)


def lab(root: Path) -> dict[str, Any]:
    for number in (9, 10):
        write_mrc(root / "subtomogram_mrc" / f"tomotarget{number}.mrc", noise(seed=number))
        (root / "json_label").mkdir(exist_ok=True)
        (root / "json_label" / f"target{number}.json").write_text(json.dumps({"loc": [1, 2, 3], "name": "ribosome"}))
    return {"root": root}


def mrc_stack(root: Path) -> dict[str, Any]:
    return {"root": write_mrc(root / "ribosome.mrcs", noise((12, 4, 4))), "box": 4}


def eman2(root: Path) -> dict[str, Any]:
    for name in ("a", "b"):
        write_stack(root / name / "TS_01__ribosome.hdf", noise((3, 4, 5, 6), ord(name)))
    return {"root": root}


def npy_folder(root: Path) -> dict[str, Any]:
    for name in ("a", "b"):
        (root / name).mkdir()
        np.save(root / name / "stack.npy", noise((3, 4, 5, 6)))
    return {"root": root, "voxel_size": 10.0}


def png_montage(root: Path) -> dict[str, Any]:
    pixels = np.random.default_rng(0).integers(20, 250, (10, 10)).astype("u1")
    for number in range(2):
        Image.fromarray(pixels + number).save(root / f"{number}.png")
    return {"root": root, "patch": 5, "box": 4}


def star(root: Path) -> dict[str, Any]:
    for number in range(3):
        write_mrc(root / "volumes" / f"{number}.mrc", noise((4, 4, 4), number))
    particles = {"rlnImageName": [f"volumes/{number}.mrc" for number in range(3)], "rlnClassNumber": [1, 2, 1]}
    return {"root": write_star(root / "particles.star", particles), "label": "rlnClassNumber"}


def tomogram(root: Path) -> dict[str, Any]:
    write_tomogram(root / "tomograms" / "TS_01.mrc")
    return {"root": relion31(root), "tomograms": root / "tomograms", "box": 8}


DATA: dict[str, Callable[[Path], dict[str, Any]]] = {
    "demo": lambda root: {"per_class": 1, "box": 16},
    "eman2": eman2,
    "lab": lab,
    "mrc_folder": lambda root: {"root": write_classes(root, per_class=3)},
    "mrc_stack": mrc_stack,
    "npy_folder": npy_folder,
    "png_montage": png_montage,
    "star": star,
    "store": lambda root: {"root": write_store(root / "set.h5", rich_layout())},
    "tilt_stack": lambda root: {"root": write_set(root / "set", particles=2).path},
    "tomogram": tomogram,
    "universe": lambda root: {"structures": 3, "per_class": 2},
}
"""Name -> what writes a small set into a folder and returns the settings that open it."""


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Spec]]:
    """Return a function that writes a data set once and returns its spec."""

    @functools.cache
    def spec_of(name: str) -> Spec:
        return builtins("dataset")[name](**DATA[name](tmp_path_factory.mktemp(name)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(demo.CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))
        yield spec_of


CASES = [(name, check) for name, spec in builtins("dataset").items() for check in checks_for(spec)]


@pytest.mark.parametrize(("name", "check"), CASES, ids=[f"{name}-{check.name}" for name, check in CASES])
def test_builtin_dataset_passes_the_kit(opened: Callable[[str], Spec], name: str, check: Check) -> None:
    check(opened(name))
