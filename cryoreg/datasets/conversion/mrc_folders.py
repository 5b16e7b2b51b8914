"""Writing folders that other programs read: MRC files by class, and the layout of the paper's lab."""

from __future__ import annotations

import json
import os
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

import mrcfile
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryoreg import version
from cryoreg.datasets.ids import check_unique
from cryoreg.datasets.readers.lab_layout import LABELS, MARK, TILT_AXIS, VOLUMES
from cryoreg.datasets.store.format import StoreLayout
from cryoreg.datasets.store.writer import writing_to
from cryoreg.errors import DataError, OutputError
from cryoreg.files import require_no_link, sync_folder, write_text
from cryoreg.outputs import check_folder

_HEADER_BYTES = 1024
_NUMBERED = re.compile(r"tomotarget(\d+)", re.ASCII)


class FolderWriter(ABC):
    """Writes one MRC file for each subtomogram, beside the final name, and renames the folder when it is complete.

    It is used as `StoreWriter` is; noise-free copies are not written.
    """

    def __init__(self, path: Path, layout: StoreLayout, resume: bool = True, overwrite: bool = False) -> None:
        """Begin the folder ``path``, or go on with it where ``resume`` is set and it was begun with an equal layout.

        ``overwrite`` replaces a folder that cryoreg wrote, if nobody put anything into it, and gives up another part.
        Raises `OutputError` where ``path`` cannot be written, `DataError` where its part has another layout.
        """
        self.path, self.layout, self.overwrite = path, layout, overwrite
        layout.check()
        self._require_free_name()
        self.part = path.with_name(f".{path.name}.part")
        self._left_out: set[int] = set()
        self.files = self._name_files()
        check_unique([file.casefold() for file in self.files], self.files)
        self._begin(resume)

    def missing(self) -> list[int]:
        """Return the rows still to be written, in order."""
        return [row for row in range(len(self.files)) if not self._written(row)]

    def put(self, row: int, volume: Any, clean: Any = None, columns: Mapping[str, Any] | None = None) -> None:
        """Write a row: its volume (D, H, W) or (1, D, H, W); raise `DataError` as `StoreLayout.voxels` does."""
        voxels = self.layout.voxels(row, volume)
        with writing_to(self.path, self.part):
            self._write(row, voxels, columns or {})

    def leave_out(self, row: int) -> None:
        """Note that a row cannot be had: the finished folder goes without it."""
        self._left_out.add(row)

    def finish(self) -> None:
        """Give the complete folder its name; raise `DataError` where rows are missing or the name has been taken."""
        missing = [row for row in self.missing() if row not in self._left_out]
        if missing or len(self._left_out) == len(self.files):
            raise DataError(f"{self.part}: {len(missing or self.files)} subtomograms are still to be written")
        self._require_free_name()
        with writing_to(self.path, self.part):
            self._mark()
            os.sync()
            self._rename()

    def __enter__(self) -> FolderWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not any(self._written(row) for row in range(len(self.files))):
            shutil.rmtree(self.part, ignore_errors=True)

    @abstractmethod
    def _name_files(self) -> list[str]:
        """Return the path of each row's MRC file below the folder."""

    @abstractmethod
    def _write(self, row: int, voxels: NDArray[np.float32], columns: Mapping[str, Any]) -> None:
        """Write all files of a row."""

    def _written(self, row: int) -> bool:
        """Tell whether a row's files are there, and whole: they are renamed when written, but not synced one by one."""
        file = self.part / self.files[row]
        return file.is_file() and file.stat().st_size == _HEADER_BYTES + 4 * int(np.prod(self.layout.box))

    def _write_mrc(self, row: int, voxels: NDArray[np.float32]) -> None:
        file = self.part / self.files[row]
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.tmp")
        with mrcfile.new(temporary, np.ascontiguousarray(voxels), overwrite=True) as mrc:
            mrc.set_volume()
            mrc.voxel_size = self.layout.voxel_size or 0
        temporary.replace(file)

    def _begin(self, resume: bool) -> None:
        require_no_link(self.part, DataError)
        with writing_to(self.path, self.part):
            if self.part.is_dir() and not resume:
                shutil.rmtree(self.part)
            for folder, below, _ in os.walk(self.part):
                for name in below:
                    require_no_link(Path(folder, name), DataError)
            begun = _read_mark(self.part)
            if begun is not None and begun["layout"] != self.layout.digest():
                self._give_up_part()
                begun = None
            if begun is None:
                self.part.mkdir(parents=True, exist_ok=True)
                self._mark()

    def _give_up_part(self) -> None:
        if not self.overwrite:
            raise DataError(
                f"{self.part}: was begun with other data or settings; repeat those to go on with it, or say --overwrite"
            )
        shutil.rmtree(self.part)

    def _mark(self) -> None:
        left_out = [self.layout.ids[row] for row in sorted(self._left_out)]
        files = [file for row in range(len(self.files)) for file in self._files_of(row)]
        made = {"cryoreg": version.__version__, "layout": self.layout.digest(), "left_out": left_out, "files": files}
        known = {TILT_AXIS: self.layout.tilt_axis, "settings": dict(self.layout.settings)}
        write_text(self.part / MARK, json.dumps({**made, **known}, default=str))

    def _require_free_name(self) -> None:
        check_folder(self.path, self.overwrite, self.layout.inputs)
        stranger = _stranger(self.path)
        if stranger is not None:
            raise OutputError(
                f"{self.path}: exists already, and {stranger} in it is none of cryoreg's; choose another name"
            )

    def _files_of(self, row: int) -> list[str]:
        """Return the paths of all files of a row, below the folder."""
        return [self.files[row]]

    def _rename(self) -> None:
        old = self.path.with_name(f".{self.path.name}.old")
        if _read_mark(old) is not None:  # left by a process that was killed here
            shutil.rmtree(old)
        if self.path.exists():
            self.path.replace(old)
        self.part.replace(self.path)
        sync_folder(self.path.parent)
        shutil.rmtree(old, ignore_errors=True)


