"""What `cryoreg doctor` looks at: one small module per topic, each yielding findings with a fix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from cryoreg.diagnosis import installation, libraries, plugins, storage, system, torch_stack, training
from cryoreg.diagnosis.finding import Finding, Section, problem, warning
from cryoreg.registry.discovery import packages

Check = Callable[[], Iterable[Finding]]

TOPICS: dict[str, Check] = {
    "System": system.check,
    "Libraries": libraries.check,
    "PyTorch": torch_stack.check,
    "Installation": installation.check,
    "Plugins": plugins.check,
    "Storage": storage.check,
    "Short training": training.check,
}
_IMPORTING = ("PyTorch", "Plugins", "Short training")
"""Topics that import libraries; a malicious one acts when it is imported."""


def diagnose(training: bool = True) -> Iterator[Section]:
    """Yield a section per topic, as soon as it is known; ``training`` includes the short training.

    A check that itself fails is a problem of its section. Where a library is known to be malicious, nothing that would
    import it is done.
    """
    dangerous = bool(libraries.malicious(packages()))
    for title, check in TOPICS.items():
        if title == "Short training" and not training:
            continue
        yield Section(title, [_left_out()] if dangerous and title in _IMPORTING else _findings(check))


def _left_out() -> Finding:
    return warning("not looked at, as that would import a malicious library", "remove it first")


def _findings(check: Check) -> list[Finding]:
    found: list[Finding] = []
    try:
        found.extend(check())
    except Exception as error:
        reason = " ".join(str(error).split())
        found.append(problem(f"this check failed: {type(error).__name__}: {reason}", "please report it as an issue"))
    return found
