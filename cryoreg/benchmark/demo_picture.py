"""The demo as one picture: where subtomograms lie by their features, and accuracy against labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler

from cryoreg.benchmark.spreads import mean_and_spread, varies
from cryoreg.files import write_atomically
from cryoreg.proportions import Proportion

_COLOURS = ("#3f90da", "#94a4a2", "#bd1f01")
"""Of the starts."""
_PERPLEXITY = 20.0


class Outcome(NamedTuple):
    """How well one start does; accuracies are of the test split, one for each seed."""

    start: str
    """Where the encoder's weights came from, in words."""
    tuned: list[float]
    """Fine-tuned on a few labels of each class."""
    frozen: Mapping[int, list[float]]
    """Labels of each class -> logistic regression of the features as they are."""
    features: NDArray[np.float32]
    """(N, num_features) of the test split."""
    labels: list[int]
    """(N,)."""


def write_picture(path: Path, outcomes: Sequence[Outcome], classes: Sequence[str], labels: int) -> None:
    """Write a PNG: maps of the test split by the first and the last start, and accuracies of all, with bars.

    ``labels`` is how many of each class the fine-tuned networks knew.
    """
    figure = Figure(figsize=(15, 5), dpi=110, layout="constrained")
    first, last, right = figure.subplots(1, 3, width_ratios=(1, 1, 1.25))
    for axes, outcome in ((first, outcomes[0]), (last, outcomes[-1])):
        _draw_map(axes, outcome, classes)
    first.legend(title="class", fontsize=7, title_fontsize=7, markerscale=2, loc="best", framealpha=0.6)
    _draw_accuracies(right, outcomes, len(classes), labels)
    write_atomically(path, lambda file: figure.savefig(file, format="png"))


def _draw_map(axes: Axes, outcome: Outcome, classes: Sequence[str]) -> None:
    points, labels = plane(outcome.features), np.array(outcome.labels)
    for number, name in enumerate(classes):
        chosen = points[labels == number]
        axes.scatter(chosen[:, 0], chosen[:, 1], s=14, color=colormaps["tab10"](number % 10), label=name, linewidths=0)
    axes.set_title(f"test split by features of {outcome.start} weights", fontsize=10)
    axes.set(xticks=[], yticks=[], xlabel="t-SNE of features that were taught no label of these data")


def plane(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return places (N, 2) of features (N, F), by t-SNE (van der Maaten & Hinton 2008) with a fixed seed."""
    perplexity = min(_PERPLEXITY, (len(features) - 1) / 3)
    model = TSNE(perplexity=perplexity, init="pca", random_state=0)
    return np.asarray(model.fit_transform(StandardScaler().fit_transform(features)), np.float32)


def _draw_accuracies(axes: Axes, outcomes: Sequence[Outcome], classes: int, labels: int) -> None:
    for number, (outcome, colour) in enumerate(zip(outcomes, _COLOURS, strict=True)):
        counts = list(outcome.frozen)
        means = [100 * float(np.mean(values)) for values in outcome.frozen.values()]
        bars = np.array([_bar(values, len(outcome.labels)) for values in outcome.frozen.values()]).reshape(-1, 2).T
        axes.errorbar(counts, means, bars, color=colour, marker="o", capsize=2, label=f"{outcome.start}, frozen")
        axes.errorbar(
            labels * 1.06 ** (number - 1),
            100 * np.mean(outcome.tuned),
            np.array([_bar(outcome.tuned, len(outcome.labels))]).T,
            color=colour,
            marker="*",
            markersize=15,
            capsize=4,
            linestyle="none",
            label=f"{outcome.start}, fine-tuned",
        )
    axes.axhline(100 / classes, color="black", linestyle=":", linewidth=1, label="chance")
    axes.set(xscale="log", xlabel="labels of each class", ylabel="accuracy on the test split, %")
    ticks = sorted({count for outcome in outcomes for count in outcome.frozen} | {labels})
    axes.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2, frameon=False)
    title = f"accuracy against labels, {len(outcomes[0].tuned)} seeds, mean ± standard deviation"
    axes.set_title(
        f"{title}\n(95 % Wilson, {len(outcomes[0].labels)} subtomograms, where seeds do not differ)", fontsize=10
    )


def _bar(values: Sequence[float], total: int) -> tuple[float, float]:
    """Return how far a bar reaches below and above the mean, per cent: a standard deviation, or Wilson's interval."""
    mean, spread = mean_and_spread(values)
    if varies(100 * spread):
        return 100 * spread, 100 * spread
    low, high = Proportion(round(mean * total), total).interval
    return max(0.0, 100 * (mean - low)), max(0.0, 100 * (high - mean))
