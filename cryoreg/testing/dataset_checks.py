"""What a data set promises. Its files are those that the spec names."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import torch

from cryoreg.contracts import OPTIONAL, Origin, Sample, SubtomogramDataset, Subtomograms
from cryoreg.datasets.specs import FileDatasetSpec
from cryoreg.datasets.unlabelled import names_no_class
from cryoreg.specs import DatasetSpec
from cryoreg.testing.checks import NotApplicable, require
from cryoreg.testing.elsewhere import elsewhere
from cryoreg.wrapped import with_defaults

READ = 8
"""So many subtomograms, evenly spread, are read."""
_NEARLY = 0.8
"""How like a known name another one is (`difflib`) that is taken for a slip: `notes` and `note` are 0.89."""


def some_of(dataset: SubtomogramDataset) -> list[int]:
    """Return indices, evenly spread, the first and last among them."""
    last = len(dataset) - 1
    return sorted({round(last * i / (READ - 1)) for i in range(READ)}) if last >= 0 else []


# The first of them: a file that is made once would be there already.
def check_files_are_left_alone(spec: DatasetSpec) -> None:
    """Opening and reading changes no file that the spec names, and makes none beside them."""
    places = [value for _, value in spec if isinstance(value, Path)]
    if not places:
        raise NotApplicable("the spec names no files")
    before = _states(places)
    dataset = spec.build()
    for index in some_of(dataset):
        dataset[index]
    after = _states(places)
    changed = sorted(str(path) for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    require(not changed, f"reading changes {', '.join(changed[:3])}; open files read-only, and cache elsewhere")


class _State(NamedTuple):
    size: int
    modified: int
    digest: str


def _states(places: list[Path]) -> dict[Path, _State]:
    """Return the state of all files below some folders, of some files, and of what lies beside those."""
    return {path: _state(path) for place in places for path in _files(place) if path.is_file()}


def _files(place: Path) -> Iterator[Path]:
    yield from place.rglob("*") if place.is_dir() else place.parent.iterdir()


def _state(path: Path) -> _State:
    stat = os.stat(path)
    return _State(stat.st_size, stat.st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())


def check_fits_leaves_other_files_alone(spec: DatasetSpec) -> None:
    """``fits`` returns None for a path that is not there, and for files and folders of others."""
    with tempfile.TemporaryDirectory() as folder:
        for path in _foreign(Path(folder)):
            try:
                found = type(spec).fits(path)
            except Exception as error:
                require(False, f"fits({path.name!r}) raises {type(error).__name__}; return None for what is not yours")
            require(found is None, f"fits({path.name!r}) is {found!r}; return None for what is not yours")


def _foreign(folder: Path) -> list[Path]:
    """Make a file and a folder that belong to no reader; return them, and a path at which nothing is."""
    file, inner = folder / "notes.no_reader", folder / "papers"
    file.write_bytes(bytes(range(256)))
    inner.mkdir()
    (inner / file.name).write_bytes(b"text")
    return [folder / "nothing", file, inner]


def check_fits_knows_its_own_data(spec: DatasetSpec) -> None:
    """Where the spec has ``fits`` and a ``root``, it says in a few words by what it knows that path."""
    root = getattr(spec, "root", None)
    if not isinstance(root, Path) or _does_not_tell(spec):
        raise NotApplicable("the spec does not tell by a path whether it fits")
    found = type(spec).fits(root)
    require(isinstance(found, str) and bool(found.strip()), f"fits(root) is {found!r}; say by what you know your data")


def _does_not_tell(spec: DatasetSpec) -> bool:
    return type(spec).fits.__func__ is DatasetSpec.fits.__func__  # type: ignore[attr-defined]


def check_fits_imports_no_torch(spec: DatasetSpec) -> None:
    """``fits``, asked about every path that a command gets, imports none of torch, monai, timm, lightly."""
    if _does_not_tell(spec):
        raise NotApplicable("the spec does not tell by a path whether it fits")
    kind, root = type(spec), getattr(spec, "root", "nowhere")
    work = json.dumps([sys.path, kind.__module__, kind.__qualname__, str(root)])
    run = subprocess.run(
        [sys.executable, "-c", _FITS], input=work, capture_output=True, text=True, timeout=120, check=False
    )
    require(run.returncode == 0, f"fits fails in a new process: {(run.stderr.splitlines() or ['?'])[-1]}; mend it")
    loaded = run.stderr.rpartition("LOADED ")[2].split()
    require(not loaded, f"fits imports {', '.join(loaded)}; look at names and headers without it")


_FITS = """
import importlib, json, operator, pathlib, sys
path, module, name, root = json.loads(sys.stdin.read())
sys.path[:] = path
operator.attrgetter(name)(importlib.import_module(module)).fits(pathlib.Path(root))
sys.stderr.write("LOADED " + " ".join({"torch", "monai", "timm", "lightly"} & set(sys.modules)))
"""


def check_length_is_that_of_labels_ids_and_groups(spec: DatasetSpec) -> None:
    """`len` is at least 1, and labels, ids and groups have as many entries."""
    dataset = spec.build()
    require(len(dataset) > 0, "the data set is empty; raise DataError where there is nothing to read")
    for name in ("labels", "ids", "groups"):
        count = len(getattr(dataset, name))
        require(count == len(dataset), f"there are {count} {name} for {len(dataset)} subtomograms; give one for each")


def check_lists_are_lists(spec: DatasetSpec) -> None:
    """Classes, labels, ids and groups are lists or tuples of Python's own values, no arrays."""
    dataset = spec.build()
    for name in ("classes", "labels", "ids", "groups"):
        values = getattr(dataset, name)
        sound = isinstance(values, Sequence) and not isinstance(values, str | bytes)
        require(sound, f"{name} is of type {type(values).__name__}; make it a list, as by `.tolist()`")


