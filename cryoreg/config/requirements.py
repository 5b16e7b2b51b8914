"""`required_plugins`: the packages that a configuration needs, checked before anything else; nothing is installed."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from cryoreg import registry
from cryoreg.config.layers import Layer
from cryoreg.errors import ConfigError
from cryoreg.registry.discovery import canonical_name, packages

REQUIRED_PLUGINS = "required_plugins"
"""The key, above all tables of a config: a list of packages as pip takes them, ``["cryoreg-x>=0.3"]`` (PEP 508)."""


def require_plugins(layers: Iterable[Layer]) -> tuple[str, ...]:
    """Return all that layers require, each once; raise `ConfigError` where a package is absent, too old or too new."""
    found: dict[str, None] = {}
    for source, values in layers:
        required = _read(values.get(REQUIRED_PLUGINS, []), source)
        unmet = {str(each): why for each in required if (why := _why_unmet(each))}
        if unmet:
            raise ConfigError(_explained(unmet, source))
        found |= dict.fromkeys(map(str, required))
    return tuple(found)


def _read(values: object, source: str) -> list[Requirement]:
    if not (isinstance(values, (list, tuple)) and all(isinstance(value, str) for value in values)):
        raise ConfigError(
            f'{REQUIRED_PLUGINS} ({source}): should be a list of packages such as ["cryoreg-x>=0.3"], '
            f"but it is {values!r}"
        )
    return [_requirement(value, source) for value in values]


def _requirement(text: str, source: str) -> Requirement:
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"{REQUIRED_PLUGINS} ({source}): {text!r} is no package with versions: {reason}; "
            "write it as pip does, for example 'cryoreg-x>=0.3'"
        ) from None
    if requirement.url:
        raise ConfigError(
            f"{REQUIRED_PLUGINS} ({source}): {text!r} names an address; give the package's name and versions only"
        )
    return requirement


def _why_unmet(requirement: Requirement) -> str:
    """Return why a requirement is not met; empty where it is, or does not apply to this machine."""
    if requirement.marker is not None and not requirement.marker.evaluate():
        return ""
    name = canonical_name(requirement.name)
    package = packages().get(name)
    if package is None:
        return "not installed"
    if not _admits(requirement, package.version):
        return f"{package.version} is installed"
    if name in registry.plugins() and not registry.is_allowed(name, registry.allowed_plugins()):
        return f"{registry.ALLOW_LIST_VARIABLE} leaves it out"
    return ""


def _admits(requirement: Requirement, version: str) -> bool:
    try:
        return requirement.specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return not requirement.specifier


def _explained(unmet: dict[str, str], source: str) -> str:
    needs = ", ".join(f"{each} ({why})" for each, why in unmet.items())
    missing = [shlex.quote(each) for each, why in unmet.items() if registry.ALLOW_LIST_VARIABLE not in why]
    advice = (
        f"run: python -m pip install {' '.join(missing)}" if missing else f"add it to {registry.ALLOW_LIST_VARIABLE}"
    )
    return f"{REQUIRED_PLUGINS} ({source}): needs {needs}; {advice}"
