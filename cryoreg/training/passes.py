"""One pass of a network over what a loader serves, without learning."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cryoreg.training.device import Place
from cryoreg.training.loading import VolumeLoader


def run_over(loader: VolumeLoader, place: Place, network: Callable[[Tensor], Tensor]) -> Tensor:
    """Return what ``network`` makes (b, ...) of all volumes (b, 1, D, H, W), in their order: (N, ...) float32, CPU.

    It should be in evaluation mode, on the device of ``place``, whose precision is used; where there are no volumes,
    (0, 0) is returned.
    """
    with torch.no_grad(), place.autocast():
        parts = [network(batch.volumes).float().cpu() for batch in loader.once()]
    return torch.cat(parts) if parts else torch.empty(0, 0)
