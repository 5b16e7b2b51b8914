"""What is exported, and how an export is compared with the run's own network."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from cryoreg.config.settings import InputSettings
from cryoreg.contracts import Subtomograms
from cryoreg.datasets.adaptation import load_adapted
from cryoreg.datasets.inspection import spread
from cryoreg.errors import CheckpointError, CryoregError
from cryoreg.runs.cards import Card
from cryoreg.runs.networks import recorded_spec
from cryoreg.runs.weights import input_of

REAL_VOLUMES = 4
"""Subtomograms of the run's own data set on which an export is checked."""
_RANDOM_VOLUMES = 3


class Exported(NamedTuple):
    """What was written."""

    path: Path
    differences: dict[str, tuple[float, float]]
    """Output and volumes ("features, random volumes") -> largest difference from the run's network in float32,
    absolute and relative to the largest value."""
    notes: list[str]


def check_volumes(card: Card, count: int | None = None) -> tuple[dict[str, Tensor], list[str]]:
    """Return volumes (B, 1, D, H, W) to check an export on, random ones and the run's own, and notes on what lacks.

    ``count`` is the size of a fixed batch.
    """
    random = 5 + 3 * torch.randn(count or _RANDOM_VOLUMES, 1, *card["box"], generator=torch.Generator().manual_seed(0))
    volumes, notes = {"random volumes": random}, []
    try:
        data = load_adapted(recorded_spec("dataset", card), InputSettings(**input_of(card)))
        volumes["real volumes"] = _real_volumes(data, card["box"], count)
    except (CryoregError, OSError) as error:
        notes.append(f"checked on random volumes only, as the run's data cannot be read: {error}")
    return volumes, notes


def differences(name: str, found: Tensor, wanted: Tensor, volumes: str) -> dict[str, tuple[float, float]]:
    """Return "name, volumes" -> the largest absolute difference, and that over the largest value wanted."""
    largest = float((found.double() - wanted.double()).abs().max())
    return {f"{name}, {volumes}": (largest, largest / max(float(wanted.abs().max()), 1e-12))}


def _real_volumes(dataset: Subtomograms, box: list[int], count: int | None) -> Tensor:
    if list(dataset.box) != box:
        raise CheckpointError(f"its boxes are now {list(dataset.box)}, not {box}")
    indices = spread(len(dataset), REAL_VOLUMES if count is None else count)
    volumes = torch.stack([dataset[index].volume for index in indices]).float()
    return volumes if count is None else volumes.repeat(-(-count // len(volumes)), 1, 1, 1, 1)[:count]
