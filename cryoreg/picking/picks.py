"""Tomogram in, picks out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryoreg import registry
from cryoreg.contracts import Box, Contrast
from cryoreg.datasets.tomograms.files import Tomogram, cut
from cryoreg.datasets.tomograms.masks import Marks, Mask
from cryoreg.errors import DataError
from cryoreg.picking import ranking
from cryoreg.picking.pickers import DOG
from cryoreg.picking.proposals import Peaks, Proposal, Verdict
from cryoreg.picking.settings import PickSettings
from cryoreg.picking.suppression import suppress, within_margin
from cryoreg.picking.templates import load_templates

_LONGEST_SHIFT = 4
"""Voxels. The search costs its cube."""


class Picks(NamedTuple):
    """What was found in one tomogram, best first."""

    path: Path
    shape: Box
    voxel_size: float
    verdict: Verdict
    """How density looks; decided where the user said so."""
    positions: NDArray[np.float64]
    """(N, 3): x, y, z in voxels; the first voxel is 0."""
    dog: NDArray[np.float32]
    """(N,): heights of the DoG peaks in standard deviations of the response, or another picker's scores."""
    cc: NDArray[np.float32] | None
    """(N,): correlation with the template."""
    highest: float
    """The highest peak, whether picked or not."""
    picker: str = DOG
    marks: Mapping[str, Marks] = {}
    """What masks that mark say, by their names."""

    @property
    def scores(self) -> NDArray[np.float32]:
        """What picks are ordered by."""
        return self.dog if self.cc is None else self.cc

    def to_dict(self) -> dict[str, object]:
        """Return the figures, without the picks themselves, as plain values."""
        return {
            "path": str(self.path),
            "picks": len(self.positions),
            "voxel_size": self.voxel_size,
            "contrast": self.verdict.contrast,
            "contrast_is_certain": bool(self.verdict.decided),
            "highest": self.highest,
            "picker": self.picker,
        }


class _Candidates(NamedTuple):
    """Places to choose among, z y x in voxels."""

    positions: NDArray[np.float64]
    dog: NDArray[np.float32]
    cc: NDArray[np.float32] | None = None

    @property
    def scores(self) -> NDArray[np.float32]:
        return self.dog if self.cc is None else self.cc

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> _Candidates:
        return _Candidates(self.positions[index], self.dog[index], None if self.cc is None else self.cc[index])


def pick(tomogram: Tomogram, settings: PickSettings, masks: Sequence[Mask] = ()) -> Picks:
    """Find the particles of one size in a tomogram, where its masks allow them.

    Raises `DataError` where the radius does not fit it, where it is constant or holds NaN, and where the template does
    not fit; `UnknownComponentError` for an unknown picker, `BrokenComponentError` for one of a package that fails.
    """
    voxel_size, radius = _radius(tomogram, settings)
    peaks, verdict = _proposed(tomogram, radius, settings)
    candidates = _candidates(peaks, tomogram.shape, radius, settings)
    if settings.template is not None:
        near = _allowed(candidates, masks, _reach(settings, voxel_size) * voxel_size * np.sqrt(3))
        candidates = _ranked(tomogram, voxel_size, near, verdict.contrast, settings)
    chosen = _chosen(_allowed(candidates, masks), voxel_size, settings)
    places = chosen.positions[:, ::-1]
    return Picks(
        path=Path(tomogram.path),
        shape=tomogram.shape,
        voxel_size=voxel_size,
        verdict=verdict,
        positions=places,
        dog=chosen.dog,
        cc=chosen.cc,
        highest=float(peaks.heights.max(initial=0)),
        picker=settings.picker,
        marks={mask.where.name: mask.marks(places) for mask in masks if mask.where.verb == "mark"},
    )


def _allowed(candidates: _Candidates, masks: Sequence[Mask], slack: float = 0.0) -> _Candidates:
    """Return the candidates where masks allow them, or may do so once they have moved by ``slack`` (Å)."""
    for mask in masks:
        candidates = candidates.take(mask.allows(candidates.positions[:, ::-1], slack))
    return candidates


