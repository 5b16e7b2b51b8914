"""Where subtomograms come from."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel

from cryoreg.contracts import Origin, SubtomogramDataset


def origins_of(dataset: SubtomogramDataset) -> list[Origin]:
    """Return the file and row of each subtomogram; its id where the data set does not know."""
    return known_origins(dataset) or [Origin(name) for name in dataset.ids]


def known_origins(dataset: SubtomogramDataset) -> list[Origin] | None:
    """Return the file and row of each subtomogram; None where the data set does not know."""
    told = getattr(dataset, "origin", None)
    return [told(index) for index in range(len(dataset))] if told else None


def inputs_of(dataset: SubtomogramDataset, spec: BaseModel | None = None) -> set[str]:
    """Return the files that a data set is read from, as far as it knows them, and the paths that its ``spec`` names."""
    named = {os.fspath(value) for _, value in spec or () if isinstance(value, Path)}
    return named | {origin.file for origin in origins_of(dataset)}
