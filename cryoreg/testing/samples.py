"""What the checks feed to components: volumes, small encoders, views."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cryoreg.contracts import Encoder, Method
from cryoreg.specs import EncoderSpec, MethodSpec
from cryoreg.training.views import local_box

BATCH = 8
EDGE = 16
"""Voxels along each axis of the subtomograms that methods and augmentations get."""
LABELS = [0, -1, 1, 0, -1, 1, 0, 1]


def volumes(batch: int = BATCH, box: tuple[int, int, int] = (EDGE,) * 3, seed: int = 0) -> Tensor:
    """Return noise (B, 1, D, H, W) of mean 0 and standard deviation 1."""
    return torch.randn(batch, 1, *box, generator=torch.Generator().manual_seed(seed))


def relative_error(value: Tensor, reference: Tensor) -> float:
    """Return how far ``value`` is from ``reference``, as a fraction of its length."""
    difference = (value.double() - reference.double()).norm()
    return float(difference / reference.double().norm().clamp_min(1e-30))


class TinyEncoder(Encoder):
    """Patches of 4³, one transformer layer, and a mean: smooth, deterministic, and what masked methods need, too."""

    patch_size, width, num_features = 4, 12, 12

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv3d(1, self.width, self.patch_size, stride=self.patch_size)
        self.layer = nn.TransformerEncoderLayer(self.width, 2, 24, dropout=0, activation="gelu", batch_first=True)
        self.layer.self_attn.register_parameter(
            "in_proj_bias", None
        )  # the key's bias cancels in the softmax: it would be idle

    def grid(self, x: Tensor) -> tuple[int, int, int]:
        """Return how many patches (B, 1, D, H, W) has along each axis."""
        depth, height, width = (edge // self.patch_size for edge in x.shape[2:])
        return depth, height, width

    def embed(self, x: Tensor) -> Tensor:
        """Return the tokens (B, patches, width) of (B, 1, D, H, W), with their positions."""
        tokens = self.patches(x).flatten(2).mT
        return tokens + torch.linspace(-1, 1, tokens.shape[1], device=x.device)[:, None]

    def encode(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, n, width) to tokens."""
        return self.layer(tokens)

    def forward_features(self, x: Tensor) -> Tensor:
        """Map (B, 1, D, H, W) to (B, 12, d, h, w).

        The last layer is no linear one, whose bias would be idle where a head begins with BatchNorm.
        """
        return nn.functional.gelu(self.encode(self.embed(x))).mT.unflatten(2, self.grid(x))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 1, D, H, W) to (B, 12)."""
        return self.forward_features(x).mean((2, 3, 4))


class TinyEncoderSpec(EncoderSpec):
    """What local views are cut for."""

    def box_step(self) -> int:
        """Return the edge of a patch."""
        return TinyEncoder.patch_size

    def build(self) -> TinyEncoder:
        """Return the network."""
        return TinyEncoder()


class BlindEncoder(TinyEncoder):
    """A collapsed encoder: all subtomograms look alike to it. Nothing in it is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.requires_grad_(False)

    def embed(self, x: Tensor) -> Tensor:
        """Return the tokens of an empty volume."""
        return super().embed(torch.zeros_like(x))


def method_of(spec: MethodSpec, encoder: type[Encoder] = TinyEncoder, seed: int = 0) -> Method:
    """Return the method around a small encoder, the weights of both drawn from a seed."""
    torch.manual_seed(seed)
    return spec.build(encoder())


def batch_of(spec: MethodSpec, step: int = 0, rows: slice = slice(None)) -> list[object]:
    """Return what ``Method.forward`` takes: noisy copies of a batch, clean ones, corners as local views; labels."""
    plan, generator = spec.view_plan(), torch.Generator().manual_seed(step)
    clean = volumes(seed=step)
    views = [clean + 0.3 * torch.randn(clean.shape, generator=generator) for _ in range(plan.whole + plan.local)]
    views[plan.whole - plan.clean : plan.whole] = [clean] * plan.clean
    if plan.local:
        d, h, w = local_box(plan, (EDGE,) * 3, TinyEncoderSpec())
        views[plan.whole :] = [view[..., :d, :h, :w] for view in views[plan.whole :]]
    labels = [torch.tensor(LABELS)[rows]] if spec.uses_labels else []
    return [[view[rows] for view in views], *labels]
