"""RB3D against an independent formulation, and one contract for every registered encoder."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cryoreg import registry
from cryoreg.contracts import Encoder
from cryoreg.encoders.rb3d import RB3D
from cryoreg.encoders.specs import RB3DFCSpec, RB3DSpec, ResNet10Spec
from cryoreg.errors import DataError

ENCODERS = [component.name for component in registry.components("encoders") if component.builtin]

TOO_SMALL = ["cb3d", "dsrf3d_v2"]


def volumes(batch: int = 3, box: tuple[int, ...] = (32, 32, 32), seed: int = 0) -> Tensor:
    return torch.randn(batch, 1, *box, generator=torch.Generator().manual_seed(seed))


def built(name: str, seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    return registry.find_spec("encoder", name)[1]().build()


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


def relative_error(value: Tensor, reference: Tensor) -> float:
    return ((value.double() - reference.double()).norm() / reference.double().norm()).item()


VARIANTS = pytest.mark.parametrize(
    "spec", [RB3DSpec(), RB3DFCSpec(hidden=64), RB3DSpec(pool_kernel=3, width=16)], ids=["lab", "fc", "pool3"]
)
FORMATS = pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d], ids=str)


def with_random_biases(spec: RB3DSpec) -> RB3D:
    """Build the network and give its biases, which start at zero, a part in the output."""
    torch.manual_seed(1)
    encoder = spec.build()
    for name, parameter in encoder.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.1)
    return encoder


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
    assert sum(p.numel() for p in RB3D().parameters()) == 115_904
    assert sum(p.numel() for p in built("rb3d_fc").parameters()) == 115_904 + 256 * 1024 + 1024
    assert (RB3D().num_features, built("rb3d_fc").num_features) == (256, 1024)


def test_rb3d_names_its_parameters_as_the_lab_does():
    blocks = [f"bottleneck_layers.{n}.conv{m}" for n in range(4) for m in range(1, 5)]
    expected = {f"{layer}.{part}" for layer in ["conv1", *blocks] for part in ("weight", "bias")}
    assert set(RB3D().state_dict()) == expected
    kernels = [tuple(RB3D().get_submodule(f"bottleneck_layers.0.conv{m}").weight.shape) for m in range(1, 5)]
    assert kernels == [(16, 32, 3, 3, 3), (16, 32, 1, 1, 1), (32, 16, 3, 3, 3), (16, 32, 1, 1, 1)]


def test_rb3d_starts_kaiming_normal_with_zero_biases():
    torch.manual_seed(0)
    for layer in RB3D(width=64, hidden=512).modules():
        if isinstance(layer, nn.Conv3d | nn.Linear):
            fan_out = layer.weight.shape[0] * layer.weight[0, 0].numel()
            assert layer.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
            assert not layer.bias.any()


def test_rb3d_feature_map_has_half_the_box():
    assert RB3D().forward_features(volumes(2, (5, 8, 9))).shape == (2, 32, 2, 4, 4)
    assert RB3D(pool_kernel=3).forward_features(volumes(2, (5, 8, 9))).shape == (2, 32, 3, 4, 5)


@pytest.mark.parametrize(("norm", "kind"), [("batch", nn.BatchNorm3d), ("group", nn.GroupNorm)])
def test_rb3d_normalises_after_every_convolution(norm, kind):
    torch.manual_seed(0)
    encoder = RB3D(norm=norm)
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
    encoder, seen = RB3D(), []
    encoder.get_submodule("bottleneck_layers.3" + layer).register_full_backward_hook(
        lambda _, __, out: seen.append(out[0].shape)
    )
    encoder(volumes(2, (8, 8, 8))).sum().backward()
    assert [shape[2:] for shape in seen] == [(4, 4, 4)]


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


@pytest.mark.parametrize(("name", "features"), [("resnet10_3d", 512), ("resnet50_3d", 2048)])
def test_resnet_is_monais_network_with_its_own_pooling(name, features):
    encoder, x = built(name).eval(), volumes(2, (17, 20, 24))
    with torch.no_grad():
        assert encoder.forward_features(x).shape == (2, features, 2, 2, 2)
        assert relative_error(encoder(x), encoder.net(x)) < 1e-5


def test_resnet_with_a_strided_stem_has_a_map_of_half_the_size():
    encoder = ResNet10Spec(stem_stride=2).build()
    assert encoder.forward_features(volumes(2, (33, 48, 64))).shape == (2, 512, 2, 2, 2)


@pytest.mark.parametrize("name", ["cb3d", "dsrf3d_v2", "yopo"])
def test_weights_start_kaiming_normal_for_the_fan_in_with_zero_biases(name):
    for layer in built(name).modules():
        if isinstance(layer, nn.Conv3d | nn.Linear) and layer.weight.numel() > 10_000:
            fan_in = layer.weight[0].numel()
            assert layer.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.05)
            assert not layer.bias.any()


@pytest.mark.parametrize("name", ENCODERS)
def test_encoder_refuses_boxes_below_its_minimum(name):
    spec = registry.find_spec("encoder", name)[1]()
    smallest = spec.min_box
    limit = f"{'exactly' if spec.exact_box else 'at least'} {smallest} voxels"
    spec.check_box((smallest, smallest, smallest))
    refused = [(smallest, smallest - 1, smallest)]
    larger = (smallest, smallest, smallest + 3)
    if spec.exact_box:
        refused.append(larger)
    else:
        spec.check_box(larger)
    for box in refused:
        with pytest.raises(DataError, match=f"{limit}.*{'×'.join(map(str, box))}") as error:
            spec.check_box(box)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ENCODERS)
def test_encoder_takes_its_smallest_box(name):
    smallest = registry.find_spec("encoder", name)[1].min_box
    encoder = built(name).eval()
    x = volumes(2, (smallest,) * 3)
    features = encoder(x)
    assert features.shape == (2, encoder.num_features)
    assert features.isfinite().all()
    assert min(encoder.forward_features(x).shape) > 0


@pytest.mark.parametrize("name", TOO_SMALL)
def test_no_smaller_box_passes_through_the_network(name):
    smallest = registry.find_spec("encoder", name)[1].min_box
    with torch.no_grad(), pytest.raises(RuntimeError):
        built(name).eval()(volumes(2, (smallest - 1,) * 3))


@pytest.mark.parametrize("name", ENCODERS)
def test_encoder_keeps_the_contract(name):
    encoder = built(name).eval()
    x = volumes()
    features = encoder(x)
    assert isinstance(encoder, Encoder)
    assert features.shape == (3, encoder.num_features)
    assert encoder.forward_features(x).shape[0] == 3
    assert encoder.forward_features(x).ndim == 5
    assert features.isfinite().all()
    assert torch.equal(encoder(x), features)
    for row in range(3):
        assert relative_error(encoder(x[row : row + 1])[0], features[row]) < 1e-5


@pytest.mark.parametrize("name", ENCODERS)
def test_encoder_trains_every_parameter(name):
    encoder = built(name).train()
    encoder(volumes(4)).square().sum().backward()
    idle = [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle


@pytest.mark.parametrize("name", ENCODERS)
def test_encoder_state_round_trip(name):
    encoder, other = built(name, seed=0).eval(), built(name, seed=1).eval()
    x = volumes()
    assert not torch.equal(encoder(x), other(x))
    other.load_state_dict(encoder.state_dict())
    assert torch.equal(encoder(x), other(x))


@pytest.mark.parametrize("name", ENCODERS)
def test_encoder_tells_subtomograms_apart(name):
    """Torch's default initialisation leaves features ten times closer together: nothing trains from there."""
    features = built(name).eval()(volumes(8))
    assert (features.std(dim=0).norm() / features.norm(dim=1).mean()).item() > 4e-3
