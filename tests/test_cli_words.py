"""The words of the command line: one name for one thing, and older names that still work and are shown nowhere."""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from support.command_line import cli, ok

from cryoreg import telling
from cryoreg_cli import options, terminal
from cryoreg_cli.examples import EXAMPLES
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


@pytest.mark.parametrize("words", [("finetune", "p.star"), ("predict", "runs/a", "p.star", "--output", "o.star")])
def test_who_leaves_the_name_of_data_out_is_told(words: tuple[str, ...]) -> None:
    with pytest.raises(click.UsageError, match=r"extra argument \(p\.star\); data are named by --data PATH here"):
        read(*words)


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


def help_of(name: str) -> str:
    """Return what `cryoreg NAME --help` prints."""
    result = CliRunner().invoke(cryoreg, [*name.split(), "--help"], terminal_width=1000)
    assert result.exit_code == 0
    return result.output


RUNS = [name for name, command in COMMANDS.items() if not isinstance(command, click.Group)]


@pytest.mark.parametrize("name", RUNS)
def test_the_help_of_a_command_has_an_example_that_parses(name: str) -> None:
    (line,) = re.findall(r"^  \$ (.*)$", help_of(name), flags=re.MULTILINE)
    words = shlex.split(line.partition(" > ")[0])
    assert words[: 1 + len(name.split())] == ["cryoreg", *name.split()]
    COMMANDS[name].make_context(name, words[1 + len(name.split()) :])


def test_there_is_no_example_of_what_is_no_command() -> None:
    assert sorted(EXAMPLES) == sorted(name.rpartition(" ")[2] for name in RUNS)


@pytest.mark.parametrize("name", RUNS)
def test_help_shows_what_is_meant_where_an_option_is_left_out(name: str) -> None:
    """In brackets: a default, "required", or in words; a switch is off."""
    context = click.Context(COMMANDS[name], parent=click.Context(cryoreg, show_default=True), info_name=name)
    for parameter in COMMANDS[name].params:
        if isinstance(parameter, click.Option) and not parameter.is_flag:
            record = parameter.get_help_record(context)
            assert record is not None
            shown = re.sub(r" +\[[-0-9.e+<=]*x[<>=][^\[\]]*\]$", "", record[1])  # the range of a number
            assert re.search(r"\[[^\[\]]+\]$", shown), f"{name} {record}"
            if parameter.default is not None and isinstance(parameter.default, int | float | str):
                assert f"default: {parameter.default}" in record[1]


@pytest.mark.parametrize(
    ("name", "option", "default"),
    [
        ("pretrain", "--epochs", "[default: 200]"),
        ("finetune", "--epochs", "[default: 50]"),
        ("pretrain", "--method", "[default: moco]"),
        ("finetune", "--learner", "[default: full]"),
        ("finetune", "--loggers", "[default: csv,tensorboard]"),
        ("finetune", "--split", "[default: parts]"),
        ("preview", "--seed", "[default: 0]"),
        ("predict", "--device", "[that of the run]"),
        ("pretrain", "--data", "[those of the run]"),
        ("evaluate", "--part", "[default: test]"),
    ],
)
def test_defaults_of_settings_are_those_of_the_command(name: str, option: str, default: str) -> None:
    (line,) = re.findall(rf"^  {option} .*$", help_of(name), flags=re.MULTILINE)
    assert line.endswith(default)


SPEAK = {"list", "show", "help", "completion"}
"""Commands whose answer is all that they do."""


def test_all_commands_that_do_more_than_answer_can_be_quiet() -> None:
    assert {name for name in RUNS if "--quiet" not in help_of(name)} == SPEAK


