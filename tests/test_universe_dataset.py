"""The data set `universe`: scenes simulated while they are read, and held where they fit."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import cryoreg
from cryoreg import create_dataset
from cryoreg.contracts import Sample
from cryoreg.datasets.readers.universe import MadeUp
from cryoreg.datasets.universe_set import UniverseSet
from cryoreg.simulation.universe.bodies import class_names
from cryoreg.training.loading import BatchOrder, VolumeLoader
from cryoreg_cli.main import cryoreg as command_line

CPU = torch.device("cpu")
SMALL = {"structures": 4, "per_class": 4, "box": 12}


def test_it_serves_what_simulate_writes() -> None:
    """Row by row the scenes of the set, also with others passed over, and in any order."""
    dataset = create_dataset("universe", **SMALL)
    scenes = UniverseSet(4, per_class=4, box=12)
    for row, made in [(13, 13), (2, 2)]:
        (scene,) = scenes.scenes([made])
        assert np.array_equal(dataset[row].volume[0].numpy(), scene.volume)
        assert dataset[row].label == dataset.labels[row]
        assert dataset.classes[dataset.labels[row]] == class_names(0, 4)[scene.label]
    later = create_dataset("universe", **SMALL, first=3)
    assert torch.equal(later[1].volume, dataset[13].volume)
    assert later.ids[1] == dataset.ids[13] == "universe0-scene000000013"


def test_what_is_known_of_it() -> None:
    dataset = create_dataset("universe", structures=50, per_class=2, voxel_size=18.0, box=12)
    assert (dataset.voxel_size, dataset.box, dataset.contrast) == (18.0, (12, 12, 12), "bright")
    assert list(dataset.groups[:33]) == ["universe0-session0000000"] * 32 + ["universe0-session0000001"]
    assert [dataset.classes[label] for label in dataset.labels] == class_names(0, 50) * 2


def test_a_set_larger_than_any_memory_is_opened_at_once() -> None:
    dataset = create_dataset("universe", structures=1000, per_class=10**9, box=12)
    assert len(dataset) == 10**12
    assert dataset.ids[-1] == "universe0-scene999999999999"
    assert dataset.classes[dataset.labels[10**12 - 1]] == class_names(0, 1000)[-1]
    assert len(pickle.dumps(dataset)) < 500


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_the_first_epoch_is_simulated_once_and_then_held(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    """Batch by batch the volumes of a set that is never held; after a resume in mid-epoch, too."""
    dataset = create_dataset("universe", **SMALL)
    order = BatchOrder(torch.arange(16)[2:15], batch_size=4, seed=1)
    held = VolumeLoader(dataset, order, CPU, resident=True, workers=workers)
    streamed = VolumeLoader(dataset, order, CPU, resident=False, workers=0)
    for epoch, start in ((0, 8), (0, 0), (1, 0), (2, 0), (3, 0)):
        served = zip(held.epoch(epoch, start), streamed.epoch(epoch, start), strict=True)
        for one, other in served:
            assert torch.equal(one.samples, other.samples)
            torch.testing.assert_close(one.volumes, other.volumes, rtol=0, atol=1e-6)
    list(held.once())
    monkeypatch.setattr(MadeUp, "__getitem__", _never)
    assert len(list(held.epoch(4))) == 3


def _never(dataset: MadeUp, index: int) -> Sample:
    raise AssertionError("simulated again")


def test_nothing_is_simulated_before_training_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    simulated = MadeUp.__getitem__

    def noted(dataset: MadeUp, index: int) -> Sample:
        read.append(index)
        return simulated(dataset, index)

    monkeypatch.setattr(MadeUp, "__getitem__", noted)
    order = BatchOrder(torch.arange(16), batch_size=4, seed=1)
    loader = VolumeLoader(create_dataset("universe", **SMALL), order, CPU, resident=True, workers=0)
    assert read == []
    next(iter(loader.epoch(0)))
    assert 4 <= len(read) <= 8


@pytest.mark.slow
def test_pretraining_preview_and_view_take_it(tmp_path: Path) -> None:
    settings = [f"--set=dataset.{key}={value}" for key, value in (SMALL | {"per_class": 8}).items()]
    made = [word for text in settings for word in text.split("=", 1)]
    run, chosen = CliRunner(), ["--dataset", "universe", *made]
    cryoreg.pretrain(
        tmp_path / "run",
        method="vicreg",
        dataset={"name": "universe", **SMALL},
        epochs=1,
        batch_size=8,
        workers=0,
        device="cpu",
        part="all",
        probe_every_epochs=0,
    )
    assert (tmp_path / "run" / "encoder.safetensors").exists()
    for command in ("preview", "view"):
        picture = tmp_path / f"{command}.png"
        said = run.invoke(command_line, [command, *chosen, "--count", "2", "--output", str(picture)])
        assert said.exit_code == 0, said.output
        assert picture.stat().st_size > 1000


def test_view_without_files_says_what_is_missing() -> None:
    said = CliRunner().invoke(command_line, ["view"])
    assert said.exit_code == 2
    assert "Missing argument 'DATA'" in said.output
