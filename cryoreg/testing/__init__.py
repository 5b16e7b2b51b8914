"""The conformance kit: what cryoreg relies on in a component, one check per promise, for the tests of plugins.

    from cryoreg.testing import parametrize_with_checks

    @parametrize_with_checks([MySpec(width=8)])
    def test_conformance(spec, check):
        check(spec)

``cryoreg check NAME`` runs the same without pytest.
"""

from __future__ import annotations

from cryoreg.testing.checks import Check, CheckFailed, NotApplicable, checks_for
from cryoreg.testing.fixtures import fake_plugin
from cryoreg.testing.parametrize import parametrize_with_checks
from cryoreg.testing.runner import Result, run_checks

__all__ = [
    "Check",
    "CheckFailed",
    "NotApplicable",
    "Result",
    "checks_for",
    "fake_plugin",
    "parametrize_with_checks",
    "run_checks",
]
