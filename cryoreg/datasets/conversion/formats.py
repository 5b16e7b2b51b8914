"""Formats of subtomograms: those that cryoreg brings, and what packages make others of. Imports no torch, no NumPy."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from cryoreg import registry
from cryoreg.errors import ConfigError, UnknownComponentError
from cryoreg.seams import Format, SubtomogramFiles

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEFAULT = "store"


class StoreFormat(Format):
    """Store: one HDF5 file with all that is known, from which training streams what memory does not hold."""

    folder = False
    keeps_all = True

    def begin(self, path: Path, layout: Any, overwrite: bool) -> SubtomogramFiles:
        """Take any data."""
        from cryoreg.datasets.store.writer import StoreWriter

        return StoreWriter(path, layout, overwrite=overwrite)


class MrcFolderFormat(Format):
    """Folder of MRC files, ``<class>/<id>.mrc``, or flat where there are no classes."""

    def begin(self, path: Path, layout: Any, overwrite: bool) -> SubtomogramFiles:
        """Raise `DataError` where a name can be none of a file or folder, or some have classes and others none."""
        from cryoreg.datasets.conversion.mrc_folders import MrcFolderWriter

        return MrcFolderWriter(path, layout, overwrite=overwrite)


class LabFormat(Format):
    """Layout of the paper's lab: ``subtomogram_mrc/tomotarget<N>.mrc`` with ``json_label/target<N>.json``."""

    def begin(self, path: Path, layout: Any, overwrite: bool) -> SubtomogramFiles:
        """Raise `DataError` where a subtomogram has no class."""
        from cryoreg.datasets.conversion.mrc_folders import LabWriter

        return LabWriter(path, layout, overwrite=overwrite)


class FilesFormat(Format):
    """A folder with a file for each subtomogram: ``<class>/<id><suffix>``, or flat where there are no classes.

    Folder, names, going on after an interruption and replacing what is there are cryoreg's; noise-free copies and
    weights are not written.
    """

    suffix: ClassVar[str]
    """How the files' names end: ".npy"."""

    @abstractmethod
    def content(self, volume: NDArray[np.float32], voxel_size: float | None) -> bytes:
        """Return what a file holds of a volume (D, H, W) with voxels of ``voxel_size`` Å, where that is known."""

    def begin(self, path: Path, layout: Any, overwrite: bool) -> SubtomogramFiles:
        """Raise `DataError` where a name can be none of a file or folder, or some have classes and others none."""
        from cryoreg.datasets.conversion.mrc_folders import FilesWriter

        return FilesWriter(path, layout, self.suffix, self.content, overwrite)


def find_format(name: str) -> Format:
    """Return a format by its name; raise `ConfigError` where there is none."""
    try:
        found: type[Format] = registry.find_part("format", name)
    except UnknownComponentError as error:
        known = sorted((each.reference for each in registry.components("formats")), key=lambda each: each != DEFAULT)
        raise ConfigError(f"format '{name}' is none of {', '.join(known)}") from error
    return found()
