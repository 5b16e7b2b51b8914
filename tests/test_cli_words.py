"""The words of the command line: one name for one thing, and older names that still work and are shown nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cryoreg_cli import options
from cryoreg_cli.main import cryoreg

ROOT = Path(__file__).parents[1]
CONTEXT = click.Context(cryoreg)


def own_commands() -> Iterator[tuple[str, click.Command]]:
    """Yield the commands of cryoreg, those of groups as well, with their names."""
    for name in cryoreg.list_commands(CONTEXT):
        command = cryoreg.get_command(CONTEXT, name)
        assert command is not None
        if command.callback is None or not command.callback.__module__.startswith("cryoreg_cli."):
            continue
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {each}", command.commands[each]) for each in command.commands)


COMMANDS = dict(own_commands())
OLDER = {
    (name, old): parameter
    for name, command in COMMANDS.items()
    for parameter in command.params
    for old in getattr(parameter, "older", ())
}


DATA_ALONE = ("convert", "extract", "inspect", "label", "pick", "preview", "select", "view")
"""Commands in which no network is: their argument is the data."""


def read(command: str, *words: str) -> dict[str, object]:
    """Return what a command is given by a command line, without running it."""
    return COMMANDS[command].make_context(command, list(words)).params


def test_older_names_are_these() -> None:
    assert sorted(OLDER) == sorted(
        [
            *((name, "--data") for name in DATA_ALONE),
            ("pick", "--tomograms"),
            ("average", "--classes"),
            ("average", "--most"),
            ("cluster", "--method"),
            ("convert", "--to"),
            ("explain", "--target"),
            ("extract", "--to"),
            ("pick", "--top"),
            ("simulate", "--workers"),
            ("view", "--views"),
        ]
    )  # fmt: skip


REST = {
    "average": ["ribosome", "--output", "a.mrc"],
    "cluster": ["runs/a", "--output", "c.csv"],
    "convert": ["x", "--output", "o"],
    "explain": ["runs/a", "--output", "o"],
    "extract": ["x", "--output", "o"],
    "pick": ["x", "--radius", "60"],
    "select": ["x", "--output", "o"],
}
VALUES = {"--method": "gmm", "--to": "lab", "--views": "y"}
WHOLE = [(name, old) for (name, old), parameter in OLDER.items() if isinstance(parameter, click.Option)]
DATA = [(name, old) for (name, old), parameter in OLDER.items() if isinstance(parameter, click.Argument)]


@pytest.mark.parametrize("glue", [" ", "="])
@pytest.mark.parametrize(("name", "old"), WHOLE)
def test_an_older_name_of_an_option_means_the_same(name: str, old: str, glue: str) -> None:
    value, rest = VALUES.get(old, "9"), REST.get(name, ["x"] if name == "view" else [])
    (today,) = OLDER[name, old].opts
    assert read(name, *rest, *f"{old}{glue}{value}".split()) == read(name, *rest, today, value)
    assert read(name, *rest, today, value) != read(name, *rest)


@pytest.mark.parametrize(("name", "old"), DATA)
def test_data_may_be_an_option_where_they_are_the_argument(name: str, old: str) -> None:
    rest = [word for word in REST.get(name, []) if word != "x"]
    plain = read(name, "p.star", *rest)
    assert Path("p.star") in [
        each for value in plain.values() for each in (value if isinstance(value, tuple) else [value])
    ]
    for words in (["--data", "p.star", *rest], [*rest, "--data=p.star"]):
        assert read(name, *(word.replace("--data", old) for word in words)) == plain


def test_what_stands_behind_two_dashes_is_no_name() -> None:
    assert read("inspect", "--", "--data")["data"] == Path("--data")


def test_of_several_the_last_counts_as_of_every_option() -> None:
    assert read("inspect", "--data", "a", "--json", "--data", "b") == read("inspect", "b", "--json")
    assert read("inspect", "--data=a", "--data=b") == read("inspect", "--data", "a", "--data=b") == read("inspect", "b")
    assert read("pick", "--data", "a", "--data", "b", "--radius", "1") == read("pick", "a", "b", "--radius", "1")


@pytest.mark.parametrize("words", [["--output", "o", "--data"], ["--data", "--output", "o"]])
def test_a_name_without_a_value_is_refused(words: list[str]) -> None:
    with pytest.raises(click.UsageError, match="'--data' requires an argument"):
        read("convert", *words)


def test_both_ways_at_once_are_one_too_many() -> None:
    with pytest.raises(click.UsageError, match="extra argument"):
        read("inspect", "a.star", "--data", "b.star")


@pytest.mark.parametrize(("name", "old"), OLDER)
def test_an_older_name_is_shown_nowhere(name: str, old: str) -> None:
    context = click.Context(COMMANDS[name], info_name=name)
    words = re.findall(r"--[a-z-]+", COMMANDS[name].get_help(context))
    assert old not in words
    assert [item.value for item in COMMANDS[name].shell_complete(context, old) if item.value == old] == []


def test_pages_and_messages_use_the_names_of_today() -> None:
    """`average --classes` is a name of `label` as well, so that each is looked for beside its command."""
    texts = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("plugins/*/README.md")]
    texts += [*ROOT.glob("cryoreg/**/*.py"), *ROOT.glob("cryoreg/**/*.j2"), *ROOT.glob("cli/**/*.py")]
    found = [
        f"{text.relative_to(ROOT)}: {line.strip()}"
        for text in texts
        for line in text.read_text("utf-8").replace("\\\n", " ").splitlines()
        for name, old in OLDER
        if re.search(rf"\bcryoreg {name} [^`#\n]*{old}\b(?!-)", line)
    ]
    assert found == []


def test_paths_are_declared_once() -> None:
    """An empty path, or one with ``~``, means the same in every command."""
    kinds = {type(p.type) for command in COMMANDS.values() for p in command.params if isinstance(p.type, click.Path)}
    assert kinds == {type(options.PATH)}