def check_groups_are_names(spec: DatasetSpec) -> None:
    """Every group is the name of a tomogram, a str, or None where it is not known."""
    wrong = [group for group in spec.build().groups if not (group is None or isinstance(group, str))]
    require(not wrong, f"the group {wrong[:1]} is neither a str nor None; write the name of the tomogram as text")


def check_box_and_voxel_size_are_numbers(spec: DatasetSpec) -> None:
    """``box`` is three counts of voxels, (D, H, W); ``voxel_size`` is Å, positive, or None."""
    dataset = spec.build()
    box, size = dataset.box, dataset.voxel_size
    sound = isinstance(box, tuple) and len(box) == 3 and all(type(edge) is int and edge > 0 for edge in box)
    require(sound, f"box is {box!r}; let it be a tuple of three positive ints")
    known = isinstance(size, float) and 0 < size < float("inf")
    require(size is None or known, f"voxel_size is {size!r}; let it be a positive float, in Å, or None where unknown")


def check_labels_index_the_classes(spec: DatasetSpec) -> None:
    """Every label is None, or an int that is an index into ``classes``."""
    dataset = spec.build()
    wrong = [label for label in dataset.labels if label is not None and not _is_index(label, len(dataset.classes))]
    require(not wrong, f"label {wrong[:1]} is no index into {len(dataset.classes)} classes; use ints, None for unknown")


def check_no_class_means_unknown(spec: DatasetSpec) -> None:
    """No class is called None, NA or nothing: a subtomogram whose class is not known has the label None."""
    wrong = [name for name in spec.build().classes if names_no_class(name)]
    require(not wrong, f"there is a class {wrong[:1]}; give such subtomograms the label None, and leave out the class")


def _is_index(label: object, count: int) -> bool:
    return type(label) is int and 0 <= label < count


def check_ids_are_unique(spec: DatasetSpec) -> None:
    """No two subtomograms have one id, and ids are text."""
    ids = list(spec.build().ids)
    require(all(isinstance(each, str) for each in ids), "an id is no str; write ids as text")
    twice = {each for each in ids if ids.count(each) > 1} if len(set(ids)) < len(ids) else set()
    require(not twice, f"the id {sorted(twice)[:1]} comes more than once; add the file or the row to it")


def check_what_is_known_is_spelt_as_it_is_read(spec: DatasetSpec) -> None:
    """No attribute is nearly called as one that cryoreg reads: ``tilt_ranges`` would mean that tilts are unknown."""
    for dataset in _layers(spec):
        for name in dir(dataset):
            near = [] if name.startswith("_") or name in OPTIONAL else get_close_matches(name, OPTIONAL, 1, _NEARLY)
            if near and not _says(dataset, near[0]):
                told = f"its attribute '{name}' is read by nobody, and '{near[0]}' stays unknown"
                require(False, f"{type(dataset).__name__}: {told}; rename it, or say both")


def _layers(spec: DatasetSpec) -> list[SubtomogramDataset]:
    """Return the data set as it is built and, where a spec of files wraps that, as its reader opens it."""
    return [spec.build(), *([spec.open()] if isinstance(spec, FileDatasetSpec) else [])]


def _says(dataset: SubtomogramDataset, name: str) -> bool:
    """Tell whether a data set, or its class, says something of its own."""
    default = getattr(Subtomograms, name)
    return name in getattr(dataset, "__dict__", {}) or getattr(type(dataset), name, default) is not default


