"""What a data set holds, and what is wrong with it: measured, never mended."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryoreg import notebook
from cryoreg.config import Project, choose_dataset
from cryoreg.contracts import Subtomograms
from cryoreg.datasets.origins import known_origins
from cryoreg.datasets.table_sources import data_of_table, with_groups
from cryoreg.errors import DataError

_NAMED = 3
"""Tilt ranges that are named."""
SAMPLE = 200
"""Subtomograms whose voxels are looked at, unless all are asked for."""
_SURE = 4.0
"""Standard errors from 0 that count as a difference."""
_FEWEST = 5
"""Subtomograms, below which the contrast is not estimated."""
_PARTS = 3
"""Training, validation and test: each class needs a subtomogram in each."""
_UNLIKE = 5.0
"""Standard deviations of subtomograms that differ by this factor were not normalised alike."""
_SATURATED = 0.01
_INNER, _OUTER = 0.5, 0.9
"""Parts of half the edge: within the one lies the particle, beyond the other the rim."""


class Voxels(NamedTuple):
    """Measurements of one subtomogram."""

    mean: float
    sd: float
    low: float
    high: float
    centre: float
    """Mean of the centre over that of the rim, in standard deviations."""
    skewness: float
    """Skewness of the centre's voxels: positive where few are bright."""
    saturated: bool
    """More than 1 % of whole numbers up to 255 are the smallest, or the largest."""


class Problem(NamedTuple):
    """Something to look at."""

    kind: str
    text: str
    fatal: bool = False
    """Training would stop at it."""


@dataclass(frozen=True)
class Inspection:
    """What was found in a data set."""

    count: int
    classes: dict[str, int]
    unlabelled: int
    groups: dict[str, int]
    """Tomogram -> subtomograms; empty where no tomogram is known."""
    box: tuple[int, int, int]
    voxel_size: float | None
    contrast: str | None
    tilt_range: tuple[float, float] | None
    """Of all of them."""
    tilt_axis: str | None
    looked_at: int
    """Subtomograms whose voxels were read."""
    intensity: dict[str, float] | None
    contrast_hint: str
    notes: list[str]
    problems: list[Problem] = field(default_factory=list)
    tilt_ranges: dict[str, int] = field(default_factory=dict)
    """Where they differ: range, in words -> subtomograms."""
    path: str | None = None
    """The file or folder that holds it; None where a data set was given."""
    reader: str | None = None
    """What `--dataset` calls its reader."""
    why: str | None = None
    """Why it is that one."""

    @property
    def sound(self) -> bool:
        """Whether every subtomogram that was looked at can be read."""
        return not any(problem.fatal for problem in self.problems)

    def facts(self) -> dict[str, str]:
        """Return what was found, in words."""
        where = {"data": str(self.path), "reader": f"{self.reader} ({self.why})"} if self.path else {}
        return where | {
            "subtomograms": f"{self.count:,}",
            "classes": self._said_classes(),
            "tomograms": f"{len(self.groups):,}" if self.groups else "not known",
            "box": "×".join(map(str, self.box)) + " voxels (z, y, x)",
            "voxel size": f"{self.voxel_size:.4g} Å" if self.voxel_size else "not known",
            "contrast": f"{self.contrast or 'not known'}; estimate: {self.contrast_hint}",
            "tilts": self._said_tilts(),
            "intensity": self._said_intensity(),
        }

    def _said_classes(self) -> str:
        if not self.classes:
            return "none: unlabelled"
        return f"{len(self.classes):,}" + (f", and {self.unlabelled:,} unlabelled" if self.unlabelled else "")

    def _said_tilts(self) -> str:
        span = _span(self.tilt_range) if self.tilt_range else ", ".join(list(self.tilt_ranges)[:_NAMED]) or _span(None)
        span += f" and {more} more" if (more := len(self.tilt_ranges) - _NAMED) > 0 else ""
        return f"{span}, {f'axis {self.tilt_axis}' if self.tilt_axis else 'axis not known'}"

    def _said_intensity(self) -> str:
        some = f"{self.looked_at:,} of {self.count:,}, evenly spread; --all"
        seen = "all" if self.looked_at == self.count else some
        if self.intensity is None:
            return f"none could be read ({seen})"
        names = ", ".join(f"{name} {value:.4g}" for name, value in self.intensity.items())
        return f"{names} ({seen})"

    def _repr_html_(self) -> str:
        held = {"class": self.classes, "tomogram": self.groups}
        counts = [notebook.table((name, "subtomograms"), each.items()) for name, each in held.items() if each]
        problems = [f"{problem.kind}: {problem.text}" for problem in self.problems] or ["no problems found"]
        notes = [f"note: {note}" for note in self.notes]
        return notebook.shown("Inspection", self.facts(), notebook.lines([*notes, *problems]), *counts)


