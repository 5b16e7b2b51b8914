"""Components as text and as JSON, for `cryoreg list` and `cryoreg show`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from cryoreg import registry
from cryoreg.errors import BrokenComponentError

if TYPE_CHECKING:
    from cryoreg.parameters import Parameter

UNLIMITED = 1_000_000
"""Columns of a pipe: nothing is wrapped, so that grep and cut see whole lines."""


def page() -> click.HelpFormatter:
    """Return an empty page as wide as the terminal."""
    return click.HelpFormatter(width=shutil.get_terminal_size().columns if sys.stdout.isatty() else UNLIMITED)


def write_table(page: click.HelpFormatter, rows: Sequence[Sequence[str]]) -> None:
    """Write rows in aligned columns; only the last column is wrapped."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    for *cells, last in rows:
        start = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        page.write_dl([(start, last) if last else (start.rstrip(), "")], col_max=UNLIMITED)


def default_text(parameter: Parameter) -> str:
    """Write a default as a user would type it, or "required"."""
    value = parameter.default
    if parameter.required:
        return "required"
    if value is None:
        return "none"
    if isinstance(value, (bool, dict, list, tuple)) or value == "":
        import json

        return json.dumps(value, default=str)
    return str(value)


def origin(component: registry.Component) -> str:
    """Return in a few words where a component's package was installed from."""
    from cryoreg.registry.provenance import source_of

    return str(source_of(component.info))


def record(kind: str, component: registry.Component) -> dict[str, object]:
    """Return all that is known about a component, in plain types; ``error`` says why a broken one is broken."""
    known: dict[str, object] = {
        "kind": kind,
        "name": component.name,
        "reference": component.reference,
        "package": component.dist,
        "version": component.version,
        "target": component.target,
        "origin": origin(component),
        "error": None,
    }
    try:
        (summary, source), facts = component.documentation(), component.facts()
    except BrokenComponentError as error:
        return known | {"error": str(error)}
    return known | {
        "summary": summary,
        "source": source,
        "parameters": [parameter._asdict() for parameter in component.parameters()],
        **({"facts": facts} if facts else {}),
    }


def to_json(records: Mapping[str, object] | Iterable[Mapping[str, object]]) -> str:
    """Write records as JSON; infinities become strings, which JSON's numbers cannot express."""
    from pydantic_core import to_json

    return to_json(records, indent=2, inf_nan_mode="strings", fallback=str).decode()