class ClassFolderWriter(FolderWriter):
    """``path/<class>/<id><suffix>``, or flat where there are no classes."""

    suffix = ".mrc"

    def _name_files(self) -> list[str]:
        return [f"{self._stem(row)}{self.suffix}" for row in range(len(self.layout.ids))]

    def _stem(self, row: int) -> str:
        name, label = self.layout.ids[row], self.layout.labels[row]
        if not self.layout.classes:
            return _file_name(name)
        if label is None:
            raise DataError(f"{name}: has no class, while others have one; a folder of classes cannot hold it")
        folder = self.layout.classes[label]
        if _file_name(folder) != folder:
            raise DataError(f"class '{folder}' cannot be the name of a folder; rename it")
        return f"{folder}/{_file_name(name.removeprefix(f'{folder}/'))}"


class MrcFolderWriter(ClassFolderWriter):
    """``path/<class>/<id>.mrc``: what the data set `mrc_folder` reads."""

    def _write(self, row: int, voxels: NDArray[np.float32], columns: Mapping[str, Any]) -> None:
        self._write_mrc(row, voxels)


Content = Callable[[NDArray[np.float32], float | None], bytes]
"""What makes a file of a volume (D, H, W) and its voxel size, Å."""


class FilesWriter(ClassFolderWriter):
    """Files whose content a package makes."""

    def __init__(self, path: Path, layout: StoreLayout, suffix: str, content: Content, overwrite: bool = False) -> None:
        """Begin or go on, as `FolderWriter` does."""
        self.suffix, self._content = suffix, content
        super().__init__(path, layout, overwrite=overwrite)

    def _write(self, row: int, voxels: NDArray[np.float32], columns: Mapping[str, Any]) -> None:
        file = self.part / self.files[row]
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.tmp")
        temporary.write_bytes(self._content(np.ascontiguousarray(voxels), self.layout.voxel_size))
        temporary.replace(file)

    def _written(self, row: int) -> bool:
        file = self.part / self.files[row]
        return file.is_file() and file.stat().st_size > 0


