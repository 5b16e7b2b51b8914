"""A run's log as CSV: columns that come and go, and what a kill leaves."""

import csv

import pytest

from cryoreg.analysis.report.run_facts import course
from cryoreg.errors import RunFolderError
from cryoreg.runs.csv_log import CsvLog

FIRST = [{"epoch": 0, "loss": 2.5}, {"epoch": 1, "loss": 2.25}]


@pytest.fixture
def log(tmp_path):
    log = CsvLog(tmp_path / "metrics.csv")
    log.append(FIRST)
    return log


def table(log):
    """Read by the standard library, which fills what is missing with None and keeps what is too much under None."""
    with log.path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"epoch": 2, "loss": 2.0}, {"epoch": "2", "loss": "2.0"}),
        ({"epoch": 2, "knn": 0.5, "loss": 2.0}, {"epoch": "2", "loss": "2.0", "knn": "0.5"}),
        ({"loss": 2.0, "epoch": 2}, {"epoch": "2", "loss": "2.0"}),
        ({"epoch": 2}, {"epoch": "2", "loss": ""}),
        ({"epoch": 2, "knn": 0.5}, {"epoch": "2", "loss": "", "knn": "0.5"}),
        ({"epoch": 2, 'a "strange", name': 1}, {"epoch": "2", "loss": "", 'a "strange", name': "1"}),
    ],
)
def test_every_cell_stands_below_its_name(log, row, expected):
    log.append([row])
    rows = table(log)
    assert rows[2] == expected
    assert [(each["epoch"], each["loss"]) for each in rows[:2]] == [("0", "2.5"), ("1", "2.25")]
    assert all(each[name] == "" for each in rows[:2] for name in expected.keys() - {"epoch", "loss"})
    assert log.read() == rows


def test_rows_added_together_need_not_have_the_same_columns(log):
    log.append([{"epoch": 2, "loss": 2.0}, {"epoch": 3, "loss": 1.5, "aux": 7}])
    assert [row["aux"] for row in table(log)] == ["", "", "", "7"]


@pytest.mark.parametrize("rest", ["2", "2,1.7", '2,"1', "2,1.7,\xe9".encode()[:-1]])
def test_a_line_that_a_kill_cut_off_is_left_out_and_overwritten(log, rest):
    with log.path.open("ab") as file:
        file.write(rest if isinstance(rest, bytes) else rest.encode())
    assert [row["epoch"] for row in log.read()] == ["0", "1"]
    log.keep("epoch", below=2)
    log.append([{"epoch": 2, "knn": 0.5}])
    assert [(row["epoch"], row["loss"], row["knn"]) for row in table(log)] == [
        *(("0", "2.5", ""), ("1", "2.25", "")),
        ("2", "", "0.5"),
    ]


@pytest.mark.parametrize("content", [b"", b"epo", b"epoch,loss"])
def test_a_kill_within_the_header_leaves_an_empty_log(tmp_path, content):
    log = CsvLog(tmp_path / "metrics.csv")
    log.path.write_bytes(content)
    assert log.read() == []
    log.keep("epoch", below=5)
    log.append(FIRST)
    assert [row["epoch"] for row in table(log)] == ["0", "1"]


@pytest.mark.parametrize("line", ["2,2.0,0.5", "2", "2,2.0,"])
def test_a_row_of_other_length_is_told_and_never_shifted(log, line):
    """As an earlier version wrote them after a resume with other columns."""
    with log.path.open("a") as file:
        file.write(f"{line}\n")
    for use in (log.read, lambda: log.keep("epoch", 9), lambda: course(log.path.parent)):
        with pytest.raises(RunFolderError, match=r"metrics\.csv is damaged.*move it away"):
            use()


def test_the_report_sees_new_columns(log):
    log.append([{"epoch": 2, "loss": 2.0, "knn": 0.5}])
    epochs = course(log.path.parent).epochs
    assert epochs["epoch"] == [0, 1, 2]
    assert epochs["loss"] == [2.5, 2.25, 2.0]
    assert str(epochs["knn"]) == "[nan, nan, 0.5]"
