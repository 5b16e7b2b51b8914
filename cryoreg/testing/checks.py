"""What a check is, and which ones a component must pass."""

from __future__ import annotations

import importlib
import inspect
import unittest
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from cryoreg.errors import ConfigError, message_of
from cryoreg.seams import Part
from cryoreg.specs import SPEC_TYPES, Spec


class CheckFailed(AssertionError):
    """A promise is broken. The message, one line, says what is wrong and what to change."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class NotApplicable(unittest.SkipTest):
    """The spec does not make this promise; pytest takes it as a skip."""


def require(kept: bool, message: str) -> None:
    """Raise `CheckFailed` unless the promise is kept."""
    if not kept:
        raise CheckFailed(message)


@dataclass(frozen=True)
class Check:
    """One promise: a function ``check_*(spec)`` with one reason to fail."""

    function: Callable[[Any], None]

    @property
    def name(self) -> str:
        """The function's name, "check_...", as ``expected_failed_checks`` takes it."""
        return self.function.__name__

    @property
    def promise(self) -> str:
        """The first line of the function's docstring."""
        return inspect.cleandoc(self.function.__doc__ or "").partition("\n")[0].replace("``", "`")

    def __call__(self, spec: Spec | Part) -> None:
        """Raise `CheckFailed` where the promise is broken, or where the component's own code raises."""
        try:
            self.function(spec)
        except (CheckFailed, NotApplicable, KeyboardInterrupt):
            raise
        except (Exception, SystemExit) as error:
            name = spec.name if isinstance(spec, Part) else type(spec).__name__
            raise CheckFailed(
                f"{name} raises {type(error).__name__} where that is not expected: {message_of(error)}; "
                "`cryoreg check --traceback` shows where"
            ) from error


def checks_for(spec: Spec | type[Spec] | Part) -> Iterator[Check]:
    """Yield the checks of a spec's kind: those of all specs first, in the order in which they are written."""
    if isinstance(spec, Part):
        yield from checks_of_parts()
        return
    yield from checks_of_all()
    yield from _checks_of(f"{__package__}.{spec.kind}_checks")


def checks_of_all() -> Iterator[Check]:
    """Yield the checks that specs of every kind must pass."""
    yield from _checks_of(f"{__package__}.spec_checks")


def checks_of_parts() -> Iterator[Check]:
    """Yield the checks of what seams have, most of which apply to one seam."""
    yield from _checks_of(f"{__package__}.part_checks")


def _checks_of(module: str) -> Iterator[Check]:
    for name, value in list(vars(importlib.import_module(module)).items()):
        if name.startswith("check_") and inspect.isfunction(value) and value.__module__ == module:
            yield Check(value)


def instance(spec: Spec | type[Spec]) -> Spec:
    """Return a spec, that of a class's defaults; raise `ConfigError` where a field has none."""
    given = spec if isinstance(spec, type) else type(spec)
    if not issubclass(given, tuple(SPEC_TYPES.values())):
        raise ConfigError(f"{given.__name__} is not a spec of a component; pass one: an EncoderSpec, a MethodSpec, ...")
    if isinstance(spec, Spec):
        return spec
    if missing := [parameter.name for parameter in spec.parameters() if parameter.required]:
        raise ConfigError(f"{spec.__name__} has no default for {', '.join(missing)}; pass an instance")
    return spec()
