"""`cryoreg demo`: what it draws, against values put in, and the whole of it on a small set."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib import image
from matplotlib.figure import Figure

from cryoreg.benchmark import demo_picture, demo_study
from cryoreg.benchmark.demo_picture import Outcome, plane
from cryoreg.benchmark.spreads import mean_and_spread
from cryoreg_cli.main import cryoreg as command


def outcome(start: str, best: float) -> Outcome:
    rng = np.random.default_rng(len(start))
    features = (np.repeat(rng.normal(size=(2, 8)), 10, axis=0) + 0.01 * rng.normal(size=(20, 8))).astype("f4")
    return Outcome(
        start, [best, best - 0.1, best - 0.2], {1: [0.2, 0.4], 5: [best, best]}, features, [0] * 10 + [1] * 10
    )


def test_accuracies_are_drawn_as_means_with_their_spread():
    axes = Figure().subplots()
    demo_picture._draw_accuracies(axes, [outcome("shipped", 0.9), outcome("own", 0.6), outcome("random", 0.5)], 2, 5)
    line, star = axes.containers[0], axes.containers[1]
    np.testing.assert_allclose(line.lines[0].get_ydata(orig=False), [30, 90])
    np.testing.assert_allclose(star.lines[0].get_ydata(orig=False), [80])
    low, high = star.lines[2][0].get_segments()[0][:, 1]
    assert (high - low) / 2 == pytest.approx(10)  # 90, 80 and 70 %: their standard deviation
    assert any(line.get_label() == "chance" and line.get_ydata()[0] == 50 for line in axes.lines)


def test_the_map_keeps_what_is_alike_together_and_does_not_change():
    found = outcome("shipped", 0.9)
    points = plane(found.features)
    np.testing.assert_array_equal(points, plane(found.features))
    apart = np.linalg.norm(points[:, None] - points[None], axis=2) + 1e9 * np.eye(20)
    assert np.array_equal(apart.argmin(1) < 10, np.arange(20) < 10)


def test_mean_and_spread_over_seeds():
    assert mean_and_spread([0.5, 0.7, 0.9]) == pytest.approx((0.7, 0.2))
    assert mean_and_spread([0.5]) == (0.5, 0.0)


def test_seeds_that_do_not_differ_have_the_interval_of_the_test_split():
    """No ± 0.0: of 6 subtomograms that were right with each of three seeds, Wilson says 61 to 100 %."""
    assert demo_study.said_of([0.5, 0.7, 0.9], 6) == "70.0 ± 20.0 %"
    assert demo_study.said_of([1.0, 1.0, 1.0], 6) == "100.0 % (61-100 %)"
    assert demo_study.said_of([0.5], 6) == "50.0 % (19-81 %)"
    assert demo_picture._bar([1.0, 1.0], 6) == pytest.approx((39.0, 0.0), abs=0.1)
    assert demo_picture._bar([0.5], 6) == pytest.approx((31.2, 31.2), abs=0.1)


@pytest.mark.slow
def test_the_demo_compares_three_starts_and_draws_them(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_study, "SEEDS", 1)
    small = ["dataset.per_class=12", "dataset.box=16", "training.epochs=1", "training.workers=0"]
    words = [word for setting in small for word in ("--set", setting)]
    result = CliRunner().invoke(command, ["demo", "--device", "cpu", *words, "--run-dir", str(tmp_path / "demo")])
    assert result.exit_code == 0, result.output
    for start in ("shipped (rb3d_universe)", "pretrained on these data", "random"):
        assert f"{start} weights" in result.output
    assert result.output.splitlines()[-1] == f"picture   {tmp_path / 'demo' / 'demo.png'}"
    assert image.imread(tmp_path / "demo" / "demo.png").std() > 0.05
    runs = [path.name for path in (tmp_path / "demo").iterdir() if path.is_dir()]
    assert sorted(runs) == ["finetune-pretrained-0", "finetune-random-0", "finetune-shipped-0", "pretrain"]
