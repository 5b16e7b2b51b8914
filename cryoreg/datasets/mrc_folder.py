"""A folder of MRC files whose subfolders, if any, are the classes."""

from __future__ import annotations

import os
import re
from pathlib import Path

from cryoreg.datasets.mrc_files import MrcFiles, check_unique
from cryoreg.errors import DataError

_MRC = re.compile(r"\.(mrc|rec|map)(\.(gz|bz2))?$", re.IGNORECASE)


class MrcFolder(MrcFiles):
    """``root/<class>/*.mrc``, or flat and unlabelled: ``root/*.mrc``.

    Extensions are ``.mrc``, ``.rec`` and ``.map``, also with ``.gz`` or ``.bz2``; hidden files are ignored. An id is
    the path below ``root`` without its extension. Volumes keep their axes (z, y, x).
    """

    def __init__(self, root: str | Path, voxel_size: float | None = None) -> None:
        """Open a folder; ``voxel_size`` (Å) overrules the headers. Raises `DataError`, one line, for bad input."""
        names, folders = list_mrc(root)
        content = {folder: list_mrc(os.path.join(root, folder))[0] for folder in folders}
        classes = _classes(root, names, content)
        labels: list[int | None] = [None] * len(names)
        for label, folder in enumerate(classes):
            names += [os.path.join(folder, name) for name in content[folder]]
            labels += [label] * len(content[folder])
        ids = [_MRC.sub("", name).replace(os.sep, "/") for name in names]
        files = [os.path.join(root, name) for name in names]
        check_unique(ids, files)
        super().__init__(files, ids, labels, classes, voxel_size)


def list_mrc(folder: str | Path) -> tuple[list[str], list[str]]:
    """Return the sorted names of a folder's MRC files and of its subfolders, without hidden ones."""
    try:
        with os.scandir(folder) as entries:
            seen = sorted((e.name, e.is_dir()) for e in entries if not e.name.startswith("."))
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        raise DataError(f"{folder}: {reason}; give the path of a folder with MRC files") from None
    files = [name for name, _ in seen if _MRC.search(name)]
    return files, [name for name, is_folder in seen if is_folder and name not in files]


def _classes(root: str | Path, flat: list[str], content: dict[str, list[str]]) -> list[str]:
    """Return the class names, none for a flat folder."""
    filled = [folder for folder, names in content.items() if names]
    if flat and filled:
        raise DataError(
            f"{root}: holds MRC files ({flat[0]}) beside folders of MRC files ({filled[0]}); "
            "put every file into the folder of its class, or all of them into one"
        )
    if not flat and not filled:
        raise DataError(f"{root}: holds no MRC files (.mrc, .rec, .map), nor do its subfolders; check the path")
    empty = [folder for folder in content if folder not in filled]
    if filled and empty:
        raise DataError(f"{os.path.join(root, empty[0])}: this class holds no MRC files; fill or remove the folder")
    return filled
