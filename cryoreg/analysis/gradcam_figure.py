"""Grad-CAM of networks side by side, as Figure 8 of Gupta et al. 2022, and what it shows in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cryoreg.analysis import slices
from cryoreg.analysis.examples import name_of
from cryoreg.analysis.gradcam import grad_cam, predicted_class, prepared
from cryoreg.analysis.panels import Panel, page_of, rows_of_panels
from cryoreg.inference.trained import Trained

Array = NDArray[np.float32]

_HEAT = "turbo"
_OPACITY = 0.45
_PANEL = 1.0
_LABEL = 1.3
_GAP = 0.04
_APART = 0.08
_BAR = 0.8
_HEADING = 0.2
"""Inches."""
_NAMES = 7
"""Points: the size of the names of rows."""
_INNER = 0.25
"""Radius of the middle, over the shortest edge of the box."""
_MORE = 1.5
"""So many times the share of its volume lies in the middle where a network looks there."""
_ELSEWHERE = (
    "it looks no more at the middle than elsewhere; edges, neighbours or the missing wedge may be what it goes by"
)
RANDOM, ENCODER, CLASSIFIER = "random encoder", "trained encoder", "classifier"


class Compared(NamedTuple):
    """Where networks look in some subtomograms."""

    names: list[str]
    """Id, class, tomogram, and what the classifier explains, a line each."""
    volumes: list[Array]
    """z-scored, (D, H, W)."""
    maps: dict[str, list[Array]]
    """Network -> Grad-CAM of each, (D, H, W)."""
    voxel_size: float | None
    """Å."""


def compare_networks(trained: Trained, indices: Sequence[int], target: int | None = None) -> Compared:
    """Return where a random and the trained network look.

    Encoders are explained by their own features, and of a classifier there is also what speaks for ``target`` (None:
    the predicted class). Raises as `grad_cam` does.
    """
    explained = [predicted_class(trained, index) if target is None else target for index in indices]
    networks = {RANDOM: trained.untrained(), ENCODER: trained.encoder_alone()}
    maps = {name: [grad_cam(one, index) for index in indices] for name, one in networks.items()}
    if trained.classifies:
        maps[CLASSIFIER] = [grad_cam(trained, index, chosen) for index, chosen in zip(indices, explained, strict=True)]
    names = [_row_name(trained, index, chosen) for index, chosen in zip(indices, explained, strict=True)]
    volumes = [prepared(trained, index)[0, 0].cpu().numpy() for index in indices]
    return Compared(names, volumes, maps, trained.dataset.voxel_size)


def in_words(compared: Compared) -> str:
    """Say what the maps show: which share of their weight lies in the middle of the box, where the particle is."""
    trained = CLASSIFIER if CLASSIFIER in compared.maps else ENCODER
    middle = _middle(compared.volumes[0].shape)
    share, by_chance, volume = (
        _within(compared.maps[trained], middle),
        _within(compared.maps[RANDOM], middle),
        float(middle.mean()),
    )
    if np.isnan(share):
        return f"In none of these does anything speak for what the {trained} says."
    looks = share > max(_MORE * volume, by_chance if not np.isnan(by_chance) else 0)
    meaning = "it looks at what is in the middle" if looks else _ELSEWHERE
    random = "" if np.isnan(by_chance) else f" (random encoder: {100 * by_chance:.0f} %)"
    return (
        f"Of the warmth of the {trained}, {100 * share:.0f} %{random} lies in the middle, a ball of half the box's "
        f"width, which is {100 * volume:.0f} % of the box: {meaning}. Seen in {len(compared.volumes)} subtomograms."
    )


def _middle(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    places = np.indices(shape) - (np.array(shape)[:, None, None, None] - 1) / 2
    return (places**2).sum(0) <= (_INNER * min(shape)) ** 2


def _within(maps: Sequence[Array], middle: NDArray[np.bool_]) -> float:
    """Return the mean share of weight within ``middle``, of the maps that have any; NaN where none has."""
    shares = [float(one[middle].sum() / one.sum()) for one in maps if one.sum() > 0]
    return float(np.mean(shares)) if shares else float("nan")


def draw_comparison(compared: Compared) -> Figure:
    """Draw a row for each subtomogram: its central slices, and over them where each network looks."""
    figure, panels = _layout(compared.names, ["subtomogram", *compared.maps])
    for number, (row, name) in enumerate(zip(panels, compared.names, strict=True)):
        _draw_row(row, compared.volumes[number], [maps[number] for maps in compared.maps.values()], compared.voxel_size)
        row[0].name(name, _NAMES)
    planes = slices.central_slices(compared.volumes[0])
    for number, panel in enumerate(panels[0]):
        plane = planes[number % 3]
        panel.title(f"{plane.right} right, {plane.up} up", 6)
    return figure


def _layout(names: Sequence[str], titles: Sequence[str]) -> tuple[Figure, list[list[Panel]]]:
    """Return a figure with a colour bar and its panels, for each name three of each title, a little apart."""
    rows, label = len(names), max(_LABEL, slices.room_for(names, _NAMES))
    width = label + (3 * _PANEL + _APART) * len(titles) + _BAR
    height = _PANEL * rows + 2 * _HEADING
    figure = Figure(figsize=(width, height), dpi=150)
    top = height - 2 * _HEADING
    lefts = [label + number * _PANEL + number // 3 * _APART for number in range(3 * len(titles))]
    table = rows_of_panels(page_of(figure), rows, lefts, top, _PANEL - _GAP, _GAP)
    for middle, title in zip(table[0][1::3], titles, strict=True):
        middle.title(title, 9, above=14)
    place = figure.add_axes((1 - 0.75 * _BAR / width, _GAP / height, 0.12 / width, (top - _GAP) / height))
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), _HEAT), cax=place, ticks=[0, 0.5, 1])
    bar.set_label("Grad-CAM", fontsize=7)
    bar.ax.tick_params(labelsize=7)
    return figure, table


def _draw_row(row: list[Panel], volume: Array, maps: Sequence[Array], voxel_size: float | None) -> None:
    planes = slices.central_slices(volume)
    for number, panel in enumerate(row):
        panel.show(planes[number % 3].image)
        if number >= 3:
            heat = slices.central_slices(maps[number // 3 - 1])[number % 3].image
            panel.show(heat, norm=Normalize(0, 1), cmap=_HEAT, alpha=_OPACITY, interpolation="bilinear")
    row[0].scale_bar(planes[0].image.shape, voxel_size)


def _row_name(trained: Trained, index: int, predicted: int | None) -> str:
    """Return id, class, tomogram, and what the classifier explains, a line each."""
    said = None if predicted is None else f"explained: {trained.card['classes'][predicted]}"
    return "\n".join(filter(None, [name_of(trained.dataset, index), said]))
