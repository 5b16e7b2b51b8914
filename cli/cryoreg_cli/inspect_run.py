"""`cryoreg inspect` of a run directory, a checkpoint or trained weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cryoreg_cli import describing, terminal

if TYPE_CHECKING:
    from cryoreg.runs.records import Record, RecordedComponent

_UNITS = {"voxel_size": " Å", "box": " voxels (z, y, x)", "tilt_range": "°"}


def inspect_run(path: Path, as_json: bool) -> None:
    """Print what a file says of itself; of a run directory, its most telling file, and whether the others are sound."""
    from cryoreg.runs.records import evaluations, read_records

    records = read_records(path)
    measured = evaluations(path)
    sound = not any(record.complaint for record in records)
    if as_json:
        terminal.result(
            describing.to_json({"sound": sound, "files": list(map(_plain, records)), "evaluations": measured})
        )
    else:
        _print(records, measured)
    if not sound:
        raise SystemExit(1)


def _plain(record: Record) -> dict[str, object]:
    return record._asdict() | {"components": [component._asdict() for component in record.components]}


def _print(records: list[Record], measured: Mapping[str, Mapping[str, object]]) -> None:
    told = next(record for record in records if record.components or len(records) == 1)
    for name, value in _rows(told):
        _row(name, value)
    for part, figures in measured.items():
        _row(f"on {part}", _values(figures))
    for record in records if len(records) > 1 else ():
        _row("file", f"{record.path}: {_soundness(record)}")


def _row(name: str, value: str) -> None:
    """Print a line; a file of unknown origin must not steer the terminal."""
    shown = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in value)
    click.echo(f"{name:<14}{shown}")


def _rows(record: Record) -> Iterator[tuple[str, str]]:
    yield "path", record.path
    yield "kind", record.kind
    yield "checksum", _soundness(record)
    yield "written", record.created
    yield "cryoreg", record.cryoreg or "version not recorded"
    if record.task:
        yield "task", record.task
    for component in record.components:
        yield component.section, _described(component)
        if component.parameters:
            yield "", _values(component.parameters)
    for name, values in record.settings.items():
        yield name, _values(values)
    if record.required_plugins:
        yield "requires", ", ".join(record.required_plugins)
    for name, value in record.data.items():
        yield name.replace("_", " "), _value(name, value)
    if record.classes:
        yield "classes", f"{len(record.classes)}: {', '.join(record.classes)}"
    if record.metrics:
        yield "metrics", _values(record.metrics)
    if record.tensors:
        yield "weights", f"{record.numbers:,} numbers in {record.tensors} tensors, {', '.join(record.dtypes)}"


def _soundness(record: Record) -> str:
    if record.complaint:
        return f"NOT SOUND: {record.complaint}"
    return "sound: its SHA-256 matches" if record.checksum else "none in such a file"


def _described(component: RecordedComponent) -> str:
    """Say which package brought a component, and whether it is here."""
    if not component.package:
        return f"{component.name}, from a package that is not recorded"
    origin = f"{component.name}, from {component.package} {component.version}"
    if component.here is None:
        return f"{origin}, not installed here: python -m pip install '{component.package}=={component.version}'"
    return origin if component.here == component.version else f"{origin}; here it is {component.here}"


def _values(values: Mapping[str, object]) -> str:
    return ", ".join(f"{key} = {_text(value)}" for key, value in values.items())


def _value(name: str, value: object) -> str:
    separator = {"box": "×", "tilt_range": "° to "}.get(name, ", ")
    text = separator.join(map(_text, value)) if isinstance(value, (list, tuple)) else _text(value)
    return text + _UNITS.get(name, "")


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
