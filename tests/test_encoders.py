"""What the conformance kit, which every encoder passes (test_kit_builtins.py), does not look at."""

from __future__ import annotations

import pytest
import torch
from support.encoding import built, default_spec, relative_error, smallest_edge, volumes
from torch import Tensor

from cryoreg.contracts import Encoder
from cryoreg.training.small_convolutions import guard_convolutions

TOO_SMALL = ["cb3d", "densenet121_3d", "dsrf3d_v2"]

DOWN_TO_A_FEW_VOXELS = ["rb3d", "rb3d_fc", "resnet10_3d"]


@pytest.mark.slow
@pytest.mark.parametrize("name", TOO_SMALL)
def test_no_smaller_box_passes_through_the_network(name):
    with torch.no_grad(), pytest.raises(RuntimeError):
        built(name).eval()(volumes(2, (smallest_edge(default_spec(name)) - 1,) * 3))


def features_and_gradients(encoder: Encoder, x: Tensor, enabled: bool) -> tuple[Tensor, Tensor]:
    encoder.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled):
        features = encoder(x)
    (features.float() * volumes(1, features.shape[-1:])[0, 0]).sum().backward()
    return features.detach(), torch.cat([p.grad.flatten() for p in encoder.parameters()])


@pytest.mark.slow
@pytest.mark.parametrize("name", DOWN_TO_A_FEW_VOXELS)
def test_the_smallest_box_under_bfloat16_autocast_is_close_to_float32(name):
    """Where torch's own weight gradients are wrong: the engine guards plain convolutions."""
    encoder = built(name).eval().to(memory_format=torch.channels_last_3d)
    guard_convolutions(encoder)
    x = volumes(2, (smallest_edge(default_spec(name)),) * 3)
    features, gradients = features_and_gradients(encoder, x, enabled=True)
    expected_features, expected_gradients = features_and_gradients(encoder, x, enabled=False)
    assert relative_error(features, expected_features) < 0.05
    assert relative_error(gradients, expected_gradients) < 0.3
