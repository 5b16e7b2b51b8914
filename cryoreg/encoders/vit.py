"""Vision transformers of 3D patches, after Dosovitskiy et al. 2021 (arXiv 2010.11929), for any grid of patches."""

from __future__ import annotations

from timm.models.vision_transformer import Block
from torch import Tensor, nn

from cryoreg.contracts import Encoder
from cryoreg.errors import DataError
from cryoreg.positions import position_embedding

Grid = tuple[int, int, int]
"""Patches along (D, H, W)."""


class ViT3D(Encoder):
    """Patch embedding, fixed positions, pre-norm transformer blocks, layer normalisation; mean over the patches.

    Features: ``width``. Any box whose edges are multiples of ``patch_size``, and smaller local views with the same
    weights, as the positions are computed for each grid. There is no class token: a masked autoencoder's loss would
    not train it, and the mean of the patches serves as well (He et al. 2022, arXiv 2111.06377). Linear layers start
    Xavier-uniform with zero biases, as there, and the patch embedding as if it were linear.
    """

    def __init__(self, width: int, depth: int, heads: int, *, patch_size: int) -> None:
        super().__init__()
        self.num_features = self.width = width
        self.patch_size = patch_size
        self.patch_embedding = nn.Conv3d(1, width, patch_size, stride=patch_size)
        self.blocks = nn.Sequential(*(Block(width, heads, qkv_bias=True) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.apply(_initialise)

    def grid(self, x: Tensor) -> Grid:
        """Return the number of patches along each axis of ``x`` (B, 1, D, H, W).

        Raises `DataError` where an edge is not a multiple of ``patch_size``.
        """
        depth, height, width = x.shape[2:]
        if any(edge % self.patch_size for edge in (depth, height, width)):
            raise DataError(
                f"a volume of {depth}×{height}×{width} voxels cannot be cut into patches of {self.patch_size}³; "
                f"its edges must be multiples of {self.patch_size}"
            )
        return depth // self.patch_size, height // self.patch_size, width // self.patch_size

    def embed(self, x: Tensor) -> Tensor:
        """Map ``x`` (B, 1, D, H, W) to tokens with their positions (B, N, width), W running fastest."""
        positions = position_embedding(self.grid(x), self.width, x.device)
        return self.patch_embedding(x).flatten(2).transpose(1, 2) + positions

    def encode(self, tokens: Tensor) -> Tensor:
        """Map any n of the tokens (B, n, width) to as many normalised outputs (B, n, width)."""
        return self.norm(self.blocks(tokens))

    def forward_features(self, x: Tensor) -> Tensor:
        """Map ``x`` (B, 1, D, H, W) to (B, width, D // p, H // p, W // p), p = ``patch_size``."""
        return self.encode(self.embed(x)).transpose(1, 2).unflatten(2, self.grid(x))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (B, 1, D, H, W) to features (B, width)."""
        return self.forward_features(x).mean((2, 3, 4))


def _initialise(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv3d | nn.Linear):
        nn.init.xavier_uniform_(layer.weight.flatten(1))
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
