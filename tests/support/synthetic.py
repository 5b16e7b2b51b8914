"""A small labelled set that a tiny network learns in seconds: classes differ by where a bright blob sits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from cryoreg.contracts import Sample, Subtomograms
from support.mrc_writing import write_mrc


def write_classes(root: Path, classes: int = 2, per_class: int = 10, box: int = 8, seed: int = 0) -> Path:
    """Write root/class<i>/<j>.mrc: noise, and a blob whose place along z tells the class."""
    rng = np.random.default_rng(seed)
    for label in range(classes):
        for number in range(per_class):
            volume = rng.normal(size=(box, box, box)).astype(np.float32)
            bottom = 1 + label * (box - 4) // max(1, classes - 1)
            volume[bottom : bottom + 2, 3:5, 3:5] += 6.0
            write_mrc(root / f"class{label}" / f"{number:03d}.mrc", volume)
    return root


@dataclass
class Listed(Subtomograms):
    """What splits and labels are of, without a volume: class numbers "c0", "c1", ..., ids "s0", "s1", ..."""

    labels: list
    groups: list = field(default_factory=list)
    ids: list = field(default_factory=list)
    positions: np.ndarray | None = None
    voxel_size: float | None = None
    box: tuple[int, int, int] = (8, 8, 8)

    def __post_init__(self):
        self.ids = self.ids or [f"s{i}" for i in range(len(self.labels))]
        self.groups = self.groups or [None] * len(self.labels)
        self.classes = [f"c{k}" for k in range(1 + max([-1, *(label for label in self.labels if label is not None)]))]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return Sample(torch.full((1, *self.box), float(index)), self.labels[index], self.ids[index], self.groups[index])
