"""What every spec promises, whatever it builds."""

from __future__ import annotations

import functools
import json
import pickle
import subprocess
import sys
from typing import Any

from pydantic import ValidationError

from cryoreg import registry
from cryoreg.errors import BrokenComponentError
from cryoreg.specs import Spec
from cryoreg.testing.checks import NotApplicable, require

HEAVY = frozenset(
    {"torch", "torchvision", "numpy", "scipy", "sklearn", "monai", "timm", "lightly", "lightning_fabric", "mrcfile"}
)
"""What `cryoreg list` must not import, as each of these costs tenths of a second."""

_IMPORT = """
import importlib, json, sys
path, module, heavy = json.loads(sys.stdin.read())
sys.path[:] = path
importlib.import_module(module)
sys.stderr.write("LOADED " + json.dumps(sorted(set(heavy) & set(sys.modules))))
"""


def check_spec_imports_light(spec: Spec) -> None:
    """Importing the spec's module imports none of torch, numpy, monai, timm, lightly and their like."""
    module = type(spec).__module__
    heavy = _heavy_imports(module)
    require(not heavy, f"importing {module} imports {', '.join(heavy)}; do so inside `build`, or under TYPE_CHECKING")


@functools.cache
def _heavy_imports(module: str) -> list[str]:
    """Return what a fresh process has of `HEAVY` after importing a module."""
    work = json.dumps([sys.path, module, sorted(HEAVY)])
    run = subprocess.run(
        [sys.executable, "-c", _IMPORT], input=work, capture_output=True, text=True, timeout=120, check=False
    )
    require(run.returncode == 0, f"a new process cannot import {module}: {(run.stderr.splitlines() or ['?'])[-1]}")
    loaded: list[str] = json.loads(run.stderr.rpartition("LOADED ")[2])
    return loaded


def check_spec_has_a_summary(spec: Spec) -> None:
    """The first line of the class docstring says what the component is."""
    require(bool(spec.summary().strip()), f"{type(spec).__name__} has no docstring; begin one with a line of summary")


def check_spec_cites_its_source(spec: Spec) -> None:
    """The docstring goes on with the source: the paper, the formula, the remarks."""
    require(
        bool(spec.source()),
        f"the docstring of {type(spec).__name__} ends after its first line; add the paper, the formula or remarks",
    )


def check_every_field_has_help(spec: Spec) -> None:
    """Every field has a line of help, which `cryoreg show` and the reference pages print."""
    bare = [parameter.name for parameter in spec.parameters() if not parameter.help.strip()]
    require(not bare, f"no help for {', '.join(bare)}; say Field(..., description=...)")


def check_json_round_trip(spec: Spec) -> None:
    """A spec written as JSON, and as plain values into a config, reads back equal."""
    kind = type(spec)
    require(
        kind.model_validate_json(spec.model_dump_json()) == spec,
        f"{kind.__name__} reads back from JSON as another spec; let validators return valid values as they are",
    )


def check_pickle_round_trip(spec: Spec) -> None:
    """A pickled spec is loaded equal, as processes pass it on."""
    try:
        loaded = pickle.loads(pickle.dumps(spec))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        require(False, f"{type(spec).__name__} cannot be pickled: {error}; keep plain values in it")
    require(
        loaded == spec, "the spec is loaded from a pickle as another one; leave its state to pydantic"
    )


def check_unknown_fields_are_refused(spec: Spec) -> None:
    """A misspelt field is an error."""
    try:
        type(spec)(**_values(spec), no_such_field=1)
    except ValidationError:
        return
    require(False, f'{type(spec).__name__} takes unknown fields; do not change extra="forbid" in its model_config')


def _values(spec: Spec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in type(spec).model_fields}


def check_name_clashes_with_no_other(spec: Spec) -> None:
    """No other installed package offers a component of the kind under the same name."""
    everything = registry.components(registry.group_of(spec.kind))
    own = [component for component in everything if _loads(component, type(spec))]
    if not own:
        raise NotApplicable(f"no installed package declares {type(spec).__name__} as an entry point")
    for component in own:
        others = [c.dist for c in everything if c.name == component.name and c.dist != component.dist]
        require(not others, f"{' and '.join(others)} offers '{component.name}' as well; rename the entry point")


def _loads(component: registry.Component, spec: type[Spec]) -> bool:
    try:
        return component.load() is spec
    except BrokenComponentError:
        return False
