"""Two processes with half of the batch each against one with all of it, for every built-in method."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from methods import NAMES, STEPS, TinyViT, build, some_batch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cryoreg.contracts import Method

RUNS = [(name, with_norms) for name in NAMES for with_norms in (True, False)]
draw = torch.rand


def built(name: str, with_norms: bool) -> Method:
    """Return the method, without BatchNorm where it is to be compared with one process: it sees one rank's batch.

    The encoder is smooth, so that rounding stays small: at a ReLU it can flip a whole gradient.
    """
    settings = {"queue_size": 18} if name in {"moco", "nrcl"} else {}
    torch.manual_seed(0)
    method = build(name, encoder=TinyViT(), **settings)
    if not with_norms:
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


def train_all_on_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    rows = slice(3 * rank, 3 * rank + 3)
    torch.rand = drawing_rows(rows)
    states = {}
    for name, with_norms in RUNS:
        method = built(name, with_norms)
        parallel = DistributedDataParallel(method, broadcast_buffers=False)
        states[name, with_norms] = train(parallel, method, name, rows)
    torch.save(states, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[tuple[str, bool], dict[str, Tensor]]]:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(train_all_on_rank, args=(str(folder),), nprocs=2)
    return [torch.load(Path(folder, f"{rank}.pt")) for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("with_norms", [True, False], ids=["norms", "no norms"])
def test_processes_keep_the_same_state(ranks, name, with_norms):
    """Weights, momentum encoders, queues, prototypes, centers; BatchNorm's statistics are each rank's own."""
    first, second = (states[name, with_norms] for states in ranks)
    differing = {key for key in first if not torch.equal(first[key], second[key])}
    assert {key for key in differing if "running_" not in key} == set()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_two_processes_equal_one_with_the_whole_batch(ranks, name):
    """Without BatchNorm, all methods gather what their loss compares."""
    method = built(name, with_norms=False)
    start = flat_encoder(method.state_dict())
    expected = train(method, method, name, slice(None))
    torch.testing.assert_close(dict(ranks[0][name, False]), dict(expected), rtol=1e-5, atol=1e-5)
    moved, apart = flat_encoder(expected) - start, flat_encoder(ranks[0][name, False]) - flat_encoder(expected)
    assert apart.norm() < 1e-3 * moved.norm()


def flat_encoder(state: dict[str, Tensor]) -> Tensor:
    return torch.cat([value.flatten() for key, value in state.items() if key.startswith("encoder.")])
