"""The queue of keys that MoCo contrasts against, kept in the ``state_dict``."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from lightly.models.utils import concat_all_gather
from lightly.utils import dist
from torch import Tensor, nn


class Queue(nn.Module):
    """The ``size`` latest keys, first in, first out: a memory bank for lightly's losses that survives a restart.

    Lightly's own bank enqueues while the loss is computed and is not in the ``state_dict``. This one sets the keys
    aside until `enqueue_pending`, so that every loss of a step sees the same negatives. It starts with random unit
    vectors. Buffers: ``keys`` (size, dim), the oldest at ``pointer`` (an int64 scalar).
    """

    keys: Tensor
    pointer: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("keys", F.normalize(torch.randn(size, dim), dim=1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))
        self._pending: list[Tensor] = []

    def forward(self, keys: Tensor, update: bool = False) -> tuple[Tensor, Tensor]:
        """Return ``keys`` (B, dim) and a copy of the queue (dim, size); with ``update``, set the keys aside."""
        if update:
            self._pending.append(keys.detach())
        # A copy, because autograd needs the values that the loss saw when they are overwritten.
        return keys, self.keys.clone().T

    def enqueue_pending(self) -> None:
        """Enqueue the keys set aside since the last call, those of all ranks in the order of the ranks."""
        for keys in self._pending:
            self.enqueue(concat_all_gather(keys.contiguous()) if dist.world_size() > 1 else keys)
        self._pending.clear()

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Replace the oldest keys by ``keys`` (B, dim), unit vectors; of more than ``size``, the last stay."""
        size = len(self.keys)
        places = (self.pointer + torch.arange(len(keys), device=keys.device)) % size
        self.keys[places[-size:]] = keys[-size:].to(self.keys.dtype)
        self.pointer.add_(len(keys)).remainder_(size)
