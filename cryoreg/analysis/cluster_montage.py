"""A picture of what each cluster of subtomograms looks like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cryoreg.analysis.clusters import Clustering
from cryoreg.analysis.examples import in_turns
from cryoreg.analysis.panels import page_of, rows_of_panels
from cryoreg.analysis.slices import central_slices
from cryoreg.contracts import Subtomograms
from cryoreg.datasets.normalisation import normalise
from cryoreg.files import write_atomically

MEMBERS = 8
"""Shown of each cluster."""
_MOST_ROWS = 100
_PANEL = 1.0
_GAP = 0.04
_HEADING = 0.6
_LABEL = 1.1
"""Inches."""


def write_montage(path: Path, dataset: Subtomograms, clustering: Clustering) -> None:
    """Write a PNG with a row for each cluster: the mean of its central slices, and those of its nearest members."""
    figure = draw_montage(dataset, clustering)
    write_atomically(path, lambda file: figure.savefig(file, format="png"))


def draw_montage(dataset: Subtomograms, clustering: Clustering, samples: Sequence[int] | None = None) -> Figure:
    """Draw the central z slices, z-scored, of up to 100 clusters; a mean has contrast of its own, as noise averages.

    ``samples`` are the indices that were clustered, in that order; None: all.
    """
    samples = range(len(dataset)) if samples is None else samples
    means = mean_slices(dataset, clustering, samples)
    rows = min(len(clustering.sizes), _MOST_ROWS)
    width, height = _LABEL + _PANEL * (1 + MEMBERS), _PANEL * rows + _HEADING
    figure = Figure(figsize=(width, height), dpi=100)
    lefts = [_LABEL + number * _PANEL for number in range(1 + MEMBERS)]
    table = rows_of_panels(page_of(figure), rows, lefts, height - _HEADING, _PANEL - _GAP, _GAP)
    for cluster, (first, *others) in enumerate(table):
        size = np.count_nonzero(clustering.clusters == cluster)
        first.name(f"cluster {cluster + 1}\n{size:,}")
        first.show(means[cluster].astype(np.float32), norm=None)
        shown = typical(dataset, clustering, cluster, samples)
        for panel, place in zip(others, shown, strict=False):
            panel.show(_slice(dataset, samples[place]))
    mean, nearest = table[0][:2]
    mean.title("mean", 8)
    several = len({dataset.groups[index] for index in samples}) > 1
    whose = "of each tomogram in turn the members" if several else "the members"
    nearest.title(f"{whose} nearest to the cluster's centre", 8, align="left")
    mean.scale_bar(dataset.box[1:], dataset.voxel_size)
    of_how_many = f"the {rows} largest of " if rows < len(clustering.sizes) else ""
    title = f"{of_how_many}{len(clustering.sizes)} clusters: central z slices of z-scored volumes, not aligned"
    figure.text(0.01, 1 - 0.08 / height, title, fontsize=9, va="top")
    return figure


def typical(dataset: Subtomograms, clustering: Clustering, cluster: int, samples: Sequence[int]) -> list[int]:
    """Return places in ``samples`` of members to show: the nearest to the centre of each tomogram in turn."""
    members = clustering.nearest(cluster, len(samples)).tolist()
    turns = in_turns([None] * len(members), MEMBERS, [dataset.groups[samples[place]] for place in members])
    return [members[turn] for turn in turns]


def mean_slices(
    dataset: Subtomograms, clustering: Clustering, samples: Sequence[int] | None = None
) -> NDArray[np.float64]:
    """Return the mean central z slice (clusters, H, W) of z-scored volumes; all of them are read."""
    samples = range(len(dataset)) if samples is None else samples
    sums = np.zeros((len(clustering.sizes), *dataset.box[1:]))
    for cluster, image in zip(clustering.clusters, _slices(dataset, samples), strict=True):
        sums[cluster] += image
    return sums / np.bincount(clustering.clusters)[:, None, None]


def _slices(dataset: Subtomograms, samples: Sequence[int]) -> Iterator[NDArray[np.float32]]:
    return (_slice(dataset, index) for index in samples)


def _slice(dataset: Subtomograms, index: int) -> NDArray[np.float32]:
    return central_slices(normalise(dataset[index].volume[None])[0, 0].numpy())[0].image
