"""Run a piece of Python in a process of its own, so that whatever it does ends only that process."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, NamedTuple

_SECONDS = 180


class ProcessResult(NamedTuple):
    """How a process ended."""

    result: dict[str, Any]
    """The JSON object on its last line of output; empty where there is none."""
    error: str
    """Why it failed, one line; empty where it did not."""


def run_python(code: str, *arguments: str, seconds: float = _SECONDS) -> ProcessResult:
    """Run ``code``, which prints a JSON object, with the interpreter and the packages of this process."""
    # -P: as for the `cryoreg` script, files of the current folder are no modules.
    command = [sys.executable, "-P", "-c", code, *arguments]
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return ProcessResult({}, f"no answer within {seconds:g} s")
    if ended.returncode < 0:
        return ProcessResult({}, f"killed by signal {-ended.returncode}")
    if ended.returncode > 0:
        return ProcessResult({}, _last_line(ended.stderr) or f"exit status {ended.returncode}")
    result = _parsed(_last_line(ended.stdout))
    return ProcessResult(result, "" if result else "it ended without an answer")


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def _parsed(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
