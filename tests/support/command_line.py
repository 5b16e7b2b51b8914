"""Run ``cryoreg WORDS`` in the process of the tests."""

from __future__ import annotations

from click.testing import CliRunner, Result

from cryoreg_cli.main import cryoreg


def cli(*words: object) -> Result:
    """Return how it ends; a traceback is a failure of the test."""
    result = CliRunner().invoke(cryoreg, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def ok(*words: object) -> str:
    """Return all that it prints, as it does what it is to do."""
    result = cli(*words)
    assert result.exit_code == 0, result.output
    return result.output


def refused(*words: object) -> str:
    """Return the one line with which it is refused."""
    result = cli(*words)
    assert result.exit_code != 0, result.output
    lines = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, result.output
    return lines[0]
