"""The layout of the paper's lab: one MRC and one JSON file per subtomogram, paired by number."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import ClassVar

from cryoreg.contracts import TiltAxis
from cryoreg.datasets.io.volume_files import guarded, text_of
from cryoreg.datasets.readers.file_dataset import FileDataset
from cryoreg.datasets.readers.lab_layout import LAB_AXES, LAB_TILT_AXIS, LABELS, VOLUMES, tilt_axis_of
from cryoreg.datasets.readers.mrc_files import MrcFiles
from cryoreg.errors import DataError
from cryoreg.files import require_file


class Lab(MrcFiles):
    """``subtomogram_mrc/tomotarget<N>.mrc`` with ``json_label/target<N>.json`` (``loc``, ``rotate``, ``name``).

    The beam of these files lies along MRC X. Their axes (z, y, x) become (x, z, y): a cyclic permutation, hence a
    rotation, where (2, 1, 0) would mirror the molecule.
    """

    axes: ClassVar[tuple[int, int, int]] = LAB_AXES
    tilt_axis: TiltAxis | None = LAB_TILT_AXIS

    def __init__(self, root: str | Path, voxel_size: float | None = None) -> None:
        """Open a folder; ``voxel_size`` in Å, as the headers have none. Raises `DataError`, one line, for bad input."""
        volumes = _numbered(Path(root, VOLUMES), ".mrc")
        labels = _numbered(Path(root, LABELS), ".json")
        _check_pairs(root, volumes, labels)
        numbers = sorted(volumes)
        names = [_class_name(labels[number]) for number in numbers]
        classes = sorted(set(names))
        index = {name: label for label, name in enumerate(classes)}
        super().__init__(
            files=[volumes[number] for number in numbers],
            ids=[os.path.splitext(os.path.basename(volumes[number]))[0] for number in numbers],
            labels=[index[name] for name in names],
            classes=classes,
            voxel_size=voxel_size,
        )
        self.tilt_axis = tilt_axis_of(root)


def _numbered(folder: Path, extension: str) -> dict[int, str]:
    """Return the folder's files of an extension by the number that ends their stems."""
    found: dict[int, str] = {}
    for name in _names(folder, extension):
        number = re.search(r"(\d+)\.\w+$", name, re.ASCII)
        if number is None:
            raise DataError(f"{folder / name}: has no number at the end of its name to pair it by; rename or remove it")
        other = found.setdefault(int(number[1]), str(folder / name))
        if other != str(folder / name):
            raise DataError(f"{folder / name}: has the same number as {os.path.basename(other)}; rename or remove one")
    return found


def _names(folder: Path, extension: str) -> list[str]:
    try:
        listed = sorted(os.listdir(folder))
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        raise DataError(f"{folder}: {reason}; the lab's layout has the folders {VOLUMES} and {LABELS}") from None
    names = [name for name in listed if name.lower().endswith(extension) and not name.startswith(".")]
    if not names:
        raise DataError(f"{folder}: holds no {extension} files; check the path")
    return names


def _check_pairs(root: str | Path, volumes: dict[int, str], labels: dict[int, str]) -> None:
    for have, lack, folder in ((volumes, labels, LABELS), (labels, volumes, VOLUMES)):
        alone = sorted(have.keys() - lack.keys())
        if alone:
            raise DataError(
                f"{len(alone)} of {len(have)} files have no partner of the same number in {Path(root, folder)}, "
                f"the first being {have[alone[0]]}; add or remove them"
            )


def _class_name(file: str) -> str:
    require_file(file, DataError)
    try:
        content = json.loads(Path(file).read_bytes())
    except OSError as error:
        raise DataError(f"{file}: {(error.strerror or 'cannot be read').lower()}; restore the file") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: is not valid JSON ({error}); mend or remove it and its volume") from None
    name = content.get("name") if isinstance(content, dict) else None
    if not isinstance(name, str) or not name.strip():
        raise DataError(f"{file}: has no class in its field 'name'; add it or remove the file and its volume")
    return text_of(file, "a class", name.strip())


def open_lab(root: str | Path, voxel_size: float | None = None) -> FileDataset:
    """Open what the lab's programs write: a folder, or an archive in one file (`lab_archives`)."""
    require_file(root, DataError)
    if Path(root).is_file():
        from cryoreg.datasets.readers.lab_archives import open_archive

        with guarded(root, "an archive"):
            return open_archive(root, voxel_size)
    return Lab(root, voxel_size)
