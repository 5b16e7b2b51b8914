"""The kinds of component that cryoreg composes into a run."""

from __future__ import annotations

from typing import Literal

Kind = Literal["encoder", "method", "augmentation", "dataset", "weights", "learner"]
GROUP_OF: dict[Kind, str] = {
    "encoder": "encoders",
    "method": "methods",
    "augmentation": "augmentations",
    "dataset": "datasets",
    "weights": "weights",
    "learner": "learners",
}
"""Kind -> its entry-point group, without the prefix "cryoreg."."""
KINDS: tuple[Kind, ...] = tuple(GROUP_OF)
