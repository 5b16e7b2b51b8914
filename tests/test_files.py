import os
import subprocess
import sys
from pathlib import Path

import pytest

from cryoreg.errors import RunFolderError
from cryoreg.files import cell, remove_leftovers, temporary_name, text_of_cell, write_atomically, write_text
from cryoreg.outputs import filling


def test_new_content_replaces_old(tmp_path):
    target = tmp_path / "a.txt"
    write_text(target, "old")
    write_text(target, "Å")
    assert target.read_text(encoding="utf-8") == "Å"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "a.txt"
    write_text(target, "old")

    def fail_half_way(file):
        file.write(b"half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        write_atomically(target, fail_half_way)
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_failed_check_leaves_the_old_file(tmp_path):
    target = tmp_path / "a.txt"
    write_text(target, "old")

    def check(path: Path) -> None:
        assert path.parent == tmp_path, "the temporary file must lie beside the target"
        raise ValueError("not sound")

    with pytest.raises(ValueError, match="not sound"):
        write_atomically(target, lambda file: file.write(b"new"), check)
    assert target.read_text() == "old"


def test_a_full_disk_keeps_the_old_file_and_says_so(tmp_path, small_files_only):
    target = tmp_path / "a.bin"
    write_text(target, "old")
    small_files_only(64)
    with pytest.raises(RunFolderError) as error:
        write_atomically(target, lambda file: file.write(b"x" * 10_000))
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.bin"]
    assert str(target) in str(error.value)
    assert "intact" in str(error.value)


def test_an_absent_folder_is_one_clear_line(tmp_path):
    with pytest.raises(RunFolderError, match="No such file or directory"):
        write_text(tmp_path / "absent" / "a.txt", "x")


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    (tmp_path / ".last.ckpt.123.tmp").write_bytes(b"half")
    (tmp_path / "last.ckpt").write_bytes(b"whole")
    remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == ["last.ckpt"]


def test_a_link_in_the_temporary_files_place_is_not_followed(tmp_path):
    foreign = tmp_path / "foreign"
    foreign.write_text("mine")
    (tmp_path / f".a.{os.getpid()}.tmp").symlink_to(foreign)
    write_text(tmp_path / "a", "new")
    assert (foreign.read_text(), (tmp_path / "a").read_text()) == ("mine", "new")


@pytest.mark.parametrize(
    "text", ["=1", "'=1", "''=1", "-x", "-1.5", "'-x", "'quoted'", "''", "'", "", "a", "@b", "+", "'+", "\t"]
)
def test_cells_come_back(text):
    assert text_of_cell(cell(text)) == text
    assert not cell(text).startswith(("=", "+", "@", "\t"))


def test_what_a_killed_process_left_is_deleted_and_nothing_else(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait()
    target = tmp_path / "a[1].star"
    mine = temporary_name(target)
    left = mine.with_name(mine.name.replace(f"-{os.getpid()}.", f"-{dead.pid}."))
    alive = mine.with_name(mine.name.replace(f"-{os.getpid()}.", f"-{os.getppid()}."))
    elsewhere = mine.with_name(f".a[1].star.00000000-{dead.pid}.tmp")
    other = temporary_name(tmp_path / "b.star")
    other = other.with_name(other.name.replace(f"-{os.getpid()}.", f"-{dead.pid}."))
    kept = {alive, elsewhere, other, tmp_path / ".a[1].star.part", tmp_path / "a[1].star.tmp"}
    for file in (left, *kept):
        file.write_text("x")
    write_text(target, "new")
    assert set(tmp_path.iterdir()) == {target, *kept}


def test_a_folder_that_a_killed_process_left_is_deleted(tmp_path):
    code = "import os, sys; from pathlib import Path; from cryoreg.outputs import filling\n"
    code += "with filling(Path(sys.argv[1])) as part: (part / 'a').touch(); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], check=False)
    assert [entry.name.endswith(".tmp") for entry in tmp_path.iterdir()] == [True]
    with filling(tmp_path / "out") as part:
        (part / "b").touch()
    assert [str(entry.relative_to(tmp_path)) for entry in sorted(tmp_path.rglob("*"))] == ["out", "out/b"]
