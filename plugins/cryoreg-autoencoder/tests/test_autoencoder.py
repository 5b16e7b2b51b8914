"""The loss and the decoder against slow re-implementations, and that a code comes to tell volumes apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from cryoreg.contracts import Encoder
from cryoreg_autoencoder.method import SEED, Autoencoder, Decoder, resampled
from cryoreg_autoencoder.specs import AutoencoderSpec


class Flat(Encoder):
    """One convolution and the mean of its map, in eight parts."""

    num_features = 40

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(1, 5, 3, padding=1)

    def forward_features(self, x: Tensor) -> Tensor:
        return self.convolution(x).relu()

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool3d(self.forward_features(x), 2).flatten(1)


def method(**parameters: object) -> Autoencoder:
    torch.manual_seed(0)
    return AutoencoderSpec(**{"code_dim": 6, "width": 4, **parameters}).build(Flat())


def blobs(count: int = 8, edge: int = 8) -> Tensor:
    """Return one bright ball each (B, 1, D, H, W), at places that differ, of mean 0 and variance 1."""
    generator = torch.Generator().manual_seed(1)
    grid = torch.stack(torch.meshgrid(*[torch.arange(edge)] * 3, indexing="ij"), dim=-1)
    centres = edge * (0.2 + 0.6 * torch.rand(count, 1, 1, 1, 3, generator=generator))
    x = torch.exp(-(grid - centres).square().sum(-1) / 4)[:, None]
    return (x - x.mean((2, 3, 4), keepdim=True)) / x.std((2, 3, 4), keepdim=True)


@pytest.mark.parametrize("sparsity", [0.0, 1e-4, 0.5])
def test_loss_is_the_mean_squared_error_and_the_size_of_the_codes(sparsity: float) -> None:
    model, x = method(sparsity=sparsity), blobs(3)
    with torch.no_grad():
        loss, again, codes = model([x]).loss.item(), model.reconstruct(x), model.code(model.encoder(x))
    errors = [(a - b) ** 2 for a, b in zip(x.flatten().tolist(), again.flatten().tolist(), strict=True)]
    sizes = [sum(abs(c) for c in code) for code in codes.tolist()]
    assert loss == pytest.approx(sum(errors) / len(errors) + sparsity * sum(sizes) / 3, rel=1e-5)
    assert codes.min() >= 0
    assert codes.max() > 0


def slow_resampled(volume: np.ndarray, box: tuple[int, ...]) -> np.ndarray:
    """Interpolate linearly between the centres of voxels; beyond the outermost ones, these are repeated."""
    places = [(np.arange(new) + 0.5) * old / new - 0.5 for new, old in zip(box, volume.shape, strict=True)]
    return ndimage.map_coordinates(volume, np.meshgrid(*places, indexing="ij"), order=1, mode="nearest")


def slow_convolved(volumes: np.ndarray, layer: nn.Conv3d) -> np.ndarray:
    weights = layer.weight.detach().double().numpy()
    sums = [
        sum(ndimage.correlate(v, w, mode="constant") for v, w in zip(volumes, filters, strict=True))
        for filters in weights
    ]
    return np.stack(sums) + layer.bias.detach().double().numpy()[:, None, None, None]


@pytest.mark.parametrize("box", [(16, 16, 16), (9, 6, 13)])
def test_decoder_equals_one_made_of_scipys_functions(box: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    decoder, code = Decoder(3, 2), torch.rand(1, 3)
    dense = decoder.seed[0]
    seed = dense.weight.detach().double().numpy() @ code[0].double().numpy() + dense.bias.detach().double().numpy()
    x = np.maximum(seed, 0).reshape(2, SEED, SEED, SEED)
    for divisor, layer in ((4, None), (2, decoder.coarse[0]), (1, decoder.fine[0])):
        x = np.stack([slow_resampled(each, tuple(-(-edge // divisor) for edge in box)) for each in x])
        x = x if layer is None else np.maximum(slow_convolved(x, layer), 0)
    with torch.no_grad():
        result = decoder(code, box)
    assert result.shape == (1, 1, *box)
    np.testing.assert_allclose(result[0].numpy(), slow_convolved(x, decoder.density), atol=1e-5)


def test_a_box_of_16_begins_without_resampling() -> None:
    seed = torch.randn(1, 2, SEED, SEED, SEED)
    assert torch.equal(resampled(seed, [16 // 4] * 3), seed)


@pytest.mark.slow
def test_reconstruction_error_falls_far_below_that_of_the_mean_volume() -> None:
    x = blobs()
    baseline = (x - x.mean(0)).square().mean().item()
    model = method(code_dim=8, width=8)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        model([x]).loss.backward()
        optimizer.step()
    with torch.no_grad():
        error = (model.reconstruct(x) - x).square().mean().item()
    assert error < 0.5 * baseline


@pytest.mark.slow
def test_sparsity_makes_codes_smaller() -> None:
    x, sizes = blobs(), []
    for sparsity in (0.0, 0.1):
        model = method(sparsity=sparsity)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(40):
            optimizer.zero_grad()
            model([x]).loss.backward()
            optimizer.step()
        sizes.append(model.code(model.encoder(x)).sum(1).mean().item())
    assert sizes[1] < 0.5 * sizes[0]


def test_loss_under_autocast_is_float32_and_close() -> None:
    model, x = method(), blobs(4, 16)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model([x]).loss
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(model([x]).loss.item(), rel=0.02)
