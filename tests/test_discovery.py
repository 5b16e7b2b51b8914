"""Discovery against what `importlib.metadata` finds, and against metadata that is damaged."""

from __future__ import annotations

import importlib.metadata
import itertools
import shutil
import sys
from pathlib import Path

import entrypoints
import pytest

import cryoreg
from cryoreg import registry
from cryoreg.diagnosis import installation
from cryoreg.registry import discovery

GOOD = "[cryoreg.encoders]\ntiny = good_specs:Tiny\n"


def write_dist(site: Path, folder: str, entry_points: str | bytes | None) -> Path:
    """Write a metadata folder; returns the file that discovery reads."""
    info = site / folder
    info.mkdir(parents=True)
    file = info / "entry_points.txt"
    if entry_points is not None:
        file.write_bytes(entry_points if isinstance(entry_points, bytes) else entry_points.encode())
    return file


def names(scan: discovery.Scan) -> list[tuple[str, str, str, str]]:
    return [(c.group, c.name, c.dist, c.version) for c in scan.candidates]


def test_finds_what_the_standard_library_finds() -> None:
    expected = {
        (group, e.name, discovery.canonical_name(e.dist.name), e.dist.version, e.value)
        for group in registry.GROUPS
        for e in importlib.metadata.entry_points(group=f"cryoreg.{group}")
        if e.dist
    }
    assert expected, "cryoreg is not installed; run `pip install -e .`"
    assert {c[:5] for c in discovery.scan().candidates} == expected


