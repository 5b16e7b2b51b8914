"""Tell whether a data set is still the one that a run began with."""

from __future__ import annotations

import hashlib
import json

from cryoreg.contracts import SubtomogramDataset
from cryoreg.errors import DataError


def fingerprint(dataset: SubtomogramDataset) -> str:
    """Return a hash of ids, labels, groups, classes and box: what the split and the order of training follow from."""
    rows = list(zip(dataset.ids, dataset.labels, dataset.groups, strict=True))
    known = [list(dataset.classes), list(dataset.box), rows]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()


def require_same(dataset: SubtomogramDataset, recorded: str, run: str) -> None:
    """Raise `DataError` where subtomograms came, went, or changed class since ``run`` recorded its fingerprint."""
    if fingerprint(dataset) != recorded:
        raise DataError(
            f"the data set ({len(dataset)} subtomograms) is not the one of {run}: some were added, removed, renamed or "
            "moved to another class, so the split would be another; restore it, or start a new run"
        )
