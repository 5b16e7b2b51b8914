"""The 3D vision transformers against a slow re-implementation; positions against their formula."""

from __future__ import annotations

import math

import pytest
import torch
from support.encoding import built, default_spec, relative_error, volumes
from torch import Tensor

from cryoreg.encoders.specs import ViTTinySpec
from cryoreg.encoders.vit import ViT3D, position_embedding
from cryoreg.errors import DataError

SIZES = {"vit_tiny_3d": (192, 12, 3), "vit_small_3d": (384, 12, 6)}


def small_vit(patch_size: int = 4) -> ViT3D:
    """Return a network in which every parameter has a part in the output."""
    torch.manual_seed(0)
    vit = ViT3D(width=24, depth=2, heads=3, patch_size=patch_size).double().eval()
    for parameter in vit.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, 1, 0.2)
    return vit


def parameter_count(width: int, depth: int) -> int:
    """Patch embedding; per block query, key, value, projection, two wide layers and two norms; the last norm."""
    block = (width + 1) * 3 * width + (width + 1) * width + (width + 1) * 4 * width + (4 * width + 1) * width
    return (8**3 + 1) * width + depth * (block + 4 * width) + 2 * width


@pytest.mark.parametrize("name", SIZES)
def test_number_of_parameters_follows_from_the_layers(name):
    width, depth, heads = SIZES[name]
    encoder = built(name)
    count = parameter_count(width, depth)
    assert sum(p.numel() for p in encoder.parameters()) == count
    assert f"{count:,} parameters" in default_spec(name).summary()
    assert (encoder.width, encoder.num_features, encoder.patch_size) == (width, width, 8)
    assert {block.attn.num_heads for block in encoder.blocks} == {heads}


def wave(place: int, channel: int, count: int) -> float:
    """One of an axis's channels: ``count`` sines, then as many cosines, of falling frequency."""
    angle = place / 10_000 ** ((channel % count) / count)
    return math.sin(angle) if channel < count else math.cos(angle)


@pytest.mark.parametrize("width", [24, 28])
def test_positions_follow_the_formula(width):
    count = width // 6
    expected = [
        [wave(place, c, count) for place in (z, y, x) for c in range(2 * count)] + [0.0] * (width % 6)
        for z in range(2)
        for y in range(3)
        for x in range(4)
    ]
    positions = position_embedding((2, 3, 4), width)
    assert positions.shape == (1, 24, width)
    torch.testing.assert_close(positions[0], torch.tensor(expected), atol=1e-6, rtol=0)


def normalised(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight + bias


def textbook_attention(weights: dict[str, Tensor], x: Tensor, heads: int) -> Tensor:
    """Attention of one sample (N, width), head by head."""
    projected = x @ weights["attn.qkv.weight"].T + weights["attn.qkv.bias"]
    queries, keys, values = projected.split(x.shape[1], dim=1)
    outputs = []
    for head in range(heads):
        part = slice(head * x.shape[1] // heads, (head + 1) * x.shape[1] // heads)
        scores = queries[:, part] @ keys[:, part].T / (x.shape[1] / heads) ** 0.5
        shares = scores.exp() / scores.exp().sum(1, keepdim=True)
        outputs.append(shares @ values[:, part])
    return torch.cat(outputs, dim=1) @ weights["attn.proj.weight"].T + weights["attn.proj.bias"]


def textbook_block(weights: dict[str, Tensor], x: Tensor, heads: int) -> Tensor:
    x = x + textbook_attention(weights, normalised(x, weights["norm1.weight"], weights["norm1.bias"]), heads)
    hidden = normalised(x, weights["norm2.weight"], weights["norm2.bias"])
    hidden = hidden @ weights["mlp.fc1.weight"].T + weights["mlp.fc1.bias"]
    hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
    return x + hidden @ weights["mlp.fc2.weight"].T + weights["mlp.fc2.bias"]


def test_encode_equals_the_textbook_transformer():
    vit = small_vit()
    tokens = torch.randn(2, 7, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for sample, output in zip(tokens, vit.encode(tokens), strict=True):
            for block in vit.blocks:
                sample = textbook_block(dict(block.named_parameters()), sample, heads=3)
            assert relative_error(output, normalised(sample, vit.norm.weight, vit.norm.bias)) < 1e-12


def test_embed_weighs_the_voxels_of_each_patch_and_adds_its_position():
    vit, x = small_vit(), volumes(2, (8, 4, 12)).double()
    assert vit.grid(x) == (2, 1, 3)
    places = [(z, y, x) for z in range(2) for y in range(1) for x in range(3)]
    patches = [x[:, 0, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4, 4 * k : 4 * k + 4].flatten(1) for i, j, k in places]
    weight = vit.patch_embedding.weight.flatten(1)
    expected = torch.stack(patches, dim=1) @ weight.T + vit.patch_embedding.bias
    expected = expected + position_embedding((2, 1, 3), 24).double()
    assert relative_error(vit.embed(x), expected) < 1e-6


def test_feature_map_is_the_grid_of_tokens_and_features_their_mean():
    vit, x = small_vit(), volumes(2, (8, 4, 12)).double()
    tokens, features = vit.encode(vit.embed(x)), vit.forward_features(x)
    assert features.shape == (2, 24, 2, 1, 3)
    torch.testing.assert_close(features[:, :, 1, 0, 2], tokens[:, 5])
    torch.testing.assert_close(vit(x), features.mean((2, 3, 4)))


def test_encode_takes_any_subset_of_tokens_in_any_order():
    """Positions are in the tokens, so that a masked autoencoder may leave tokens out and shuffle the others."""
    vit = small_vit()
    tokens = vit.embed(volumes(2, (8, 8, 8)).double())
    order = torch.tensor([5, 0, 3])
    torch.testing.assert_close(vit.encode(tokens[:, order]), vit.encode(tokens[:, order.sort().values])[:, [2, 0, 1]])


@pytest.mark.slow
@pytest.mark.parametrize("edge", [8, 16, 24, 32])
def test_one_network_takes_whole_boxes_and_smaller_views(edge):
    encoder = built("vit_tiny_3d")
    assert encoder.forward_features(volumes(2, (edge,) * 3)).shape == (2, 192, *(edge // 8,) * 3)


def test_patch_size_is_a_parameter():
    spec = ViTTinySpec(patch_size=7)
    spec.check_box((28, 28, 28))
    assert spec.build().forward_features(volumes(1, (28, 28, 28))).shape == (1, 192, 4, 4, 4)
    with pytest.raises(DataError, match="multiples of 7 voxels"):
        spec.check_box((32, 32, 32))


def test_a_volume_that_does_not_divide_into_patches_is_one_clear_line():
    with pytest.raises(DataError, match=r"8×8×9 voxels cannot be cut into patches of 4³"):
        small_vit()(volumes(1, (8, 8, 9)).double())
