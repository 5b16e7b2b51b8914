"""What a project file says of files beside what they say themselves: it fills what they leave open."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from cryoreg.config.project import lies_in, shown_path
from cryoreg.contracts import SubtomogramDataset, Subtomograms
from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.io.voxel_sizes import same_size
from cryoreg.errors import DataError, MixedError, MixedVoxelSizesError
from cryoreg.specs import DatasetSpec, Stated
from cryoreg.wrapped import Wrapped

OwnSizes = Mapping[str, float | None]
"""File -> Å per voxel, as it says itself; None where it does not."""
Measure = Callable[[SubtomogramDataset], OwnSizes]
"""`FileDatasetSpec.own_sizes`."""
UNSET = 1.0
"""Å per voxel that many programs write where they know of none."""
_SAME_TILT = 3.0
"""Degrees by which the tilts of single series differ from those that were meant."""


def agreed(dataset: Subtomograms, spec: DatasetSpec, stated: Stated, own_sizes: Measure) -> Subtomograms:
    """Return a data set whose notes say what a project file says of it.

    Raises `DataError` where the files say another voxel size, contrast or tilt axis themselves, unless the project file
    overrules them. Tilts may differ, which is noted.
    """
    own = dataset.dataset if isinstance(dataset, Wrapped) else dataset
    notes = [f"{words({key: getattr(spec, key) for key in stated.keys})} from {stated.file}"]
    check_places([tomogram.path for tomogram in getattr(own, "tomograms", ())], stated)
    check_sizes(lambda: _measured(own_sizes, own, spec, stated), getattr(spec, "voxel_size", None), stated)
    if not stated.overrule:
        for key in ("contrast", "tilt_axis"):
            _check(spec, stated, key, getattr(own, key, None))
        notes += _on_tilts(spec, stated, getattr(own, "tilt_range", None))
    served = Wrapped(dataset)
    served.notes = [*served.notes, *notes]
    return served


def check_places(tomograms: Iterable[str], stated: Stated) -> None:
    """Raise `DataError` where a list names tomograms of which the project file tells, and others.

    Where that tells of a file that is none of them, it is a table that names them all, such as tomograms.star.
    """
    path = Path(stated.path)
    inside = {tomogram: lies_in(tomogram, path) for tomogram in tomograms}
    if path.is_file() and not any(inside.values()):
        return
    for tomogram, there in inside.items():
        if not there:
            refuse(
                tomogram,
                f"is not in {stated.path}, of which {stated.file} tells, as others of the list are; split the list "
                "(`cryoreg select --split tomogram`), or say all on the command line",
            )


def words(values: Mapping[str, Any]) -> str:
    """Return facts in words: "voxel size 10 Å, density dark"."""
    meaning: dict[str, Callable[[Any], str]] = {
        "tomograms": lambda path: f"tomograms {shown_path(path)}",
        "voxel_size": lambda size: f"voxel size {size:g} Å",
        "contrast": lambda contrast: f"density {contrast}",
        "tilt_range": lambda tilts: f"tilts {tilts[0]:g}° to {tilts[1]:g}°",
        "tilt_axis": lambda axis: f"tilt axis {axis}",
    }
    return ", ".join(say(values[key]) for key, say in meaning.items() if key in values)


def check_sizes(measure: Callable[[], OwnSizes], told: float | None, stated: Stated) -> None:
    """Raise `DataError` where a file's own voxel size, Å, is not what a project file says; 1 Å is none.

    Nothing is measured where the project file does not say it, or overrules the files.
    """
    if told is None or stated.overrule or "voxel_size" not in stated.keys:
        return
    for file, size in contradicting(measure(), told).items():
        refuse(
            file,
            f"has voxels of {size:.4g} Å, and {stated.file} says {told:g} Å; {_advice(stated)}, or say "
            "--set dataset.voxel_size=<Å>",
        )


def contradicting(sizes: OwnSizes, told: float) -> dict[str, float]:
    """Return the files whose own voxel size, Å, is not the one that is told of them; 1 Å is none."""
    return {
        file: size for file, size in sizes.items() if size is not None and size != UNSET and not same_size(size, told)
    }


def _measured(measure: Measure, opened: SubtomogramDataset, spec: DatasetSpec, stated: Stated) -> OwnSizes:
    try:
        return measure(opened)
    except (MixedError, MixedVoxelSizesError) as error:
        told = getattr(spec, "voxel_size", None)
        raise DataError(f"{error}; {stated.file} says {told:g} Å of all: {_advice(stated)}") from None
    except DataError:  # what nobody can open without being told is silent
        return {}


def _check(spec: DatasetSpec, stated: Stated, key: str, own: object) -> None:
    told = getattr(spec, key)
    if key in stated.keys and own is not None and own != told:
        what = "density" if key == "contrast" else "the tilt axis"
        refuse(
            str(getattr(spec, "root", "")),
            f"says itself that {what} is {own}, and {stated.file} says {told}; {_advice(stated)}, or say "
            f"--set dataset.{key}=<{own} or {told}>",
        )


def _advice(stated: Stated) -> str:
    return "mend one, or write overrule = true there"


def _on_tilts(spec: DatasetSpec, stated: Stated, own: tuple[float, float] | None) -> list[str]:
    told = getattr(spec, "tilt_range", None)
    if "tilt_range" not in stated.keys or own is None or told is None:
        return []
    if all(abs(one - other) <= _SAME_TILT for one, other in zip(own, told, strict=True)):
        return []
    return [f"tilts are {own[0]:g}° to {own[1]:g}° by the files themselves, which {stated.file} overrules"]
