"""Which kind of particle list a file is, by its name and how it begins. Imports neither numpy nor pandas."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Collection
from pathlib import Path
from typing import Literal

from cryoreg.datasets.io import relion
from cryoreg.datasets.io.star_blocks import first_values
from cryoreg.datasets.io.volume_files import one_line, refuse
from cryoreg.folders import ending, entries_of

Kind = Literal[
    "star",
    "dynamo",
    "table",
    "portal",
    "copick",
    "eman2",
    "peet",
    "emclarity",
    "cryocat",
    "imod",
    "points",
    "pytom",
    "em",
    "cbox",
    "coords",
]
WORDS: dict[Kind, str] = {
    "peet": "a PEET motive list",
    "emclarity": "an emClarity table",
    "cryocat": "a motive list of cryoCAT",
    "imod": "an IMOD model",
    "points": "points of an IMOD model (model2point)",
    "pytom": "a PyTom particle list",
    "em": "a motive list in EM format (TOM, AV3, novaSTA)",
    "eman2": "boxes of EMAN2",
    "copick": "points (.json)",
    "cbox": "boxes of crYOLO or TomoTwin",
    "coords": "coordinates (.coords), as crYOLO and TomoTwin write them",
}
"""What kinds are called; others are known by the ending of their name."""
SUFFIXES: dict[str, Kind] = {
    ".star": "star",
    ".tbl": "dynamo",
    **dict.fromkeys((".csv", ".tsv", ".txt"), "table"),
    **dict.fromkeys((".ndjson", ".jsonl"), "portal"),
    ".json": "copick",
    ".mod": "imod",
    **dict.fromkeys((".pt", ".point"), "points"),
    ".xml": "pytom",
    ".em": "em",
    ".cbox": "cbox",
    ".coords": "coords",
}
"""What a list's name ends with."""
EMCLARITY_COLUMNS = 26
EM_HEADER, EM_ROWS = 512, 20
CRYOCAT_COLUMNS = {"subtomo_id", "tomo_id", "object_id", "subtomo_mean", "x", "y", "z", "shift_x", "shift_y", "shift_z"}
_INFO = ".json"
"""Of EMAN2's files on tomograms, which may have no boxes."""
_FEWEST = 2
_CRYOSPARC = ".cs"
_BEGINNING = 65536
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|nan", re.IGNORECASE)


def kind_of_list(path: str | Path) -> Kind | None:
    """Return the kind of a particle list; None where a file is none.

    Names tell most; tables and JSON are told apart by their content, as are EM, XML and .mod, which may be anything.
    Raises `DataError` where the file cannot be read, JSON is none, or it is a list of cryoSPARC.
    """
    kind = SUFFIXES.get(ending(Path(path).name))
    if ending(Path(path).name) == _CRYOSPARC:
        refuse(
            path,
            "is a table of cryoSPARC, whose particles are 2D images; csparc2star.py (pyem) makes STAR of it, but give "
            "cryoreg the list of 3D particles that they were made from (RELION, Warp, M)",
        )
    if kind == "table":
        return _kind_of_table(_beginning(path))
    if kind == "copick":
        return _kind_of_json(path)
    if kind in ("imod", "pytom", "em"):
        raw = _beginning(path)
        return kind if _FITS[kind](raw) else None
    return kind


def lists_in(folder: str | Path) -> list[Path]:
    """Return the particle lists of a folder that holds nothing but such, one for each tomogram; none of others.

    They are two or more, of one kind; those that are empty, as of tomograms without particles, are left out.
    """
    lists, _ = _lists_or_reason(Path(folder))
    return lists


def folder_of(lists: Collection[Path]) -> Path | None:
    """Return the folder of lists that some lists are in; None where they are in no one such."""
    folders = {path.parent for path in lists}
    folder = folders.pop() if len(folders) == 1 else None
    return folder if folder and folder.is_dir() and {*lists} <= {*lists_in(folder)} else None


def why_no_lists(folder: str | Path) -> str:
    """Return what keeps a folder from being one of particle lists, in words."""
    _, reason = _lists_or_reason(Path(folder))
    return reason


def _lists_or_reason(folder: Path) -> tuple[list[Path], str]:
    files = entries_of(folder)
    strange = next((file for file in files if ending(file.name) not in SUFFIXES or not file.is_file()), None)
    if strange is not None:
        return [], f"it holds {strange.name}"
    kinds = {file: kind_of_list(file) for file in files if file.stat().st_size}
    kinds = {file: kind for file, kind in kinds.items() if kind or ending(file.name) != _INFO}
    if len({*kinds.values()}) > 1:
        one, other = (
            next(file.name for file in kinds if kinds[file] == kind) for kind in [*dict.fromkeys(kinds.values())][:2]
        )
        return [], f"{one} and {other} are not of one kind"
    for file in kinds if "star" in kinds.values() else ():
        columns = set(first_values(file))
        if relion.IMAGE in columns or not relion.lists_places(columns):
            return [], f"{file.name} lists {'images' if relion.IMAGE in columns else 'no places'}"
    if len(kinds) < _FEWEST or None in kinds.values():
        return [], f"it holds {len(kinds)} of them" if None not in kinds.values() else "its files are no lists"
    return [*kinds], ""


def words_of(kind: Kind, path: Path) -> str:
    """Return what a list of a kind is called."""
    return WORDS.get(kind) or f"a particle list ({ending(path.name)})"


def _beginning(path: str | Path) -> bytes:
    with one_line(path, "a particle list"), open(path, "rb") as stream:
        return stream.read(_BEGINNING)


def _kind_of_table(raw: bytes) -> Kind:
    lines = raw.decode("utf-8-sig", errors="replace").splitlines()
    first = next((line for line in lines if line.strip() and not line.lstrip().startswith("#")), "").strip()
    cells = [cell.strip().strip('"').lower() for cell in first.split(",")]
    if cells[0] == "ccc" and "xoffset" in cells:
        return "peet"
    if set(cells) >= CRYOCAT_COLUMNS:
        return "cryocat"
    values = first.split()
    if (
        len(values) >= EMCLARITY_COLUMNS
        and len(values) % EMCLARITY_COLUMNS == 0
        and all(map(_NUMBER.fullmatch, values))
    ):
        return "emclarity"
    return "table"


def _kind_of_json(path: str | Path) -> Kind | None:
    with one_line(path, "a list of points"):
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    if isinstance(content, dict) and "boxes_3d" in content:
        return "eman2"
    return "copick" if isinstance(content, list) or (isinstance(content, dict) and "points" in content) else None


def _is_motive_list(raw: bytes) -> bool:
    """Tell whether the header of an EM file is that of 20 rows for each particle."""
    if len(raw) < EM_HEADER:
        return False
    sizes = [struct.unpack(f"{order}3i", raw[4:16]) for order in "<>"]
    return any(x == EM_ROWS and y > 0 and z == 1 for x, y, z in sizes)


_FITS = {
    "imod": lambda raw: raw.startswith(b"IMODV1."),
    "pytom": lambda raw: b"<ParticleList" in raw,
    "em": _is_motive_list,
}
