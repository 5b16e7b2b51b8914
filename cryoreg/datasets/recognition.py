"""What the specs of data sets look at to tell whether a path is theirs: names and headers, never voxels.

Imports no torch: every reader is asked about every path that a command is given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from cryoreg.errors import DataError
from cryoreg.folders import ending, endings, files_below

STACKS = (".mrcs", ".st")
VOLUMES = (".mrc", ".rec", ".map")
_LISTS = (".tbl", ".csv", ".tsv", ".ndjson", ".jsonl", ".cbox", ".coords")
"""What lists are called that may be nothing else; others are lists where they are given themselves."""
_EMAN2, _IMAGE_LIST = ".hdf", ".lst"
_ZARR = (".zattrs", ".zgroup", "zarr.json")
_CONVERT = {
    **dict.fromkeys((".tif", ".tiff"), "if it is a tomogram, `cryoreg pick` reads it; else convert it to MRC"),
    **dict.fromkeys((".hdf", ".em"), "convert it to MRC"),
}
_FOREIGN = ("an EM file", "a DM")
_LARGE = 256
"""Voxels: a volume with a longer edge is no subtomogram."""


def of_endings(path: Path, *wanted: str) -> str | None:
    """Say that a file has one of some extensions, or how many files of a folder do; None where none has."""
    if path.is_file():
        return f"the extension {ending(path.name)}" if ending(path.name) in wanted else None
    count = sum(endings(path)[each] for each in wanted) if path.is_dir() else 0
    return f"{count} {wanted[0]} files" if count else None


def lab_folder(path: Path) -> str | None:
    """Return which folder of the lab's layout a folder holds."""
    from cryoreg.datasets.readers.lab_layout import LABELS, VOLUMES

    return next((name for name in (VOLUMES, LABELS) if (path / name).is_dir()), None)


def is_zarr(path: Path) -> bool:
    """Tell whether a folder is a Zarr array or group."""
    return any((path / name).exists() for name in _ZARR)


def mrc_stacks(path: Path) -> str | None:
    """Say by which names, or by which header, MRC files are stacks of volumes."""
    from cryoreg.datasets.io.mrc import is_stack

    count = _count(path, STACKS)
    if count and path.is_file() and not is_stack(path) and _is_large(path):
        return None
    if count:
        return f"the extension {ending(path.name)}" if path.is_file() else f"{count} MRC stacks by their names"
    first = _first_volume(path)
    if first is None or not is_stack(first):
        return None
    return f"{_mrc_files(path)}, and {first.name} is a stack by its header"


def mrc_volumes(path: Path) -> str | None:
    """Say that a folder holds MRC files of one volume each; raise `DataError` for one such file alone."""
    from cryoreg.datasets.io.mrc import is_stack

    first = _first_volume(path)
    if first is None or is_stack(first) or _is_large(first):
        return None
    if path.is_file():
        raise DataError(f"{path}: is a single volume; give the folder that holds it and others")
    return _mrc_files(path)


def refuse_tomograms(path: Path) -> None:
    """Raise `DataError`, saying what to do, where a path is a tomogram or holds tomograms."""
    from cryoreg.datasets.io.mrc import is_stack

    if is_zarr(path):
        raise DataError(
            f"{path}: is a tomogram (OME-Zarr), not subtomograms; "
            "give a particle list with --dataset tomogram --set dataset.tomograms=<this folder>"
        )
    if path.is_file():
        _refuse_other_kinds(path)
    first = _first_volume(path)
    if first is not None and not is_stack(first) and _is_large(first):
        raise DataError(
            f"{first}: is a whole tomogram by its size; give a particle list with --dataset tomogram, "
            "or make one with `cryoreg pick`"
        )


def _refuse_other_kinds(path: Path) -> None:
    """Raise `DataError` where a file is of a kind that holds volumes and is not read, by its content or its name."""
    from cryoreg.datasets.particles.sniffing import kind_of_list
    from cryoreg.datasets.tomograms.kinds import kind_of, other_kind

    if ending(path.name) == ".em" and kind_of_list(path):
        return
    what = other_kind(path) or ""
    if what.startswith(_FOREIGN):
        raise DataError(f"{path}: no reader fits, as it is {what}; convert it to MRC")
    extension = ".tif" if kind_of(path) == "TIFF" else ending(path.name)
    if extension in _CONVERT:
        raise DataError(f"{path}: no reader fits a file that ends with '{path.suffix}'; {_CONVERT[extension]}")


def _is_large(file: Path) -> bool:
    from cryoreg.datasets.io.mrc import read_header

    return max(read_header(file).box) > _LARGE


def _mrc_files(path: Path) -> str:
    return "an MRC file" if path.is_file() else f"{_count(path, VOLUMES)} MRC files"


def _count(path: Path, wanted: Iterable[str]) -> int:
    if path.is_file():
        return int(ending(path.name) in wanted)
    found = endings(path) if _is_plain(path) else Counter[str]()
    return sum(found[each] for each in wanted)


def _first_volume(path: Path) -> Path | None:
    """Return a path, or the first file of a folder, that has the name of an MRC volume."""
    if path.is_file():
        return path if ending(path.name) in (*VOLUMES, *STACKS) else None
    files = files_below(path) if _is_plain(path) else ()
    return next((file for file in files if ending(file.name) in VOLUMES), None)


def _is_plain(path: Path) -> bool:
    """Tell whether a path is a folder of no layout that says itself what it is."""
    return path.is_dir() and not is_zarr(path) and lab_folder(path) is None