def test_these_commands_speak_json() -> None:
    """Those whose answer is more than a file; test_every_command.py has those that take data."""
    assert {name for name in RUNS if "--json" in help_of(name)} == {
        *("average", "cluster", "convert", "doctor", "evaluate", "extract", "inspect", "list", "pick", "predict"),
        *("report", "select", "show", "suggest"),
    }


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store of made-up structures."""
    path = tmp_path_factory.mktemp("words") / "set.h5"
    result = run("simulate", "--universe", "2", "--per-class", "8", "--voxel-size", "20", "--output", path, "--quiet")
    assert (result.stdout, result.stderr) == (f"{path}\n", "")
    return path


def run(*words: object) -> Result:
    """Run a command in this process."""
    result = cli(*words)
    assert result.exit_code == 0, result.output
    assert (telling.quiet(), terminal._heard.get()) == (False, None)
    return result


def test_quiet_leaves_paths_alone(simulated: Path, tmp_path: Path) -> None:
    loud = run("convert", simulated, "--output", tmp_path / "a", "--format", "mrc_folder")
    quiet = run("convert", simulated, "--output", tmp_path / "b", "--format", "mrc_folder", "--quiet")
    assert "subtomograms" in loud.stdout
    assert (quiet.stdout, quiet.stderr) == (f"{tmp_path / 'b'}\n", "")


def test_quiet_hides_notes_and_not_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    with telling.quietly():
        for line in ("note: a", "3/4 done", "warning: b", "Warning: c", "differs: d", "left out  e"):
            telling.tell(line)
    telling.tell("note: f")
    assert capsys.readouterr() == ("", "warning: b\nWarning: c\ndiffers: d\nleft out  e\nnote: f\n")


def test_quiet_may_be_said_by_the_environment(simulated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(telling.VARIABLE, "1")
    assert ok("inspect", simulated) == ""
    monkeypatch.setenv(telling.VARIABLE, "0")
    assert "subtomograms" in ok("inspect", simulated)


def test_quiet_still_tells_what_is_wrong(tmp_path: Path) -> None:
    result = cli("inspect", "--quiet", tmp_path / "nowhere")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "nowhere: no such file" in result.stderr


@pytest.mark.slow
def test_json_is_one_object_on_stdout_and_nothing_else(simulated: Path, tmp_path: Path) -> None:
    tuned = tmp_path / "run"
    trained = ["finetune", "--from", "scratch", "--data", simulated, "--epochs", 1, "--device", "cpu"]
    assert run(*trained, "--run-dir", tuned, "--quiet").stdout == f"{tuned}\n"
    shown = run("evaluate", tuned).stdout
    found = json.loads(run("evaluate", tuned, "--json").stdout)
    assert f"accuracy {100 * found['accuracy']:.1f} %" in shown
    assert np.sum(found["confusion"]) == found["subtomograms"]
    assert found["classes"] == list(found["per_class_accuracy"])

    words = ["cluster", "--from", tuned, "--data", simulated, "--clusters", "2", "--device", "cpu", "--output"]
    found = json.loads(run(*words, tmp_path / "c.csv", "--json").stdout)
    with open(tmp_path / "c.csv") as file:
        counted = Counter(row["cluster"] for row in csv.DictReader(file))
    assert found["sizes"] == [counted["1"], counted["2"]]
    assert np.array(found["agreement"]["table"]).sum() == found["subtomograms"] == 16

    found = json.loads(run("predict", tuned, "--output", tmp_path / "p.csv", "--json").stdout)
    with open(tmp_path / "p.csv") as file:
        counted = Counter(row["prediction"] for row in csv.DictReader(file))
    assert {row["name"]: row["subtomograms"] for row in found["classes"] if row["subtomograms"]} == counted
    assert run("predict", tuned, "--output", tmp_path / "q.csv", "-q").stdout == f"{tmp_path / 'q.csv'}\n"


DATA_IN = {name for name in RUNS if "--dataset" in help_of(name)} - {"benchmark"} | {"extract"}


@pytest.mark.parametrize("name", sorted(DATA_IN))
def test_what_is_told_of_files_has_one_name_in_all_commands_that_read_data(name: str) -> None:
    context = click.Context(COMMANDS[name], info_name=name)
    records = [p.get_help_record(context) for p in COMMANDS[name].params if isinstance(p, click.Option)]
    told = {record[0] for record in records if record}
    assert told >= {"--tomograms PATH", "--box VOXELS", "--voxel-size Å"}


def test_what_is_told_of_files_is_a_setting_of_the_data_set(simulated: Path) -> None:
    short = run("inspect", simulated, "--voxel-size", "33").stdout
    assert "33 Å" in short
    assert run("inspect", simulated, "--set", "dataset.voxel_size=33.0").stdout == short
    both = run("inspect", simulated, "--voxel-size", "12", "--set", "dataset.voxel_size=33.0").stdout
    assert both == short, "--set has the last word"


def test_a_dry_run_names_the_option_that_was_typed(simulated: Path) -> None:
    words = ("pretrain", "--data", simulated, "--voxel-size", "12", "--dry-run")
    found = [run(*words).stdout, run(*words, "--set", "dataset.voxel_size=33.0").stdout]
    rows = [line.split() for shown in found for line in shown.splitlines() if line.startswith("dataset.voxel_size ")]
    assert rows == [["dataset.voxel_size", "12.0", "--voxel-size"], ["dataset.voxel_size", "33.0", "--set"]]


@pytest.mark.parametrize(
    "words",
    [["inspect"], ["convert", "--output", "o.h5"], ["embed", "--from", "rb3d_universe", "--output", "o.csv", "--data"]],
    ids=lambda words: words[0],
)
def test_a_reader_refuses_what_it_does_not_know_by_the_name_that_was_typed(
    words: list[str], simulated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli(*words, simulated, "--box", "8")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: --box: not a parameter of dataset 'store'")
