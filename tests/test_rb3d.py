"""RB3D against an independent formulation."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from support.encoding import built, relative_error, volumes
from torch import Tensor, nn

from cryoreg.contracts import Encoder
from cryoreg.encoders.specs import RB3DFCSpec, RB3DSpec


def textbook_rb3d(weights: dict[str, Tensor], x: Tensor, pool_kernel: int = 2) -> Tensor:
    """The network as the design describes it, one operation after the other, channels first."""

    def conv(x: Tensor, name: str) -> Tensor:
        kernel = weights[f"{name}.weight"]
        return F.conv3d(x, kernel, weights[f"{name}.bias"], padding="same")

    x = F.max_pool3d(F.relu(conv(x, "conv1")), pool_kernel, stride=2, padding=pool_kernel - 2)
    for block in range(4):
        name = f"bottleneck_layers.{block}"
        right = F.relu(conv(x, f"{name}.conv1"))
        left = F.relu(conv(x, f"{name}.conv2"))
        left = F.relu(conv(left, f"{name}.conv3"))
        left = conv(left, f"{name}.conv4")
        x = F.relu(torch.cat((left, right), dim=1))
    x = octant_means(x)
    if "hidden.weight" in weights:
        x = F.relu(x @ weights["hidden.weight"].T + weights["hidden.bias"])
    return x


def octant_means(x: Tensor) -> Tensor:
    """Mean over each of the 2³ parts of every channel; of an odd edge, both halves take the middle voxel."""
    halves = [(slice(0, -(-n // 2)), slice(n // 2, n)) for n in x.shape[2:]]
    parts = [x[:, :, d, h, w].mean((2, 3, 4)) for d in halves[0] for h in halves[1] for w in halves[2]]
    return torch.stack(parts, dim=2).flatten(1)


VARIANTS = pytest.mark.parametrize(
    "spec", [RB3DSpec(), RB3DFCSpec(hidden=64), RB3DSpec(pool_kernel=3, width=16)], ids=["lab", "fc", "pool3"]
)


FORMATS = pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d], ids=str)


def with_random_biases(spec: RB3DSpec) -> Encoder:
    """Build the network and give its biases, which start at zero, a part in the output."""
    torch.manual_seed(1)
    encoder = spec.build()
    for name, parameter in encoder.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.1)
    return encoder


@pytest.mark.slow
@pytest.mark.parametrize("edge", [4, 5, 28, 32])
@VARIANTS
@FORMATS
def test_rb3d_equals_the_textbook_formulation(spec, edge, memory_format):
    encoder = with_random_biases(spec)
    weights = {name: value.double() for name, value in encoder.state_dict().items()}
    x = volumes(3, (edge, edge, edge))
    with torch.no_grad():
        features = encoder.to(memory_format=memory_format)(x)
    assert features.shape == (3, encoder.num_features)
    assert relative_error(features, textbook_rb3d(weights, x.double(), spec.pool_kernel)) < 1e-5


@pytest.mark.parametrize("box", [(4, 4, 4), (5, 5, 5), (4, 7, 10), (12, 9, 8)], ids=str)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-12)], ids=str)
@VARIANTS
@FORMATS
def test_rb3d_has_the_textbook_gradients(spec, box, dtype, bound, memory_format):
    encoder = with_random_biases(spec).to(dtype)
    weights = {name: value.detach().clone().requires_grad_() for name, value in encoder.named_parameters()}
    encoder = encoder.to(memory_format=memory_format)
    x = volumes(5, box).to(dtype)

    expected = textbook_rb3d(weights, x, spec.pool_kernel)
    pull = torch.randn_like(expected)
    (expected * pull).sum().backward()
    (encoder(x) * pull).sum().backward()
    for name, parameter in encoder.named_parameters():
        assert relative_error(parameter.grad, weights[name].grad) < bound, name


def test_rb3d_has_the_published_number_of_parameters():
    assert sum(p.numel() for p in RB3DSpec().build().parameters()) == 115_904
    assert sum(p.numel() for p in built("rb3d_fc").parameters()) == 115_904 + 256 * 1024 + 1024
    assert (RB3DSpec().build().num_features, built("rb3d_fc").num_features) == (256, 1024)


def test_rb3d_names_its_parameters_as_the_lab_does():
    blocks = [f"bottleneck_layers.{n}.conv{m}" for n in range(4) for m in range(1, 5)]
    expected = {f"{layer}.{part}" for layer in ["conv1", *blocks] for part in ("weight", "bias")}
    assert set(RB3DSpec().build().state_dict()) == expected
    block = RB3DSpec().build().bottleneck_layers[0]
    kernels = [tuple(block.get_submodule(f"conv{m}").weight.shape) for m in range(1, 5)]
    assert kernels == [(16, 32, 3, 3, 3), (16, 32, 1, 1, 1), (32, 16, 3, 3, 3), (16, 32, 1, 1, 1)]


def test_rb3d_starts_kaiming_normal_with_zero_biases():
    torch.manual_seed(0)
    for layer in RB3DSpec(width=64, hidden=512).build().modules():
        if isinstance(layer, nn.Conv3d | nn.Linear):
            fan_out = layer.weight.shape[0] * layer.weight[0, 0].numel()
            assert layer.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
            assert not layer.bias.any()


def test_rb3d_feature_map_has_half_the_box():
    assert RB3DSpec().build().forward_features(volumes(2, (5, 8, 9))).shape == (2, 32, 2, 4, 4)
    assert RB3DSpec(pool_kernel=3).build().forward_features(volumes(2, (5, 8, 9))).shape == (2, 32, 3, 4, 5)


@pytest.mark.parametrize(("norm", "kind"), [("batch", nn.BatchNorm3d), ("group", nn.GroupNorm)])
def test_rb3d_normalises_after_every_convolution(norm, kind):
    torch.manual_seed(0)
    encoder = RB3DSpec(norm=norm).build()
    outputs = {}
    for name, layer in encoder.named_modules():
        if isinstance(layer, kind):
            layer.register_forward_hook(lambda _, __, out, name=name: outputs.update({name: out.detach().clone()}))
    encoder(5 + 3 * volumes(7, (8, 8, 8)))
    assert len(outputs) == 17
    for name, output in outputs.items():
        assert abs(output.mean()) < 1e-4, name
        assert output.std().item() == pytest.approx(1, abs=0.02), name


def test_rb3d_under_bfloat16_autocast_is_close_and_pools_to_float32():
    encoder = built("rb3d").to(memory_format=torch.channels_last_3d)
    x = volumes()
    with torch.autocast("cpu", torch.bfloat16):
        features = encoder(x)
    assert features.dtype == torch.float32
    assert relative_error(features, encoder(x)) < 2e-2


@pytest.mark.parametrize("layer", ["", ".conv1", ".conv2", ".conv3", ".conv4"])
def test_rb3d_layers_take_backward_hooks(layer):
    """Grad-CAM reads activations and gradients of a layer, which must not be overwritten in place."""
    encoder, seen = RB3DSpec().build(), []
    encoder.get_submodule("bottleneck_layers.3" + layer).register_full_backward_hook(
        lambda _, __, out: seen.append(out[0].shape)
    )
    encoder(volumes(2, (8, 8, 8))).sum().backward()
    assert [shape[2:] for shape in seen] == [(4, 4, 4)]
