"""The packages that are installed, read once per diagnosis."""

from __future__ import annotations

from cryoreg.registry.discovery import Distribution, distributions


def packages() -> dict[str, Distribution]:
    """Return name -> the package that an import would find."""
    found: dict[str, Distribution] = {}
    for distribution in distributions():
        found.setdefault(distribution.name, distribution)
    return found
