"""Which reader fits a path, from what is there; nothing is guessed where several fit."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from cryoreg.errors import DataError
from cryoreg.files import require_file

_RUNS = (".ckpt", ".safetensors", ".pth", ".pt", ".tar", ".toml")
_LISTS = (".tbl", ".csv", ".ndjson", ".json")
_PICKLES = (".pkl", ".pickle", ".p")
_LAB_FOLDERS = ("subtomogram_mrc", "json_label")
_COORDINATES = ("rlnCoordinateX", "rlnCenteredCoordinateXAngst")
_IMAGE = "rlnImageName"
_STACKS = (".mrcs", ".st")
_VOLUMES = (".mrc", ".rec", ".map")
_ONE_EACH = {".npy": "npy_folder", ".png": "png_montage"}
_LARGE = 256
"""Voxels: a volume with a longer edge is no subtomogram."""
_READERS = "`cryoreg list --kind dataset` shows the readers"


class Match(NamedTuple):
    """A reader that fits."""

    name: str
    why: str


def choose(path: Path) -> Match:
    """Return the only reader that fits; raise `DataError`, one line, where none does or several do."""
    matches = sniff(path)
    if len(matches) > 1:
        reasons = " and ".join(f"{match.why} ({match.name})" for match in matches)
        names = " or ".join(f"--dataset {match.name}" for match in matches)
        raise DataError(f"{path}: more than one reader fits, as it has {reasons}; say {names}")
    return matches[0]


def sniff(path: Path) -> list[Match]:
    """Return every reader that fits, at least one; raise `DataError` where none does, saying what was found."""
    if not os.path.lexists(path):
        raise DataError(f"{path}: no such file or directory; check the path")
    require_file(path, DataError)
    _refuse_runs(path)
    return _sniff_folder(path) if path.is_dir() else _sniff_file(path)


def _refuse_runs(path: Path) -> None:
    is_run = (path / "config.toml").is_file() if path.is_dir() else path.suffix.lower() in _RUNS
    if is_run:
        raise DataError(f"{path}: belongs to a run or a model, not to a data set; `cryoreg inspect` tells what it is")
    if any(path.glob("*/config.toml")):
        raise DataError(f"{path}: holds runs, not a data set; `cryoreg inspect` tells what one of them is")


def _sniff_folder(path: Path) -> list[Match]:
    if any((path / name).is_dir() for name in _LAB_FOLDERS):
        return [Match("lab", f"the folder {next(name for name in _LAB_FOLDERS if (path / name).is_dir())}")]
    if any((path / name).exists() for name in (".zattrs", ".zgroup", "zarr.json")):
        raise DataError(
            f"{path}: is a tomogram (OME-Zarr), not subtomograms; "
            "give a particle list with --dataset tomogram --set dataset.tomograms=<this folder>"
        )
    found = _extensions(path)
    matches = [Match(name, f"{found[ext]} {ext} files") for ext, name in _ONE_EACH.items() if found[ext]]
    stacks, volumes = (sum(found[ext] for ext in group) for group in (_STACKS, _VOLUMES))
    if stacks:
        matches.append(Match("mrc_stack", f"{stacks} MRC stacks by their names"))
    if volumes:
        matches.append(_mrc_match(_first(path, _VOLUMES), f"{volumes} MRC files", in_folder=True))
    matches = list({match.name: match for match in matches}.values())
    if not matches:
        raise DataError(f"{path}: no reader fits; it holds {_listed(path, found)}; {_READERS}")
    return matches


def _extensions(path: Path) -> Counter[str]:
    """Count the extensions of a folder's files and of those one level below."""
    return Counter(_extension(file.name) for file in _files(path))


def _files(path: Path) -> list[Path]:
    try:
        entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
        below = [file for entry in entries if entry.is_dir() for file in sorted(entry.iterdir())]
    except OSError as error:
        raise DataError(f"{error.filename}: {(error.strerror or 'cannot be read').lower()}; check the path") from None
    return [file for file in (*entries, *below) if not file.name.startswith(".") and not file.is_dir()]


