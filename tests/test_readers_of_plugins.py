"""A plugin's reader is found by every command that works the reader out, as a built-in one is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.command_line import cli
from support.mrc_writing import noise, write_mrc

from cryoreg.config.sniffing import choose, sniff
from cryoreg.errors import DataError
from cryoreg.testing import fake_plugin

MODULE = '''"""Volumes in one file that ends with .blob."""

from pathlib import Path

from cryoreg.datasets.specs import FileDatasetSpec, MrcFolderSpec
from cryoreg.errors import DataError


class BlobSpec(FileDatasetSpec):
    """An array of volumes, every second of the class b.

    For tests.
    """

    @classmethod
    def fits(cls, path):
        """Take what ends with .blob."""
        if path.suffix == ".blobs":
            raise DataError(f"{path}: is a list of blobs; give one of them")
        return "the extension .blob" if path.suffix == ".blob" else None

    def open(self):
        """Open the file."""
        import numpy as np
        import torch

        from cryoreg.contracts import Sample

        class Blobs:
            def __init__(self, volumes):
                self.volumes, count = volumes, len(volumes)
                self.labels, self.classes = [index % 2 for index in range(count)], ["a", "b"]
                self.ids, self.groups = [f"blob-{index}" for index in range(count)], [None] * count
                self.box, self.voxel_size = tuple(volumes.shape[1:]), 10.0

            def __len__(self):
                return len(self.volumes)

            def __getitem__(self, index):
                volume = torch.from_numpy(self.volumes[index][None].copy())
                return Sample(volume, self.labels[index], self.ids[index], None)

        with open(self.root, "rb") as file:
            return Blobs(np.load(file))


class DerivedSpec(MrcFolderSpec):
    """Folders of MRC files under another name.

    For tests.
    """


class GreedySpec(BlobSpec):
    """Claims .blob files as well.

    For tests.
    """

    @classmethod
    def fits(cls, path):
        """Take what ends with .blob."""
        return "a greedy eye" if path.suffix == ".blob" else None


class RudeSpec(BlobSpec):
    """Raises whatever it is asked.

    For tests.
    """

    @classmethod
    def fits(cls, path):
        """Raise."""
        raise KeyError("oh")


class QuittingSpec(BlobSpec):
    """Ends Python, and is asked as a plain function.

    For tests.
    """

    @staticmethod
    def fits(path):
        """Quit."""
        raise SystemExit(0)
'''
FAST = ["--device", "cpu", "--precision", "fp32", "--epochs", "1", "--batch-size", "4"]


def install(folder: Path, **specs: str):
    points = "".join(f"{name} = blob_specs:{spec}\n" for name, spec in ({"blob": "BlobSpec"} | specs).items())
    return fake_plugin(
        folder, "cryoreg-blob", entry_points=f"[cryoreg.datasets]\n{points}", modules={"blob_specs": MODULE}
    )


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[None]:
    with install(tmp_path / "installed"):
        yield


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    volumes = np.stack([noise((8, 8, 8), seed) for seed in range(24)])
    with open(tmp_path / "a.blob", "wb") as file:
        np.save(file, volumes)
    return tmp_path / "a.blob"


@pytest.mark.usefixtures("plugin")
def test_inspect_and_view_find_it(blob: Path, tmp_path: Path) -> None:
    record = json.loads(cli("inspect", blob, "--json").stdout)
    assert (record["reader"], record["why"], record["count"]) == ("blob", "the extension .blob", 24)
    assert cli("view", blob, "--count", 1, "--output", tmp_path / "v.png").exit_code == 0


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize("command", ["pretrain", "finetune"])
def test_runs_find_it_and_say_why(command: str, blob: Path) -> None:
    result = cli(command, "--data", blob, "--dry-run")
    assert result.exit_code == 0
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("dataset.name "))
    assert line.split(maxsplit=2)[1:] == ["blob", f"it fits {blob} (the extension .blob)"]


@pytest.mark.slow
@pytest.mark.usefixtures("plugin")
def test_a_run_on_its_files_and_predictions_of_others(blob: Path, tmp_path: Path) -> None:
    trained = cli(
        *("finetune", "--from", "scratch", "--dataset", "blob", "--data", blob, "--run-dir", tmp_path / "run"),
        *FAST,
    )
    assert trained.exit_code == 0, trained.output
    other = blob.with_name("b.blob")
    other.write_bytes(blob.read_bytes())
    result = cli("predict", tmp_path / "run", "--data", other, "--output", tmp_path / "out.csv", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 1 + 24


@pytest.mark.usefixtures("plugin")
def test_its_hint_is_given_where_nothing_fits(tmp_path: Path) -> None:
    (tmp_path / "all.blobs").touch()
    with pytest.raises(DataError, match=r"all\.blobs: is a list of blobs; give one of them$"):
        choose(tmp_path / "all.blobs")


def test_a_reader_derived_from_a_builtin_does_not_claim_its_files(tmp_path: Path) -> None:
    write_mrc(tmp_path / "data" / "a.mrc", noise())
    with install(tmp_path / "installed", derived="DerivedSpec"):
        assert [match.name for match in sniff(tmp_path / "data")] == ["mrc_folder"]


def test_two_readers_that_fit_are_both_named(blob: Path, tmp_path: Path) -> None:
    with install(tmp_path / "installed", greedy="GreedySpec"):
        with pytest.raises(DataError, match=r"the extension \.blob \(blob\) and a greedy eye \(greedy\); say"):
            choose(blob)
        assert choose(blob, "cryoreg-blob:greedy").name == "greedy"


@pytest.mark.parametrize("broken", [{"rude": "RudeSpec"}, {"quits": "QuittingSpec"}, {"absent": "AbsentSpec"}])
def test_a_broken_plugin_hides_no_other_reader(broken: dict[str, str], blob: Path, tmp_path: Path) -> None:
    (tmp_path / "a.unknown").touch()
    with install(tmp_path / "installed", **broken):
        assert choose(blob).name == "blob"
        with pytest.raises(DataError, match=r"no reader fits; .*cryoreg-blob:.*cannot be asked: `cryoreg doctor`"):
            choose(tmp_path / "a.unknown")
