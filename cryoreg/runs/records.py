"""What a run's file says of itself: components, packages, settings, data, metrics. No plugin is needed to read it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from cryoreg.config import PROVENANCE_SECTION, STARTED_FROM
from cryoreg.config.layers import parse_toml
from cryoreg.errors import CheckpointError
from cryoreg.files import holds_numbers, read_settings, require_file
from cryoreg.kinds import KINDS
from cryoreg.registry.discovery import canonical_name
from cryoreg.registry.discovery import packages as installed_packages
from cryoreg.runs.checkpoint import read_checkpoint
from cryoreg.runs.lab_checkpoint import is_lab_checkpoint, read_state
from cryoreg.runs.weights import CLASSIFIER_FILE, ENCODER_FILE, read_card

CONFIG_FILE = "config.toml"
FILES = (CLASSIFIER_FILE, ENCODER_FILE, "checkpoints/last.ckpt", "checkpoints/best.ckpt", CONFIG_FILE)
"""What a run directory holds that can be read, the most telling first."""
_SUFFIXES = (".safetensors", ".ckpt", ".toml")
_DATA_KEYS = ("subtomograms", "voxel_size", "box", "contrast", "tilt_range", "tilt_axis", "normalisation", "beam_axis")

_METRICS = ("epoch", "val_accuracy", "val_loss")


class RecordedComponent(NamedTuple):
    """A component as the run recorded it."""

    section: str
    name: str
    package: str
    version: str
    parameters: dict[str, object]
    here: str | None
    """The version of the package that is installed here; None where none is."""


class Record(NamedTuple):
    """What one file says."""

    path: str
    kind: str
    complaint: str
    """What is wrong with the file, one line; empty where its checksum is that of its content."""
    checksum: bool
    """Whether such a file has one."""
    created: str
    """ISO 8601, UTC. Files that do not say: when the file was last written."""
    cryoreg: str | None
    task: str | None
    components: list[RecordedComponent]
    settings: dict[str, dict[str, object]]
    """The other sections: "split", "training"."""
    required_plugins: list[str]
    data: dict[str, object]
    """Voxel size (Å), box (voxels), normalisation and what else is known of the training data."""
    classes: list[str]
    metrics: dict[str, object]
    tensors: int
    numbers: int
    """How many the tensors hold together."""
    dtypes: list[str]


def is_record(path: Path) -> bool:
    """Tell a run directory, a checkpoint or trained weights from data, by their names; points (.pt) are data."""
    if path.is_dir():
        return any((path / name).is_file() for name in FILES)
    return path.suffix.lower() in _SUFFIXES or (is_lab_checkpoint(path) and not holds_numbers(path))


def read_records(path: Path) -> list[Record]:
    """Return what a file, or each file of a run directory, says; raise `CheckpointError` where nothing can be read.

    In a run directory an unreadable file is a record with nothing but its complaint.
    """
    if not path.is_dir():
        return [read_record(path)]
    found = [_tolerant(path / name) for name in FILES if (path / name).is_file()]
    if not any(record.components for record in found):
        raise CheckpointError(f"{path} holds no run that can be read: {found[0].complaint or 'its files say nothing'}")
    return found


def read_record(path: Path) -> Record:
    """Return what a checkpoint, trained weights or a config says; raise `CheckpointError` where it cannot be read."""
    require_file(path, CheckpointError)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; check the path")
    if is_lab_checkpoint(path):
        tensors = read_state(path)
        return _record(path, "checkpoint of other code, which records no origin", {}, tensors, checksum=False)
    return _READERS.get(path.suffix.lower(), _weights)(path)


def _tolerant(path: Path) -> Record:
    try:
        return read_record(path)
    except CheckpointError as error:
        return _record(path, "unreadable", {}, {}, str(error))


def _weights(path: Path) -> Record:
    (tensors, card), complaint = read_card(path)
    known = _table(card)
    return _record(
        path, "weights exported by cryoreg", known | {"metrics": _table(known.get("metrics"))}, tensors, complaint
    )


def _checkpoint(path: Path) -> Record:
    content, complaint = read_checkpoint(path)
    best = {f"best_{key}": value for key, value in _table(content.get("job")).items()}
    metrics = {key: content[key] for key in _METRICS if key in content} | _table(content.get("progress")) | best
    tensors = {str(k): v for k, v in _table(content.get("module")).items() if isinstance(v, Tensor)}
    told = {key: value for key, value in content.items() if key not in ("module", "optimizer", "monitor", "job")}
    return _record(path, "checkpoint of a run", told | {"metrics": metrics}, tensors, complaint)


def _config(path: Path) -> Record:
    try:
        config = parse_toml(read_settings(path, CheckpointError))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read config {path}: {' '.join(str(error).split())}") from None
    return _record(path, "configuration of a run", {"config": config}, {}, checksum=False)


_READERS: dict[str, Callable[[Path], Record]] = {".ckpt": _checkpoint, ".toml": _config}


def _record(
    path: Path, kind: str, known: dict[str, Any], tensors: dict[str, Tensor], complaint: str = "", checksum: bool = True
) -> Record:
    known = _plain(known, path)
    config = _table(known.get("config"))
    sections = {name: values for name, values in config.items() if isinstance(values, dict)}
    packages = _table(sections.pop(PROVENANCE_SECTION, {}))
    chosen = {name: sections.pop(name) for name in list(sections) if name.startswith(KINDS)}
    if packages.get(STARTED_FROM):
        chosen[STARTED_FROM] = {"name": str(_table(sections.get("training")).get("pretrained"))}
    modified = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
    return Record(
        path=str(path),
        kind=kind,
        complaint=complaint,
        checksum=checksum,
        created=str(known.get("created") or modified),
        cryoreg=_text(known.get("cryoreg")),
        task=_text(config.get("task")),
        components=_components(chosen, packages),
        settings=sections,
        required_plugins=_texts(config.get("required_plugins")),
        data={key: known[key] for key in _DATA_KEYS if known.get(key) is not None},
        classes=_texts(known.get("classes")),
        metrics=_table(known.get("metrics")),
        tensors=len(tensors),
        numbers=sum(tensor.numel() for tensor in tensors.values()),
        dtypes=sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()}),
    )


def _components(chosen: dict[str, dict[str, object]], packages: dict[str, object]) -> list[RecordedComponent]:
    here = installed_packages()
    found = []
    for section, values in chosen.items():
        package, _, version = str(packages.get(section, "")).partition(" ")
        parameters = {key: value for key, value in values.items() if key != "name"}
        name = str(values.get("name", "the default"))
        installed = here.get(canonical_name(package))
        found.append(RecordedComponent(section, name, package, version, parameters, installed and installed.version))
    return found


def _plain(known: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return what JSON can hold; a file of unknown origin may hold tensors, bytes, or itself."""
    try:
        return json.loads(json.dumps(known, default=str, skipkeys=True))
    except (ValueError, TypeError, RecursionError):
        raise CheckpointError(
            f"{path} holds no record that can be shown: it is not a file that cryoreg wrote"
        ) from None


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _table(value: object) -> dict[str, Any]:
    """Return a value where it is a table; a file of unknown origin may hold anything in its place."""
    return value if isinstance(value, dict) else {}


def _texts(values: object) -> list[str]:
    return [str(value) for value in values] if isinstance(values, Iterable) and not isinstance(values, str) else []


def evaluations(path: Path) -> dict[str, dict[str, object]]:
    """Return part -> figures of the evaluations that a run directory holds; unreadable ones are left out."""
    found = {}
    for file in sorted(path.glob("evaluation_*.json")) if path.is_dir() else []:
        try:
            require_file(file, CheckpointError)
            figures = _table(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, RecursionError, CheckpointError):
            continue
        found[file.stem.removeprefix("evaluation_")] = {key: figures.get(key) for key in ("accuracy", "macro_f1")}
    return found
