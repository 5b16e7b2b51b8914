"""From subtomograms of a class to files: the average, both halves, and a figure by which to judge them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os.path import samefile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from torch import Tensor

from cryoreg.analysis import slices
from cryoreg.analysis.averaging.average import Averaged, average
from cryoreg.analysis.isosurface import z_score
from cryoreg.contracts import Subtomograms
from cryoreg.datasets.io.class_columns import class_labels
from cryoreg.datasets.io.mrc_writing import write_mrc
from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.origins import inputs_of, origins_of
from cryoreg.datasets.particles.lists import read_particle_list
from cryoreg.datasets.particles.particle_list import ParticleList
from cryoreg.datasets.particles.sniffing import kind_of_list
from cryoreg.datasets.rows_of_lists import LABELS, RowsTold, changed, check_rows, goes_by_rows
from cryoreg.datasets.tomograms.names import stem
from cryoreg.errors import ConfigError, DataError
from cryoreg.files import write_atomically
from cryoreg.outputs import check_files
from cryoreg.scale_bars import scale_bar
from cryoreg.selection.listed import Listed, can_be_kept

FEWEST = 8
_MEMORY = 2**32
"""Bytes that spectra may take."""
_THRESHOLDS = (0.143, 0.5)
_UNTILTED = (-90.0, 90.0)
_LOPSIDED = 10.0
"""Degrees, by which the ends of a tilt range differ that has a sign to speak of."""


class ClassAverage(NamedTuple):
    """What `run_average` has found."""

    averaged: Averaged
    particles: int
    voxel_size: float | None
    files: tuple[Path, ...]

    def lines(self) -> list[str]:
        """Return in words what the halves agree on."""
        count = f"{self.particles} particles ({self.particles // 2} + {self.particles - self.particles // 2})"
        if not self.averaged.real:
            return [f"{count}: the halves agree no better than noise would; no resolution can be given"]
        unit = "voxels" if self.voxel_size is None else "Å"
        found = {limit: self.averaged.resolution(limit, self.voxel_size) for limit in _THRESHOLDS}
        told = ", ".join(
            f"{'none' if value is None else f'{value:.3g} {unit}'} at FSC {limit:g}" for limit, value in found.items()
        )
        return [f"{count}: resolution {told}; halves aligned independently, under a soft ball"]

    def to_dict(self) -> dict[str, object]:
        """Return the figures as plain values; a resolution is in Å, or in voxels where their size is not known."""
        halves = self.averaged
        found = {f"{limit:g}": halves.resolution(limit, self.voxel_size) for limit in _THRESHOLDS}
        return {
            "files": [str(path) for path in self.files],
            "particles": self.particles,
            "voxel_size": self.voxel_size,
            "alike": halves.real,
            "resolution": found if halves.real else dict.fromkeys(found),
            "fsc": halves.fsc.tolist(),
        }


def members(dataset: Subtomograms, name: str, told: Path | None = None) -> list[int]:
    """Return which subtomograms are of a class, by a list or file of predictions (``told``), else by their labels.

    A number means the class of that number where none is called so. A list names its own particles by their rows,
    others by their ids. Raises a `CryoregError` where there are none.
    """
    known = _labels(dataset) if told is None else _told(dataset, told)
    found = [index for index, names in enumerate(known) if name in names]
    if not found:
        there = ", ".join(sorted({each for names in known for each in names if each})[:20]) or "none"
        raise ConfigError(f"no subtomogram is of class '{name}' (there are: {there}); take another, or --labels-from")
    return found


def _labels(dataset: Subtomograms) -> list[set[str | None]]:
    return [{None if label is None else dataset.classes[label]} for label in dataset.labels]


def _told(dataset: Subtomograms, told: Path) -> list[set[str | None]]:
    said = _said_by(told)
    origins = origins_of(dataset)
    if (
        said.by_rows
        and all(origin.row is not None and Path(origin.file).is_file() for origin in origins)
        and all(samefile(file, said.path) for file in {origin.file for origin in origins})
    ):
        if any(changed(dataset, file) for file in {origin.file for origin in origins}):
            refuse(told, "lists other particles than when these were cut out, or in another order; extract them anew")
        return [said.names[origin.row or 0] for origin in origins]
    by_id = dict(zip(said.ids, said.names, strict=True))
    if goes_by_rows(dataset):
        check_rows(dataset, said.path, by_id, said.rows_told, LABELS)
    return [by_id.get(name, set()) for name in dataset.ids]


class _Said(NamedTuple):
    """What a list says of the classes of its particles."""

    path: str
    ids: Sequence[str]
    names: Sequence[set[str | None]]
    """By what the class of each can be asked for."""
    rows_told: RowsTold
    by_rows: bool
    """Whether a row of it is a particle."""


def _said_by(told: Path) -> _Said:
    if kind_of_list(told) is not None and not can_be_kept(told):
        return _said_by_particles(read_particle_list(told))
    listed = Listed.read(str(told))
    by_rows = listed.particle_of_rows is None and Path(listed.path).is_file()
    return _Said(listed.path, listed.ids(), _names_and_numbers(listed), listed.rows_told(), by_rows)


def _said_by_particles(particles: ParticleList) -> _Said:
    """Return what a list says of which `Listed` knows no text, as it cannot lose rows (PEET) or is no text (IMOD)."""
    classes, labels = class_labels(particles.path, particles.columns, particles.label)
    if not classes:
        refuse(particles.path, "says no classes of its particles, or one alone; name a list that does")
    names: list[set[str | None]] = [{None if label is None else classes[label]} for label in labels]
    ids = [f"{stem(name)}/{row}" if name else str(row) for row, name in enumerate(particles.tomograms)]
    return _Said(particles.path, ids, names, RowsTold({particles.path: ()}), by_rows=True)


def _names_and_numbers(listed: Listed) -> list[set[str | None]]:
    """Return by what each particle's class can be asked for: its name, and its number unless another is called so."""
    names = listed.classes(None)
    return [
        {name} if number in names else {name, number}
        for name, number in zip(names, listed.class_numbers(), strict=True)
    ]


