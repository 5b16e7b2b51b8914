"""`cryoreg doctor`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from cryoreg_cli import describing, options, terminal

if TYPE_CHECKING:
    from rich.console import Console

    from cryoreg.diagnosis.finding import Section

_MARKS = {"ok": ("ok", "green"), "warning": ("warning", "yellow"), "problem": ("problem", "bold red")}


@options.command()
@click.option("--no-training", is_flag=True, help="Leave out the short training, which takes about ten seconds.")
@options.jsonable
@options.quietable
def doctor(no_training: bool, as_json: bool) -> None:
    """Look for what is wrong with this installation, and say how to mend it.

    The exit status is 1 where there is a problem; warnings do not count.
    """
    from cryoreg.diagnosis import diagnose

    console, sections = _console(), []
    with console.status("looking"):
        for section in diagnose(training=not no_training):
            sections.append(section)
            if not as_json:
                _print(console, section)
    counts = _counts(sections)
    if as_json:
        terminal.result(describing.to_json(_plain(sections, counts)))
    else:
        console.print(", ".join(_counted(status, count) for status, count in counts.items()), markup=False)
    if counts["problem"]:
        raise SystemExit(1)


def _console() -> Console:
    from rich.console import Console

    return Console(
        width=None if sys.stdout.isatty() else describing.UNLIMITED, highlight=False, emoji=False, soft_wrap=True
    )


def _print(console: Console, section: Section) -> None:
    from rich.markup import escape

    console.print(f"[bold]{escape(section.title)}[/bold]")
    for finding in section.findings:
        mark, style = _MARKS[finding.status]
        console.print(f"  [{style}]{mark:<8}[/{style}] {escape(finding.text)}")
        if finding.fix:
            console.print(f"           fix: {escape(finding.fix)}")
    console.print()


def _counts(sections: list[Section]) -> dict[str, int]:
    statuses = [finding.status for section in sections for finding in section.findings]
    return {status: statuses.count(status) for status in _MARKS}  # type: ignore[arg-type]


def _counted(status: str, count: int) -> str:
    return f"{count} {status}{'' if count == 1 or status == 'ok' else 's'}"


def _plain(sections: list[Section], counts: dict[str, int]) -> dict[str, object]:
    from cryoreg.diagnosis.finding import shortened
    from cryoreg.version import PLUGIN_API, __version__

    topics = {
        section.title: [{key: shortened(value) for key, value in found._asdict().items()} for found in section.findings]
        for section in sections
    }
    return {"cryoreg": __version__, "plugin_api": PLUGIN_API, "counts": counts, "sections": topics}
