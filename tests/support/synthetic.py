"""A small labelled set that a tiny network learns in seconds: classes differ by where a bright blob sits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

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
