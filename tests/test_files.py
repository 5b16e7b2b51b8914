import os
from pathlib import Path

import pytest

from cryoreg.errors import RunFolderError
from cryoreg.files import cell, remove_leftovers, text_of_cell, write_atomically, write_text


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
