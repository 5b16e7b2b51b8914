"""The 3D DenseNet against MONAI's whole network, and the closed form of its size."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import DenseNet121
from support.encoding import built, default_spec, relative_error, volumes

GROWTH = 32


def parameter_count() -> int:
    """Convolutions without bias, each with a batch normalisation before it (after it for the stem); one at the end.

    A layer has a 1³ convolution to 4 · 32 channels and a 3³ one to 32, which join its input (table 1 of Huang et al.).
    """
    total, channels = 64 * 7**3 + 2 * 64, 64
    for layers in (6, 12, 24, 16):
        for _ in range(layers):
            total += 2 * channels + channels * 4 * GROWTH + 2 * 4 * GROWTH + 4 * GROWTH * GROWTH * 27
            channels += GROWTH
        if layers != 16:
            total += 2 * channels + channels * channels // 2
            channels //= 2
    return total + 2 * channels


def test_number_of_parameters_follows_from_the_layers():
    assert sum(p.numel() for p in built("densenet121_3d").parameters()) == parameter_count()
    assert f"{parameter_count():,} parameters" in default_spec("densenet121_3d").summary()


@pytest.mark.slow
def test_features_are_what_monais_classifier_sees():
    encoder, x = built("densenet121_3d").eval(), volumes(2, (29, 33, 40))
    whole = DenseNet121(spatial_dims=3, in_channels=1, out_channels=5).eval()
    whole.features.load_state_dict(encoder.features.state_dict())
    with torch.no_grad():
        seen = whole.class_layers[:-1](whole.features(x))
        assert relative_error(encoder(x), seen) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(("box", "grid"), [((29, 30, 32), (1, 1, 1)), ((33, 61, 64), (1, 2, 2))])
def test_feature_map_has_a_32nd_of_the_box(box, grid):
    with torch.no_grad():
        assert built("densenet121_3d").eval().forward_features(volumes(1, box)).shape == (1, 1024, *grid)
