"""`cryoreg completion`: let the shell complete commands, options, components and settings."""

from __future__ import annotations

import click

from cryoreg_cli import options

INSTALL = {
    "bash": "cryoreg completion bash > ~/.local/share/bash-completion/completions/cryoreg, or source it in ~/.bashrc",
    "zsh": "cryoreg completion zsh > DIR/_cryoreg with DIR in $fpath, or source it in ~/.zshrc after compinit",
    "fish": "cryoreg completion fish > ~/.config/fish/completions/cryoreg.fish",
}
VARIABLE = "_CRYOREG_COMPLETE"
"""The environment variable by which click tells that a shell asks, and which."""


@options.command()
@click.argument("shell", type=click.Choice(tuple(INSTALL)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script by which SHELL completes `cryoreg`.

    Commands and options, names of methods, encoders, augmentations, data sets, recipes and studies, the keys and values
    of --set, and files. Its second line says where to put it.
    """
    from cryoreg_cli.completion_shells import SHELLS

    root = ctx.find_root()
    script = SHELLS[shell](root.command, {}, "cryoreg", VARIABLE).source()
    first, _, rest = script.partition("\n")
    note = f"# Completion for {shell}. To install: {INSTALL[shell]}"
    click.echo("\n".join([first, note, rest] if first.startswith("#") else [note, script]), nl=False)
