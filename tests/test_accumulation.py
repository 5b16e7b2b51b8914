"""Gradient accumulation: the mean over batches, one step."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from support.synthetic import write_classes

import cryoreg

ENCODER = {"name": "rb3d", "width": 4}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("data") / "mrc", per_class=20)


def finetune(run_dir: Path, data: Path, batch_size: int, accumulate: int) -> dict[str, torch.Tensor]:
    cryoreg.finetune(
        run_dir,
        encoder=ENCODER,
        dataset={"name": "mrc_folder", "root": data},
        **{"epochs": 2, "device": "cpu", "precision": "fp32", "lr": 0.01, "workers": 0},
        batch_size=batch_size,
        accumulate=accumulate,
    )
    return cryoreg.create_encoder(pretrained=run_dir).state_dict()


def losses(run_dir: Path) -> list[float]:
    with (run_dir / "steps.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.mark.slow
def test_cross_entropy_of_three_batches_of_four_is_that_of_one_of_twelve(data, tmp_path):
    """24 training subtomograms: the loss is a mean over subtomograms, so batches of equal size add nothing."""
    whole, parts = finetune(tmp_path / "whole", data, 12, 1), finetune(tmp_path / "parts", data, 4, 3)
    assert len(losses(tmp_path / "parts")) == 4
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), abs=1e-5)
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_an_epoch_ends_with_what_is_left(data, tmp_path):
    """24 subtomograms are six batches of four: a step of four batches, then one of two."""
    finetune(tmp_path / "run", data, 4, 4)
    assert len(losses(tmp_path / "run")) == 2 * 2


@pytest.mark.slow
def test_contrast_gains_no_negatives_and_the_run_says_so(data, tmp_path, capfd):
    settings = {"epochs": 1, "device": "cpu", "precision": "fp32", "workers": 0, "probe_every_epochs": 0}
    for name, batch_size, accumulate in (("whole", 12, 1), ("parts", 4, 3)):
        cryoreg.pretrain(
            tmp_path / name,
            method="simclr",
            encoder=ENCODER,
            dataset={"name": "mrc_folder", "root": data},
            batch_size=batch_size,
            accumulate=accumulate,
            **settings,
        )
        warned = "gains no negatives" in capfd.readouterr().err
        assert warned is (accumulate > 1)
    # Untrained, all views are alike: ln(2B − 1) with the B of one batch.
    assert losses(tmp_path / "whole")[0] == pytest.approx(torch.tensor(23.0).log().item(), rel=0.1)
    assert losses(tmp_path / "parts")[0] == pytest.approx(torch.tensor(7.0).log().item(), rel=0.1)


@pytest.mark.slow
def test_a_resumed_run_goes_on_at_a_step_of_several_batches(data, tmp_path, monkeypatch):
    from cryoreg.training.engine import Engine

    run_dir, whole = tmp_path / "run", tmp_path / "whole"
    finetune(whole, data, 4, 3)
    step = Engine._step

    def stop_after_the_third(self, batches):
        step(self, batches)
        if self.position.step == 3:
            self.save()
            raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "_step", stop_after_the_third)
        with pytest.raises(InterruptedError):
            finetune(run_dir, data, 4, 3)
    cryoreg.finetune(run_dir, resume=True)
    assert losses(run_dir) == losses(whole)
