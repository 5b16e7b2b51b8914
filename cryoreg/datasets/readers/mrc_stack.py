"""Stacks of volumes in MRC files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cryoreg.datasets.io.mrc import compressed, read_header, read_slot
from cryoreg.datasets.readers.class_folders import FileKind, find_files
from cryoreg.datasets.readers.file_dataset import FileDataset
from cryoreg.datasets.readers.mrc_files import common_geometry_of, notes_on

STACKS = FileKind("MRC stacks", ".mrcs, .mrc, .st, .map, .rec", packed=True)


class MrcStack(FileDataset):
    """One stack, unlabelled, or a folder of them: ``root/<class>.mrcs`` or ``root/<class>/*.mrcs``.

    A flat folder's stacks are the classes, unless it holds but one, or each of them one volume. An id is the stack's
    path below ``root`` without its extension, and the slot counted from 0: ``proteasome/17``. A slot is read without
    the others, except that a compressed stack is unpacked up to it.
    """

    def __init__(self, root: str | Path, voxel_size: float | None = None, box: int | None = None) -> None:
        """Open a stack or folder; ``voxel_size`` (Å) overrules the headers.

        ``box`` cuts series of images into cubes of that edge. Raises `DataError`, one line, for bad input.
        """
        found = find_files(root, STACKS, single=True)
        headers = [read_header(file, stack=True, edge=box) for file in found.files]
        common, voxel_size = common_geometry_of(zip(found.files, headers, strict=True), voxel_size)
        counts = [header.volumes for header in headers]
        classes, labels = found.classes, found.labels
        self.notes = notes_on(found.files, headers)
        if not classes and len(found.files) > 1 and max(counts) > 1:
            classes, labels = found.stems, list(range(len(found.files)))
            self.notes += [
                "every stack is taken for a class; stacks of one class go into one folder: root/<class>/*.mrcs"
            ]
        packed = [file for file in found.files if compressed(file)]
        if packed:
            self.notes += [f"{packed[0]} is compressed, hence slow to read at random; unpack or convert it"]
        self._edge = box
        slots = [slot for count in counts for slot in range(count)]
        stack = np.repeat(np.arange(len(counts)), counts).tolist()
        super().__init__(
            files=[found.files[each] for each in stack],
            slots=slots,
            ids=[f"{found.stems[each]}/{slot}" for each, slot in zip(stack, slots, strict=True)],
            labels=[labels[each] for each in stack],
            classes=classes,
            box=common,
            voxel_size=voxel_size,
        )

    def read(self, index: int) -> np.ndarray:
        """Read one slot."""
        slot = self.slots[index]
        assert slot is not None
        return read_slot(self.files[index], slot, self._edge)
