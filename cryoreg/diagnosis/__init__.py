"""What `cryoreg doctor` looks at: one small module per topic, each yielding findings with a fix."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cryoreg.diagnosis import torch_stack
from cryoreg.diagnosis.finding import Finding, Section, problem

Check = Callable[[], Iterable[Finding]]

TOPICS: dict[str, Check] = {"PyTorch": torch_stack.check}


def diagnose(training: bool = True) -> Iterable[Section]:
    """Yield a section per topic, as soon as it is known; a check that fails itself is a problem of its section."""
    for title, check in TOPICS.items():
        yield Section(title, _findings(check))


def _findings(check: Check) -> list[Finding]:
    found: list[Finding] = []
    try:
        found.extend(check())
    except Exception as error:
        found.append(problem(f"this check failed: {type(error).__name__}: {error}", "please report it as an issue"))
    return found
