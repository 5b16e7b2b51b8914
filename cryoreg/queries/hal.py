"""HAL, hybrid active learning."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from cryoreg.contracts import Pool, Query
from cryoreg.queries.doubt import entropy


class HAL(Query):
    """Chooses what differs from the labelled ones and is doubted (Du et al. 2021)."""

    def __init__(
        self,
        weight: float,
        rounds: int,
        ratio: int,
        hidden: int,
        epochs: int,
        lr: float,
        batch_size: int,
        stop: float,
    ) -> None:
        """Take what `HALSpec` says."""
        self.weight, self.rounds, self.ratio = weight, rounds, ratio
        self.hidden, self.epochs, self.lr, self.batch_size, self.stop = hidden, epochs, lr, batch_size, stop

    def choose(self, pool: Pool, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return rows without a label, part by part, each the best by a discriminator that knows the parts before."""
        count = min(count, len(pool.unlabelled))
        known, doubts, chosen = pool.labelled, entropy(pool), np.empty(0, dtype=np.int64)
        features = torch.from_numpy(_standardised(pool.features))
        while len(chosen) < count:
            others = np.setdiff1d(pool.unlabelled, chosen)
            others = rng.permutation(others)[: max(count, self.ratio * len(known))]
            scores = self._strangeness(features, known, others, rng) + self.weight * doubts[others]
            part = min(math.ceil(count / self.rounds), count - len(chosen))
            best = others[np.argsort(-scores, kind="stable")[:part]]
            chosen, known = np.concatenate([chosen, best]), np.concatenate([known, best])
        return chosen

    def _strangeness(
        self, features: Tensor, known: NDArray[np.int64], others: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """Return the probability, by a discriminator, that each of ``others`` is none of ``known``."""
        rows = torch.from_numpy(np.concatenate([known, others]))
        strange = torch.arange(len(rows)) >= len(known)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            logits = self._discriminate(features[rows], strange.float())
        return logits[strange].double().sigmoid().numpy()

    def _discriminate(self, x: Tensor, strange: Tensor) -> Tensor:
        """Train a perceptron on features (n, F) and whether each is strange; return its logits (n,)."""
        network = nn.Sequential(nn.Linear(x.shape[1], self.hidden), nn.ReLU(), nn.Linear(self.hidden, 1), nn.Flatten(0))
        optimizer = torch.optim.RMSprop(network.parameters(), self.lr)
        shares = torch.stack([1 - strange.mean(), strange.mean()]).clamp_min(1 / len(x))
        weights = (1 / shares)[strange.long()]
        for _ in range(self.epochs):
            for batch in torch.randperm(len(x)).split(self.batch_size):
                loss = F.binary_cross_entropy_with_logits(network(x[batch]), strange[batch], weights[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            with torch.no_grad():
                logits: Tensor = network(x)
            if ((logits > 0) == strange.bool()).float().mean() >= self.stop:
                break
        return logits


def _standardised(features: NDArray[np.float32]) -> NDArray[np.float32]:
    spread = features.std(axis=0)
    scaled: NDArray[np.float32] = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1)
    return scaled.astype(np.float32)