def hdf5_keys(path: Path) -> tuple[list[str], list[str]] | None:
    """Return the keys of an HDF5 file and of its attributes, None where it is none; raise where it is damaged."""
    from cryoreg.datasets.io.volume_files import is_hdf5, one_line

    if not path.is_file() or not is_hdf5(path):
        return None
    import h5py

    with one_line(path, "an HDF5 file"), h5py.File(path, "r", locking=False) as file:
        return sorted(file), sorted(file.attrs)


def eman2_images(path: Path) -> str | None:
    """Say by what a path holds or lists EMAN2's 3D images; raise `DataError` for 2D images and tomograms of EMAN2."""
    from cryoreg.datasets.io.eman2_lists import is_list

    if path.is_file() and ending(path.name) == _IMAGE_LIST:
        return "a list of EMAN2's images" if is_list(path) else None
    first = _first_eman2(path)
    if first is None:
        return None
    from cryoreg.datasets.io.eman2_images import image_numbers, read_stored

    numbers = image_numbers(str(first))
    stored = next(read_stored(str(first), numbers))
    if max(stored.box) > _LARGE:
        raise DataError(
            f"{first}: is a whole tomogram by its size; convert it to MRC (e2proc3d.py), and give a particle list with "
            "--dataset tomogram, or make one with `cryoreg pick`"
        )
    return "EMAN2's images" if path.is_file() else f"{_count(path, (_EMAN2,))} HDF5 files of EMAN2"


def _first_eman2(path: Path) -> Path | None:
    """Return a path, or the first .hdf of a folder, where it is HDF5 as EMAN2 writes it."""
    from cryoreg.datasets.io.eman2_images import GROUP

    files = files_below(path) if _is_plain(path) else ()
    first = path if path.is_file() else next((file for file in files if ending(file.name) == _EMAN2), None)
    keys = first and hdf5_keys(first)
    return first if keys and GROUP in keys[0] else None


def star_columns(path: Path) -> set[str]:
    """Return the columns of all tables of a STAR file; none of other files. Raise `DataError` where it is damaged."""
    from cryoreg.datasets.io.star_blocks import first_values

    return set(first_values(path)) if path.is_file() and ending(path.name) == ".star" else set()


def listed_tomogram(path: Path) -> Path | None:
    """Return the first tomogram that a STAR file of cryoreg names by its file, where that is there."""
    if not path.is_file() or ending(path.name) != ".star":
        return None
    from cryoreg.datasets.io import relion
    from cryoreg.datasets.io.star_blocks import first_values
    from cryoreg.datasets.tomograms.names import find_above

    name = first_values(path).get(relion.FILE)
    file = find_above(str(name), path.parent) if name else None
    return Path(file) if file else None


def tilt_stacks(path: Path) -> str | None:
    """Say by which word a STAR file, or the particles of an optimisation set, are stacks of 2D images."""
    if not path.is_file() or ending(path.name) != ".star":
        return None
    from cryoreg.datasets.io.relion import IMAGE, PARTICLES_FILE
    from cryoreg.datasets.tilt_stacks.files import particles_of, says_flat

    if tilt_images(path):
        return tilt_images(path)
    particles = particles_of(path)
    word = says_flat(particles) if IMAGE in star_columns(particles) else None
    if particles == path or word is None:
        return word and f"2D stacks ({word})"
    return f"an optimisation set ({PARTICLES_FILE}) of 2D stacks ({word})"


def tilt_images(path: Path) -> str | None:
    """Say by which column a STAR file has a row for each tilt image of its particles, as Warp 1 writes it."""
    columns = star_columns(path)
    if not columns:
        return None
    from cryoreg.datasets.io.relion import PARTICLE_NAME, lists_tilt_images

    return f"tilt images of particles (the column {PARTICLE_NAME})" if lists_tilt_images(columns) else None


def image_column(path: Path) -> str | None:
    """Say by which column a STAR file lists extracted images."""
    columns = star_columns(path)
    if not columns:
        return None
    from cryoreg.datasets.io.relion import IMAGE, check_places

    if IMAGE not in columns or tilt_stacks(path):
        return None
    check_places(path, columns)
    return f"the column {IMAGE}"


def particle_list(path: Path) -> str | None:
    """Say by what a path is a list of particles with coordinates."""
    from cryoreg.datasets.particles.sniffing import kind_of_list, lists_in, words_of

    if path.is_dir():
        lists = lists_in(path)
        if not lists:
            _refuse_list_inside(path)
        return f"{len(lists)} particle lists ({ending(lists[0].name)})" if lists else None
    if ending(path.name) == ".star":
        return None if tilt_stacks(path) else _coordinates(path)
    kind = kind_of_list(path) if path.is_file() else None
    return None if kind is None else words_of(kind, path)


def _refuse_list_inside(folder: Path) -> None:
    from cryoreg.datasets.particles.sniffing import why_no_lists

    found = next((file for file in files_below(folder) if ending(file.name) in (*_LISTS, ".star", ".json")), None)
    if found is not None:
        raise DataError(
            f"{folder}: no reader fits a folder with the particle list {found.name}; say {found}, or give a folder of "
            f"nothing but lists of one kind, one for each tomogram ({why_no_lists(folder)})"
        )


def _coordinates(path: Path) -> str | None:
    from cryoreg.datasets.io import relion

    columns = star_columns(path)
    relion.check_places(path, columns)
    relion.check_words(path, columns)
    places = (relion.COORDINATES[0], relion.CENTRED[0], relion.MOTIVE[2])
    where = next((name for name in places if name in columns), None)
    if not relion.lists_particles(columns):
        listed = ", ".join(sorted(columns)[:6]) or "no columns"
        raise DataError(f"{path}: has neither {relion.IMAGE} nor coordinates, but {listed}; give a particle list")
    return where and f"the column {where}"
