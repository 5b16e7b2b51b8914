"""MONAI's transforms on batches, volume by volume, each seeded from the sample's own stream."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from monai import transforms as monai
from monai.transforms import Randomizable, Transform
from torch import Tensor

from cryoreg.errors import ConfigError
from cryoreg.randomness import SampleRng
from cryoreg.registry import suggestion

KEY = "augmentation.transforms"
MODULES = frozenset(f"monai.transforms.{part}.array" for part in ("croppad", "intensity", "smooth_field", "spatial"))
"""Whose transforms a config may name. The other modules hold what runs code, reads and writes files, or prints."""
_MISTAKES = (TypeError, ValueError, LookupError, AttributeError, AssertionError, NotImplementedError, ImportError)
"""What MONAI raises for arguments that do not suit it, or each other, or the volume."""


def available() -> dict[str, type[Transform]]:
    """Return the transforms that a config may name."""
    public = ((name, getattr(monai, name)) for name in dir(monai))
    return {
        name: value
        for name, value in public
        if inspect.isclass(value)
        and issubclass(value, Transform)
        and value.__module__ in MODULES
        and value.__name__ == name
    }


def create(number: int, table: Mapping[str, object]) -> Transform:
    """Make the transform that a table describes, the ``number``-th of the config's; raise `ConfigError`, one line."""
    place = f"{KEY}: transform {number}"
    name, arguments = table.get("name"), {key: value for key, value in table.items() if key != "name"}
    if not isinstance(name, str):
        raise ConfigError(f'{place} has no name; write {{name="RandFlip", prob=0.5, spatial_axis=0}}, for example')
    kind = _find(place, name)
    try:
        inspect.signature(kind).bind(**arguments)
    except TypeError as error:
        known = [key for key in inspect.signature(kind).parameters if key not in ("args", "kwargs")]
        unknown = next((key for key in arguments if key not in known), None)
        hint = suggestion(unknown, known) if unknown else ""
        raise ConfigError(f"{place}, {name}: {error}{hint}; known are {', '.join(known)}") from error
    try:
        return kind(**arguments)
    except (*_MISTAKES, RuntimeError) as error:
        raise ConfigError(f"{place}, {name}, cannot be made with these arguments: {_one_line(error)}") from error


def _find(place: str, name: str) -> type[Transform]:
    known = available()
    if name in known:
        return known[name]
    if inspect.isclass(getattr(monai, name, None)):
        raise ConfigError(
            f"{place}: {name} cannot be used here: only MONAI's array transforms of space, intensity, crops and smooth "
            "fields can, as they neither run code nor touch files"
        )
    raise ConfigError(f"{place}: MONAI has no transform {name!r}{suggestion(name, known)}")


@dataclass(frozen=True)
class MonaiPipeline:
    """Some transforms, one after the other."""

    transforms: tuple[Transform, ...]

    def __call__(self, x: Tensor, rng: SampleRng) -> Tensor:
        """Augment ``x`` (B, 1, D, H, W) on its device.

        Raises `ConfigError`, naming the transform, where one cannot take the volumes or the view has another shape.
        """
        seeds = (rng.bits((len(self.transforms) + 1,)) % 2**32).tolist()
        return torch.stack([self._view(volume, *of_sample) for volume, of_sample in zip(x, seeds, strict=True)])

    def _view(self, volume: Tensor, shared_seed: int, *seeds: int) -> Tensor:
        with _shared_generators(shared_seed):
            return self._apply_all(volume, seeds)

    def _apply_all(self, volume: Tensor, seeds: Sequence[int]) -> Tensor:
        view, culprit = volume.clone(), "the pipeline"
        for number, (transform, seed) in enumerate(zip(self.transforms, seeds, strict=True), 1):
            before, name = view.shape, f"transform {number}, {type(transform).__name__},"
            view = _apply(transform, seed, view, name)
            culprit = name if view.shape != before else culprit
        if view.shape != volume.shape:
            raise ConfigError(
                f"{KEY}: {culprit} makes volumes of {tuple(view.shape)} from {tuple(volume.shape)}; "
                "views must keep the shape: resize or pad after it"
            )
        return view.to(volume.dtype)


@contextlib.contextmanager
def _shared_generators(seed: int) -> Iterator[None]:
    """Seed what a transform may draw from besides its own state, and put everything back.

    `RandIntensityRemap` makes a transform anew for each volume, which draws from the state that all of MONAI shares.
    """
    monais, numpys, torchs = Randomizable.R, np.random.get_state(), torch.default_generator.get_state()
    try:
        Randomizable.R = np.random.RandomState(seed)
        np.random.seed(seed)
        torch.default_generator.manual_seed(seed)
        yield
    finally:
        Randomizable.R = monais
        np.random.set_state(numpys)
        torch.default_generator.set_state(torchs)


def _apply(transform: Transform, seed: int, volume: Tensor, name: str) -> Tensor:
    if isinstance(transform, Randomizable):
        transform.set_random_state(seed=seed)
    try:
        result = transform(volume)
    except _MISTAKES as error:
        shape = tuple(volume.shape)
        raise ConfigError(f"{KEY}: {name} fails on a volume of shape {shape}: {_one_line(error)}") from error
    if not isinstance(result, Tensor):
        raise ConfigError(f"{KEY}: {name} returns a {type(result).__name__}, not one volume; leave it out")
    return result.as_subclass(Tensor).to(volume.device)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
