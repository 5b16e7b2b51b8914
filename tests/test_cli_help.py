"""`cryoreg --help` and `cryoreg help`: all commands, by the steps of the work, with examples that hold."""

from __future__ import annotations

import shlex

import click
import pytest
from support.command_line import cli, ok

from cryoreg_cli.main import cryoreg
from cryoreg_cli.steps import STEPS, in_steps


def test_each_command_of_cryoreg_is_in_one_step_and_each_step_names_commands_that_there_are() -> None:
    named = [command for step in STEPS for command in step.commands]
    own = [name for name in cryoreg.list_commands(click.Context(cryoreg)) if ":" not in name]
    assert sorted(named) == sorted(set(own))


def test_commands_of_other_packages_come_last() -> None:
    assert list(in_steps(["zeta", "view", "pick"])) == [
        ("Data", ["pick"], STEPS[0].example),
        ("Look", ["view"], STEPS[1].example),
        ("From other packages", ["zeta"], ""),
    ]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.title)
def test_an_example_stands_in_one_line_and_takes_options_that_there_are(step) -> None:
    assert f"  $ {step.example}\n" in ok("--help")
    _, name, *words = shlex.split(step.example)
    options = {option for p in cryoreg.get_command(click.Context(cryoreg), name).params for option in p.opts}
    assert name in step.commands
    assert {word for word in words if word.startswith("--")} <= options


def test_what_commands_do_is_not_cut() -> None:
    assert "..." not in ok("--help").partition("\n\n")[2].replace("[ARGS]...", "")


def test_help_is_that_of_the_command() -> None:
    assert ok("help") == ok("--help")
    assert ok("help", "evaluate") == ok("evaluate", "--help")
    result = cli("help", "evalute")
    assert result.exit_code == 1
    assert "did you mean 'evaluate'?" in result.output


@pytest.mark.parametrize("name", cryoreg.list_commands(click.Context(cryoreg)))
def test_what_an_option_takes_is_not_named_by_its_type_in_python(name) -> None:
    assert not {"INTEGER", "FLOAT", "TEXT", "RANGE"} & set(ok(name, "--help").replace("[", " ").split())
