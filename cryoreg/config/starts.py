"""Where training starts: random weights, registered ones by name, or a path."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from cryoreg import registry
from cryoreg.errors import UnknownComponentError
from cryoreg.specs import WeightsSpec

SCRATCH: Literal["scratch"] = "scratch"
Start = str | Path
"""`SCRATCH`, weights by name, or a path."""


def start_of(value: object) -> Start:
    """Return what a start means: `SCRATCH`, registered weights as a run records their name, else a path.

    A bare word that is the name of registered weights means these, whatever lies in the folder: ``./NAME`` is the path.
    Raises `ValueError` for what is neither text nor path, `AmbiguousComponentError` where two packages offer the name.
    """
    if not isinstance(value, (str, Path)):
        raise ValueError("should be the name of weights, a run directory, a file, or scratch")
    if isinstance(value, Path) or value == SCRATCH:
        return value
    return name_of_weights(value) or Path(value)


def name_of_weights(text: str) -> str | None:
    """Return a name of weights as runs record it: qualified, but for those of cryoreg; None where it is a path.

    A qualified name of a package that is not installed here is a name all the same.
    """
    if "/" in text or os.sep in text:
        return None
    try:
        component = registry.find("weights", text)
    except UnknownComponentError:
        return text if ":" in text and not os.path.exists(text) else None
    return component.name if component.builtin else component.qualified


def is_name(start: object) -> bool:
    """Tell registered weights from a path and from `SCRATCH`, where `start_of` returned ``start``."""
    return isinstance(start, str) and start not in ("", SCRATCH)


def place_of(start: Start) -> Path:
    """Return the file of registered weights, or the path that is meant; raise `UnknownComponentError` for neither.

    A bare word that is the name of registered weights means these; a `Path`, or ``./NAME``, is always a path.
    """
    require_known(start)
    meant = start_of(start)
    if isinstance(meant, Path):
        return meant
    _, spec = registry.find_spec("weights", meant)
    if not issubclass(spec, WeightsSpec):
        raise TypeError(spec)  # the registry lets no other pass
    return spec.path()


def require_known(start: object) -> None:
    """Raise `UnknownComponentError` for a bare word that is neither the name of weights nor there as a path."""
    if isinstance(start, str) and start not in ("", SCRATCH) and os.sep not in start and not os.path.lexists(start):
        try:
            registry.find("weights", start)
        except UnknownComponentError as error:
            raise UnknownComponentError(f"no file or folder '{start}', and {error}") from None