def inspect(dataset: Subtomograms, everything: bool = False) -> Inspection:
    """Look at a data set, and at the voxels of up to `SAMPLE` of its subtomograms, evenly spread, or of all."""
    if not len(dataset):
        raise DataError("the data set holds no subtomograms; check its path")
    indices = spread(len(dataset), len(dataset) if everything else SAMPLE)
    measured, unreadable = _look(dataset, indices)
    labels = Counter(dataset.labels)
    classes = {name: labels[label] for label, name in enumerate(dataset.classes)}
    problems = [*unreadable, *_of_copies(dataset, complete=len(indices) == len(dataset) and not unreadable)]
    problems += [*_of_classes(classes), *_of_geometry(dataset), *_of_origins(dataset), *_of_intensity(measured)]
    return Inspection(
        count=len(dataset),
        classes=classes,
        unlabelled=labels[None],
        groups=dict(sorted(Counter(group for group in dataset.groups if group is not None).items())),
        box=dataset.box,
        voxel_size=dataset.voxel_size,
        contrast=dataset.contrast,
        tilt_range=dataset.tilt_range,
        tilt_axis=dataset.tilt_axis,
        looked_at=len(indices),
        intensity=_intensity(measured),
        contrast_hint=contrast_hint(measured),
        notes=list(dataset.notes),
        problems=problems,
        tilt_ranges={} if dataset.tilt_range else _tilt_ranges(dataset),
    )


def _tilt_ranges(dataset: Subtomograms) -> dict[str, int]:
    """Return how many subtomograms have which tilt range, where they have one each."""
    ranges = Counter(origin.tilt_range for origin in known_origins(dataset) or ())
    known = sorted(each for each in ranges if each)
    return {_span(each): ranges[each] for each in [*known, *([None] if ranges[None] else [])]} if known else {}


def _span(tilts: tuple[float, float] | None) -> str:
    return "{:g}° to {:g}°".format(*tilts) if tilts else "range not known"


def inspect_path(
    root: Path,
    reader: str | None = None,
    parameters: Mapping[str, object] | None = None,
    everything: bool = False,
    project: Project | None = None,
) -> Inspection:
    """Look at what a file or folder holds, by the reader that fits where none is named; see `inspect`.

    What neither ``parameters`` nor the files say, a ``project`` may. Of a table of clusters or predictions, it is the
    data that it names, with its classes. Raises `DataError` where none fits, or several do.
    """
    root, table = data_of_table(root, "`cryoreg inspect DATA`")
    (component, spec), why = choose_dataset(root, reader, parameters or {}, project)
    name = reader or component.reference
    return replace(inspect(with_groups(spec.load(), table), everything), path=str(root), reader=name, why=why)


