"""Where subtomograms come from."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel

from cryoreg.contracts import Origin, Subtomograms


def origins_of(dataset: Subtomograms) -> list[Origin]:
    """Return the file and row of each subtomogram; its id where the data set does not know."""
    return known_origins(dataset) or [Origin(name) for name in dataset.ids]


def known_origins(dataset: Subtomograms) -> list[Origin] | None:
    """Return the file and row of each subtomogram; None where the data set does not know."""
    return [origin for index in range(len(dataset)) if (origin := dataset.origin(index))] or None


def image_name(origin: Origin) -> str:
    """Return how a STAR file names a volume that none named before: its absolute path, with its slot from 1 on."""
    path = os.path.abspath(origin.file)
    return path if origin.row is None else f"{origin.row + 1:06d}@{path}"


def inputs_of(dataset: Subtomograms, spec: BaseModel | None = None) -> set[str]:
    """Return the files that a data set is read from, as far as it knows them, and the paths that its ``spec`` names."""
    named = {os.fspath(value) for _, value in spec or () if isinstance(value, Path)}
    return named | {origin.file for origin in origins_of(dataset)}
