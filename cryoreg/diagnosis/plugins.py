"""The plugins: what each offers, where it came from, whether it loads, and which of them may run."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

import click

from cryoreg import registry
from cryoreg.diagnosis import separate_process
from cryoreg.diagnosis.finding import Finding, of_error, ok, problem, warning
from cryoreg.errors import BrokenComponentError
from cryoreg.kinds import GROUP_OF
from cryoreg.registry import ALLOW_LIST_VARIABLE, HOME, Component, plugin_api, suggestion
from cryoreg.registry.discovery import GROUP_PREFIX, Candidate
from cryoreg.registry.provenance import source_of
from cryoreg.version import PLUGIN_API

_SECONDS = 60
_LOADING = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from cryoreg.diagnosis.plugins import broken
print(json.dumps({"errors": broken(sys.argv[2])}))
"""


def check() -> Iterator[Finding]:
    """Yield a finding for each plugin, and more for what is wrong with it; then clashes and the allow-list."""
    yield from unreadable()
    yield from map(of_error, broken(HOME))
    plugins, allowed = registry.plugins(), registry.allowed_plugins()
    for dist, offers in plugins.items():
        yield from _plugin(dist, offers, registry.is_allowed(dist, allowed))
    if not plugins:
        yield ok("no plugins are installed")
    yield from clashes()
    yield from allow_list(list(plugins), allowed)


def unreadable() -> Iterator[Finding]:
    """Yield a problem for each metadata file that cannot be read, whose package is therefore left out."""
    for file, reason in registry.problems():
        folder = Path(file).parent
        package = folder.name.split("-")[0]
        yield problem(
            f"{file} cannot be read, so its package is left out: {reason}",
            f"python -m pip install --force-reinstall --no-deps {package}; where pip stumbles as well, delete {folder}",
        )


def _plugin(dist: str, offers: list[Candidate], allowed: bool) -> Iterator[Finding]:
    version, info = offers[0].version, offers[0].info
    known = [offer for offer in offers if offer.group in registry.GROUPS]
    names = ", ".join(f"{registry.singular(offer.group)} {offer.name}" for offer in known) or "nothing"
    described = f"{dist} {version}, {source_of(info)}: {names}"
    if not allowed:
        yield ok(f"{described}; not loaded, as {ALLOW_LIST_VARIABLE} leaves it out")
        return
    yield ok(described)
    yield from _strays(dist)
    yield from _declared(dist, version, info)
    yield from _broken(dist, version)


def _strays(dist: str) -> Iterator[Finding]:
    """Yield a problem for each group of a plugin that does not exist: what it declares there is never found."""
    for stray in registry.strays():
        if stray.dist == dist:
            yield problem(
                stray.complaint, f"ask its author to write '{GROUP_PREFIX}{_nearest(stray.group)}', then update {dist}"
            )


def _nearest(group: str) -> str:
    return next(iter(get_close_matches(group, registry.GROUPS, n=1)), "encoders', 'cryoreg.methods' or another of them")


def _declared(dist: str, version: str, info: str) -> Iterator[Finding]:
    """Yield a warning where a plugin does not say which cryoreg it was built for, or was built for an older API."""
    need = plugin_api.need_of(info)
    if need is None:
        yield warning(
            f"{dist} {version} does not say which cryoreg it was built for",
            "ask its author to add, for example, 'cryoreg>=0.1' to its dependencies",
        )
    elif need.met and need.api != PLUGIN_API:
        yield warning(
            f"{dist} {version} was built for plugin API {need.api} ({need.requirement}); this is {PLUGIN_API}",
            f"if it misbehaves: python -m pip install --upgrade {dist}",
        )


def _broken(dist: str, version: str) -> Iterator[Finding]:
    """Load all that a package offers, in a process of its own; yield a problem for each that fails."""
    found = separate_process.run_python(_LOADING, json.dumps(sys.path), dist, seconds=_SECONDS)
    if found.error:
        yield problem(
            f"{dist} {version} cannot be loaded: it ends Python ({found.error})", f"update or uninstall {dist}"
        )
    for message in found.result.get("errors", []):
        yield of_error(message)


def broken(dist: str) -> list[str]:
    """Load all that a package offers, in this process; return the message of each that fails."""
    errors = []
    for group in registry.GROUPS:
        for component in registry.components(group):
            try:
                if component.dist == dist:
                    _load(component)
            except BrokenComponentError as error:
                errors.append(str(error))
    return errors


def _load(component: Component) -> None:
    if component.group in GROUP_OF.values():
        component.complete_spec()
    elif component.group != "commands":
        component.part()
    elif not isinstance(component.load(), click.Command):
        raise component.broken(f"{component.target} is not a click command")


def clashes() -> Iterator[Finding]:
    """Yield a warning for each name that several packages offer."""
    for group in registry.GROUPS:
        shadowed = [component for component in registry.components(group) if component.shadowed]
        for name in sorted({component.name for component in shadowed}):
            yield _clash(group, name, [component for component in shadowed if component.name == name])


def _clash(group: str, name: str, rivals: list[Component]) -> Finding:
    kind, names = registry.singular(group), " or ".join(component.qualified for component in rivals)
    if any(c.builtin and c.name == name for c in registry.components(group)):
        offering = " and ".join(component.dist for component in rivals)
        return warning(f"{kind} '{name}' of {offering} has the name of a built-in, which goes first", f"say {names}")
    return warning(
        f"{kind} '{name}' is offered by {len(rivals)} packages, so the bare name is refused",
        f"say {names}, or uninstall all but one",
    )


def allow_list(installed: list[str], allowed: frozenset[str] | None) -> Iterator[Finding]:
    """Yield what the allow-list lets run, with a warning for each entry that is not installed."""
    if allowed is None and installed:
        yield ok(
            f"plugins run code as you: {ALLOW_LIST_VARIABLE} is not set, so all may; to allow only those that you "
            f"trust: export {ALLOW_LIST_VARIABLE}={','.join(installed)} (empty: built-ins only)"
        )
    elif allowed is not None:
        yield ok(f"{ALLOW_LIST_VARIABLE} allows {', '.join(sorted(allowed)) or 'no plugin'}")
        for absent in sorted(allowed - set(installed) - {HOME}):
            yield warning(
                f"{ALLOW_LIST_VARIABLE} allows {absent}, which is not installed{suggestion(absent, installed)}",
                "correct the name, or install it",
            )
