"""Which cryoreg a plugin was built for.

The plugin API is what a third party's package builds on: the entry-point groups, `cryoreg.specs`, `cryoreg.contracts`,
`cryoreg.testing` and what else docs/plugin-api.md lists. Its version is ``cryoreg.PLUGIN_API``, a whole number that
grows when a plugin would have to be changed; a release that merely adds to it keeps the number.

A plugin declares what it was built for where pip looks as well, in the dependencies of its pyproject.toml, and nowhere
else::

    dependencies = ["cryoreg>=0.1"]

* The **lower bound** is the release that the plugin was written with, and thereby its plugin API. Where that is older
  than ours, `cryoreg doctor` warns; the plugin is loaded all the same, as most changes do not touch most plugins.
* Where this release does **not satisfy** the requirement (``cryoreg>=0.9``, or ``<0.2``), the plugin's components are
  *broken*: named with the reason and what to install, and never imported. pip refuses such pairs when it resolves them
  together, but an update of either package alone, ``--no-deps`` or an editable install can leave them.

Only the metadata is read, so this works for a plugin that cannot be imported.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version

from cryoreg import version
from cryoreg.registry.discovery import canonical_name

BEGAN = {1: "0.1"}
"""Plugin API -> the release of cryoreg that began it."""
_LOWER_BOUNDS = (">=", ">", "==", "~=")


class Need(NamedTuple):
    """What a package requires of cryoreg."""

    requirement: Requirement

    @property
    def met(self) -> bool:
        """Whether this cryoreg will do. A development version counts as the release that it leads to."""
        return self.requirement.specifier.contains(_release(), prereleases=True)

    @property
    def api(self) -> int:
        """The plugin API of the oldest release that will do: what the plugin was written for."""
        floor = self._floor()
        return max((api for api, began in BEGAN.items() if Version(began) <= floor), default=min(BEGAN))

    @property
    def complaint(self) -> str:
        """Say what is needed and what is here."""
        return (
            f"it needs {self.requirement}, but this is cryoreg {version.__version__} (plugin API {version.PLUGIN_API})"
        )

    def advice(self, dist: str) -> str:
        """Say what to install where the need is not met."""
        behind = Version(_release()) < self._floor()
        return f"update {'cryoreg' if behind else dist}: python -m pip install --upgrade " + (
            f"'{self.requirement}'" if behind else dist
        )

    def _floor(self) -> Version:
        bounds = [
            Version(each.version.removesuffix(".*"))
            for each in self.requirement.specifier
            if each.operator in _LOWER_BOUNDS
        ]
        return max(bounds, default=Version("0"))


def need_of(info: str) -> Need | None:
    """Return what the package of a metadata folder requires of cryoreg; None where it does not say so legibly."""
    for text in required(info):
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if canonical_name(requirement.name) == "cryoreg" and not _is_extra(requirement):
            return Need(requirement)
    return None


def required(info: str) -> Iterator[str]:
    """Yield the requirements that a metadata folder records, as they are written."""
    for name in ("METADATA", "PKG-INFO"):
        try:
            with open(os.path.join(info, name), encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    if not line.strip():  # the description follows
                        return
                    key, _, value = line.partition(":")
                    if key.lower() == "requires-dist":
                        yield value.strip()
        except OSError:
            continue


def _is_extra(requirement: Requirement) -> bool:
    return requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})


def _release() -> str:
    return Version(version.__version__).base_version