def spread(count: int, wanted: int) -> list[int]:
    """Return up to ``wanted`` indices, evenly spread over all."""
    taken = min(count, wanted)
    return [(2 * i + 1) * count // (2 * taken) for i in range(taken)]


def _look(dataset: Subtomograms, indices: Sequence[int]) -> tuple[list[Voxels], list[Problem]]:
    measured, problems = [], []
    for index in indices:
        try:
            volume = dataset[index].volume[0].numpy()
        except DataError as error:
            problems.append(Problem("unreadable", str(error), fatal=True))
            continue
        flaw = _flaw(volume)
        if flaw:
            problems.append(Problem("unreadable", f"{dataset.ids[index]}: {flaw}", fatal=True))
        else:
            measured.append(measure(volume))
    return measured, problems


def _flaw(volume: NDArray[np.float32]) -> str | None:
    """Say what is wrong with a volume that its reader let pass."""
    if not np.isfinite(volume).all():
        return "holds NaN or infinite voxels; remove it or extract it again"
    return "is constant; remove it or extract it again" if volume.min() == volume.max() else None


def measure(volume: NDArray[np.float32]) -> Voxels:
    """Return the measurements of a volume (D, H, W)."""
    mean, sd = float(volume.mean(dtype=np.float64)), float(volume.std(dtype=np.float64))
    low, high = float(volume.min()), float(volume.max())
    radius = _radius(volume.shape)
    scores = (volume - mean) / sd
    centre, rim = scores[radius < _INNER], scores[radius > _OUTER]
    spread_inside = float(centre.std())
    skewness = float(((centre - centre.mean()) ** 3).mean() / spread_inside**3) if spread_inside > 0 else 0.0
    return Voxels(mean, sd, low, high, float(centre.mean() - rim.mean()), skewness, _saturated(volume, low, high))


def _radius(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return each voxel's distance from the centre, over half the edge."""
    axes = [(np.arange(edge) - edge // 2) / (edge / 2) for edge in shape]
    return np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij", sparse=True)))


def _saturated(volume: NDArray[np.float32], low: float, high: float) -> bool:
    if high - low > 255 or not np.equal(volume, np.round(volume)).all():
        return False
    return max((volume == low).mean(), (volume == high).mean()) > _SATURATED and high - low > 2


def _intensity(measured: Sequence[Voxels]) -> dict[str, float] | None:
    if not measured:
        return None
    means, sds, lows, highs = (np.array([getattr(v, name) for v in measured]) for name in Voxels._fields[:4])
    sd = math.sqrt(float((sds**2 + means**2).mean() - means.mean() ** 2))
    return {"mean": float(means.mean()), "sd": sd, "min": float(lows.min()), "max": float(highs.max())}


def contrast_hint(measured: Sequence[Voxels]) -> str:
    """Return how density seems to look, from the centre against the rim and from the skewness of the centre."""
    if len(measured) < _FEWEST:
        return f"too few subtomograms for an estimate ({len(measured)} of {_FEWEST})"
    centre, skewness = (_t([getattr(v, name) for v in measured]) for name in ("centre", "skewness"))
    for sign, look in ((1, "bright"), (-1, "dark")):
        if sign * centre > _SURE and sign * skewness > _SURE:
            return f"density looks {look} (centre against rim {centre:+.0f} s.e., skewness {skewness:+.0f} s.e.)"
    return f"unclear (centre against rim {centre:+.0f} s.e., skewness {skewness:+.0f} s.e.)"


def _t(values: Sequence[float]) -> float:
    """Return a mean over its standard error."""
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return float(np.mean(values)) / max(error, 1e-12)


def _of_copies(dataset: Subtomograms, complete: bool) -> list[Problem]:
    from cryoreg.datasets.duplicates import find_duplicates

    if not complete and dataset.duplicates is None:
        return []
    groups = find_duplicates(dataset)
    if not groups:
        return []
    first = ", ".join(dataset.ids[index] for index in groups[0][:3])
    extra = sum(len(group) - 1 for group in groups)
    return [Problem("duplicates", f"{extra:,} subtomograms are copies of others, voxel by voxel (first: {first})")]


def _of_classes(classes: dict[str, int]) -> list[Problem]:
    small = [f"{name} ({count})" for name, count in classes.items() if count < _PARTS]
    if not small:
        return []
    return [
        Problem("classes", f"too few for a split into {_PARTS} parts: {', '.join(small)}; add some, or leave it out")
    ]


def _of_geometry(dataset: Subtomograms) -> list[Problem]:
    problems = []
    if dataset.voxel_size is None:
        problems.append(Problem("voxel size", "the files do not say; give it with --set dataset.voxel_size=<Å>"))
    if len(set(dataset.box)) > 1:
        problems.append(Problem("box", "is no cube, as subtomograms are: whole tomograms, or slabs? (`cryoreg pick`)"))
    return problems


def _of_origins(dataset: Subtomograms) -> list[Problem]:
    """Find subtomograms that are read from one place."""
    places, shared = dict[Any, int](), dict[Any, tuple[int, int]]()
    for index in range(len(dataset)):
        origin = dataset.origin(index)
        if origin is None:
            return []
        place = (origin.file, origin.row)
        first = places.setdefault(place, index)
        if first != index:
            shared.setdefault(place, (first, index))
    if not shared:
        return []
    both = " and ".join(dataset.ids[index] for index in min(shared.values()))
    return [Problem("origins", f"{len(shared):,} places in files are read more than once (first: {both})")]


def _of_intensity(measured: Sequence[Voxels]) -> list[Problem]:
    problems = []
    saturated = sum(voxels.saturated for voxels in measured)
    if saturated:
        text = f"{saturated:,} of {len(measured):,} have more than 1 % of their voxels at the end of an 8-bit scale"
        problems.append(Problem("saturation", text))
    sds = [voxels.sd for voxels in measured]
    if sds and max(sds) > _UNLIKE * min(sds):
        text = f"standard deviations go from {min(sds):.3g} to {max(sds):.3g}: not normalised alike (training does it)"
        problems.append(Problem("intensity", text))
    return problems