class LabWriter(FolderWriter):
    """The layout of the paper's lab: ``subtomogram_mrc/tomotarget<N>.mrc`` with ``json_label/target<N>.json``.

    N is the row, or the number in ids that have this form already. Volumes are turned to have the beam along MRC X,
    as the data set `lab` expects. ``loc`` (voxels from the corner) and ``rotate`` (intrinsic ZYZ, radians) follow from
    the columns ``shift`` (x, y, z in Å) and ``rotation`` (laboratory = rotation @ structure) where there are such, and
    are in the lab's axes; else they are null.
    """

    axes: ClassVar[tuple[int, int, int]] = (1, 2, 0)
    """The axes D, H, W that become the file's z, y, x: the inverse of `Lab.axes`."""
    turn: ClassVar[NDArray[np.float64]] = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
    """From (x, y, z) as cryoreg has them to the lab's."""

    def _name_files(self) -> list[str]:
        for row, label in enumerate(self.layout.labels):
            if label is None:
                raise DataError(f"{self.layout.ids[row]}: has no class, which the lab's layout needs")
        found = [_NUMBERED.fullmatch(name) for name in self.layout.ids]
        known = [match and match[1] for match in found]
        self._numbers = known if all(known) else [str(row) for row in range(len(known))]
        return [f"{VOLUMES}/tomotarget{number}.mrc" for number in self._numbers]

    def _label_file(self, row: int) -> Path:
        return self.part / LABELS / f"target{self._numbers[row]}.json"

    def _files_of(self, row: int) -> list[str]:
        return [self.files[row], f"{LABELS}/{self._label_file(row).name}"]

    def _written(self, row: int) -> bool:
        return super()._written(row) and self._label_file(row).is_file() and self._label_file(row).stat().st_size > 0

    def _write(self, row: int, voxels: NDArray[np.float32], columns: Mapping[str, Any]) -> None:
        self._write_mrc(row, voxels.transpose(self.axes))
        label = self.layout.labels[row]
        assert label is not None, "checked when the writer was made"
        content = {**self._pose(columns), "name": self.layout.classes[label]}
        file = self._label_file(row)
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.tmp")
        temporary.write_text(json.dumps(content), encoding="utf-8")
        temporary.replace(file)

    def _pose(self, columns: Mapping[str, Any]) -> dict[str, list[float] | None]:
        loc, rotate = None, None
        if "shift" in columns and self.layout.voxel_size:
            depth, height, width = self.layout.box
            place = (
                np.array([width // 2, height // 2, depth // 2]) + np.asarray(columns["shift"]) / self.layout.voxel_size
            )
            loc = (self.turn @ place).tolist()
        if "rotation" in columns:
            rotate = Rotation.from_matrix(self.turn @ np.asarray(columns["rotation"])).as_euler("ZYZ").tolist()
        return {"loc": loc, "rotate": rotate}


def _file_name(text: str) -> str:
    """Return a file name that readers see: no folders, not hidden."""
    return re.sub(r"^\.", "_", re.sub(r"[/\0]", "_", text)) or "_"


def _read_mark(folder: Path) -> dict[str, Any] | None:
    """Return what tells how a folder was made, the digest of its "layout" in it; None where cryoreg did not make it."""
    try:
        mark = json.loads((folder / MARK).read_bytes())
        return mark if isinstance(mark["layout"], str) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _stranger(folder: Path) -> str | None:
    """Return a file that cryoreg did not write into a folder; None where there is none."""
    mark = _read_mark(folder) or {"files": []}
    found = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if not file.is_dir())
    own = {MARK, *mark.get("files", found)}  # earlier versions did not list them
    return next((name for name in found if name not in own), None)
