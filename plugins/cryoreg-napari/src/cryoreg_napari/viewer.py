"""The viewer of `cryoreg open`. Imports neither NumPy nor napari: `cryoreg list` loads every viewer."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from cryoreg.files import write_text
from cryoreg.seams import Shown, Viewer

SUFFIX = ".cryoreg.json"
FORMAT = "cryoreg open 1"


class NapariViewer(Viewer):
    """napari: a layer of points for each class, over the tomogram, with class, confidence and id as features."""

    programs = ("napari",)
    install = 'pip install "napari[all]" cryoreg-napari'

    def prepare(self, shown: Shown, folder: Path) -> Sequence[Sequence[str]]:
        """Write NAME.cryoreg.json, which this package's reader opens in napari."""
        file = folder / f"{shown.name}{SUFFIX}"
        write_text(file, json.dumps({"format": FORMAT, **shown._asdict(), "tomogram": os.fspath(shown.tomogram)}))
        return [["napari", "--plugin", "cryoreg-napari", os.fspath(file)]]
