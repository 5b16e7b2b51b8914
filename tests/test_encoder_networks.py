"""DSRF3D_v2, CB3D, YOPO and the ResNets against independent formulations, and closed forms of their sizes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from support.encoding import built, relative_error, volumes
from torch import Tensor, nn

from cryoreg import registry
from cryoreg.contracts import Encoder
from cryoreg.encoders.specs import ResNet10Spec


def conv_count(inputs: int, outputs: int, kernel: int = 3) -> int:
    """Weights and biases of one convolution; with ``kernel`` 1, of a fully connected layer."""
    return (inputs * kernel**3 + 1) * outputs


CB3D_CONVOLUTIONS = [(1, 64), (64, 128), (128, 256), (256, 256), (256, 512), (512, 512)]


# Kernel, number of layers, channels of the first layer (each next one has one more), channels that come in.
YOPO_COLUMNS = [(3, 6, 4, 1), (4, 4, 3, 1), (5, 3, 2, 1), (7, 2, 1, 1)]


YOPO_COLUMNS += [(3, 9, 10, 21), (4, 6, 7, 21), (5, 4, 5, 21), (6, 3, 3, 21)]


def column_count(kernel: int, layers: int, first: int, inputs: int) -> int:
    """Convolutions from n to n + 1 channels after the first, in closed form, and two numbers per normalised channel."""
    rising = sum(n * (n + 1) * kernel**3 for n in range(first, first + layers - 1))
    channels = layers * first + layers * (layers - 1) // 2
    return inputs * first * kernel**3 + rising + 3 * channels


RESNET_BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


def normalised_count(inputs: int, outputs: int, kernel: int) -> int:
    """A convolution without bias, then batch normalisation."""
    return inputs * outputs * kernel**3 + 2 * outputs


def resnet_count(depth: int) -> int:
    """Stem, blocks, and a 1³ shortcut wherever a stage changes the channels (table 1 of He et al. 2016)."""
    expansion = 4 if depth == 50 else 1
    total, inputs = normalised_count(1, 64, 7), 64
    for width, blocks in zip((64, 128, 256, 512), RESNET_BLOCKS[depth], strict=True):
        outputs = expansion * width
        total += normalised_count(inputs, outputs, 1) if inputs != outputs else 0
        for _ in range(blocks):
            if expansion == 1:
                total += normalised_count(inputs, width, 3) + normalised_count(width, width, 3)
            else:
                total += normalised_count(inputs, width, 1) + normalised_count(width, width, 3)
                total += normalised_count(width, outputs, 1)
            inputs = outputs
    return total


COUNTS = {
    "cb3d": sum(conv_count(*pair) for pair in CB3D_CONVOLUTIONS)
    + conv_count(512 * 4 * 2 * 2, 4096, kernel=1)
    + conv_count(4096, 4096, kernel=1),
    "dsrf3d_v2": sum(conv_count(*pair) for pair in [(1, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128)]),
    "yopo": sum(column_count(*column) for column in YOPO_COLUMNS),
    **{f"resnet{depth}_3d": resnet_count(depth) for depth in RESNET_BLOCKS},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", COUNTS)
def test_number_of_parameters_follows_from_the_layers(name):
    encoder = built(name)
    assert sum(p.numel() for p in encoder.parameters()) == COUNTS[name]
    assert f"{COUNTS[name]:,} parameters" in registry.find_spec("encoder", name)[1].summary()


def textbook_convolutions(encoder: Encoder, x: Tensor, plan: list) -> Tensor:
    """Convolve and rectify for each "conv" in ``plan``, with the network's weights in order; pool for each tuple."""
    layers = iter([layer for layer in encoder.modules() if isinstance(layer, nn.Conv3d)])
    for step in plan:
        if step == "conv":
            layer = next(layers)
            x = F.relu(F.conv3d(x, layer.weight.double(), layer.bias.double(), padding="same"))
        else:
            x = F.max_pool3d(x, step, step)
    assert not list(layers)
    return x


def test_dsrf3d_equals_the_textbook_formulation():
    encoder = built("dsrf3d_v2")
    x = volumes(2, (9, 12, 14))
    pool = (2, 2, 2)
    plan = ["conv", "conv", pool, "conv", "conv", pool, "conv", "conv"]
    with torch.no_grad():
        expected = textbook_convolutions(encoder, x.double(), plan)
        assert encoder.forward_features(x).shape == (2, 128, 2, 3, 3)
        assert relative_error(encoder.forward_features(x), expected) < 1e-5
        assert relative_error(encoder(x), expected.flatten(2).mean(2)) < 1e-5


