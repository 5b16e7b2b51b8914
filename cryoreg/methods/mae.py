"""MAE: masked autoencoder (He et al. 2022, arXiv 2111.06377), in 3D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast, runtime_checkable

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from cryoreg.contracts import Encoder, Method, StepOutput
from cryoreg.errors import ConfigError, DataError
from cryoreg.positions import position_embedding

HEAD_DIM = 24


@runtime_checkable
class TokenEncoder(Protocol):
    """A ViT, as this method needs it."""

    patch_size: int
    width: int

    def grid(self, x: Tensor) -> tuple[int, int, int]:
        """Return how many tokens along each axis volumes (B, 1, D, H, W) have."""

    def embed(self, x: Tensor) -> Tensor:
        """Map volumes (B, 1, D, H, W) to tokens (B, N, width) with positions."""

    def encode(self, tokens: Tensor) -> Tensor:
        """Map some of the tokens (B, n, width) to encoded ones (B, n, width)."""


class MAE(Method):
    """Reconstruct the hidden patches of a subtomogram from the few that the encoder sees.

    Which patches are hidden is drawn from torch's global generator.
    """

    def __init__(self, encoder: Encoder, *, mask_ratio: float, decoder_dim: int, decoder_depth: int) -> None:
        super().__init__()
        if not isinstance(encoder, TokenEncoder):
            raise ConfigError("mae masks tokens and needs a ViT: --encoder vit_tiny_3d")
        self.encoder = encoder
        self.decoder = Decoder(encoder.width, decoder_dim, decoder_depth, encoder.patch_size**3)
        self.mask_ratio = mask_ratio

    def forward(self, views: Sequence[Tensor]) -> StepOutput:
        """Return the loss of one view (B, 1, D, H, W), in float32.

        The features (B, width) are the mean of the encoded visible tokens: not quite those of the whole subtomogram,
        but they collapse when those do.
        """
        [view] = views
        vit = cast(TokenEncoder, self.encoder)
        grid, tokens = vit.grid(view), vit.embed(view)
        order = torch.rand(tokens.shape[:2], device=view.device).argsort(1)
        visible, hidden = order.tensor_split([self._visible(order.shape[1])], dim=1)
        encoded = vit.encode(at(tokens, visible))
        with torch.autocast(view.device.type, enabled=False):
            predicted = self.decoder(encoded.float(), order, grid)
            targets = standardised(patches(view.float(), grid, vit.patch_size))
            loss = (at(predicted, hidden) - at(targets, hidden)).square().mean()
        return StepOutput(loss, encoded.detach().mean(1))

    def _visible(self, count: int) -> int:
        """Return how many of ``count`` patches are shown: at least one, and at least one is hidden."""
        if count < 2:
            raise DataError("mae hides some patches, but the subtomograms are one patch; lower encoder.patch_size")
        return min(max(1, round(count * (1 - self.mask_ratio))), count - 1)


class Decoder(nn.Module):
    """A small transformer from visible tokens, with a learnt one in the place of every hidden one, to patches."""

    def __init__(self, in_dim: int, dim: int, depth: int, out_dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(in_dim, dim)
        self.mask_token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.blocks = nn.Sequential(*(Block(dim, dim // HEAD_DIM, qkv_bias=True) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.predict = nn.Linear(dim, out_dim)

    def forward(self, visible: Tensor, order: Tensor, grid: Sequence[int]) -> Tensor:
        """Map the first tokens (B, n, in_dim) in ``order`` (B, N) to all patches (B, N, out_dim), in their places."""
        known = self.project(visible)
        missing = self.mask_token.expand(len(order), order.shape[1] - known.shape[1], -1)
        tokens = at(torch.cat([known, missing], dim=1), order.argsort(1))
        tokens = tokens + position_embedding(grid, tokens.shape[2], tokens.device, tokens.dtype)
        return self.predict(self.norm(self.blocks(tokens)))


def at(tokens: Tensor, places: Tensor) -> Tensor:
    """Return the tokens (B, n, C) of ``tokens`` (B, N, C) at ``places`` (B, n)."""
    return tokens.gather(1, places[:, :, None].expand(-1, -1, tokens.shape[2]))


def patches(x: Tensor, grid: Sequence[int], size: int) -> Tensor:
    """Cut volumes (B, 1, D, H, W) into patches (B, d·h·w, size³), in the order of the tokens."""
    depth, height, width = grid
    x = x.reshape(len(x), depth, size, height, size, width, size)
    return x.permute(0, 1, 3, 5, 2, 4, 6).reshape(len(x), depth * height * width, size**3)


def standardised(patches: Tensor) -> Tensor:
    """Bring each patch (..., size³) to mean 0 and variance 1."""
    return (patches - patches.mean(-1, keepdim=True)) / (patches.var(-1, keepdim=True) + 1e-6).sqrt()
