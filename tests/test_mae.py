"""MAE: patches and masks, the loss in loops, and the encoders that it refuses."""

from __future__ import annotations

import math

import pytest
import torch
from support.methods import TinyViT, build, output_of, some_batch, tiny_encoder
from torch import Tensor

from cryoreg import registry
from cryoreg.errors import ConfigError, DataError
from cryoreg.methods.mae import patches
from cryoreg.methods.specs import MAESpec
from cryoreg.positions import position_embedding


def volumes(*box: int) -> Tensor:
    return torch.randn(2, 1, *box, generator=torch.Generator().manual_seed(0))


def drawn_order(seed: int = 0) -> list[list[int]]:
    """Return the order of the patches that `output_of` with this seed makes the method draw."""
    torch.manual_seed(seed)
    return torch.rand(6, 64).argsort(1).tolist()


def test_patches_are_cut_with_w_running_fastest():
    x = volumes(4, 6, 8)
    cut, index = patches(x, (2, 3, 4), 2), 0
    for z in range(2):
        for y in range(3):
            for w in range(4):
                block = x[:, 0, 2 * z : 2 * z + 2, 2 * y : 2 * y + 2, 2 * w : 2 * w + 2]
                assert torch.equal(cut[:, index], block.reshape(2, 8))
                index += 1


def test_loss_equals_the_formula():
    """Mean over hidden patches of the mean square error, each target brought to mean 0 and variance 1."""
    method, [[view]] = build("mae"), some_batch("mae")
    decoded: list[Tensor] = []
    method.decoder.register_forward_hook(lambda _, __, out: decoded.append(out))
    loss = output_of(method, [[view]]).loss.item()
    errors = []
    for i, order in enumerate(drawn_order()):
        for patch in order[16:]:
            z, y, w = patch // 16 * 2, patch // 4 % 4 * 2, patch % 4 * 2
            target = view[i, 0, z : z + 2, y : y + 2, w : w + 2].flatten().tolist()
            mean = sum(target) / 8
            sd = math.sqrt(sum((t - mean) ** 2 for t in target) / 7 + 1e-6)
            guess = decoded[0][i, patch].tolist()
            errors.append(sum((g - (t - mean) / sd) ** 2 for g, t in zip(guess, target, strict=True)) / 8)
    assert len(errors) == 6 * 48
    assert loss == pytest.approx(sum(errors) / len(errors), rel=1e-5)


def test_predictions_depend_on_visible_patches_only():
    method, [[view]] = build("mae"), some_batch("mae")
    hidden = torch.zeros(6, 64)
    for i, order in enumerate(drawn_order()):
        hidden[i, order[16:]] = 1
    mask = hidden.reshape(6, 1, 4, 4, 4).repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)
    decoded: list[Tensor] = []
    method.decoder.register_forward_hook(lambda _, __, out: decoded.append(out))
    for x in (view, view + 5 * mask, view + 5 * (1 - mask)):
        output_of(method, [[x]])
    assert torch.equal(decoded[0], decoded[1])
    assert not torch.allclose(decoded[0], decoded[2])


def test_features_are_the_mean_of_the_encoded_visible_tokens():
    method, [[view]] = build("mae"), some_batch("mae")
    visible = torch.tensor(drawn_order())[:, :16]
    tokens = torch.stack([each[places] for each, places in zip(method.encoder.embed(view), visible, strict=True)])
    torch.testing.assert_close(output_of(method, [[view]]).features, method.encoder.encode(tokens).mean(1).detach())


def test_tokens_return_to_their_places():
    """With nothing in the decoder but its projection, the prediction at a visible place is that of its token."""
    method = build("mae")
    decoder = method.decoder
    decoder.blocks, decoder.norm = torch.nn.Sequential(), torch.nn.Identity()
    order = torch.tensor(drawn_order())
    tokens = torch.randn(6, 16, 12)
    out = decoder(tokens, order, (4, 4, 4))
    places = position_embedding((4, 4, 4), 24)[0]
    for i in range(6):
        for n in range(64):
            known = decoder.project(tokens[i, n]) if n < 16 else decoder.mask_token[0, 0]
            torch.testing.assert_close(out[i, order[i, n]], decoder.predict(known + places[order[i, n]]))


@pytest.mark.parametrize(("ratio", "visible"), [(0.75, 16), (0.5, 32), (0.999, 1), (0.001, 63)])
def test_mask_ratio_says_how_many_are_hidden(ratio, visible):
    method, seen = build("mae", mask_ratio=ratio), []
    method.encoder.layer.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape))
    output_of(method, some_batch("mae"))
    assert seen == [(6, visible, 12)]


def test_masks_differ_between_subtomograms_and_steps():
    assert len({tuple(order[:16]) for seed in range(2) for order in drawn_order(seed)}) == 12
    method, batch = build("mae"), some_batch("mae")
    assert output_of(method, batch, 0).loss == output_of(method, batch, 0).loss != output_of(method, batch, 1).loss


@pytest.mark.parametrize("width", [24, 14])
def test_positions_are_the_sines_and_cosines_of_the_formula(width):
    places, count = position_embedding((2, 3, 4), width), width // 6
    index = (1 * 3 + 2) * 4 + 3
    expected = []
    for coordinate in (1, 2, 3):
        angles = [coordinate / 10_000 ** (i / count) for i in range(count)]
        expected += [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]
    expected += [0.0] * (width - len(expected))
    assert places.shape == (1, 24, width)
    assert places[0, index].tolist() == pytest.approx(expected, abs=1e-6)
    assert len(places[0].unique(dim=0)) == 24


def test_an_encoder_without_tokens_is_one_clear_line():
    with pytest.raises(ConfigError, match=r"^mae masks tokens and needs a ViT: --encoder vit_tiny_3d$"):
        MAESpec().build(tiny_encoder("simclr"))


def test_a_box_of_one_patch_is_one_clear_line():
    with pytest.raises(DataError, match=r"are one patch; lower encoder.patch_size"):
        MAESpec().build(TinyViT())([volumes(2, 2, 2)])


def test_trains_the_registered_vit():
    torch.manual_seed(0)
    vit = registry.find("encoders", "vit_tiny_3d").spec()(patch_size=4).build()
    method = MAESpec().build(vit)
    x = volumes(8, 8, 12)
    bright = torch.zeros(1, 1, 8, 8, 12)
    bright[:, :, 4:, :4, 8:] = 1  # the patch (1, 0, 2) of a grid (2, 2, 3)
    changed = (vit.embed(x + bright) - vit.embed(x)).abs().amax((0, 2)) > 1e-4
    assert changed.nonzero().flatten().tolist() == [(1 * 2 + 0) * 3 + 2]
    method([x]).loss.backward()
    assert all(p.grad is not None for p in method.parameters())
