"""Counter-based random numbers: what a sample draws depends only on (seed, epoch, sample, view).

So every subtomogram has the same views for any number of processes or loader workers, in any batch order, and after
a resume.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

Module = TypeVar("Module", bound=torch.nn.Module)

_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX_1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_MIX_2 = 0x94D049BB133111EB - (1 << 64)


def _shift_right(bits: Tensor, by: int) -> Tensor:
    """Shift int64 right and fill with zeros (torch's ``>>`` copies the sign)."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def mix64(bits: Tensor) -> Tensor:
    """Hash int64 bitwise: SplitMix64's finaliser (Steele, Lea and Flood 2014, variant 13 of Stafford)."""
    bits = (bits ^ _shift_right(bits, 30)) * _MIX_1
    bits = (bits ^ _shift_right(bits, 27)) * _MIX_2
    return bits ^ _shift_right(bits, 31)


class SampleRng:
    """One independent stream of random numbers for each sample of a batch.

    Draw number n of the stream with key k is ``mix64(k ^ mix64(n · golden))``. All draws are made for the whole batch
    at once, on the device of the keys, with the same bits on every device.
    """

    def __init__(self, keys: Tensor) -> None:
        """Take one int64 key per sample, shape (B,)."""
        self.keys = keys
        self._drawn = 0

    @classmethod
    def for_batch(cls, seed: int, epoch: int, samples: Tensor, view: int) -> SampleRng:
        """Return the streams of ``samples`` (dataset indices (B,)) in one epoch and view, on their device."""
        key = torch.tensor(seed)
        for part in (epoch, view):
            key = mix64(key * _GOLDEN + part)
        return cls(mix64(key * _GOLDEN + samples.to(torch.int64)))

    def __len__(self) -> int:
        return len(self.keys)

    def bits(self, shape: Sequence[int] = ()) -> Tensor:
        """Draw 64 random bits each, int64 (B, *shape)."""
        count = math.prod(shape)
        counters = torch.arange(self._drawn + 1, self._drawn + count + 1, device=self.keys.device)
        self._drawn += count
        return mix64(self.keys[:, None] ^ mix64(counters * _GOLDEN)).view(len(self.keys), *shape)

    def uniform(self, shape: Sequence[int] = (), low: float = 0.0, high: float = 1.0) -> Tensor:
        """Draw from [low, high), float32 (B, *shape); other than for 0..1, rounding can give ``high`` itself."""
        return low + (high - low) * _shift_right(self.bits(shape), 40).to(torch.float32) * 2.0**-24

    def normal(self, shape: Sequence[int] = ()) -> Tensor:
        """Draw from the standard normal distribution, float32 (B, *shape), by Box and Muller (1958)."""
        radius = torch.sqrt(-2.0 * torch.log1p(-self.uniform(shape)))
        return radius * torch.cos(2 * math.pi * self.uniform(shape))

    def select(self, rows: Tensor) -> SampleRng:
        """Return the streams of some samples (a mask or indices), at the position reached so far."""
        chosen = SampleRng(self.keys[rows])
        chosen._drawn = self._drawn
        return chosen


def build_seeded(seed: int, build: Callable[[], Module]) -> Module:
    """Return what ``build`` makes with torch's global generator seeded, and leave the generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()
