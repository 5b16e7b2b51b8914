"""The labelled subtomograms of another domain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from cryoreg.contracts import Subtomograms
from cryoreg.errors import DataError


class Source:
    """A data set whose labels are given as numbers of the target's classes. What has another label is left out."""

    def __init__(self, dataset: Subtomograms, classes: Sequence[str]) -> None:
        """Take the names of the target's classes; raise `DataError` where the data set has none of them."""
        number = {name: i for i, name in enumerate(classes)}
        wanted = [None if label is None else number.get(dataset.classes[label]) for label in dataset.labels]
        rows: dict[int, list[int]] = {}
        for row, label in enumerate(wanted):
            if label is not None:
                rows.setdefault(label, []).append(row)
        if not rows:
            there = ", ".join(dataset.classes) or "none"
            raise DataError(
                f"learner.source_data has no subtomogram of the classes {', '.join(number)}; its own are {there}: "
                "give both the same names"
            )
        self.dataset, self.rows = dataset, rows

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    def __len__(self) -> int:
        return sum(map(len, self.rows.values()))

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """Return normalised volumes (count, 1, D, H, W) and labels (count,), drawn from torch's global generator."""
        classes = sorted(self.rows)
        labels = torch.tensor(classes)[torch.randint(len(classes), (count,))]
        draws = zip(labels.tolist(), torch.rand(count).tolist(), strict=True)
        chosen = [self.rows[label][int(place * len(self.rows[label]))] for label, place in draws]
        return standardised(torch.stack([self.dataset[row].volume for row in chosen])), labels


def standardised(volumes: Tensor) -> Tensor:
    """Bring each of (B, 1, D, H, W) to mean 0 and standard deviation 1, as training does; a constant one to 0."""
    axes, volumes = (1, 2, 3, 4), volumes.float()
    spread = volumes.std(axes, keepdim=True, correction=0)
    return (volumes - volumes.mean(axes, keepdim=True)) / spread.clamp_min(torch.finfo(torch.float32).tiny)