def run_average(
    dataset: Subtomograms,
    indices: Sequence[int],
    output: Path,
    title: str,
    most: int = 500,
    seed: int = 0,
    overwrite: bool = False,
    inputs: set[str] | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> ClassAverage:
    """Average subtomograms of a data set, by index, and write OUTPUT.mrc, its halves and OUTPUT.png.

    Where there are more than ``most`` (or than memory holds), so many are drawn by ``seed``, which is said. Raises a
    `CryoregError`, one line, before any work where files exist, boxes are no cubes or particles too few.
    """
    if output.suffix.lower() != ".mrc":
        raise ConfigError(f"{output}: an average is a .mrc; a .png is written beside it")
    halves = [output.with_name(f"{output.stem}_half{number}.mrc") for number in (1, 2)]
    files = (output, *halves, output.with_suffix(".png"))
    check_files(files, overwrite, inputs or inputs_of(dataset))
    edge = dataset.box[0]
    if len(set(dataset.box)) > 1 or edge < 12:
        raise DataError(f"boxes of {'×'.join(map(str, dataset.box))} voxels are no cubes of 12 or more; cut such")
    if len(indices) < FEWEST:
        raise DataError(f"{title}: {len(indices)} particles are too few for two halves; give {FEWEST} or more")
    chosen = _drawn(indices, min(most, _MEMORY // (8 * (2 * edge) ** 3)), seed, say)
    tilts = _tilts(dataset, chosen, say)
    volumes = torch.stack([dataset[index].volume[0] for index in chosen])
    averaged = average(volumes, tilts, dataset.tilt_axis or "y", seed, say=say)
    figure = draw(averaged, title, len(chosen), dataset.voxel_size)
    for path, volume in zip(files, (averaged.volume, *averaged.halves), strict=False):
        write_mrc(path, volume.numpy(), dataset.voxel_size)
    write_atomically(files[-1], lambda file: figure.savefig(file, format="png", dpi=150))
    return ClassAverage(averaged, len(chosen), dataset.voxel_size, files)


def _drawn(indices: Sequence[int], most: int, seed: int, say: Callable[[str], object]) -> list[int]:
    if len(indices) <= most:
        return list(indices)
    say(f"note: of {len(indices)} particles {most} are drawn; --limit takes more, as far as memory goes")
    drawn = np.random.default_rng(seed).choice(len(indices), max(most, FEWEST), replace=False)
    return [indices[place] for place in np.sort(drawn)]


def _tilts(dataset: Subtomograms, chosen: Sequence[int], say: Callable[[str], object]) -> Tensor:
    """Return the tilt range of each particle, all of them where it is not known, and say so."""
    origins = origins_of(dataset)
    ranges = [origins[index].tilt_range or dataset.tilt_range for index in chosen]
    if unknown := ranges.count(None):
        say(
            f"note: of {unknown} particles the tilt range is not known, and no missing wedge is taken into account; "
            "say --set dataset.tilt_range=[-60,60]"
        )
    if unknown < len(ranges) and dataset.tilt_axis is None:
        say("note: the tilt axis is not known, and taken to be y; if it is x, say --set dataset.tilt_axis=x")
    for low, high in [each for each in ranges if each and abs(sum(each)) >= _LOPSIDED][:1]:
        say(
            f"note: tilts from {low:g}° to {high:g}° are of one side more than of the other, and programs differ in "
            "their sign (docs/wedge.md#which-sign-a-tilt-has); if it is the other, say "
            f"--set dataset.tilt_range=[{-high:g},{-low:g}]"
        )
    return torch.tensor([each or _UNTILTED for each in ranges])


def draw(averaged: Averaged, title: str, count: int, voxel_size: float | None) -> Figure:
    """Return a figure: central slices of the average and of both halves, and the Fourier shell correlation."""
    figure = Figure(figsize=(11, 6.2), layout="constrained")
    figure.suptitle(f"{title}: {count} particles")
    grid = figure.add_gridspec(3, 5)
    rows = {"all": averaged.volume, "half 1": averaged.halves[0], "half 2": averaged.halves[1]}
    for row, (name, volume) in enumerate(rows.items()):
        density = z_score(volume.numpy())
        greys = Normalize(*np.percentile(density, (0.5, 99.9)))
        for column, cut in enumerate(slices.central_slices(density)):
            axes = figure.add_subplot(grid[row, column])
            slices.show(axes, cut.image, norm=greys)
            if row == 0:
                axes.set_title(f"across {cut.normal}", fontsize=9)
            if column == 0:
                axes.set_ylabel(name)
            if row == column == 0:
                scale_bar(axes, cut.image.shape[1], voxel_size)
    _draw_curve(figure, grid[:, 3:], averaged, voxel_size)
    return figure


def _draw_curve(figure: Figure, place: SubplotSpec, averaged: Averaged, voxel_size: float | None) -> None:
    axes = figure.add_subplot(place)
    edge = averaged.volume.shape[-1]
    k = np.arange(len(averaged.fsc)) / (edge * (voxel_size or 1))
    axes.plot(k, averaged.fsc.numpy(), color="C0", label="half 1 with half 2")
    axes.plot(k, averaged.chance.numpy(), color="0.6", linestyle="--", label="by chance (random phases, turned alike)")
    for limit in _THRESHOLDS:
        axes.axhline(limit, color="0.8", linewidth=0.8)
        axes.text(k[-1], limit, f"{limit:g}", ha="right", va="bottom", fontsize=8)
    axes.set(ylim=(-0.2, 1.05), ylabel="Fourier shell correlation", xlabel="1/Å" if voxel_size else "1/voxel")
    axes.legend(fontsize=8, frameon=False)
