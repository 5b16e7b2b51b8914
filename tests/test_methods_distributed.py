"""Two processes with half of the batch each against one with all of it, for every built-in method.

That the two keep one state is for the conformance kit to check.
"""

from __future__ import annotations

from collections.abc import Callable
from unittest import mock

import pytest
import torch
from support.methods import NAMES, STEPS, TinyViT, build, some_batch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cryoreg.contracts import Method
from cryoreg.testing.elsewhere import on_two_ranks

draw = torch.rand


def built(name: str) -> Method:
    """Return the method without BatchNorm, which sees one process's batch only.

    The encoder is smooth, so that rounding stays small: at a ReLU it can flip a whole gradient.
    """
    settings = {"queue_size": 18} if name in {"moco", "nrcl"} else {}
    torch.manual_seed(0)
    method = build(name, encoder=TinyViT(), **settings)
    for module in list(method.modules()):
        for child, layer in list(module.named_children()):
            if isinstance(layer, nn.BatchNorm1d):
                setattr(module, child, nn.Identity())
    return method


def part(batch: list[object], rows: slice) -> list[object]:
    views, *labels = batch
    return [[view[rows] for view in views], *(each[rows] for each in labels)]


def drawing_rows(rows: slice) -> Callable[..., Tensor]:
    """Return a `torch.rand` that draws for all six subtomograms and gives those of this process."""

    def rand(*size: int | torch.Size, device: torch.device | None = None) -> Tensor:
        first, *rest = size[0] if isinstance(size[0], torch.Size) else size
        return draw(6 * first // len(range(6)[rows]), *rest, device=device)[rows]

    return rand


def train(module: nn.Module, method: Method, name: str, rows: slice) -> dict[str, Tensor]:
    """Take some of the engine's steps on these rows of the batches; return the state that they leave."""
    trained = [p for p in method.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1e-3 if name == "vicreg" else 0.05, momentum=0.9)
    for step in range(STEPS // 2 + 1):
        torch.manual_seed(step)
        loss = module(*part(some_batch(name, step), rows)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        method.after_step(step, STEPS)
    return method.state_dict()


def train_all_on_rank(rank: int) -> dict[str, dict[str, Tensor]]:
    rows = slice(3 * rank, 3 * rank + 3)
    states = {}
    with mock.patch("torch.rand", drawing_rows(rows)):
        for name in NAMES:
            method = built(name)
            parallel = DistributedDataParallel(method, broadcast_buffers=False)
            states[name] = dict(train(parallel, method, name, rows))
    return states


@pytest.fixture(scope="module")
def ranks() -> list[dict[str, dict[str, Tensor]]]:
    return on_two_ranks(train_all_on_rank)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_two_processes_equal_one_with_the_whole_batch(ranks, name):
    """Without BatchNorm, all methods gather what their loss compares."""
    method = built(name)
    start = flat_encoder(method.state_dict())
    expected = train(method, method, name, slice(None))
    torch.testing.assert_close(ranks[0][name], dict(expected), rtol=1e-5, atol=1e-5)
    moved, apart = flat_encoder(expected) - start, flat_encoder(ranks[0][name]) - flat_encoder(expected)
    assert apart.norm() < 1e-3 * moved.norm()


def flat_encoder(state: dict[str, Tensor]) -> Tensor:
    return torch.cat([value.flatten() for key, value in state.items() if key.startswith("encoder.")])
