"""A picture of a few subtomograms and their views, to be looked at before hours of training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import fill
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cryoreg.analysis.examples import choose, name_of
from cryoreg.analysis.slices import name_row, room_for
from cryoreg.config import AnyConfig
from cryoreg.contracts import Augmentation, Subtomograms, TiltAxis
from cryoreg.datasets.adaptation import load_adapted
from cryoreg.datasets.normalisation import normalise
from cryoreg.datasets.origins import inputs_of
from cryoreg.files import write_atomically
from cryoreg.outputs import check_file
from cryoreg.randomness import SampleRng
from cryoreg.scale_bars import scale_bar
from cryoreg.specs import AugmentationSpec

Array = NDArray[np.float32]

_DENSITY = Normalize(-4, 4)
"""Standard deviations of a z-scored subtomogram: the same grey is the same density in every panel."""
_LOG_POWER = Normalize(-3, 1)
"""Powers of ten about the mean power of a panel."""
_PANEL = 1.15
_LABEL = 1.4
_HEADING = 0.5
"""Inches."""
_LETTERS_PER_INCH = 13
"""Of a title."""


class Looks(NamedTuple):
    """Some subtomograms, each as it is and in several views."""

    names: list[str]
    """What to write beside each."""
    volumes: Array
    """(subtomograms, 1 + views, D, H, W): the z-scored subtomogram, then its views."""
    voxel_size: float | None = None
    """Å."""


class Group(NamedTuple):
    """A picture of every volume, of one kind."""

    title: str
    images: Array
    """(subtomograms, 1 + views, height, width), upwards first."""
    scale: Normalize
    colours: str
    reciprocal: bool = False
    """Its axes are spatial frequencies."""


def run_preview(
    config: AnyConfig,
    output: Path,
    count: int,
    views: int,
    tilt_axis: TiltAxis | None = None,
    overwrite: bool = False,
    say: Callable[[str], object] = lambda line: None,
) -> None:
    """Write a PNG of ``count`` subtomograms and the ``views`` that pretraining would show of them in its first epoch.

    ``tilt_axis`` chooses the planes that show the missing wedge; None: that of the data where it is known, else the
    augmentation's, else y. ``say`` gets the notes of the data. Raises `DataError` where the data are at fault,
    `OutputError` where the file exists (unless ``overwrite`` is set) or cannot lie there.
    """
    dataset = load_adapted(config.spec("dataset"), config.input)
    check_file(output, overwrite, inputs_of(dataset, config.spec("dataset")))
    specs = [spec for _, spec in config.choices.values() if isinstance(spec, AugmentationSpec)]
    for spec in specs:
        spec.check_data(dataset)
    for note in config.notes_on(dataset):
        say(f"note: {note}")
    looks = look(dataset, [spec.build() for spec in specs], count, views, config.training.seed)
    imposed: TiltAxis | None = getattr(specs[0], "tilt_axis", None)
    figure = draw(looks, tilt_axis or dataset.tilt_axis or imposed or "y")
    write_atomically(output, lambda file: figure.savefig(file, format="png"))


def look(dataset: Subtomograms, augmentations: Sequence[Augmentation], count: int, views: int, seed: int) -> Looks:
    """Return subtomograms and their views; several augmentations take turns, as in pretraining."""
    samples = choose(dataset, count)
    volumes = normalise(torch.stack([dataset[index].volume for index in samples]))
    shown = [volumes]
    for view in range(views):
        rng = SampleRng.for_batch(seed, 0, torch.tensor(samples), view)
        shown.append(augmentations[view % len(augmentations)](volumes, rng))
    names = [name_of(dataset, index) for index in samples]
    return Looks(names, torch.cat(shown, dim=1).numpy(), dataset.voxel_size)


def draw(looks: Looks, tilt_axis: TiltAxis) -> Figure:
    """Draw the section across the beam, the section across the tilt axis, and the power spectrum across it."""
    groups = [_section_across_beam(looks), _section_across_tilt_axis(looks, tilt_axis), _spectrum(looks, tilt_axis)]
    rows, columns = looks.volumes.shape[:2]
    width, height = _PANEL * columns, _PANEL * rows + _HEADING
    label = max(_LABEL, room_for(looks.names))
    figure = Figure(figsize=(label + width * len(groups), height), dpi=120)
    widths = [label + width] + [width] * (len(groups) - 1)
    parts = figure.subfigures(1, len(groups), squeeze=False, width_ratios=widths)[0]
    for number, (part, group) in enumerate(zip(parts, groups, strict=True)):
        left = 0.01 + (label / widths[0] if number == 0 else 0.0)
        part.suptitle(fill(group.title, round(_LETTERS_PER_INCH * width)), fontsize=8, x=(left + 0.985) / 2, y=0.995)
        axes = part.subplots(rows, columns, squeeze=False)
        part.subplots_adjust(left, 0.01, 0.985, 1 - _HEADING / height, wspace=0.04, hspace=0.04)
        _fill(axes, group)
        if not group.reciprocal:
            for panel in axes[:, 0]:
                scale_bar(panel, group.images.shape[-1], looks.voxel_size)
        if number == 0:
            for panel, name in zip(axes[:, 0], looks.names, strict=True):
                name_row(panel, name)
    return figure


def _fill(axes: NDArray[np.object_], group: Group) -> None:
    for row, images in enumerate(group.images):
        for column, image in enumerate(images):
            panel: Axes = axes[row, column]
            panel.imshow(image, origin="lower", norm=group.scale, cmap=group.colours, interpolation="nearest")
            panel.set_xticks([])
            panel.set_yticks([])
    for column, panel in enumerate(axes[0]):
        panel.set_title("as it is" if column == 0 else f"view {column}", fontsize=8, pad=3)


def _section_across_beam(looks: Looks) -> Group:
    sections = looks.volumes[:, :, looks.volumes.shape[2] // 2]
    return Group("central section: y up, x right; ±4 σ", sections, _DENSITY, "gray")


def _section_across_tilt_axis(looks: Looks, tilt_axis: TiltAxis) -> Group:
    along = _axis(tilt_axis)
    sections = looks.volumes.take(looks.volumes.shape[along] // 2, axis=along)
    return Group(f"along the beam: z up, {_other(tilt_axis)} right; ±4 σ", sections, _DENSITY, "gray")


def _spectrum(looks: Looks, tilt_axis: TiltAxis) -> Group:
    """Average the power along the tilt axis, on which the wedge does not depend."""
    spectra = np.fft.fftshift(np.abs(np.fft.fftn(looks.volumes, axes=(2, 3, 4))) ** 2, axes=(2, 3, 4))
    power = spectra.mean(axis=_axis(tilt_axis))
    relative = power / power.mean(axis=(2, 3), keepdims=True).clip(np.finfo(np.float32).tiny)
    log_power = np.log10(relative.clip(1e-9)).astype(np.float32)
    edge = "0.5/voxel" if looks.voxel_size is None else f"1/({2 * looks.voxel_size:.3g} Å)"
    title = f"log power: kz up, k{_other(tilt_axis)} right; edges at {edge}; 4 decades"
    return Group(title, log_power, _LOG_POWER, "magma", reciprocal=True)


def _axis(tilt_axis: TiltAxis) -> int:
    return {"y": 3, "x": 4}[tilt_axis]


def _other(tilt_axis: TiltAxis) -> str:
    return {"y": "x", "x": "y"}[tilt_axis]
