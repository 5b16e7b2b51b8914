"""The promises that every method makes to cryoreg, one test each."""

from __future__ import annotations

from cryoreg.testing import Check, parametrize_with_checks
from cryoreg_barlowtwins.specs import BarlowTwinsSpec


@parametrize_with_checks([BarlowTwinsSpec(hidden_dim=16, output_dim=6)])
def test_conformance(spec: BarlowTwinsSpec, check: Check) -> None:
    check(spec)
