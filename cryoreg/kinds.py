"""What packages can add to cryoreg: kinds of component, which are composed into a run, and seams beside them."""

from __future__ import annotations

from typing import Literal

Kind = Literal["encoder", "method", "augmentation", "dataset", "weights", "learner", "query"]
GROUP_OF: dict[Kind, str] = {
    "encoder": "encoders",
    "method": "methods",
    "augmentation": "augmentations",
    "dataset": "datasets",
    "weights": "weights",
    "learner": "learners",
    "query": "queries",
}
"""Kind -> its entry-point group, without the prefix "cryoreg."."""
KINDS: tuple[Kind, ...] = tuple(GROUP_OF)

Seam = Literal["logger", "writer", "recipe", "study", "optimizer", "schedule", "picker", "viewer", "format"]
GROUP_OF_SEAM: dict[Seam, str] = {
    "logger": "loggers",
    "writer": "writers",
    "recipe": "recipes",
    "study": "studies",
    "optimizer": "optimizers",
    "schedule": "schedules",
    "picker": "pickers",
    "viewer": "viewers",
    "format": "formats",
}
"""Seam -> its entry-point group. What an entry point names there is no spec with hyper-parameters but one object."""
SEAMS: tuple[Seam, ...] = tuple(GROUP_OF_SEAM)
