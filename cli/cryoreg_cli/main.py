"""The `cryoreg` command: a group whose subcommands are entry points, loaded when they are used."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys

import click

from cryoreg import __version__, registry
from cryoreg.child_processes import SAFE_PATH
from cryoreg.errors import BrokenComponentError, CryoregError, is_out_of_memory
from cryoreg_cli.commands import completion
from cryoreg_cli.steps import in_steps
from cryoreg_cli.terminal import PlainStream, one_plain_line

_WHOLE = 1000
"""Letters: what a command does is said in one sentence, and not cut."""


class PluginGroup(click.Group):
    """Subcommands are the entry points of group ``cryoreg.commands``, so a plugin can add one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names under which `get_command` finds each command."""
        return [component.reference for component in registry.components("commands")]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command; a broken one is replaced by one that says so when it is used."""
        try:
            return _load_command(registry.find("commands", cmd_name))
        except BrokenComponentError as error:
            return _BrokenCommand(cmd_name, error)
        except CryoregError:
            if ctx.resilient_parsing:  # a shell asks for completions
                return None
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by the steps of the work, an example below each."""
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        widest = max(map(len, commands))
        for title, names, example in in_steps(commands):
            found = [(name, commands[name]) for name in names]
            rows = [(name.ljust(widest), command.get_short_help_str(_WHOLE)) for name, command in found if command]
            with formatter.section(title):
                formatter.write_dl(rows)
                if example:  # one line, to be copied
                    formatter.write(f"{'':{formatter.current_indent}}$ {example}\n")

    def invoke(self, ctx: click.Context) -> object:
        """Run the subcommand; the user's mistakes and the machine's limits end in one line, without a traceback."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("Aborted!", err=True)
            raise SystemExit(128 + signal.SIGINT) from None
        except Exception as error:
            explained = _explained(error)
            if explained is None:
                raise
            raise _shown(explained) from error


class _BrokenCommand(click.Command):
    """Stands in for a command that cannot be loaded, so that `cryoreg --help` works all the same."""

    def __init__(self, name: str, error: BrokenComponentError) -> None:
        super().__init__(name, short_help=f"(broken) {error}")
        self.error = error

    def make_context(self, *args: object, **kwargs: object) -> click.Context:
        """Refuse before any option is parsed."""
        raise self.error


def _load_command(component: registry.Component) -> click.Command:
    command = component.load()
    if not isinstance(command, click.Command):
        raise component.broken(f"{component.target} is not a click command")
    return command


def _explained(error: Exception) -> CryoregError | None:
    """Return what to tell the user; None for a fault in the program, and for what click says itself."""
    if isinstance(error, CryoregError):
        return error
    if isinstance(error, (click.ClickException, click.Abort, click.exceptions.Exit)):
        return None
    if (
        isinstance(error, UnicodeDecodeError) and registry.problems()
    ):  # torch, timm and Lightning read all metadata, too
        return _unreadable_metadata()
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        return CryoregError(f"the system refuses: {error}")
    if is_out_of_memory(error):
        return CryoregError("out of memory; lower --batch-size, take a smaller network, or set training.resident=false")
    return registry.blamed(error)


def _shown(error: CryoregError) -> Exception:
    """Return what click prints as one line, or the error itself where ``CRYOREG_DEBUG`` asks for the traceback."""
    if os.environ.get("CRYOREG_DEBUG", "0") not in ("", "0"):
        return error
    return click.ClickException(one_plain_line(str(error)))


def _unreadable_metadata() -> CryoregError:
    file, reason = registry.problems()[0]
    return CryoregError(
        f"a library that cryoreg needs cannot start, because {file} is unreadable: {reason}; "
        "repair or uninstall that package"
    )


_SETTINGS = {"help_option_names": ["-h", "--help"], "show_default": True}


@click.group(cls=PluginGroup, name="cryoreg", context_settings=_SETTINGS)
@click.version_option(__version__, prog_name="cryoreg", message="%(prog)s %(version)s")
def cryoreg() -> None:
    """Self-supervised learning for cryo-ET subtomograms: any method, encoder, augmentation and data set."""


def main() -> None:
    """Run the command line."""
    # pydantic would read every package's metadata to look for plugins of its own, and stop at a damaged file.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    os.environ.update(SAFE_PATH)  # for the processes of libraries, too
    atexit.register(gc.freeze)  # or Python goes through all that torch has made, for half a second, as it ends
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell: >&-
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        getattr(sys, name).reconfigure(errors="replace")  # "Å" on an ASCII terminal
        setattr(sys, name, PlainStream(getattr(sys, name)))
    if completion.VARIABLE in os.environ:
        from cryoreg_cli.completion_shells import register

        register()
    try:
        cryoreg(prog_name="cryoreg")
    finally:
        _discard_what_cannot_be_written()


def _discard_what_cannot_be_written() -> None:
    """Spare the user Python's own complaint at exit about an output that is full, of which we have said so already."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
