"""What may be written where: one wording and one error for every command, and nothing of the user's is replaced."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.mrc_writing import state
from support.synthetic import write_classes

from cryoreg.errors import OutputError
from cryoreg.outputs import check_file, check_files, check_folder, filling
from cryoreg_cli.main import cryoreg

TAKEN = "exists already; choose another name or say --overwrite"


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.txt").write_text("mine")
    (tmp_path / "folder" / "below").mkdir(parents=True)
    (tmp_path / "folder" / "below" / "data.csv").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "nowhere.txt").symlink_to("gone")
    (tmp_path / "taken-too.txt").symlink_to("taken.txt")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "overwrite", "inputs", "words"),
    [
        ("new.txt", False, ["taken.txt"], None),
        ("taken.txt", False, [], TAKEN),
        ("taken.txt", True, [], None),
        ("taken.txt", True, ["folder/below/data.csv", "taken.txt"], "is what is read, which is never changed"),
        ("taken.txt", True, ["../{here}/taken.txt"], "is what is read"),
        ("taken-too.txt", True, ["taken.txt"], "is what is read"),
        ("nowhere.txt", False, [], TAKEN),
        ("nowhere.txt", True, [], None),
        ("folder", True, [], "is a folder; name a file"),
        (".", True, [], "is a folder; name a file"),
        ("pipe", True, [], "is no regular file"),
        ("nowhere/a.txt", True, [], "there is no folder nowhere; make it first"),
        ("taken.txt/a.txt", True, [], "there is no folder taken.txt; make it first"),
        (f"{'long' * 90}.txt", False, [], "cannot be written (File name too long)"),
    ],
)
def test_a_file_may_be_written_or_one_line_says_why_not(here, name, overwrite, inputs, words):
    before, inputs = state(here), [each.format(here=here.name) for each in inputs]
    if words is None:
        check_file(Path(name), overwrite, inputs)
    else:
        with pytest.raises(OutputError) as caught:
            check_file(Path(name), overwrite, inputs)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)
    assert state(here) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="nothing may be written in the folder"):
        check_file(tmp_path / "a.txt")


def test_two_outputs_are_two_files(here):
    check_files([Path("a.csv"), Path("b.csv")])
    for second in ("a.csv", "./a.csv", f"../{here.name}/a.csv"):
        with pytest.raises(OutputError, match="is to be written twice"):
            check_files([Path("a.csv"), Path(second)])


@pytest.mark.parametrize(
    ("name", "overwrite", "inputs", "words"),
    [
        ("new", False, [], None),
        ("empty", False, [], None),
        ("folder", False, [], TAKEN),
        ("folder", True, [], None),
        ("folder", True, ["folder/below/data.csv"], "is what is read"),
        ("fold", True, ["folder/below/data.csv"], None),
        ("taken.txt", True, [], "exists already"),
        ("pipe", True, [], "exists already"),
    ],
)
def test_a_folder_may_be_filled_or_one_line_says_why_not(here, name, overwrite, inputs, words):
    if words is None:
        check_folder(Path(name), overwrite, inputs)
        return
    with pytest.raises(OutputError, match=words):
        check_folder(Path(name), overwrite, inputs)


@pytest.mark.parametrize("name", ["new", "empty", "folder", "."])
def test_a_folder_is_filled_at_the_end_and_keeps_what_it_had(here, name):
    path, before = Path(name), state(here)
    with pytest.raises(ZeroDivisionError), filling(path) as part:
        (part / "a.txt").write_text(f"half {1 / 0}")
    assert state(here) == before
    with filling(path) as part:
        (part / "a.txt").write_text("whole")
        assert not (path / "a.txt").exists()
    assert (path / "a.txt").read_text() == "whole"
    assert {key: value for key, value in state(here).items() if key in before} == before
    assert len(state(here)) == len(before) + 1


def test_a_folder_that_cannot_be_made_is_one_line(here):
    with pytest.raises(OutputError, match=r"taken\.txt/new: cannot be written"), filling(Path("taken.txt/new")):
        pytest.fail("nothing is to be done")


COMMANDS = {
    "convert": ["convert", "--dataset", "mrc_folder", "--data", "data", "--output"],
    "convert to a folder": ["convert", "--to", "mrc_folder", "--dataset", "mrc_folder", "--data", "data", "--output"],
    "preview": ["preview", "--dataset", "mrc_folder", "--data", "data", "--output"],
    "view": ["view", "data", "--dataset", "mrc_folder", "--output"],
    "view as a page": ["view", "data", "--dataset", "mrc_folder", "--html"],
    "pick": ["pick", "data/class0/000.mrc", "--radius", "30", "--output"],
    "pick with a picture": ["pick", "data/class0/000.mrc", "--radius", "30", "--picture"],
    "simulate": ["simulate", "--per-class", "1", "--output"],
    "simulate a montage": ["simulate", "--per-class", "1", "--output", "s.h5", "--montage"],
    "simulate a folder": ["simulate", "--per-class", "1", "--output", "s.h5", "--mrc"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_keeps_what_exists_and_says_so_in_the_same_words(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    write_classes(tmp_path / "data", classes=2, per_class=2)
    name = "taken.star" if command == "pick" else "taken.png"
    if "folder" in command:
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine").write_text("mine")
    else:
        (tmp_path / name).write_text("mine")
    before = state(tmp_path)
    result = CliRunner().invoke(cryoreg, [*COMMANDS[command], name])
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (1, f"Error: {name}: {TAKEN}")
    assert state(tmp_path) == before
