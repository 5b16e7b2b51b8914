"""A folder of MRC files whose subfolders, if any, are the classes."""

from __future__ import annotations

from pathlib import Path

from cryoreg.datasets.readers.class_folders import FileKind, any_files, find_files, without_companions
from cryoreg.datasets.readers.mrc_files import MrcFiles

MRC = FileKind("MRC files", ".mrc, .rec, .map", packed=True)
NAMED_AS_STACKS = FileKind("MRC files", ".mrc, .rec, .map, .mrcs, .st, .ali", packed=True)


class MrcFolder(MrcFiles):
    """``root/<class>/*.mrc``, or flat and unlabelled: ``root/*.mrc``.

    Extensions are ``.mrc``, ``.rec`` and ``.map``, or where there is none ``.mrcs``, ``.st`` and ``.ali``, also with
    ``.gz`` or ``.bz2``; hidden files are ignored. An id is the path below ``root`` without its extension. Volumes keep
    their axes (z, y, x).
    """

    def __init__(self, root: str | Path, voxel_size: float | None = None) -> None:
        """Open a folder; ``voxel_size`` (Å) overrules the headers. Raises `DataError`, one line, for bad input."""
        all_files = find_files(root, MRC if any_files(root, MRC) else NAMED_AS_STACKS)
        found, notes = without_companions(all_files)
        super().__init__(found.files, found.stems, found.labels, found.classes, voxel_size)
        self.notes = [*notes, *self.notes]
