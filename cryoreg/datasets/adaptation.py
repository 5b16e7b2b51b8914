"""Data as a network knows them: brought to its voxel size, box and contrast; what is done or left is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from cryoreg.config.settings import InputSettings
from cryoreg.contracts import Box, Contrast, Sample, SubtomogramDataset, Subtomograms
from cryoreg.datasets.io.voxel_sizes import same_size
from cryoreg.datasets.resampling import resampled_weight, sample_box
from cryoreg.errors import DataError, MixedVoxelSizesError
from cryoreg.specs import DatasetSpec
from cryoreg.wrapped import Wrapped, with_defaults

TOLD = ("voxel_size", "rescale_to", "contrast", "tilt_range", "tilt_axis")
"""What a user says of files, and of no others."""


class Adapted(Wrapped):
    """A data set served at another voxel size, in another box, with the other contrast.

    The voxel at index edge // 2 stays in place. Volumes are resampled and cut in one step, so that nothing is lost that
    the new box holds; what it has beyond a volume is filled with the mean of what is there. All else that is known
    (classes, labels, ids, groups, origins, duplicates) is kept, and clean copies are served likewise.
    """

    def __init__(
        self, dataset: SubtomogramDataset, voxel_size: float | None, box: Box, contrast: Contrast | None
    ) -> None:
        """Take a data set and what is to be served; ``voxel_size`` (Å) and ``contrast`` None: the data set's own.

        Only what the data set knows of itself can be made something else.
        """
        super().__init__(dataset)
        self._told = (voxel_size, box, contrast)
        self._step, self._sign = 1.0, 1.0
        if voxel_size and self.voxel_size:
            self._step, self.voxel_size = voxel_size / self.voxel_size, voxel_size
        if contrast and self.contrast and contrast != self.contrast:
            self._sign, self.contrast = -1.0, contrast
        self._axes = [_axis(old, new, self._step) for old, new in zip(self.box, box, strict=True)]
        self.box = box

    @cached_property
    def clean(self) -> Adapted | None:
        """The noise-free copies, served likewise; None where there are none."""
        copies = super().clean
        return None if copies is None else Adapted(copies, *self._told)

    @cached_property
    def columns(self) -> Mapping[str, NDArray[Any]]:
        """Further values of each subtomogram, (N, ...) each; none once it is resampled, as some are in voxels."""
        return super().columns if self._step == 1 else {}

    def __getitem__(self, index: int) -> Sample:
        """Read one subtomogram."""
        sample = self.dataset[index]
        volume = torch.from_numpy(self._brought(sample.volume[0].numpy()))
        weight = resampled_weight(sample.weight, self.dataset.box, self.box, self._step)
        return Sample(self._sign * volume[None], sample.label, sample.id, sample.group, weight)

    def _brought(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._step == 1 and volume.shape == self.box:
            return volume
        depth, height, width = (axis.kept for axis in self._axes)
        part = sample_box(volume, [axis.centre for axis in self._axes], (depth, height, width), self._step)
        served = np.full(self.box, part.mean(dtype=np.float64), dtype=np.float32)
        served[tuple(slice(axis.first, axis.first + axis.kept) for axis in self._axes)] = part
        return served


class _Axis(NamedTuple):
    """The voxels of a new edge that lie within the old one."""

    first: int
    kept: int
    centre: float
    """Where the one at ``kept // 2`` of them lies, in old voxels."""


