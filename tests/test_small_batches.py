"""Batches of one are refused where nothing is learnt from them, and limits end what no number of torch holds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.hostile import answer
from torch import nn

from cryoreg.errors import ConfigError
from cryoreg.methods.specs import MoCoSpec, SimCLRSpec
from cryoreg.registry import components
from cryoreg.testing.samples import batch_of, method_of
from cryoreg.training.loading import BatchOrder
from cryoreg.training.small_batches import batches_of_one, fewest_at_the_end, require_batch, require_step

DEMO = ["--dataset", "demo", "--set", "dataset.per_class=4", "--epochs", "1", "--device", "cpu"]
SMALL = ["--encoder", "rb3d", "--set", "encoder.width=4"]
COMPARING = {"byol", "simclr", "simsiam", "supcon", "vicreg"}
"""With a single subtomogram, NT-Xent has no negative and hence no loss; the others' heads have BatchNorm."""


def test_the_methods_that_need_two_say_so() -> None:
    found = {c.name: c.spec().min_batch for c in components("methods") if c.builtin}
    assert {name for name, fewest in found.items() if fewest == 2} == COMPARING
    assert set(found.values()) == {1, 2}


def test_nt_xent_of_one_is_nothing_and_a_queue_is_something() -> None:
    for spec, expected in ((SimCLRSpec(), True), (MoCoSpec(), False)):
        loss = method_of(spec)(*batch_of(spec, rows=slice(1))).loss
        assert (loss.item() == 0) is expected


@pytest.mark.parametrize("method", sorted(COMPARING))
def test_a_batch_of_one_is_refused_before_anything_is_written(tmp_path: Path, method: str) -> None:
    words = ["pretrain", *DEMO, *SMALL, "--method", method, "--batch-size", "1", "--run-dir", tmp_path / "r"]
    status, said = answer(*words)
    assert status == 1
    assert "training.batch_size 1 is too small" in said
    assert "--batch-size 2 or more" in said
    assert not (tmp_path / "r").exists()


def test_processes_share_a_batch() -> None:
    module = nn.Linear(2, 2)
    require_batch(4, 2, module, 2)
    with pytest.raises(ConfigError, match=r"batch_size 2, shared by 2 processes, .* --batch-size 4 or more"):
        require_batch(2, 2, module, 2)
    require_batch(1, 1, module)
    with pytest.raises(ConfigError, match="--batch-size 2 or more"):
        require_batch(1, 1, nn.Sequential(module, nn.BatchNorm1d(2)))


@pytest.mark.parametrize(
    ("count", "world_size", "sizes"), [(9, 1, [4, 4]), (10, 1, [4, 4, 2]), (11, 2, [2, 2]), (12, 2, [2, 2, 2])]
)
def test_a_last_batch_of_one_is_left_out(count: int, world_size: int, sizes: list[int]) -> None:
    order = BatchOrder(torch.arange(count), 4, 0, drop_last=False, world_size=world_size, fewest=2)
    assert [len(batch) for batch in order.batches(0)] == sizes
    assert order.steps() == len(sizes)


@pytest.mark.parametrize(
    ("count", "batch_size", "world_size", "words"),
    [
        (9, 1, 1, "from training.batch_size 1: a batch needs 2 or more; take --batch-size 2 or more"),
        (3, 8, 2, "from 3 labelled subtomograms: a batch needs 4 or more; show more labels, or take fewer devices"),
    ],
)
def test_an_epoch_without_a_batch_is_refused(count: int, batch_size: int, world_size: int, words: str) -> None:
    order = BatchOrder(torch.arange(count), batch_size, 0, drop_last=False, world_size=world_size, fewest=2)
    assert order.batches(0) == []
    with pytest.raises(ConfigError, match=words):
        require_step(order)
    require_step(order._replace(fewest=1))


def test_batchnorm_needs_two_at_the_end() -> None:
    assert fewest_at_the_end(nn.Sequential(nn.Conv3d(1, 1, 1), nn.BatchNorm3d(1))) == 2
    assert fewest_at_the_end(nn.Sequential(nn.Conv3d(1, 1, 1), nn.GroupNorm(1, 1))) == 1


def test_batchnorm_over_one_value_is_told() -> None:
    norm = nn.BatchNorm3d(1)
    with batches_of_one():
        norm(torch.ones(1, 1, 2, 1, 1))
    with pytest.raises(ConfigError, match="take a larger --batch-size"), batches_of_one():
        norm(torch.ones(1, 1, 1, 1, 1))
    with pytest.raises(ValueError, match="another"), batches_of_one():
        raise ValueError("another")


@pytest.mark.parametrize(
    ("task", "setting"),
    [
        *(("pretrain", f"method.temperature={value}") for value in ("1e-30", "1e-9", "0")),
        *(("pretrain", f"training.{name}=1e300") for name in ("lr", "weight_decay")),
        *(("finetune", f"training.{name}=1e300") for name in ("lr", "weight_decay")),
    ],
)
def test_numbers_beyond_all_reason_are_refused(tmp_path: Path, task: str, setting: str) -> None:
    status, said = answer(task, *DEMO, "--set", setting, "--run-dir", tmp_path / "r")
    assert status == 1
    assert f"{setting.partition('=')[0]} (--set): should be" in said
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("method", ["moco", "simclr", "nrcl", "supcon"])
def test_the_smallest_temperature_gives_a_finite_loss(method: str) -> None:
    spec = next(c.spec() for c in components("methods") if c.name == method and c.builtin)(temperature=1e-4)
    assert method_of(spec)(*batch_of(spec)).loss.isfinite()
