"""What every spec promises, whatever it builds."""

from __future__ import annotations

import functools
import json
import pickle
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import tomli_w
from pydantic import ValidationError

from cryoreg import registry
from cryoreg.errors import BrokenComponentError
from cryoreg.kinds import Kind
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
    heavy = heavy_imports(module)
    require(not heavy, f"importing {module} imports {', '.join(heavy)}; do so inside `build`, or under TYPE_CHECKING")


@functools.cache
def heavy_imports(module: str) -> list[str]:
    """Return what a fresh process has of `HEAVY` after importing a module."""
    work = json.dumps([sys.path, module, sorted(HEAVY)])
    run = subprocess.run(
        [sys.executable, "-P", "-c", _IMPORT], input=work, capture_output=True, text=True, timeout=120, check=False
    )
    require(run.returncode == 0, f"a new process cannot import {module}: {(run.stderr.splitlines() or ['?'])[-1]}")
    loaded: list[str] = json.loads(run.stderr.rpartition("LOADED ")[2])
    return loaded


def check_spec_has_a_summary(spec: Spec) -> None:
    """The first line of the class docstring says what the component is."""
    require(bool(spec.summary().strip()), f"{type(spec).__name__} has no docstring; begin one with a line of summary")


def check_spec_cites_its_source(spec: Spec) -> None:
    """The docstring goes on with the source: the paper, the formula, the remarks."""
    if not spec.summary():
        raise NotApplicable("there is no docstring")
    require(
        bool(spec.source()),
        f"the docstring of {type(spec).__name__} ends after its first line; add the paper, the formula or remarks",
    )


def check_every_field_has_help(spec: Spec) -> None:
    """Every field has a line of help, which `cryoreg show` and the reference pages print."""
    bare = [parameter.name for parameter in spec.parameters() if not parameter.help.strip()]
    require(not bare, f"no help for {', '.join(bare)}; say Field(..., description=...)")


def check_defaults_keep_their_own_limits(spec: Spec) -> None:
    """Every default is a value that the field would take from a user."""
    kind = type(spec)
    defaults = {p.name: p.default for p in spec.parameters() if not p.required}
    try:
        kind.model_validate(_values(spec) | defaults)
    except ValidationError as error:
        require(False, f"a default of {kind.__name__} is outside its own limits: {_first(error)}; mend one of them")


def check_defaults_build(spec: Spec) -> None:
    """With nothing set, the component can be built; but no data set is opened unasked."""
    if spec.kind == "weights":
        raise NotApplicable("weights have checks of their own")
    if spec.kind == "dataset" or any(parameter.required for parameter in spec.parameters()):
        raise NotApplicable("no data set is opened unasked" if spec.kind == "dataset" else "a field has no default")
    default: Any = type(spec)()
    try:
        default.build(*_what_build_takes(spec.kind))
    except Exception as error:
        require(False, f"{type(spec).__name__}() cannot be built: {type(error).__name__}: {error}; mend the defaults")


def _what_build_takes(kind: Kind) -> list[object]:
    from cryoreg.testing.samples import TinyEncoder

    given: dict[Kind, list[object]] = {"method": [TinyEncoder()], "learner": [TinyEncoder(), 3]}
    return given.get(kind, [])


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}, but it is {first['input']!r}"


def check_json_round_trip(spec: Spec) -> None:
    """A spec written as JSON, and as plain values into a config, reads back equal."""
    kind, plain = type(spec), tomli_w.dumps(spec.model_dump(mode="json", exclude_none=True))
    read = {
        "JSON": kind.model_validate_json(spec.model_dump_json()),
        "a config": kind.model_validate(tomllib.loads(plain)),
    }
    for what, other in read.items():
        require(
            _values(other) == _values(spec),
            f"{kind.__name__} reads back from {what} as another spec; let validators return valid values as they are, "
            "and None be the default of what may be None",
        )


def check_pickle_round_trip(spec: Spec) -> None:
    """A pickled spec is loaded equal, as processes pass it on."""
    try:
        loaded = pickle.loads(pickle.dumps(spec))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        require(False, f"{type(spec).__name__} cannot be pickled: {error}; keep plain values in it")
    require(
        _values(loaded) == _values(spec), "the spec is loaded from a pickle as another one; leave its state to pydantic"
    )


def check_values_outside_the_limits_are_refused(spec: Spec) -> None:
    """A value outside a field's declared limits is an error, never taken or moved silently."""
    for name, field in type(spec).model_fields.items():
        for limit, outside in _just_outside(field.metadata):
            try:
                type(spec).model_validate(_values(spec) | {name: outside})
            except ValidationError:
                continue
            require(False, f"{name} is declared {limit}, but {outside!r} is taken; raise ValueError in validators")


def _just_outside(metadata: Iterable[object]) -> Iterator[tuple[str, float]]:
    """Yield each declared limit and a value that breaks it."""
    limits = {
        name: getattr(each, name) for each in metadata for name in _OUTSIDE if getattr(each, name, None) is not None
    }
    for name, value in limits.items():
        yield f"{name}={value}", _OUTSIDE[name](value)


_OUTSIDE: dict[str, Callable[[float], float]] = {
    "gt": lambda limit: limit,
    "ge": lambda limit: limit - 1,
    "lt": lambda limit: limit,
    "le": lambda limit: limit + 1,
}


def check_unknown_fields_are_refused(spec: Spec) -> None:
    """A misspelt field is an error."""
    try:
        type(spec).model_validate(_values(spec) | {"no_such_field": 1})
    except ValidationError:
        return
    require(False, f'{type(spec).__name__} takes unknown fields; do not change extra="forbid" in its model_config')


def _values(spec: Spec) -> dict[str, object]:
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
