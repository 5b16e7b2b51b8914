"""The promises that every learner makes to cryoreg, one test each."""

from __future__ import annotations

from cryoreg.testing import Check, parametrize_with_checks
from cryoreg_liu2019.specs import AutoencodingClassifierSpec


@parametrize_with_checks([AutoencodingClassifierSpec(width=4, code_dim=16, hidden_dim=16)])
def test_conformance(spec: AutoencodingClassifierSpec, check: Check) -> None:
    check(spec)
