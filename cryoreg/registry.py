"""Names to components: built-ins and plugins alike, found through entry points.

A bare name means the built-in where there is one, else the only plugin that offers it. ``dist:name`` always works.
"""

from __future__ import annotations

import difflib
import functools
import os
from collections.abc import Iterable
from typing import NamedTuple

from cryoreg import discovery
from cryoreg.errors import AmbiguousComponentError, BrokenComponentError, UnknownComponentError
from cryoreg.specs import KINDS, SPEC_TYPES, Kind, Spec

HOME = "cryoreg"
ALLOW_LIST_VARIABLE = "CRYOREG_PLUGINS"


class Component(NamedTuple):
    """A name that some package offers, not loaded yet."""

    group: str
    name: str
    target: str
    dist: str
    version: str
    shadowed: bool
    """Another package's component owns, or also claims, the bare name."""

    @property
    def builtin(self) -> bool:
        """Whether cryoreg itself brings it."""
        return self.dist == HOME

    @property
    def qualified(self) -> str:
        """``dist:name``, which is never ambiguous."""
        return f"{self.dist}:{self.name}"

    def load(self) -> object:
        """Import the object; raise `BrokenComponentError` with package, version and reason where that fails."""
        try:
            return discovery.Candidate(self.group, self.name, self.target, self.dist, self.version).load()
        except (Exception, SystemExit) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise BrokenComponentError(self._broken(reason)) from error

    def spec(self) -> type[Spec]:
        """Load the component and check that it is a spec of its kind."""
        expected = next(SPEC_TYPES[kind] for kind in KINDS if group_of(kind) == self.group)
        loaded = self.load()
        if not (isinstance(loaded, type) and issubclass(loaded, expected)):
            raise BrokenComponentError(self._broken(f"{self.target} is not a subclass of {expected.__name__}"))
        return loaded

    def _broken(self, reason: str) -> str:
        return (
            f"{self.group.removesuffix('s')} '{self.name}' of {self.dist} {self.version} cannot be loaded: {reason}; "
            f"update or uninstall {self.dist}"
        )


def group_of(kind: Kind) -> str:
    """Return the entry-point group of a kind, without its prefix: "encoder" -> "encoders"."""
    return f"{kind}s"


def allowed_plugins() -> frozenset[str] | None:
    """Return the packages that ``CRYOREG_PLUGINS`` (comma-separated) allows; None where it is unset: all of them."""
    value = os.environ.get(ALLOW_LIST_VARIABLE)
    if value is None:
        return None
    return frozenset(discovery.normalise(dist.strip()) for dist in value.split(",") if dist.strip())


@functools.cache
def _scan() -> discovery.Scan:
    return discovery.scan()


def refresh() -> None:
    """Forget the scan, so that packages installed since are seen."""
    _scan.cache_clear()


def problems() -> tuple[discovery.Problem, ...]:
    """Return the metadata files that could not be read."""
    return _scan().problems


def components(group: str) -> list[Component]:
    """Return all components of an entry-point group ("encoders", "commands", ...), sorted by name and package."""
    allowed = allowed_plugins()
    found = [
        candidate
        for candidate in _scan().candidates
        if candidate.group == group and (candidate.dist == HOME or allowed is None or candidate.dist in allowed)
    ]
    claims = {name: [c.dist for c in found if c.name == name] for name in {c.name for c in found}}
    return [Component(*c, shadowed=_is_shadowed(c.dist, claims[c.name])) for c in found]


def _is_shadowed(dist: str, claimants: list[str]) -> bool:
    return len(claimants) > 1 and dist != HOME


def find(group: str, name: str) -> Component:
    """Return the component of a bare or qualified name.

    Raises `UnknownComponentError` (with suggestions) or `AmbiguousComponentError` (with the qualified names).
    """
    candidates = components(group)
    matches = [c for c in candidates if name in (c.name, c.qualified)]
    owners = [c for c in matches if c.builtin or c.qualified == name] or matches
    if not owners:
        raise UnknownComponentError(_unknown(group, name, candidates))
    if len(owners) > 1:
        names = " or ".join(f"'{c.qualified}'" for c in owners)
        raise AmbiguousComponentError(
            f"{group.removesuffix('s')} '{name}' is offered by {len(owners)} packages; say which: {names}"
        )
    return owners[0]


def find_spec(kind: Kind, name: str) -> tuple[Component, type[Spec]]:
    """Return a component and its spec class."""
    component = find(group_of(kind), name)
    return component, component.spec()


def _unknown(group: str, name: str, candidates: list[Component]) -> str:
    kind = group.removesuffix("s")
    known = [c.qualified if c.shadowed else c.name for c in candidates]
    return f"unknown {kind} '{name}'{suggestion(name, known)}; `cryoreg list` shows what is installed"


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
