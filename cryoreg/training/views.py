"""The views of a batch that a method or learner is shown, as its plan and the run's recipes have it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from cryoreg.augmentations.crops import random_parts
from cryoreg.config import AnyConfig
from cryoreg.contracts import Box
from cryoreg.datasets.normalisation import normalise
from cryoreg.errors import ConfigError, DataError
from cryoreg.plans import ViewPlan
from cryoreg.randomness import SampleRng
from cryoreg.specs import AugmentationSpec, EncoderSpec
from cryoreg.training.loading import Batch

Denoise = Callable[[Tensor], Tensor]
"""(B, 1, D, H, W) to the same shape."""
_PLACES = 1 << 32
"""Added to the number of a local view: the stream from which its place is drawn."""


class Views:
    """Draws views: view 0, 2, ... by the first recipe, view 1, 3, ... by the second where there is one.

    Whole views come first; local ones are parts of further whole ones.
    """

    def __init__(self, plan: ViewPlan, config: AnyConfig, box: Box, denoise: Denoise = lambda x: x) -> None:
        """Raise `ConfigError` where the encoder cannot take local views of the size that the plan wants.

        ``denoise`` makes clean views, normalised afterwards, where the data set has no noise-free copies.
        """
        self.plan, self._denoise = plan, denoise
        self.seed: int = config.training.seed
        specs = augmentations_of(config)
        self.recipes, self._weighted = [spec.build() for spec in specs], [spec.uses_weights for spec in specs]
        self.local_box = local_box(self.plan, box, config.spec("encoder")) if self.plan.local else box

    def draw(self, batch: Batch) -> list[Tensor]:
        """Return the views of a batch: whole ones (B, 1, D, H, W), then local ones (B, 1, d, h, w)."""
        return [*self._whole(batch), *self._local(batch)]

    def _whole(self, batch: Batch) -> Iterator[Tensor]:
        noisy = self.plan.whole - self.plan.clean
        for view in range(noisy):
            yield self._augment(batch.volumes, batch, view)
        if self.plan.clean:
            clean = batch.clean if batch.clean is not None else self._denoised(batch)
            for view in range(noisy, self.plan.whole):
                yield self._augment(clean, batch, view)

    def _local(self, batch: Batch) -> Iterator[Tensor]:
        for view in range(self.plan.whole, self.plan.whole + self.plan.local):
            whole = self._augment(batch.volumes, batch, view)
            places = SampleRng.for_batch(self.seed, batch.epoch, batch.samples, _PLACES + view)
            yield random_parts(whole, self.local_box, places)

    @torch.no_grad()
    def _denoised(self, batch: Batch) -> Tensor:
        return normalise(self._denoise(batch.volumes))

    def _augment(self, volumes: Tensor, batch: Batch, view: int) -> Tensor:
        recipe = view % len(self.recipes)
        rng = SampleRng.for_batch(self.seed, batch.epoch, batch.samples, view)
        if batch.weights is not None and self._weighted[recipe]:
            return self.recipes[recipe](volumes, rng, batch.weights)  # type: ignore[call-arg]  # as its spec says
        return self.recipes[recipe](volumes, rng)


def augmentations_of(config: AnyConfig) -> list[AugmentationSpec]:
    """Return the recipes of a run: one, or one for every other view."""
    return [spec for _, spec in config.choices.values() if isinstance(spec, AugmentationSpec)]


def wants_weights(config: AnyConfig) -> bool:
    """Tell whether a recipe of a run takes the weights of Fourier coefficients."""
    return any(spec.uses_weights for spec in augmentations_of(config))


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