@pytest.mark.slow
def test_cb3d_equals_the_textbook_formulation_at_the_published_box():
    encoder = built("cb3d").eval()
    x = volumes(1)
    flat, pool = (1, 2, 2), (2, 2, 2)
    plan = ["conv", flat, "conv", pool, "conv", "conv", pool, "conv", "conv", pool]
    first, second = (layer for layer in encoder.modules() if isinstance(layer, nn.Linear))
    with torch.no_grad():
        expected = textbook_convolutions(encoder, x.double(), plan)
        assert encoder.forward_features(x).shape == (1, 512, 4, 2, 2)
        assert relative_error(encoder.forward_features(x), expected) < 1e-5
        for layer in (first, second):
            expected = F.relu(expected.flatten(1) @ layer.weight.double().T + layer.bias.double())
        assert relative_error(encoder(x), expected) < 1e-5


@pytest.mark.slow
def test_cb3d_drops_half_of_the_features_while_it_trains():
    encoder, x = built("cb3d").train(), volumes(1, (16, 16, 16))
    with torch.no_grad():
        trained, full = encoder(x), encoder.eval()(x)
    kept = (trained > 0).float().mean() / (full > 0).float().mean()
    assert 0.4 < kept < 0.6


def textbook_yopo(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """The network layer by layer, with batch normalisation written out for running means of 0 and variances of 1."""
    taps = []
    for stage in ("first", "second"):
        ends = []
        for column in range(4):
            y = x
            layer = 0
            while (name := f"{stage}.{column}.{layer}") + ".0.weight" in weights:
                y = F.conv3d(y, weights[f"{name}.0.weight"], weights[f"{name}.0.bias"])
                y = torch.where(y > 0, y, y.exp() - 1) / (1 + 1e-5) ** 0.5
                scale, shift = (weights[f"{name}.2.{part}"].view(-1, 1, 1, 1) for part in ("weight", "bias"))
                y = y * scale + shift
                taps.append(y.flatten(2).max(2).values)
                layer += 1
            ends.append(y)
        x = torch.cat(ends, dim=1) if stage == "first" else x
    return torch.cat(taps, dim=1)


@pytest.mark.slow
def test_yopo_equals_the_textbook_formulation():
    encoder = built("yopo").eval()
    for layer in encoder.modules():
        if isinstance(layer, nn.BatchNorm3d):
            nn.init.uniform_(layer.weight, -1, 1)
            nn.init.uniform_(layer.bias, -1, 1)
    x = volumes(2)
    with torch.no_grad():
        expected = textbook_yopo({name: value.double() for name, value in encoder.state_dict().items()}, x.double())
        assert relative_error(encoder(x), expected) < 1e-5


def test_yopo_has_the_published_layers():
    encoder = built("yopo")
    layers = [layer for layer in encoder.modules() if isinstance(layer, nn.Conv3d)]
    expected = [(kernel, first + n) for kernel, count, first, _ in YOPO_COLUMNS for n in range(count)]
    assert [(layer.kernel_size[0], layer.out_channels) for layer in layers] == expected
    assert sum(layer.out_channels for layer in layers) == 290
    assert encoder.forward_features(volumes(2)).shape == (2, 21, 20, 20, 20)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "features"), [("resnet10_3d", 512), ("resnet50_3d", 2048)])
def test_resnet_is_monais_network_with_its_own_pooling(name, features):
    encoder, x = built(name).eval(), volumes(2, (17, 20, 24))
    with torch.no_grad():
        assert encoder.forward_features(x).shape == (2, features, 2, 2, 2)
        assert relative_error(encoder(x), encoder.net(x)) < 1e-5


def test_resnet_with_a_strided_stem_has_a_map_of_half_the_size():
    encoder = ResNet10Spec(stem_stride=2).build()
    assert encoder.forward_features(volumes(2, (33, 48, 64))).shape == (2, 512, 2, 2, 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cb3d", "dsrf3d_v2", "yopo"])
def test_weights_start_kaiming_normal_for_the_fan_in_with_zero_biases(name):
    for layer in built(name).modules():
        if isinstance(layer, nn.Conv3d | nn.Linear) and layer.weight.numel() > 10_000:
            fan_in = layer.weight[0].numel()
            assert layer.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.05)
            assert not layer.bias.any()
