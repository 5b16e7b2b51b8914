"""`cryoreg help`."""

from __future__ import annotations

import click

from cryoreg_cli import options
from cryoreg_cli.completion_values import COMMAND


@options.command(name="help")
@click.argument("command", type=COMMAND, required=False)
@click.pass_context
def show_help(ctx: click.Context, command: str | None) -> None:
    """Show what COMMAND does and takes, as `cryoreg COMMAND --help`; without one, all commands."""
    group = ctx.find_root()
    if command is None:
        click.echo(group.get_help())
        return
    assert isinstance(group.command, click.Group)
    found = group.command.get_command(group, command)
    if found is not None:  # an unknown one has been refused
        with click.Context(found, parent=group, info_name=command) as described:
            click.echo(found.get_help(described))
