"""Built-in methods around a tiny encoder, with batches that fit it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cryoreg import registry
from cryoreg.contracts import Encoder, Method, StepOutput
from cryoreg.encoders.specs import RB3DSpec

NAMES = [component.name for component in registry.components("methods") if component.builtin]

STEPS = 6
LABELS = [0, -1, 1, 0, -1, 1]

SMALL: dict[str, dict[str, object]] = {
    "dino": {"n_prototypes": 16, "warmup_steps": 4, "freeze_steps": 2, "local_views": 2},
    "mae": {"decoder_dim": 24, "decoder_depth": 1},
    "swav": {"n_prototypes": 8, "queue_size": 18, "queue_start": 2, "freeze_steps": 2, "local_views": 2},
}
"""Settings under which a run of six steps meets all that the methods do at certain steps."""


class TinyViT(Encoder):
    """What `mae` needs of an encoder: patches of 2³, one layer, and a mean."""

    patch_size, width, num_features = 2, 12, 12

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv3d(1, 12, 2, stride=2)
        self.layer = nn.TransformerEncoderLayer(12, 2, 24, dropout=0, activation="gelu", batch_first=True)
        # The key's bias cancels in the softmax.
        self.layer.self_attn.in_proj_bias = None

    def grid(self, x: Tensor) -> tuple[int, int, int]:
        return tuple(edge // 2 for edge in x.shape[2:])

    def embed(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).mT
        return tokens + torch.linspace(-1, 1, tokens.shape[1])[:, None]

    def encode(self, tokens: Tensor) -> Tensor:
        return self.layer(tokens)

    def forward_features(self, x: Tensor) -> Tensor:
        return self.encode(self.embed(x)).mT.unflatten(2, self.grid(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_features(x).mean((2, 3, 4))


def tiny_encoder(name: str) -> Encoder:
    """Return an encoder that the method takes."""
    return TinyViT() if name == "mae" else RB3DSpec(width=4).build()


def build(name: str, seed: int = 0, encoder: Encoder | None = None, **settings: object) -> Method:
    """Return a method with small settings."""
    torch.manual_seed(seed)
    spec = registry.find("methods", name).spec()(**{**SMALL.get(name, {}), **settings})
    return spec.build(encoder or tiny_encoder(name))


def some_batch(name: str, step: int = 0) -> list[object]:
    """Return six subtomograms' views as noisy copies, local ones as corners, and labels where the method uses them."""
    generator = torch.Generator().manual_seed(step)
    spec = registry.find("methods", name).spec()
    plan = spec(**SMALL.get(name, {})).view_plan()
    volumes = torch.randn(6, 1, 8, 8, 8, generator=generator)
    views = [volumes + 0.3 * torch.randn(volumes.shape, generator=generator) for _ in range(plan.whole + plan.local)]
    views[plan.whole :] = [view[..., :4, :4, :4] for view in views[plan.whole :]]
    return [views, torch.tensor(LABELS)] if spec.uses_labels else [views]


def output_of(method: nn.Module, batch: Sequence[object], seed: int = 0) -> StepOutput:
    """Call the method as the engine does: after seeding what it draws from torch's global generator."""
    torch.manual_seed(seed)
    return method(*batch)


def adam(method: Method) -> torch.optim.Optimizer:
    """Return an optimizer of all that is trained."""
    return torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr=1e-3)


def descend(method: nn.Module, optimizer: torch.optim.Optimizer, batch: Sequence[object], seed: int = 0) -> float:
    """Take a step without `after_step`; return the loss."""
    loss = output_of(method, batch, seed).loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def train(method: Method, optimizer: torch.optim.Optimizer, name: str, steps: Sequence[int]) -> list[float]:
    """Take some steps of a run of six; return their losses."""
    losses = []
    for step in steps:
        losses.append(descend(method, optimizer, some_batch(name, step), seed=step))
        method.after_step(step, STEPS)
    return losses


def unit(vectors: Tensor) -> Tensor:
    """Return vectors (..., dim) of unit length, float64."""
    return F.normalize(vectors.detach().double(), dim=-1)
