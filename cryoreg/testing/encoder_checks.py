"""What an encoder promises."""

from __future__ import annotations

import torch
from torch import Tensor

from cryoreg.contracts import Encoder
from cryoreg.specs import EncoderSpec
from cryoreg.testing.checks import require

BATCH = 3


def built(spec: EncoderSpec, seed: int = 0) -> Encoder:
    """Return the network, its weights drawn from a seed."""
    torch.manual_seed(seed)
    return spec.build()


def volumes(batch: int, edge: int = 32, seed: int = 0) -> Tensor:
    """Return noise (B, 1, D, H, W) of mean 0 and standard deviation 1."""
    return torch.randn(batch, 1, edge, edge, edge, generator=torch.Generator().manual_seed(seed))


def check_feature_vector_shape(spec: EncoderSpec) -> None:
    """The network maps (B, 1, D, H, W) to (B, num_features)."""
    encoder = built(spec).eval()
    shape, claimed = tuple(encoder(volumes(BATCH)).shape), (BATCH, encoder.num_features)
    require(shape == claimed, f"features are {shape}, not (B, num_features) = {claimed}; mend forward or num_features")


def check_output_is_finite(spec: EncoderSpec) -> None:
    """Features are finite."""
    require(bool(built(spec).eval()(volumes(BATCH)).isfinite().all()), "features are not finite; look for divisions")


def check_eval_is_deterministic(spec: EncoderSpec) -> None:
    """In evaluation mode, the same subtomogram has the same features, to the bit."""
    encoder, x = built(spec).eval(), volumes(BATCH)
    require(
        torch.equal(encoder(x), encoder(x)),
        "in eval mode two calls differ; draw no random numbers there (F.dropout needs training=self.training)",
    )
