"""The libraries that cryoreg requires: present, recent enough, and none of the releases that steal passwords."""

from __future__ import annotations

from collections.abc import Iterator

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from cryoreg.diagnosis.finding import Finding, ok, problem
from cryoreg.registry import HOME
from cryoreg.registry.discovery import Distribution, canonical_name, packages
from cryoreg.registry.plugin_api import required

SHOWN = ("torch", "lightly", "timm", "monai", "pytorch-lightning")
MALICIOUS = dict.fromkeys(("lightning", "pytorch-lightning"), ("2.6.2", "2.6.3"))
"""Releases of 30 April 2026 that read and sent away passwords when they were imported."""


def check() -> Iterator[Finding]:
    """Yield the versions of the main libraries, and what cryoreg requires and does not find."""
    here = packages()
    yield from malicious(here)
    yield ok(", ".join(f"{name} {here[name].version}" for name in SHOWN if name in here) or "no library")
    if HOME in here:
        unmet = [line for text in required(here[HOME].info) if (line := _unmet(text, here))]
        yield from unmet or [ok("all libraries that cryoreg requires are installed")]


def malicious(here: dict[str, Distribution]) -> list[Finding]:
    """Return a problem for each release that is known to do harm."""
    return [
        problem(
            f"{name} {here[name].version} is malicious: it sends passwords and keys to strangers when it is imported",
            f"python -m pip install --upgrade '{name}>=2.6.4', then change every password and key of this machine",
        )
        for name, versions in MALICIOUS.items()
        if name in here and here[name].version in versions
    ]


def _unmet(text: str, here: dict[str, Distribution]) -> Finding | None:
    """Return the problem with a requirement, None where it is met or does not apply."""
    try:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            return None
        found = here.get(canonical_name(requirement.name))
        if found is not None and requirement.specifier.contains(Version(found.version), prereleases=True):
            return None
    except (InvalidRequirement, InvalidVersion):
        return None
    state = "is not installed" if found is None else f"is needed, but {found.version} is installed"
    requirement.marker = None
    return problem(f"{requirement} {state}", f"python -m pip install '{requirement}'")
