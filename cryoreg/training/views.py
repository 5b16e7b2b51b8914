"""The views of a batch that a method compares, as its plan and the run's recipes have it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from cryoreg.augmentations.crops import random_parts
from cryoreg.config import SECOND_AUGMENTATION, RunConfig
from cryoreg.contracts import Box, Method
from cryoreg.datasets.normalisation import normalise
from cryoreg.errors import ConfigError, DataError
from cryoreg.randomness import SampleRng
from cryoreg.specs import EncoderSpec, ViewPlan
from cryoreg.training.loading import Batch

_PLACES = 1 << 32
"""Added to the number of a local view: the stream from which its place is drawn."""


class Views:
    """Draws views: view 0, 2, ... by the first recipe, view 1, 3, ... by the second where there is one.

    Whole views come first; local ones are parts of further whole ones.
    """

    def __init__(self, config: RunConfig, box: Box) -> None:
        """Raise `ConfigError` where the encoder cannot take local views of the size that the method wants."""
        self.plan: ViewPlan = config.spec("method").view_plan()
        self.seed: int = config.training.seed
        sections = ["augmentation", SECOND_AUGMENTATION]
        self.recipes = [config.spec(section).build() for section in sections if section in config.choices]
        self.local_box = local_box(self.plan, box, config.spec("encoder")) if self.plan.local else box

    def draw(self, batch: Batch, epoch: int, method: Method) -> list[Tensor]:
        """Return the views of a batch: whole ones (B, 1, D, H, W), then local ones (B, 1, d, h, w)."""
        return [*self._whole(batch, epoch, method), *self._local(batch, epoch)]

    def _whole(self, batch: Batch, epoch: int, method: Method) -> Iterator[Tensor]:
        noisy = self.plan.whole - self.plan.clean
        for view in range(noisy):
            yield self._augment(batch.volumes, batch, epoch, view)
        if self.plan.clean:
            clean = batch.clean if batch.clean is not None else _denoised(batch, method)
            for view in range(noisy, self.plan.whole):
                yield self._augment(clean, batch, epoch, view)

    def _local(self, batch: Batch, epoch: int) -> Iterator[Tensor]:
        for view in range(self.plan.whole, self.plan.whole + self.plan.local):
            whole = self._augment(batch.volumes, batch, epoch, view)
            places = SampleRng.for_batch(self.seed, epoch, batch.samples, _PLACES + view)
            yield random_parts(whole, self.local_box, places)

    def _augment(self, volumes: Tensor, batch: Batch, epoch: int, view: int) -> Tensor:
        recipe = self.recipes[view % len(self.recipes)]
        return recipe(volumes, SampleRng.for_batch(self.seed, epoch, batch.samples, view))


def _denoised(batch: Batch, method: Method) -> Tensor:
    with torch.no_grad():
        return normalise(method.denoise(batch.volumes))


def local_box(plan: ViewPlan, box: Box, encoder: EncoderSpec) -> Box:
    """Return the box of local views, in voxels: the fraction that the method asks for, as the encoder can take it."""
    step = encoder.box_step()
    depth, height, width = (max(step, int(plan.local_edge * edge) // step * step) for edge in box)
    try:
        encoder.check_box((depth, height, width))
    except DataError as error:
        raise ConfigError(
            f"local views: {error}; or set the method's local views to 0 (`cryoreg show method NAME` names the setting)"
        ) from None
    return depth, height, width
