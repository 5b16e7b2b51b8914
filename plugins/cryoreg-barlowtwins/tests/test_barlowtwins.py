"""The loss against a slow re-implementation; what all methods promise is in test_conformance.py."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor, distributed, nn

from cryoreg.contracts import Encoder
from cryoreg_barlowtwins.method import BarlowTwins
from cryoreg_barlowtwins.specs import BarlowTwinsSpec

SMALL = {"hidden_dim": 16, "output_dim": 6}


class Flat(Encoder):
    """One convolution and the mean of its map."""

    num_features = 5

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(1, 5, 3)

    def forward_features(self, x: Tensor) -> Tensor:
        return self.convolution(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_features(x).mean((2, 3, 4))


def method(**parameters: object) -> BarlowTwins:
    torch.manual_seed(0)
    return BarlowTwinsSpec(**{**SMALL, **parameters}).build(Flat())


def two_views(batch: int = 7) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return list(torch.randn(2, batch, 1, 6, 6, 6, generator=generator))


def slow_loss(a: list[list[float]], b: list[list[float]], weight: float) -> float:
    """Equations 1 and 2 of the paper, one number at a time; batch-norm's epsilon of 1e-5 included."""

    def standardised(rows: list[list[float]]) -> list[list[float]]:
        columns = []
        for column in zip(*rows, strict=True):
            mean = sum(column) / len(column)
            sd = math.sqrt(sum((v - mean) ** 2 for v in column) / len(column) + 1e-5)
            columns.append([(v - mean) / sd for v in column])
        return columns

    loss = 0.0
    for i, one in enumerate(standardised(a)):
        for j, other in enumerate(standardised(b)):
            c = sum(p * q for p, q in zip(one, other, strict=True)) / len(one)
            loss += (1 - c) ** 2 if i == j else weight * c**2
    return loss


@pytest.mark.parametrize("weight", [0.0, 0.005, 0.3])
def test_loss_equals_the_papers_formula(weight: float) -> None:
    model, views = method(lambda_param=weight), two_views()
    with torch.no_grad():
        a, b = (model.head(model.encoder(view)).double().tolist() for view in views)
    assert model(views).loss.item() == pytest.approx(slow_loss(a, b, weight), rel=1e-5)


def test_loss_is_zero_for_equal_views_with_uncorrelated_features() -> None:
    """Orthogonal ±1 columns (a Hadamard matrix without its constant one) correlate only with themselves."""
    hadamard = torch.tensor([[1.0]])
    for _ in range(3):
        hadamard = torch.cat([torch.cat([hadamard, hadamard], 1), torch.cat([hadamard, -hadamard], 1)])
    columns = hadamard[:, 1:]
    assert method().criterion(columns, columns).item() == pytest.approx(0, abs=1e-6)
    assert method().criterion(columns, -columns).item() == pytest.approx(4 * columns.shape[1], rel=1e-4)


def _loss_on_a_rank(rank: int, folder: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    projections = torch.load(f"{folder}/projections.pt", weights_only=True)
    loss = method().criterion(*(z[rank] for z in projections))
    torch.save(loss, f"{folder}/loss{rank}.pt")
    distributed.destroy_process_group()


def test_the_projectors_last_layer_has_no_bias_as_it_would_cancel() -> None:
    model, views = method(), two_views()
    before = model(views).loss
    with torch.no_grad():
        shifted = [model.head(model.encoder(view)) + torch.arange(6.0) for view in views]
    assert model.criterion(*shifted).item() == pytest.approx(before.item(), rel=1e-4)
    assert model.head.layers[-1].bias is None


@pytest.mark.slow
def test_two_processes_share_one_cross_correlation(tmp_path: Path) -> None:
    """C is the mean over ranks of each rank's C: by hand, on halves that are standardised apart."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    generator = torch.Generator().manual_seed(2)
    a, b = torch.randn(2, 2, 8, 4, generator=generator)
    torch.save((a, b), tmp_path / "projections.pt")
    mp.spawn(_loss_on_a_rank, args=(str(tmp_path),), nprocs=2)
    losses = [torch.load(tmp_path / f"loss{rank}.pt", weights_only=True).item() for rank in (0, 1)]
    c = sum(_correlation(a[rank].double(), b[rank].double()) for rank in (0, 1)) / 2
    off = c - torch.diag(torch.diagonal(c))
    expected = ((1 - torch.diagonal(c)) ** 2).sum() + 0.005 * (off**2).sum()
    assert losses == pytest.approx([expected.item()] * 2, rel=1e-4)


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    return torch.stack([torch.stack([(_standard(p) * _standard(q)).mean() for q in b.T]) for p in a.T])


def _standard(v: Tensor) -> Tensor:
    return (v - v.mean()) / v.std(correction=0)
