"""Names to components: built-ins and plugins alike, found through entry points.

A bare name means the built-in where there is one, else the only plugin that offers it. ``dist:name`` always works.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from cryoreg.errors import (
    AmbiguousComponentError,
    BrokenComponentError,
    CryoregError,
    UnknownComponentError,
    message_of,
)
from cryoreg.kinds import GROUP_OF, GROUP_OF_SEAM, KINDS, Kind, Seam
from cryoreg.registry import discovery

if TYPE_CHECKING:
    from cryoreg.parameters import Parameter
    from cryoreg.specs import Spec

HOME = discovery.HOME
ALLOW_LIST_VARIABLE = "CRYOREG_PLUGINS"


class Component(NamedTuple):
    """A name that some package offers, not loaded yet."""

    group: str
    name: str
    dist: str
    version: str
    target: str
    info: str
    """The folder of the package's metadata."""
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

    @property
    def reference(self) -> str:
        """The shortest name that means this component."""
        return self.qualified if self.shadowed else self.name

    def load(self) -> object:
        """Import the object.

        Raises `BrokenComponentError` with package, version and reason where that fails, and before anything is
        imported where the package needs another version of cryoreg.
        """
        if not self.builtin:
            self._require_this_cryoreg()
        with self._blamed():
            return discovery.Candidate(*self[:-1]).load()

    def spec(self) -> type[Spec]:
        """Load the component and check that it is a spec of its kind."""
        from cryoreg.specs import SPEC_TYPES

        expected = next(SPEC_TYPES[kind] for kind in KINDS if group_of(kind) == self.group)
        loaded = self.load()
        if not (isinstance(loaded, type) and issubclass(loaded, expected)):
            raise self.broken(f"{self.target} is not a subclass of {expected.__name__}")
        if inspect.isabstract(loaded):
            raise self.broken(f"{self.target} does not implement {', '.join(sorted(loaded.__abstractmethods__))}")
        with self._blamed():
            loaded.parameters()
        return loaded

    def complete_spec(self) -> type[Spec]:
        """Load the component as `spec` does, and check its files, and that pydantic can validate every field."""
        spec = self.spec()
        with self._blamed():
            spec.model_rebuild()
            spec.check_files()
        return spec

    def part(self) -> Any:
        """Load what a seam's entry point names, and check that it is what the seam takes."""
        from cryoreg.seams import misfit

        loaded = self.load()
        if wrong := misfit(singular(self.group), loaded):
            raise self.broken(f"{self.target} {wrong}")
        return loaded

    def documentation(self) -> tuple[str, str]:
        """Return the first line of what a component or part says of itself, and the rest."""
        if not self._is_part:
            return self.spec().summary(), self.spec().source()
        from cryoreg.seams import documentation

        return documentation(self.part())

    def parameters(self) -> list[Parameter]:
        """Return the hyper-parameters; a part has none."""
        return [] if self._is_part else self.spec().parameters()

    def facts(self) -> dict[str, str]:
        """Return what a loaded component tells of itself beside its parameters; see `Spec.facts`."""
        if self._is_part:
            return {}
        spec = self.spec()
        with self._blamed():
            return spec.facts()

    @property
    def _is_part(self) -> bool:
        return self.group in GROUP_OF_SEAM.values()

    def broken(self, reason: str, advice: str = "") -> BrokenComponentError:
        """Return the error that says which package is at fault, and why."""
        return self.faulty(f"cannot be loaded: {reason}", advice)

    def faulty(self, what: str, advice: str = "") -> BrokenComponentError:
        """Return the error that says what a component does that it must not."""
        return BrokenComponentError(
            f"{singular(self.group)} '{self.name}' of {self.dist} {self.version} {what}; "
            + (advice or f"{'reinstall' if self.builtin else 'update or uninstall'} {self.dist}")
        )

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Turn what a package's code raises at its work into `BrokenComponentError`.

        A `CryoregError` is meant for the user, and what the system refuses is nobody's fault: they stay as they are, as
        does all that cryoreg's own components raise.
        """
        try:
            yield
        except (CryoregError, OSError, MemoryError):
            raise
        except (Exception, SystemExit) as error:
            if self.builtin:
                raise
            raise self.faulty(f"fails with {type(error).__name__}: {message_of(error)}") from error

    def _require_this_cryoreg(self) -> None:
        from cryoreg.registry import plugin_api  # costs nothing where there is no plugin

        need = plugin_api.need_of(self.info)
        if need is not None and not need.met:
            raise self.broken(need.complaint, need.advice(self.dist))

    @contextlib.contextmanager
    def _blamed(self) -> Iterator[None]:
        """Turn whatever the component's code raises into `BrokenComponentError`."""
        try:
            yield
        except (Exception, SystemExit) as error:
            raise self.broken(f"{type(error).__name__}: {message_of(error)}") from error


_GROUP_OF: dict[str, str] = dict((*GROUP_OF.items(), *GROUP_OF_SEAM.items(), ("command", "commands")))
_SINGULAR = {group: name for name, group in _GROUP_OF.items()}
GROUPS = tuple(_SINGULAR)
"""The entry-point groups that there are, without their prefix."""


def group_of(kind: str) -> str:
    """Return the entry-point group of a kind or seam, without its prefix: "encoder" -> "encoders"."""
    return _GROUP_OF[kind]


def singular(group: str) -> str:
    """Return what one component of a group is: "encoders" -> "encoder", "commands" -> "command"."""
    return _SINGULAR.get(group, group)


