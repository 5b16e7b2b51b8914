"""`cryoreg new`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from cryoreg.kinds import KINDS, SEAMS
from cryoreg_cli import options, terminal

ADDED = (*KINDS, *SEAMS, "command")
"""What packages can be begun of."""


@click.group()
def new() -> None:
    """Start something of your own: a plugin."""


@new.command(cls=options.Command)
@click.argument("name")
@click.option("--kind", type=click.Choice(ADDED), required=True, help="What the plugin adds.")
@click.option("--dir", "folder", type=options.PATH, default=".", metavar="DIR", help="Where its folder goes. [here]")
@click.option("--license", type=click.Choice(["Apache-2.0", "MIT"]), default="Apache-2.0")
@click.option("--author", help="For pyproject.toml and the licence. [the developers]")
@click.option("--run", type=options.PATH, metavar="RUN", help="For weights: the finished run to publish. [none]")
@options.quietable
def plugin(name: str, kind: str, folder: Path, license: str, author: str | None, run: Path | None) -> None:
    """Write the package cryoreg-NAME: a component that works, its tests, and all that publishing needs.

    With --kind weights, the package holds the encoder of RUN, without the paths that the run's card records.
    """
    from cryoreg.scaffold.plugin import create_plugin

    written = create_plugin(name, kind, folder, license, author, run)
    terminal.written(written, f"wrote {written}")
    click.echo(f"next: cd {shlex.quote(str(written))} && pip install -e '.[dev]' && pytest")
