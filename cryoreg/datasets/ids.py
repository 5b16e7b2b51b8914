"""Ids of subtomograms: each names one."""

from __future__ import annotations

import os
from collections.abc import Sequence

from cryoreg.errors import DataError


def check_unique(ids: Sequence[str], files: Sequence[str]) -> None:
    """Raise `DataError` where two files have one id."""
    seen: dict[str, str] = {}
    for name, file in zip(ids, files, strict=True):
        if name in seen:
            raise DataError(f"{seen[name]} and {os.path.basename(file)} both have the id '{name}'; rename one")
        seen[name] = file
