"""The kit without pytest: what ``cryoreg check`` runs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from cryoreg import registry
from cryoreg.config import build_spec
from cryoreg.errors import ConfigError, UnknownComponentError
from cryoreg.kinds import GROUP_OF_SEAM, KINDS, SEAMS, Kind, Seam
from cryoreg.registry import Component
from cryoreg.registry.discovery import canonical_name
from cryoreg.seams import Part
from cryoreg.specs import Spec
from cryoreg.testing.checks import Check, CheckFailed, NotApplicable, checks_for, instance

Outcome = Literal["passed", "failed", "skipped"]


class Result(NamedTuple):
    """How a check went."""

    check: Check
    outcome: Outcome
    message: str
    """What is wrong and what to change, or why the check does not apply; empty where it passed."""
    seconds: float
    error: CheckFailed | None = None
    """What was raised where it failed, with its traceback."""


def run_checks(spec: Spec | type[Spec] | Part, only: str | None = None) -> Iterator[Result]:
    """Run every check of a spec, or ``only`` the one of that name, one after the other; a failed one ends nothing.

    Raises `ConfigError` where the spec's kind has no check of that name.
    """
    spec = spec if isinstance(spec, Part) else instance(spec)
    for check in checks_for(spec) if only is None else [_named(only, spec)]:
        yield _result(check, spec)


def _named(name: str, spec: Spec | Part) -> Check:
    known = {check.name: check for check in checks_for(spec)}
    found = known.get(name) or known.get(f"check_{name}")
    if found is None:
        raise ConfigError(
            f"no check of {registry.group_of(spec.kind)} is called '{name}'{registry.suggestion(name, known)}; "
            "`cryoreg check` without --check lists all"
        )
    return found


def _result(check: Check, spec: Spec | Part) -> Result:
    start = time.perf_counter()

    def ended(outcome: Outcome, message: str, error: CheckFailed | None = None) -> Result:
        return Result(check, outcome, message, time.perf_counter() - start, error)

    try:
        check(spec)
    except CheckFailed as error:
        return ended("failed", str(error), error)
    except NotApplicable as reason:
        return ended("skipped", str(reason))
    return ended("passed", "")


def select(name: str, kind: Kind | Seam | None = None) -> list[tuple[Kind | Seam, Component]]:
    """Return the components of that name, or all those of the package of that name.

    Raises `UnknownComponentError` where there is neither, `AmbiguousComponentError` where two packages offer the name.
    """
    kinds = (kind,) if kind else (*KINDS, *SEAMS)
    found = [(k, c) for k in kinds for c in registry.components(registry.group_of(k))]
    named = [k for k in kinds if any(name in (c.name, c.qualified) for each, c in found if each == k)]
    if named:
        return [(k, registry.find(registry.group_of(k), name)) for k in named]
    if of_package := [(k, c) for k, c in found if c.dist == canonical_name(name)]:
        return of_package
    if any(c.dist == canonical_name(name) for c in registry.components("commands")):
        raise UnknownComponentError(f"{name} brings commands only; there are checks of {', '.join((*KINDS, *SEAMS))}")
    if strays := [stray.complaint for stray in registry.strays() if stray.dist == canonical_name(name)]:
        raise UnknownComponentError("; ".join(strays))
    known = [c.reference for k, c in found if k not in SEAMS or kind] + [c.dist for _, c in found]
    raise UnknownComponentError(
        f"no {kind or 'component'} and no package is called '{name}'{registry.suggestion(name, dict.fromkeys(known))}; "
        "`cryoreg list` shows what is installed"
    )


def to_check(kind: Kind | Seam, component: Component, parameters: Mapping[str, object]) -> Spec | Part:
    """Return what is checked of a component: its spec with some parameters, or the part that it is.

    Raises `ConfigError` where a parameter is unknown, wrong or missing.
    """
    if component.group in GROUP_OF_SEAM.values():
        return Part(kind, component.name, component.part(), component.target.partition(":")[0])  # type: ignore[arg-type]
    spec: Spec = build_spec(kind, component.qualified, parameters).spec  # type: ignore[arg-type]
    return spec
