"""The kit under pytest. The only module of the kit that imports it, and only when it is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from cryoreg.errors import ConfigError
from cryoreg.specs import Spec
from cryoreg.testing.checks import Check, CheckFailed, checks_for, instance

if TYPE_CHECKING:
    import pytest

Expected = Mapping[str, str] | Callable[[Spec], Mapping[str, str]]


def parametrize_with_checks(
    specs: Sequence[Spec | type[Spec]], *, expected_failed_checks: Expected | None = None
) -> pytest.MarkDecorator:
    """Return a decorator that runs ``test(spec, check)`` once for each spec and each check of its kind.

    ``specs`` are instances, or classes, which stand for their defaults. ``expected_failed_checks`` maps names of checks
    to the reason why they are meant to fail, or is a function from a spec to that; such a check is a strict xfail:
    where it passes after all, the test fails.
    """
    import pytest

    cases = [(spec, check) for spec in map(instance, specs) for check in checks_for(spec)]
    reasons = [_expected(expected_failed_checks, spec) for spec, _ in cases]
    _refuse_unknown({name for each in reasons for name in each}, {check.name for _, check in cases})
    return pytest.mark.parametrize(
        ("spec", "check"),
        [
            pytest.param(spec, check, id=f"{type(spec).__name__}-{check.name}", marks=_marks(check, expected))
            for (spec, check), expected in zip(cases, reasons, strict=True)
        ],
    )


def _expected(expected: Expected | None, spec: Spec) -> Mapping[str, str]:
    return expected(spec) if callable(expected) else expected or {}


def _refuse_unknown(expected: set[str], known: set[str]) -> None:
    if unknown := sorted(expected - known):
        raise ConfigError(f"expected_failed_checks: no check is called {', '.join(unknown)}; see docs/conformance.md")


def _marks(check: Check, expected: Mapping[str, str]) -> list[pytest.MarkDecorator]:
    import pytest

    if check.name not in expected:
        return []
    return [pytest.mark.xfail(strict=True, raises=CheckFailed, reason=expected[check.name])]