def _axis(old: int, new: int, step: float) -> _Axis:
    """Return which of ``new`` voxels, ``step`` old ones apart and edge // 2 upon edge // 2, lie within ``old``."""
    places = old // 2 + step * (np.arange(new) - new // 2)
    inside = np.flatnonzero((places >= -0.5) & (places <= old - 0.5))
    return _Axis(int(inside[0]), len(inside), float(places[inside[len(inside) // 2]]))


def load_adapted(spec: DatasetSpec, wanted: InputSettings) -> Subtomograms:
    """Open a data set as it is ``wanted``: with its own labels or those of a list, brought to voxel size and box."""
    dataset = _load(spec, wanted)
    if not wanted.labels_from:
        return dataset
    from cryoreg.datasets.label_lists import with_labels  # which needs pandas

    return with_labels(dataset, wanted.labels_from, wanted.label)


def _load(spec: DatasetSpec, wanted: InputSettings) -> Subtomograms:
    """Adapt as `adapt` does, or by its reader where that cuts boxes, or mixes sizes.

    What the user says wins: where the spec has a ``rescale_to`` that is not the wanted voxel size, grids are left.
    """
    try:
        dataset = spec.load()
    except MixedVoxelSizesError:
        if wanted.voxel_size is None:
            raise
        alike = _load(spec.model_copy(update={"rescale_to": wanted.voxel_size}), wanted)
        return with_notes(alike, [f"mixed voxel sizes are brought to {wanted.voxel_size:.4g} Å"])
    if getattr(spec, "rescale_to", None) and wanted.voxel_size and not _is_size(dataset, wanted):
        return adapt(dataset, wanted.model_copy(update={"voxel_size": None, "box": None}))
    grid = _of_grid(dataset, wanted)
    if grid and (recut := spec.cut_to(_new_size(dataset, wanted), wanted.box or dataset.box)) is not None:
        return with_notes(adapt(recut.load(), wanted), [f"{grid}, cut anew"])
    return adapt(dataset, wanted)


def adapt(dataset: SubtomogramDataset, wanted: InputSettings) -> Subtomograms:
    """Return a data set with the wanted voxel size, box and contrast: itself where it has them.

    Its notes say what is done. Where voxel size or contrast of the data is not known, they are left as they are. Raises
    `DataError` where boxes differ and cannot be compared, as the voxel size is not known.
    """
    known = with_defaults(dataset)
    notes = [note for note in (_of_grid(known, wanted), _of_contrast(known, wanted)) if note]
    if not notes:
        return known
    adapted = Adapted(known, _new_size(known, wanted), wanted.box or known.box, wanted.contrast)
    return with_notes(adapted, notes)


def with_notes(dataset: Subtomograms, notes: Sequence[str]) -> Subtomograms:
    """Return a data set that says more of itself."""
    served = Wrapped(dataset)
    served.notes = [*served.notes, *notes]
    return served


def _of_grid(dataset: Subtomograms, wanted: InputSettings) -> str:
    """Return what is done to voxels and boxes, in words; empty where nothing is. Raises as `adapt` does."""
    here, there, box = dataset.voxel_size, wanted.voxel_size, wanted.box
    other_box = box is not None and box != dataset.box
    if there and not here and other_box:
        raise DataError(
            f"boxes of {size(dataset.box)} voxels cannot be made {size(box or dataset.box)} of {there:.4g} Å, as the "
            "network has them: the voxel size of the data is not known; say --set dataset.voxel_size=<Å>"
        )
    done = [f"voxels of {here:.4g} Å are brought to {there:.4g} Å"] if _new_size(dataset, wanted) else []
    if other_box:
        done.append(f"boxes of {size(dataset.box)} {'' if done else 'are brought '}to {size(box or ())} voxels")
    return ", ".join(done)


def _of_contrast(dataset: Subtomograms, wanted: InputSettings) -> str:
    here, there = dataset.contrast, wanted.contrast
    return f"density is {here} in the data, and made {there}" if here and there and here != there else ""


def _new_size(dataset: Subtomograms, wanted: InputSettings) -> float | None:
    """Return the voxel size to resample to, Å; None where that is not known, or none other than the data's."""
    known = dataset.voxel_size and wanted.voxel_size
    return wanted.voxel_size if known and not _is_size(dataset, wanted) else None


def _is_size(dataset: Subtomograms, wanted: InputSettings) -> bool:
    return same_size(dataset.voxel_size, wanted.voxel_size)


def differences(dataset: Subtomograms, card: Mapping[str, Any]) -> list[str]:
    """Return a line for each way in which a data set, as it is served, is not what a network was trained on.

    ``card`` is that of its weights: voxel_size (Å or None), box (voxels), contrast and tilt_axis, where known.
    """
    here, there = dataset.voxel_size, card["voxel_size"]
    lines = []
    if here and there and not same_size(here, there):
        lines.append(f"voxels are {here:.4g} Å, trained on {there:.4g} Å")
    elif bool(here) != bool(there):
        known, unknown = ("the training data", "these data") if there else ("these data", "the training data")
        lines.append(f"the voxel size of {known} is known, that of {unknown} is not; make sure they agree")
    if list(dataset.box) != list(card["box"]):
        lines.append(f"boxes are {size(dataset.box)} voxels, trained on {size(card['box'])}")
    if card.get("contrast") and not dataset.contrast:
        lines.append(f"density is {card['contrast']} in the training data, and not known here; {_SAY_DARK}")
    if dataset.contrast and not card.get("contrast"):
        lines.append(f"density is {dataset.contrast} here, and not known of the training data; make sure they agree")
    for name, meaning in (("contrast", "density is"), ("tilt_axis", "the tilt axis is")):
        one, other = getattr(dataset, name), card.get(name)
        if one and other and one != other:
            lines.append(f"{meaning} {one} here, {other} in the training data")
    return lines


_SAY_DARK = "where it is dark, say --set dataset.contrast=dark"


def size(box: Sequence[int]) -> str:
    """Return a box as text: 32 for a cube, else 16×32×32."""
    return str(box[0]) if len(set(box)) == 1 else "×".join(map(str, box))
