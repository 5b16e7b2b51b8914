"""Batches that are too small to learn from: those of one, where subtomograms of a batch are compared or normalised."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from cryoreg.errors import ConfigError
from cryoreg.training.loading import BatchOrder

_OF_ONE = "more than 1 value per channel"
"""How torch's BatchNorm says it."""


def fewest_at_the_end(module: nn.Module) -> int:
    """Return how many subtomograms each process needs of an epoch's last batch: BatchNorm learns nothing from one."""
    return 2 if any(isinstance(part, _BatchNorm) for part in module.modules()) else 1


def require_batch(batch_size: int, processes: int, module: nn.Module, min_batch: int = 1) -> None:
    """Raise `ConfigError` where a process has fewer subtomograms of a batch than ``module`` learns from.

    ``min_batch`` is what its spec says. BatchNorm over feature vectors, as heads have it, needs two.
    """
    if any(isinstance(part, nn.BatchNorm1d) for part in module.modules()):
        min_batch = max(2, min_batch)
    if batch_size // processes < min_batch:
        shared = f", shared by {processes} processes," if processes > 1 else ""
        raise ConfigError(
            f"training.batch_size {batch_size}{shared} is too small: subtomograms of a batch are compared, "
            f"and nothing is learnt from fewer than {min_batch}; take --batch-size {min_batch * processes} or more"
        )


def require_step(order: BatchOrder) -> None:
    """Raise `ConfigError` where an epoch has no batch to learn from."""
    if order.steps():
        return
    needed = order.world_size * order.fewest
    found, advice = f"{len(order.samples)} labelled subtomograms", "show more labels, or take fewer devices"
    if order.batch_size < needed:
        found, advice = f"training.batch_size {order.batch_size}", f"take --batch-size {needed} or more"
    raise ConfigError(f"nothing is learnt from {found}: a batch needs {needed} or more; {advice}")


@contextmanager
def batches_of_one() -> Iterator[None]:
    """Say what to do where BatchNorm meets a single value."""
    try:
        yield
    except ValueError as error:
        if _OF_ONE not in str(error):
            raise
        raise ConfigError(
            "BatchNorm cannot normalise a single value, as of one subtomogram whose features have no extent; "
            "take a larger --batch-size, or an encoder without it"
        ) from error