def check_what_is_known_has_its_form(spec: DatasetSpec) -> None:
    """Contrast, tilts, notes, duplicates, columns, origins and clean copies are as `Subtomograms` has them."""
    for dataset in map(with_defaults, _layers(spec)):
        count, tilts = len(dataset), dataset.tilt_range
        pair = tilts is None or (isinstance(tilts, tuple) and len(tilts) == 2 and tilts[0] < tilts[1])
        require(dataset.contrast in (None, "bright", "dark"), f"contrast is {dataset.contrast!r}; say bright or dark")
        require(dataset.tilt_axis in (None, "x", "y"), f"tilt_axis is {dataset.tilt_axis!r}; say x or y")
        require(pair, f"tilt_range is {tilts!r}; let it be a tuple of two numbers, the smaller first")
        _require_text(dataset.notes)
        known = {"duplicates": dataset.duplicates, "clean": dataset.clean, "positions": dataset.positions}
        for name, values in {**known, **dataset.columns}.items():
            entries = count if values is None else len(values)
            require(entries == count, f"{name} has {entries} entries for {count} subtomograms; give one for each")
        origins = [dataset.origin(index) for index in some_of(dataset)]
        sound = all(isinstance(each, Origin) for each in origins) or origins == [None] * len(origins)
        require(sound, "origin returns something else for some subtomograms; return an Origin for all, or None for all")


def _require_text(notes: object) -> None:
    """Raise `CheckFailed` unless notes are lines; a str alone would be shown letter by letter."""
    lines = isinstance(notes, Sequence) and not isinstance(notes, str) and all(isinstance(each, str) for each in notes)
    require(lines, f"notes is {notes!r}; let it be a sequence of lines")


def check_volumes_are_float32_of_the_box(spec: DatasetSpec) -> None:
    """A sample's volume is a float32 tensor (1, D, H, W) of the data set's box."""
    dataset = spec.build()
    for index in some_of(dataset):
        volume = dataset[index].volume
        require(isinstance(volume, torch.Tensor), f"a volume is {type(volume).__name__}; return a torch.Tensor")
        require(volume.dtype == torch.float32, f"a volume is {volume.dtype}; return float32")
        shape, wanted = tuple(volume.shape), (1, *dataset.box)
        require(shape == wanted, f"volume {index} is {shape}, not (1, D, H, W) = {wanted}; mend box or __getitem__")


def check_volumes_are_finite(spec: DatasetSpec) -> None:
    """No voxel is NaN or infinite."""
    dataset = spec.build()
    for index in some_of(dataset):
        finite = bool(dataset[index].volume.isfinite().all())
        require(finite, f"volume {index} holds NaN or infinite voxels; raise DataError with the name of its file")


def check_samples_agree_with_the_lists(spec: DatasetSpec) -> None:
    """`__getitem__` returns a `Sample` whose label, id and group are those of the data set's lists."""
    dataset = spec.build()
    for index in some_of(dataset):
        sample = dataset[index]
        require(isinstance(sample, Sample), f"items are {type(sample).__name__}; return a contracts.Sample")
        for name, values in (("label", dataset.labels), ("id", dataset.ids), ("group", dataset.groups)):
            got, listed = getattr(sample, name), values[index]
            require(
                got == listed, f"sample {index} has the {name} {got!r}, but {name}s[{index}] is {listed!r}; serve one"
            )


def check_same_index_same_volume(spec: DatasetSpec) -> None:
    """Reading a subtomogram again gives the same voxels; nothing that a reader does to a volume comes back."""
    dataset = spec.build()
    first = dataset[0].volume
    before = first.clone()
    first.add_(1)
    require(
        torch.equal(dataset[0].volume, before),
        "volume 0 differs when it is read again; return a fresh tensor, and leave random changes to augmentations",
    )


def check_beyond_the_end_is_an_index_error(spec: DatasetSpec) -> None:
    """``dataset[len(dataset)]`` raises IndexError, by which loops end."""
    dataset = spec.build()
    try:
        dataset[len(dataset)]
    except IndexError:
        return
    except Exception as error:
        require(False, f"beyond its end the data set raises {type(error).__name__}; raise IndexError")
    require(False, "beyond its end the data set returns a sample; raise IndexError")


def check_it_survives_spawn(spec: DatasetSpec) -> None:
    """Pickled and read in a spawned process, as by a loader's worker, the data set serves the same."""
    dataset = spec.build()
    index = len(dataset) - 1
    there, here = elsewhere(_read, dataset, index), dataset[index]
    same = torch.equal(there.volume, here.volume) and (there.id, there.label) == (here.id, here.label)
    require(same, "a pickled copy serves other subtomograms; keep what it needs in its state")


def _read(dataset: SubtomogramDataset, index: int) -> Sample:
    return dataset[index]