DAMAGED = {
    "undecodable bytes": b"[console_scripts]\nx = caf\xe9:main\n",
    "no section": b"x = module:main\n",
    "no value": b"[console_scripts]\nx\n",
    "a name twice": b"[cryoreg.encoders]\nx = a:B\nx = a:C\n",
    "null bytes": b"\x00\x01\x02",
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("folder", ["aaa-1.0.dist-info", "zzz-1.0.dist-info", "zzz-1.0-py3.11.egg-info"])
def test_damaged_metadata_is_reported_and_hides_nothing(tmp_path: Path, folder: str, content: bytes) -> None:
    bad = write_dist(tmp_path, folder, content)
    write_dist(tmp_path, "good-1.0.dist-info", GOOD)
    scan = discovery.scan([str(tmp_path)])
    assert names(scan) == [("encoders", "tiny", "good", "1.0")]
    [problem] = scan.problems
    assert problem.file == str(bad)
    assert problem.reason
    assert "\n" not in problem.reason


def test_the_library_alone_does_lose_every_plugin(tmp_path: Path) -> None:
    """The reason why `discovery` exists. Where this fails, the library has been mended: think again."""
    write_dist(tmp_path, "bad-1.0.dist-info", DAMAGED["undecodable bytes"])
    write_dist(tmp_path, "good-1.0.dist-info", GOOD)
    with pytest.raises(UnicodeDecodeError):
        entrypoints.get_group_all("cryoreg.encoders", path=[str(tmp_path)])


def test_an_unreadable_file_is_reported(tmp_path: Path) -> None:
    write_dist(tmp_path, "good-1.0.dist-info", GOOD)
    (tmp_path / "bad-1.0.dist-info" / "entry_points.txt").mkdir(parents=True)  # fails for root as well
    loop = write_dist(tmp_path, "loop-1.0.dist-info", None)
    loop.symlink_to(loop)
    scan = discovery.scan([str(tmp_path)])
    assert names(scan) == [("encoders", "tiny", "good", "1.0")]
    assert [Path(p.file).parent.name for p in scan.problems] == ["bad-1.0.dist-info", "loop-1.0.dist-info"]


def test_what_needs_no_report(tmp_path: Path) -> None:
    write_dist(tmp_path, "plain-1.0.dist-info", None)
    write_dist(tmp_path, "scripts-1.0.dist-info", "[console_scripts]\nrun = 100% not an entry point\n")
    write_dist(tmp_path, "~ood-1.0.dist-info", GOOD)  # pip's leftover of a removal
    (tmp_path / "file-1.0.egg-info").write_text("Metadata-Version: 1.0\n")
    (tmp_path / "lib.zip").write_bytes(b"PK")
    path = [str(tmp_path), str(tmp_path / "lib.zip"), str(tmp_path / "missing")]
    assert discovery.scan(path) == ((), ())


def test_a_bad_entry_point_hides_no_other_of_its_package(tmp_path: Path) -> None:
    write_dist(tmp_path, "half-1.0.dist-info", "[cryoreg.encoders]\nbad = not an entry point!\ngood = json:dumps\n")
    scan = discovery.scan([str(tmp_path)])
    bad, good = scan.candidates
    assert (bad.name, good.name, scan.problems) == ("bad", "good", ())
    assert good.load() is __import__("json").dumps
    with pytest.raises(entrypoints.BadEntryPoint):
        bad.load()


def test_earlier_on_the_path_shadows_later(tmp_path: Path) -> None:
    write_dist(tmp_path / "a", "Good_Plugin-2.0.dist-info", GOOD)
    write_dist(tmp_path / "b", "good.plugin-1.0.dist-info", "[cryoreg.methods]\nold = good_specs:Old\n")
    front, back = str(tmp_path / "a"), str(tmp_path / "b")
    assert names(discovery.scan([front, back])) == [("encoders", "tiny", "good-plugin", "2.0")]
    assert names(discovery.scan([back, front])) == [("methods", "old", "good-plugin", "1.0")]
    assert discovery.scan([front, front]) == discovery.scan([front])


def test_a_newer_version_without_entry_points_shadows_an_older_one_with(tmp_path: Path) -> None:
    write_dist(tmp_path / "a", "good-2.0.dist-info", None)
    write_dist(tmp_path / "b", "good-1.0.dist-info", GOOD)
    assert discovery.scan([str(tmp_path / "a"), str(tmp_path / "b")]).candidates == ()


def test_output_is_sorted_whatever_the_order_on_disk(tmp_path: Path) -> None:
    text = "[cryoreg.methods]\nb = m:B\na = m:A\n[cryoreg.encoders]\nc = m:C\n"
    for dist in ("two", "one", "three"):
        write_dist(tmp_path / dist, f"{dist}-1.0.dist-info", text)
    write_dist(tmp_path / "bad", "b-1.dist-info", b"\xff")
    write_dist(tmp_path / "bad", "a-1.dist-info", b"\xff")
    folders = [str(tmp_path / name) for name in ("one", "two", "three", "bad")]
    scans = {discovery.scan(order) for order in itertools.permutations(folders)}
    [scan] = scans
    assert names(scan) == sorted(names(scan))
    assert len(scan.candidates) == 9
    assert [Path(p.file).parent.name for p in scan.problems] == ["a-1.dist-info", "b-1.dist-info"]


def test_names_keep_their_case_and_other_groups_are_left_alone(tmp_path: Path) -> None:
    write_dist(tmp_path, "x-1.dist-info", "[cryoreg.encoders]\nResNet-18 = m:R\n[cryoregister]\na = m:A\n")
    assert names(discovery.scan([str(tmp_path)])) == [("encoders", "ResNet-18", "x", "1")]


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("Foo_Bar-1.0.dist-info", ("foo-bar", "1.0")),
        ("foo.bar-1.0rc1+local.2.dist-info", ("foo-bar", "1.0rc1+local.2")),
        ("foo-1.0-py3.11.egg-info", ("foo", "1.0")),
        ("foo.egg-info", ("foo", "3.2")),
    ],
)
def test_package_name_and_version(tmp_path: Path, folder: str, expected: tuple[str, str]) -> None:
    file = write_dist(tmp_path, folder, GOOD)
    (file.parent / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: foo\nVersion: 3.2\n")
    [candidate] = discovery.scan([str(tmp_path)]).candidates
    assert (candidate.dist, candidate.version) == expected


def test_a_version_that_nothing_records_is_unknown(tmp_path: Path) -> None:
    write_dist(tmp_path, "foo.egg-info", GOOD)
    assert discovery.scan([str(tmp_path)]).candidates[0].version == "unknown"


def test_the_default_path_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_dist(tmp_path, "later-1.0.dist-info", GOOD)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    assert "later" in {c.dist for c in discovery.scan().candidates}
    shutil.rmtree(file.parent)
    assert "later" not in {c.dist for c in discovery.scan().candidates}


@pytest.mark.parametrize("written", ["Foo.Bar", "foo-bar", "foo__bar", "FOO-_.bar"])
def test_normalise(written: str) -> None:
    packaging = pytest.importorskip("packaging.utils")
    assert discovery.canonical_name(written) == packaging.canonicalize_name(written) == "foo-bar"


# ---- what calls itself cryoreg

STRAY = {
    "an old egg-info": "cryoreg-0.0.egg-info",
    "a development egg-info": "cryoreg.egg-info",
    "a newer version": "cryoreg-99.0.dist-info",
    "the version that runs": f"cryoreg-{cryoreg.__version__}.dist-info",
}


@pytest.mark.parametrize("folder", STRAY.values(), ids=STRAY)
def test_built_ins_are_those_of_the_cryoreg_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    file = write_dist(tmp_path, folder, "[cryoreg.encoders]\nrb3d = evil:RB3D\nmore = evil:More\n")
    expected = [each for each in discovery.scan().candidates if each.dist == "cryoreg"]
    assert "rb3d" in {each.name for each in expected}
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    found = [each for each in discovery.scan().candidates if each.dist == "cryoreg"]
    assert found == expected
    [warned] = [each for each in installation.duplicates() if str(file.parent) in each.text]
    assert (warned.status, warned.fix) == ("warning", f"delete {file.parent}")
    assert "is not what runs" in warned.text


def test_a_stray_package_passes_no_allow_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where no metadata are those of the code that runs, as in a checkout that is not installed."""
    write_dist(tmp_path, f"cryoreg-{cryoreg.__version__}.egg-info", "[cryoreg.encoders]\nrb3d = evil:RB3D\n")
    monkeypatch.setattr(discovery, "RUNNING", tmp_path / "elsewhere")
    assert discovery.scan([str(tmp_path)]).candidates == ()


@pytest.mark.parametrize("record", ["cryoreg/__init__.py,sha256=x,9\n", None])
def test_metadata_beside_the_code_are_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: str | None
) -> None:
    """As after an ordinary installation; packages of Linux distributions have no RECORD."""
    text = "[cryoreg.encoders]\nnew = cryoreg.encoders.specs:New\n"
    for folder in ("a", "b"):
        file = write_dist(tmp_path / folder, f"cryoreg-{cryoreg.__version__}.dist-info", text)
        if record:
            (file.parent / "RECORD").write_text(record)
    monkeypatch.setattr(discovery, "RUNNING", tmp_path / "b")
    [candidate] = discovery.scan([str(tmp_path / "a"), str(tmp_path / "b")]).candidates
    assert candidate.info.startswith(str(tmp_path / "b"))
