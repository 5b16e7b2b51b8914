"""What a new plugin's package, module, component and class are called, and whether they are free."""

from __future__ import annotations

import importlib.util
import keyword
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from cryoreg import registry
from cryoreg.errors import ConfigError
from cryoreg.outputs import check_new
from cryoreg.registry import discovery

PREFIX = "cryoreg-"
LONGEST = 30
"""Characters: longer names would break the lines of what is written."""


class Names(NamedTuple):
    """The names of a plugin."""

    package: str
    """What pip installs: "cryoreg-my-method"."""
    module: str
    """What Python imports: "cryoreg_my_method"."""
    component: str
    """What cryoreg calls it: "my_method"; commands keep their hyphens."""
    type: str
    """Its class: "MyMethod"."""


def group_of(kind: str) -> str:
    """Return the entry-point group of a kind of component, or of commands."""
    return next(group for group in registry.GROUPS if registry.singular(group) == kind)


def names_of(name: str, kind: str) -> Names:
    """Derive all names from one, with or without "cryoreg-"; raises `ConfigError` where it cannot serve as one."""
    plain = discovery.canonical_name(name).removeprefix(PREFIX)
    if not re.fullmatch("[a-z][a-z0-9]*(-[a-z0-9]+)*", plain):
        raise ConfigError(
            f"'{name}' is no name for a package; take letters, digits and hyphens, a letter first: my-{kind}"
        )
    if len(plain) > LONGEST:
        raise ConfigError(f"'{name}' has {len(plain)} characters; take a name of at most {LONGEST}")
    type_name = "".join(part.capitalize() for part in plain.split("-"))
    underscored = plain.replace("-", "_")
    return Names(f"{PREFIX}{plain}", f"cryoreg_{underscored}", plain if kind == "command" else underscored, type_name)


def check_type(type_name: str, used: Iterable[str]) -> None:
    """Raise `ConfigError` where a class of that name, or its spec, would hide something that is ``used``."""
    if keyword.iskeyword(type_name) or not {type_name, f"{type_name}Spec"}.isdisjoint(used):
        raise ConfigError(f"the class {type_name} would hide another of that name; take another name for the plugin")


def check_free(names: Names, kind: str, target: Path) -> None:
    """Raise `ConfigError` where the module or the component is there already, `OutputError` where the folder is."""
    check_new(target, advice="another --dir")
    offering = sorted({each.dist for each in registry.components(group_of(kind)) if each.name == names.component})
    if offering:
        raise ConfigError(
            f"{kind} '{names.component}' is offered by {' and '.join(offering)} already; choose another name"
        )
    if importlib.util.find_spec(names.module) is not None:
        raise ConfigError(f"a package '{names.module}' is installed already; choose another name")
