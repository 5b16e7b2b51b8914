"""`cryoreg`, `cryoreg list` and `cryoreg show` as a user sees them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import cryoreg
from cryoreg import registry
from cryoreg.kinds import KINDS, SEAMS
from cryoreg_cli import describing
from cryoreg_cli.main import cryoreg as command

Install = Callable[..., Path]
TINY = "[cryoreg.encoders]\ntiny = {0}_specs:Tiny\n[cryoreg.methods]\nother = {0}_specs:Method\n"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


def listed(*arguments: str) -> list[dict]:
    return json.loads(run("list", "--json", *arguments).stdout)


def test_version() -> None:
    assert run("--version").stdout == f"cryoreg {cryoreg.__version__}\n"


def test_list_has_every_component_on_one_line_with_package_and_version(fake_plugin: Install) -> None:
    fake_plugin("my-plugin", TINY.format("my_plugin"), version="4.5")
    result = run("list")
    lines = [re.split(r"\s{2,}", line.strip()) for line in result.stdout.splitlines()]
    for kind in KINDS:
        for component in registry.components(registry.group_of(kind)):
            expected = [component.reference, f"{component.dist} {component.version}", component.spec().summary()]
            assert expected in lines
    assert ["tiny", "my-plugin 4.5", "A tiny encoder."] in lines
    assert [line[0] for line in lines if line[0].endswith(":")] == [
        "Encoders:",
        "Methods:",
        "Augmentations:",
        "Datasets:",
        "Weights:",
        "Learners:",
        "Queries:",
        "Loggers:",
        "Writers:",
        "Recipes:",
        "Studies:",
        "Schedules:",
        "Pickers:",
        "Viewers:",
        "Formats:",
    ]
    assert (result.exit_code, result.stderr) == (0, "")


def test_what_seams_have_is_listed_and_shown(fake_plugin: Install) -> None:
    for seam in SEAMS:
        for component in registry.components(registry.group_of(seam)):
            summary, rest = component.documentation()
            assert summary.endswith(".")
            text = run("show", seam, component.name).stdout
            assert text.startswith(f"{seam} {component.name}, from {component.dist} {component.version}")
            assert " ".join(f"{summary} {rest}".split()) in " ".join(text.split())
            assert "Parameters" not in text
            row = [component.name, f"{component.dist} {component.version}", summary]
            listing = run("list", "--kind", seam).stdout.splitlines()
            assert row in [re.split(r"\s{2,}", line.strip()) for line in listing]


def test_a_group_that_does_not_exist_is_said_where_components_are_listed(
    fake_plugin: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_plugin("one", "[cryoreg.loger]\nmine = one_specs:Mine\nyours = one_specs:Mine\n")
    warning = "Warning: one 1.0 declares mine, yours in the group 'cryoreg.loger', which does not exist; did you mean "
    result = run("list", "--kind", "encoder")
    assert (result.exit_code, result.stderr) == (0, f"{warning}'loggers'?\n")
    monkeypatch.setenv(registry.ALLOW_LIST_VARIABLE, "two")
    assert run("list").stderr == ""


def test_columns_are_aligned(fake_plugin: Install) -> None:
    fake_plugin("my-plugin", TINY.format("my_plugin"))
    rows = [line for line in run("list", "--kind", "encoder").stdout.splitlines() if line.startswith("  ")]
    assert len(rows) >= 3
    assert len({re.search(r"(cryoreg|my-plugin) \d", row).start() for row in rows}) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_list_one_kind(kind: str) -> None:
    heading = registry.group_of(kind).capitalize() + ":"
    lines = run("list", "--kind", kind).stdout.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [heading]
    assert {entry["kind"] for entry in listed("--kind", kind)} == {kind}


def test_verbose_adds_parameters_with_defaults_and_the_source(fake_plugin: Install) -> None:
    fake_plugin("my-plugin", TINY.format("my_plugin"))
    text = run("list", "--verbose", "--kind", "encoder").stdout
    assert "Nobody et al. 2026." in text
    assert re.search(r"^ +width = 8 +filters$", text, re.M)
    assert re.search(r"^ +weights = required +a file$", text, re.M)
    assert re.search(r"^ +norm = none$", text, re.M)


@pytest.mark.parametrize(
    ("allowed", "note"),
    [
        (None, "Plugins run code as you. To allow only those that you trust: export CRYOREG_PLUGINS=my-plugin,two"),
        ("two", "CRYOREG_PLUGINS allows two; others never run."),
        ("", "CRYOREG_PLUGINS allows no plugin; others never run."),
    ],
)
def test_it_says_where_plugins_came_from_and_how_to_limit_them(
    fake_plugin: Install, monkeypatch: pytest.MonkeyPatch, allowed: str | None, note: str
) -> None:
    assert "CRYOREG_PLUGINS" not in run("list", "--verbose").stdout
    for dist in ("my-plugin", "two"):
        url = {"url": f"file:///src/{dist}", "dir_info": {"editable": True}}
        info = fake_plugin(dist, f"[cryoreg.encoders]\n{dist[:2]} = {dist.replace('-', '_')}_specs:Tiny\n")
        (info / "direct_url.json").write_text(json.dumps(url))
    assert "\ninstalled: editable, in /src/two\n" in run("show", "encoder", "tw").stdout
    assert "CRYOREG_PLUGINS" not in run("list").stdout
    if allowed is not None:
        monkeypatch.setenv("CRYOREG_PLUGINS", allowed)
    text = run("list", "--verbose").stdout
    assert text.splitlines()[-1].startswith(note)
    for dist in ("my-plugin", "two"):
        shown = f"({dist} 1.0: editable, in /src/{dist})" in text
        assert shown == (allowed is None or dist in allowed.split(","))


def test_json_says_everything(fake_plugin: Install) -> None:
    fake_plugin("my-plugin", TINY.format("my_plugin"), version="4.5")
    [entry] = [e for e in listed() if e["name"] == "tiny"]
    assert entry == json.loads(run("show", "encoder", "tiny", "--json").stdout)
    _, width, weights, norm = entry.pop("parameters")  # every encoder has turns
    assert entry == {
        "kind": "encoder",
        "name": "tiny",
        "reference": "tiny",
        "package": "my-plugin",
        "version": "4.5",
        "target": "my_plugin_specs:Tiny",
        "origin": "from an unrecorded place",
        "error": None,
        "summary": "A tiny encoder.",
        "source": "Nobody et al. 2026.",
    }
    assert width == {
        "name": "width", "type": "int", "required": False, "default": 8, "limits": ">= 1, < 99", "help": "filters",
    }  # fmt: skip
    assert (weights["required"], weights["default"], weights["type"]) == (True, None, "path")
    assert (norm["default"], norm["type"]) == ("none", "none | batch")


def test_list_goes_on_past_a_broken_plugin_and_shows_it(fake_plugin: Install) -> None:
    fake_plugin("aaa", "[cryoreg.encoders]\nwonky = absent:X\n", version="0.9")
    fake_plugin("zzz", TINY.format("zzz"))
    for arguments in ((), ("--verbose",)):
        result = run("list", *arguments)
        [line] = [line for line in result.stdout.splitlines() if "wonky" in line]
        assert "aaa 0.9" in line
        assert "(broken)" in line
        assert "No module named 'absent'" in line
        assert "zzz 1.0" in result.stdout
        assert result.exit_code == 0
    errors = {e["name"]: e["error"] for e in listed()}
    assert "No module named 'absent'" in errors["wonky"]
    assert errors["tiny"] is None


@pytest.mark.parametrize("arguments", [(), ("--json",), ("--verbose",)])
def test_unreadable_metadata_is_one_warning_line_each(fake_plugin: Install, arguments: tuple[str, ...]) -> None:
    files = [fake_plugin(dist, b"\xff") / "entry_points.txt" for dist in ("bad-one", "bad-two")]
    result = run("list", *arguments)
    warnings = result.stderr.splitlines()
    assert len(warnings) == 2
    for file, warning in zip(files, warnings, strict=True):
        assert warning.startswith(f"Warning: {file} cannot be read")
    assert "rb3d" in result.stdout
    assert result.exit_code == 0


def test_clashing_names_are_listed_qualified(fake_plugin: Install) -> None:
    for dist in ("one", "two"):
        fake_plugin(dist, TINY.format(dist))
    assert {"one:tiny", "two:tiny"} <= {e["reference"] for e in listed()}
    assert "one:tiny" in run("list").stdout
    result = run("show", "encoder", "tiny")
    assert result.exit_code == 1
    assert "'one:tiny' or 'two:tiny'" in result.stderr
    assert run("show", "encoder", "two:tiny").exit_code == 0


def test_show_has_every_parameter_of_every_builtin() -> None:
    for kind in KINDS:
        for component in registry.components(registry.group_of(kind)):
            text = run("show", kind, component.reference).stdout
            spec = component.spec()
            assert text.startswith(f"{kind} {component.reference}, from {component.dist} {component.version}")
            for paragraph in (spec.summary(), " ".join(spec.source().split())):
                assert paragraph in " ".join(text.split())
            for p in spec.parameters():
                row = rf"^ *{p.name} +{re.escape(p.type)} +.*{re.escape(p.limits)} +{re.escape(p.help)}$"
                assert re.search(row, text, re.M), p


def test_show_moco() -> None:
    text = run("show", "method", "moco").stdout
    assert "He et al. 2020" in text
    assert re.search(r"^  queue_size +int +128 +>= 1 ", text, re.M)
    assert re.search(r"^  head +v1 \| v2 +v2 ", text, re.M)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("finetun",), "unknown command 'finetun'; did you mean 'finetune'?; `cryoreg --help` shows what is installed"),
        (("show", "method", "mocco"), "unknown method 'mocco'; did you mean 'moco'?"),
        (("show", "encoder", "wonky"), "encoder 'wonky' of aaa 0.9 cannot be loaded: ModuleNotFoundError: No module"),
        (("crash",), "command 'crash' of aaa 0.9 cannot be loaded: ModuleNotFoundError: No module named 'absent'"),
        (("crash", "--help"), "command 'crash' of aaa 0.9 cannot be loaded"),
        (("nothing",), "command 'nothing' of aaa 0.9 cannot be loaded: aaa_specs:Tiny is not a click command"),
    ],
)
def test_mistakes_are_one_line_on_stderr(fake_plugin: Install, arguments: tuple[str, ...], message: str) -> None:
    points = "[cryoreg.encoders]\nwonky = absent:X\n[cryoreg.commands]\ncrash = absent:X\nnothing = aaa_specs:Tiny\n"
    fake_plugin("aaa", points, version="0.9")
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"Error: {message}")
    assert result.stderr.count("\n") == 1


COMMANDS = '''
import click
from cryoreg.errors import DataError

@click.command()
@click.argument("word")
def greet(word):
    """Greet someone."""
    click.echo(f"hello {word}")

@click.command()
def fail():
    """Fail."""
    raise DataError("the file\\nis damaged")
'''


def test_a_plugin_adds_a_command(fake_plugin: Install) -> None:
    fake_plugin("more", "[cryoreg.commands]\ngreet = more_specs:greet\nlist = more_specs:greet\n", module=COMMANDS)
    assert run("greet", "you").stdout == "hello you\n"
    assert run("more:list", "you").stdout == "hello you\n"
    assert "Encoders:" in run("list").stdout
    assert re.search(r"^  greet +Greet someone\.$", run("--help").stdout, re.M)


def test_a_broken_command_does_not_break_help(fake_plugin: Install) -> None:
    fake_plugin("bad", "[cryoreg.commands]\ncrash = absent:X\n")
    result = run("--help")
    assert result.exit_code == 0
    assert re.search(r"^  crash +\(broken\)", result.stdout, re.M)
    assert re.search(r"^  list +List what is installed", result.stdout, re.M)


@pytest.mark.parametrize("value", ["", "0"])
def test_errors_of_commands_lose_their_traceback(
    fake_plugin: Install, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    fake_plugin("more", "[cryoreg.commands]\nfail = more_specs:fail\n", module=COMMANDS)
    monkeypatch.setenv("CRYOREG_DEBUG", value)
    assert run("fail").stderr == "Error: the file is damaged\n"


def test_debug_shows_the_traceback(fake_plugin: Install, site: Path, cryoreg_process: Callable) -> None:
    fake_plugin("more", "[cryoreg.commands]\nfail = more_specs:fail\n", module=COMMANDS)
    plain = cryoreg_process("fail", path=site)
    assert (plain.returncode, plain.stderr) == (1, "Error: the file is damaged\n")
    debug = cryoreg_process("fail", path=site, CRYOREG_DEBUG="1")
    assert debug.returncode == 1
    assert "Traceback" in debug.stderr
    assert "DataError: the file" in debug.stderr


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("list",), ("show", "method", "moco"), ("list", "-v")])
def test_a_pipe_gets_whole_lines_whatever_its_encoding(cryoreg_process: Callable, arguments: tuple[str, ...]) -> None:
    piped = cryoreg_process(*arguments)
    assert piped.stdout == run(*arguments).stdout  # COLUMNS=60 changes nothing
    assert max(map(len, piped.stdout.splitlines())) > 80
    for encoding in ("ascii", "latin-1"):  # neither has "τ"
        other = cryoreg_process(*arguments, PYTHONIOENCODING=encoding)
        assert (other.returncode, other.stderr) == (0, "")
        assert len(other.stdout.splitlines()) == len(piped.stdout.splitlines())


def test_a_terminal_gets_wrapped_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    page = describing.page()
    describing.write_table(page, [("name", "x" * 10, "word " * 40), ("n", "y", "short")])
    lines = page.getvalue().splitlines()
    assert max(map(len, lines)) <= 70
    assert " ".join(page.getvalue().split()) == f"name {'x' * 10} {'word ' * 40}n y short"


def test_infinite_defaults_are_valid_json() -> None:
    text = describing.to_json([{"default": float("inf")}, {"default": Path("a")}, {"default": (1, 2)}])

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    assert [e["default"] for e in json.loads(text, parse_constant=refuse)] == ["Infinity", "a", [1, 2]]


@pytest.mark.slow
def test_unreadable_metadata_does_not_end_in_a_traceback(
    fake_plugin: Install, site: Path, cryoreg_process: Callable
) -> None:
    """torch and timm read the metadata of all packages themselves, and fail: say which file is at fault."""
    module = "import click\n@click.command()\ndef train():\n    import importlib.metadata as m\n    m.entry_points()\n"
    fake_plugin("more", "[cryoreg.commands]\ntrain = more_specs:train\n", module=module)
    file = fake_plugin("bad", b"[console_scripts]\nx = caf\xe9:y\n") / "entry_points.txt"
    for arguments in (("list",), ("show", "method", "moco"), ("--help",)):
        assert cryoreg_process(*arguments, path=site).returncode == 0
    result = cryoreg_process("train", path=site)
    assert result.returncode == 1
    assert f"because {file} is unreadable" in result.stderr
    assert result.stderr.count("\n") == 1


def test_completion_survives_unknown_commands() -> None:
    from click.shell_completion import ShellComplete

    complete = ShellComplete(command, {}, "cryoreg", "_CRYOREG_COMPLETE")
    assert "list" in {item.value for item in complete.get_completions([], "l")}
    assert complete.get_completions(["lst"], "") is not None
    assert isinstance(command.get_command(click.Context(command), "list"), click.Command)