def _extension(name: str) -> str:
    stem, extension = os.path.splitext(name.lower())
    return os.path.splitext(stem)[1] if extension in (".gz", ".bz2") else extension


def _first(path: Path, extensions: tuple[str, ...]) -> Path:
    return next(file for file in _files(path) if _extension(file.name) in extensions)


def _listed(path: Path, found: Counter[str]) -> str:
    lists = [file.name for file in _files(path) if _extension(file.name) in (".star", *_LISTS)]
    if lists:
        return f"the particle list {lists[0]}, which is to be given itself"
    return ", ".join(f"{count} {ext or 'nameless'} files" for ext, count in found.most_common(5)) or "no files"


def _sniff_file(path: Path) -> list[Match]:
    from cryoreg.datasets.io.volume_files import is_hdf5

    extension = _extension(path.name)
    if extension == ".star":
        return _sniff_star(path)
    if is_hdf5(path):
        return [_sniff_hdf5(path)]
    if extension in _LISTS:
        return [Match("tomogram", f"a particle list ({extension})")]
    if extension in _PICKLES:
        return [Match("lab", "a pickle")]
    if extension in _ONE_EACH:
        return [Match(_ONE_EACH[extension], f"the extension {extension}")]
    if extension in _STACKS:
        return [Match("mrc_stack", f"the extension {extension}")]
    if extension in _VOLUMES:
        return [_mrc_match(path, "an MRC file", in_folder=False)]
    hint = {
        **dict.fromkeys((".tif", ".tiff"), "if it is a tomogram, `cryoreg pick` reads it; else convert it to MRC"),
        **dict.fromkeys((".hdf", ".em"), "convert it to MRC"),
    }.get(extension, _READERS)
    raise DataError(f"{path}: no reader fits a file that ends with '{path.suffix}'; {hint}")


def _mrc_match(file: Path, what: str, in_folder: bool) -> Match:
    """Tell volumes from stacks by the header of one file."""
    from cryoreg.datasets.io.mrc import is_stack, read_header

    if is_stack(file):
        return Match("mrc_stack", f"{what}, and {file.name} is a stack by its header")
    header = read_header(file)
    if max(header.box) > _LARGE:
        raise DataError(
            f"{file}: is a whole tomogram by its size; give a particle list with --dataset tomogram, "
            "or make one with `cryoreg pick`"
        )
    if not in_folder:
        raise DataError(f"{file}: is a single volume; give the folder that holds it and others")
    return Match("mrc_folder", what)


def _sniff_star(path: Path) -> list[Match]:
    columns = _star_columns(path)
    matches = [Match("star", f"the column {_IMAGE}")] if _IMAGE in columns else []
    where = [name for name in _COORDINATES if name in columns]
    if where:
        matches.append(Match("tomogram", f"the column {where[0]}"))
    if not matches:
        listed = ", ".join(sorted(columns)[:6]) or "no columns"
        raise DataError(f"{path}: has neither {_IMAGE} nor coordinates, but {listed}; give a particle list")
    return matches


def _star_columns(path: Path) -> set[str]:
    """Return the names that STAR writes with an underscore in front, in every table."""
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            return {line.split()[0][1:] for line in lines if line.startswith("_") and line.split()}
    except OSError as error:
        raise DataError(f"{path}: {(error.strerror or 'cannot be read').lower()}; check the path") from None


def _sniff_hdf5(path: Path) -> Match:
    import h5py

    from cryoreg.datasets.io.volume_files import one_line
    from cryoreg.datasets.readers.lab_archives import VOLUMES
    from cryoreg.datasets.store.format import FORMAT

    with one_line(path, "an HDF5 file"), h5py.File(path, "r", locking=False) as file:
        if FORMAT in file.attrs:
            return Match("store", "the mark of a cryoreg store")
        if VOLUMES in file:
            return Match("lab", f"the HDF5 key {VOLUMES}")
        keys = ", ".join(sorted(file)[:6]) or "nothing"
    raise DataError(f"{path}: is HDF5 with {keys}, and neither a store of cryoreg nor has '{VOLUMES}'; {_READERS}")
