"""What a check finds: one line each, with a fix."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, NamedTuple

Status = Literal["ok", "warning", "problem"]


class Finding(NamedTuple):
    """One line of the diagnosis."""

    status: Status
    text: str
    fix: str = ""
    """What to do, empty where nothing is wrong."""


class Section(NamedTuple):
    """What was found on one topic."""

    title: str
    findings: list[Finding]


def ok(text: str) -> Finding:
    """Return a finding that needs no action."""
    return Finding("ok", text)


def warning(text: str, fix: str) -> Finding:
    """Return what may surprise, but stops nothing."""
    return Finding("warning", text, fix)


def problem(text: str, fix: str) -> Finding:
    """Return what makes a command fail."""
    return Finding("problem", text, fix)


def of_error(message: str) -> Finding:
    """Return a `CryoregError`'s message as a problem: what is wrong and, after its last semicolon, what to do."""
    text, _, fix = message.rpartition("; ")
    return problem(text, fix) if text else problem(fix, "")


def shortened(text: str) -> str:
    """Return a text with the home folder as ``~``, fit for an issue report."""
    home = str(Path.home())
    return text if home == "/" else re.sub(rf"{re.escape(home)}(?![\w-])", "~", text)