def _proposed(tomogram: Tomogram, radius: float, settings: PickSettings) -> Proposal:
    component = registry.find("pickers", settings.picker)
    find = component.part()
    with component.running():
        proposal: object = find(tomogram, radius, settings.contrast)
        if not isinstance(proposal, Proposal):
            raise component.faulty(f"returns no Proposal, but a {type(proposal).__name__}")
        voxels, offsets, heights = proposal.peaks
        peaks = Peaks(np.asarray(voxels, np.int32), np.asarray(offsets, np.float32), np.asarray(heights, np.float32))
    if not (peaks.voxels.shape == peaks.offsets.shape == (len(peaks.heights), 3) and np.isfinite(peaks.heights).all()):
        raise component.faulty("returns places, offsets and finite heights that do not belong together")
    return proposal._replace(peaks=peaks)


def _radius(tomogram: Tomogram, settings: PickSettings) -> tuple[float, float]:
    """Return the voxel size and the radius in voxels, where both make sense."""
    voxel_size = tomogram.voxel_size
    if voxel_size is None:
        raise DataError(f"{tomogram.path}: has no voxel size; say --voxel-size <Å>")
    radius = settings.radius / voxel_size
    if not radius >= 1:
        raise DataError(
            f"{tomogram.path}: a radius of {settings.radius:g} Å is less than one voxel of {voxel_size:g} Å; "
            "give a larger one, or a tomogram with smaller voxels"
        )
    if 2 * radius > min(tomogram.shape):
        size = "×".join(map(str, tomogram.shape))
        raise DataError(
            f"{tomogram.path}: particles of radius {settings.radius:g} Å are {2 * radius:.1f} voxels wide and do not "
            f"fit in {size} voxels (z, y, x); check the radius and the voxel size ({voxel_size:g} Å)"
        )
    return voxel_size, radius


def _candidates(peaks: Peaks, shape: Box, radius: float, settings: PickSettings) -> _Candidates:
    """Return peaks above the threshold and off the faces: a radius apart where they will be ranked, else all."""
    margin = radius if settings.margin is None else settings.margin
    heights = peaks.heights
    good = (heights >= settings.lowest) & within_margin(peaks.voxels, shape, margin)
    positions = peaks.voxels + np.float64(settings.subvoxel) * peaks.offsets
    candidates = _Candidates(positions, heights).take(good)
    if settings.template is None:
        return candidates
    return candidates.take(suppress(candidates.positions, candidates.dog, radius))


def _ranked(
    tomogram: Tomogram, voxel_size: float, candidates: _Candidates, contrast: Contrast, settings: PickSettings
) -> _Candidates:
    """Move candidates to the voxel near them where the template fits best, and say how well it does."""
    templates = load_templates(tomogram, voxel_size, settings)
    sign = np.float32(1 if contrast == "bright" else -1)
    reach = _reach(settings, voxel_size)

    def read_box(centre: NDArray[np.int64], edge: int) -> NDArray[np.float32]:
        return sign * cut(tomogram, centre, edge)[0]

    voxels = np.rint(candidates.positions).astype(np.int64)
    found = ranking.match(read_box, voxels, templates, reach)
    return _Candidates((voxels + found.shifts).astype(np.float64), candidates.dog, found.correlations)


def _reach(settings: PickSettings, voxel_size: float) -> int:
    """Return how far a candidate moves along each axis, at most; voxels."""
    return min(max(1, round(settings.radius / voxel_size / 2)), _LONGEST_SHIFT)


def _chosen(candidates: _Candidates, voxel_size: float, settings: PickSettings) -> _Candidates:
    """Return the best that are far enough from each other."""
    distance = 2 * settings.radius if settings.distance is None else settings.distance
    chosen = candidates.take(suppress(candidates.positions, candidates.scores, distance / voxel_size))
    if settings.min_cc is not None and chosen.cc is not None:
        chosen = chosen.take(chosen.cc >= settings.min_cc)
    return chosen.take(np.arange(len(chosen.dog))[: settings.top])
