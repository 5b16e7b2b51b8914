"""What monitors tell of features: closed forms, loops, and collapses made by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cryoreg.contracts import StepOutput
from cryoreg.training.monitor import KEPT, FeatureFigures, Monitor, rankme, spread


def features(count: int = 12, size: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed))


def output(first: torch.Tensor, second: torch.Tensor | None = None) -> StepOutput:
    return StepOutput(torch.tensor(1.0), first, second)


def watched(rows: torch.Tensor, loss: float = 1.0, collapsed_loss: float | None = None) -> tuple[Monitor, dict]:
    monitor = Monitor()
    monitor.count(rows, [x.item() for x in FeatureFigures.of(output(rows))])
    return monitor, monitor.end_epoch(loss, collapsed_loss)


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_rankme_counts_equal_orthogonal_directions(rank):
    """±e₁ … ±e_r about any mean have r equal singular values."""
    directions = torch.eye(8)[:rank]
    assert rankme(torch.cat([directions, -directions]) + 3.0) == pytest.approx(rank, rel=1e-6)


def test_rankme_equals_its_formula_in_loops():
    rows = features().double().numpy() + 2.0
    centred = rows - rows.mean(axis=0)
    values = [math.sqrt(max(0.0, value)) for value in np.linalg.eigvalsh(centred.T @ centred)]
    p = [value / sum(values) for value in values]
    expected = math.exp(-sum(each * math.log(each) for each in p if each > 0))
    assert rankme(torch.from_numpy(rows)) == pytest.approx(expected, rel=1e-6)


def test_figures_equal_their_formulas_in_loops():
    one, other = features(seed=1), features(seed=2)
    figures = FeatureFigures.of(output(one, other))
    z = [row / np.linalg.norm(row) for row in one.double().numpy()]
    w = [row / np.linalg.norm(row) for row in other.double().numpy()]
    alignment = np.mean([sum((p - q) ** 2) for p, q in zip(z, w, strict=True)])
    pairs = [math.exp(-2 * sum((z[i] - z[j]) ** 2)) for i in range(len(z)) for j in range(i)]
    assert figures.alignment.item() == pytest.approx(alignment, rel=1e-5)
    assert figures.uniformity.item() == pytest.approx(math.log(sum(pairs) / len(pairs)), rel=1e-5)
    assert figures.std.item() == pytest.approx(one.double().numpy().std(axis=0, ddof=1).mean(), rel=1e-5)


def test_equal_views_are_perfectly_aligned_and_alike_features_not_uniform_at_all():
    assert FeatureFigures.of(output(features(), features())).alignment == 0
    assert FeatureFigures.of(output(torch.ones(5, 3))).uniformity.item() == pytest.approx(0, abs=1e-6)
    assert FeatureFigures.of(output(features())).alignment.isnan()


def test_spread_is_distance_over_length():
    rows = torch.tensor([[10.0, 1.0], [10.0, -1.0]])
    assert spread(rows) == pytest.approx(1 / math.sqrt(101))


def test_healthy_features_raise_no_alarm():
    monitor, row = watched(features(64, 16))
    assert (monitor.alarm, row["collapsed"]) == ("", 0)


COLLAPSES = {
    "alike": (torch.ones(32, 8) + 1e-5 * features(32, 8), {}, "alike"),
    "on a line": (features(32, 1) * torch.ones(8), {}, "one direction"),
    "at the collapsed loss": (features(32, 8), {"loss": math.log(64) - 0.01, "collapsed_loss": math.log(64)}, "4.159"),
}


@pytest.mark.parametrize("name", COLLAPSES)
def test_a_collapse_raises_the_alarm(name):
    rows, losses, reason = COLLAPSES[name]
    monitor, row = watched(rows, **losses)
    assert reason in monitor.alarm
    assert row["collapsed"] == 1


def test_epochs_average_their_own_steps():
    monitor = Monitor()
    for values in ([1.0, 2.0, 3.0], [3.0, 4.0, 5.0]):
        monitor.count(features(), values)
    row = monitor.end_epoch(1.0)
    assert (row["feature_std"], row["alignment"], row["uniformity"]) == (2.0, 3.0, 4.0)
    monitor.count(features(), [7.0, 7.0, 7.0])
    assert monitor.end_epoch(1.0)["feature_std"] == 7.0


def test_only_the_latest_features_are_kept_and_a_restored_monitor_goes_on_alike():
    monitor, other = Monitor(), Monitor()
    for seed in range(KEPT // 32 + 3):
        monitor.count(features(32, 4, seed), [1.0, 1.0, 1.0])
    assert len(monitor.latest) == KEPT
    assert torch.equal(monitor.latest[-32:], features(32, 4, KEPT // 32 + 2))
    other.load_state(monitor.state())
    assert other.end_epoch(1.0) == monitor.end_epoch(1.0)
