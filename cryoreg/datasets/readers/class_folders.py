"""Folders whose subfolders, if any, are the classes: ``root/<class>/*.ext``, or flat and unlabelled: ``root/*.ext``."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from cryoreg.datasets.ids import check_unique
from cryoreg.errors import DataError

_COMPANION = re.compile(r"_(ctf|wedge|weights?|mask|half_?[12]?|even|odd|evn)(?=_|$)", re.IGNORECASE)
_BESIDE_DATA = re.compile(r"_(weights|ctf2|div|multi|data_nrm|ctf2_nrm)$", re.IGNORECASE)
"""What RELION 4 writes beside the ``_data`` of a pseudo-subtomogram."""


class FileKind(NamedTuple):
    """The files that a reader takes."""

    name: str
    """What messages call them, in the plural: "MRC files"."""
    extensions: str
    """Separated by commas: ".mrc, .rec"; they may be compressed where ``packed`` says so."""
    packed: bool = False

    @property
    def pattern(self) -> re.Pattern[str]:
        """What such a file's name ends with."""
        endings = "|".join(re.escape(extension) for extension in self.extensions.split(", "))
        packing = r"(\.gz|\.bz2)?" if self.packed else ""
        return re.compile(f"({endings}){packing}$", re.IGNORECASE)

    def stem(self, path: str) -> str:
        """Return a path without its extension, with slashes."""
        return self.pattern.sub("", path).replace(os.sep, "/")


class ClassFolders(NamedTuple):
    """The files below a folder."""

    files: list[str]
    stems: list[str]
    """The path of each file below the root, without its extension: unique."""
    labels: list[int | None]
    classes: list[str]
    """None for a flat folder."""


def find_files(root: str | Path, kind: FileKind, single: bool = False) -> ClassFolders:
    """Return a folder's files of a kind, those of each class together; with ``single``, ``root`` may be such a file.

    Hidden files are ignored. Raises `DataError`, one line, where there are none or the classes are not clear.
    """
    if single and not os.path.isdir(root) and (os.path.lexists(root) or kind.pattern.search(os.fspath(root))):
        return ClassFolders([os.fspath(root)], [kind.stem(os.path.basename(root))], [None], [])
    names, folders = list_folder(root, kind)
    content = {folder: _class_files(os.path.join(root, folder), kind) for folder in folders}
    classes = _classes(root, kind, names, content)
    labels: list[int | None] = [None] * len(names)
    for label, folder in enumerate(classes):
        names += [os.path.join(folder, name) for name in content[folder]]
        labels += [label] * len(content[folder])
    files = [os.path.join(root, name) for name in names]
    stems = [kind.stem(name) for name in names]
    check_unique(stems, files)
    return ClassFolders(files, stems, labels, classes)


def _class_files(folder: str, kind: FileKind) -> list[str]:
    """Return the names of the files of a class; raise `DataError` where others lie deeper, which nothing would read."""
    names, below = list_folder(folder, kind)
    for deeper in below:
        if not os.path.islink(os.path.join(folder, deeper)) and list_folder(os.path.join(folder, deeper), kind)[0]:
            raise DataError(
                f"{os.path.join(folder, deeper)}: holds {kind.name} below the folder of a class, where none are looked "
                "for; move them up, or give a folder one level below"
            )
    return names


def without_companions(found: ClassFolders) -> tuple[ClassFolders, list[str]]:
    """Leave out files that are named as what belongs to another: its CTF, weights, mask or halves; return a note."""
    known = set(found.stems)
    kept = [row for row, stem in enumerate(found.stems) if known.isdisjoint(_companions_of(stem))]
    if len(kept) == len(found.files):
        return found, []
    first = found.files[min(set(range(len(found.files))) - set(kept))]
    note = (
        f"{len(found.files) - len(kept)} files are left out, as their names tell that they are the CTF, weights, mask "
        f"or halves of others (the first: {first})"
    )
    files, stems = ([column[row] for row in kept] for column in (found.files, found.stems))
    return ClassFolders(files, stems, [found.labels[row] for row in kept], found.classes), [note]


def _companions_of(stem: str) -> set[str]:
    """Return the name without a word that tells what it is of something else."""
    data = {f"{stem[: match.start()]}_data" for match in _BESIDE_DATA.finditer(stem)}
    return data | {stem[: match.start()] + stem[match.end() :] for match in _COMPANION.finditer(stem)}


def any_files(root: str | Path, kind: FileKind) -> bool:
    """Tell whether a folder, or a subfolder of it, holds files of a kind."""
    names, folders = list_folder(root, kind)
    return bool(names) or any(list_folder(os.path.join(root, folder), kind)[0] for folder in folders)


def list_folder(folder: str | Path, kind: FileKind) -> tuple[list[str], list[str]]:
    """Return the sorted names of a folder's files of a kind and of its subfolders, without hidden ones."""
    try:
        with os.scandir(folder) as entries:
            seen = sorted((e.name, e.is_dir()) for e in entries if not e.name.startswith("."))
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        raise DataError(f"{folder}: {reason}; give the path of a folder with {kind.name}") from None
    files = [name for name, _ in seen if kind.pattern.search(name)]
    return files, [name for name, is_folder in seen if is_folder and name not in files]


def _classes(root: str | Path, kind: FileKind, flat: list[str], content: dict[str, list[str]]) -> list[str]:
    """Return the class names, none for a flat folder."""
    filled = [folder for folder, names in content.items() if names]
    if flat and filled:
        raise DataError(
            f"{root}: holds {kind.name} ({flat[0]}) beside folders of {kind.name} ({filled[0]}); "
            "put every file into the folder of its class, or all of them into one"
        )
    if not flat and not filled:
        raise DataError(f"{root}: holds no {kind.name} ({kind.extensions}), nor do its subfolders; check the path")
    empty = [folder for folder in content if folder not in filled]
    if filled and empty:
        raise DataError(f"{os.path.join(root, empty[0])}: this class holds no {kind.name}; fill or remove the folder")
    return filled
