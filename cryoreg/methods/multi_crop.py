"""Multi-crop: two views of the whole box and any number of smaller, local ones (Caron et al. 2020, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cryoreg.contracts import Encoder

WHOLE = 2


def encode(encoder: Encoder, views: Sequence[Tensor]) -> list[Tensor]:
    """Return the features (B, num_features) of each view; the local ones pass the encoder as one batch."""
    whole = [encoder(view) for view in views[:WHOLE]]
    if len(views) == WHOLE:
        return whole
    return [*whole, *encoder(torch.cat(list(views[WHOLE:]))).chunk(len(views) - WHOLE)]