def allowed_plugins() -> frozenset[str] | None:
    """Return the packages that ``CRYOREG_PLUGINS`` (comma-separated) allows; None where it is unset: all of them."""
    value = os.environ.get(ALLOW_LIST_VARIABLE)
    if value is None:
        return None
    return frozenset(discovery.canonical_name(dist.strip()) for dist in value.split(",") if dist.strip())


def is_allowed(dist: str, allowed: frozenset[str] | None) -> bool:
    """Tell whether a package may be loaded, where ``allowed`` is what `allowed_plugins` returns."""
    return allowed is None or dist == HOME or dist in allowed


@functools.cache
def _scan() -> discovery.Scan:
    return discovery.scan()


def refresh() -> None:
    """Forget the scan, so that packages installed since are seen."""
    _scan.cache_clear()


def problems() -> tuple[discovery.Problem, ...]:
    """Return the metadata files that could not be read."""
    return _scan().problems


def installed() -> tuple[discovery.Candidate, ...]:
    """Return all that installed packages offer, whatever the allow-list says; none loaded."""
    return _scan().candidates


def plugins() -> dict[str, list[discovery.Candidate]]:
    """Return all packages but cryoreg with what they offer, also those that the allow-list leaves out; none loaded."""
    found: dict[str, list[discovery.Candidate]] = {}
    for candidate in installed():
        if candidate.dist != HOME:
            found.setdefault(candidate.dist, []).append(candidate)
    return dict(sorted(found.items()))


class Stray(NamedTuple):
    """What a package declares in a group of entry points that does not exist, and so is never found."""

    dist: str
    version: str
    group: str
    names: tuple[str, ...]

    @property
    def complaint(self) -> str:
        """Say so in a line, with the group that may be meant."""
        return (
            f"{self.dist} {self.version} declares {', '.join(self.names)} in the group "
            f"'{discovery.GROUP_PREFIX}{self.group}', which does not exist{suggestion(self.group, GROUPS)}"
        )


def strays() -> list[Stray]:
    """Return what packages that may run declare in groups that do not exist, as ``cryoreg.loger``; sorted."""
    allowed = allowed_plugins()
    found: dict[tuple[str, str, str], list[str]] = {}
    for each in installed():
        if each.group not in GROUPS and is_allowed(each.dist, allowed):
            found.setdefault((each.dist, each.version, each.group), []).append(each.name)
    return [Stray(*where, tuple(names)) for where, names in sorted(found.items())]


def components(group: str) -> list[Component]:
    """Return all components of an entry-point group ("encoders", "commands", ...), sorted by name and package."""
    allowed = allowed_plugins()
    found = [c for c in _candidates(group) if is_allowed(c.dist, allowed)]
    names = [c.name for c in found]
    return [Component(*c, shadowed=c.dist != HOME and names.count(c.name) > 1) for c in found]


def _candidates(group: str) -> list[discovery.Candidate]:
    return [candidate for candidate in installed() if candidate.group == group]


def find(group: str, name: str) -> Component:
    """Return the component of a bare or qualified name.

    Raises `UnknownComponentError` (with suggestions) or `AmbiguousComponentError` (with the qualified names).
    """
    available = components(group)
    qualified = _normalise_qualified(name)
    owners = [c for c in available if c.qualified == qualified or (c.name == name and c.builtin)]
    owners = owners or [c for c in available if c.name == name]
    if not owners:
        raise UnknownComponentError(_unknown(group, name, available))
    if len(owners) > 1:
        names = " or ".join(f"'{c.qualified}'" for c in owners)
        raise AmbiguousComponentError(
            f"{singular(group)} '{name}' is offered by {len(owners)} packages; say which: {names}"
        )
    return owners[0]


def find_spec(kind: Kind, name: str) -> tuple[Component, type[Spec]]:
    """Return a component and its spec class, ready for use."""
    component = find(group_of(kind), name)
    return component, component.complete_spec()


def find_part(seam: Seam, name: str) -> Any:
    """Return what a seam has under a bare or qualified name; raises as `find` and `Component.part`."""
    return find(group_of(seam), name).part()


def _normalise_qualified(name: str) -> str:
    dist, colon, bare = name.partition(":")
    return f"{discovery.canonical_name(dist)}:{bare}" if colon else name


def _unknown(group: str, name: str, available: list[Component]) -> str:
    known = [c.name for c in available] + [c.qualified for c in available if c.shadowed]
    hint = _not_allowed(group, name) or _misplaced(group, name) or suggestion(name, known)
    where = "cryoreg --help" if group == "commands" else f"cryoreg list --kind {singular(group)}"
    return f"unknown {singular(group)} '{name}'{hint}; `{where}` shows what is installed"


def _not_allowed(group: str, name: str) -> str:
    """Say which packages offer the name, where only the allow-list keeps it out."""
    names = (name, _normalise_qualified(name))
    dists = [c.dist for c in _candidates(group) if c.name in names or f"{c.dist}:{c.name}" in names]
    return f": {' and '.join(dists)} offers it, but {ALLOW_LIST_VARIABLE} leaves it out" if dists else ""


def _misplaced(group: str, name: str) -> str:
    """Say which package offers the name in a group that does not exist, as ``cryoreg.encoder`` for ``...encoders``."""
    for candidate in installed():
        if candidate.name == name and candidate.group not in GROUPS:
            wanted = f"'{discovery.GROUP_PREFIX}{group}'"
            return f": {candidate.dist} declares it in '{discovery.GROUP_PREFIX}{candidate.group}', not in {wanted}"
    return ""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" or an empty string. Case and hyphens count for nothing."""
    import difflib  # only a mistake pays for it

    plain = {each.lower().replace("-", "_"): each for each in known}
    close = difflib.get_close_matches(name.lower().replace("-", "_"), plain, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(repr(plain[each]) for each in close)}?" if close else ""
