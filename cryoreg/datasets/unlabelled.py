"""Subtomograms whose class nobody has said: they serve pretraining and prediction, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryoreg.contracts import SubtomogramDataset

_NO_CLASS = frozenset(("", "none", "na", "n/a", "nan", "<na>", "null"))
"""Cells of a table that name no class, in lower case."""


def names_no_class(cell: str) -> bool:
    """Tell a cell that says that a class is not known, as an empty one, None or NA does, from the name of a class."""
    return cell.strip().lower() in _NO_CLASS


def unlabelled_note(dataset: SubtomogramDataset) -> list[str]:
    """Return a line on how many subtomograms of a labelled set have no label; none where all or none have."""
    unlabelled = sum(label is None for label in dataset.labels)
    if unlabelled in (0, len(dataset)):
        return []
    return [
        f"{unlabelled} of {len(dataset)} subtomograms have no class: they serve pretraining and prediction, "
        "and nothing else"
    ]
