"""A data set around another one: what is known of the one is known of the other."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar

from numpy.typing import NDArray

from cryoreg.contracts import Origin, Sample, SubtomogramDataset, Subtomograms

T = TypeVar("T")


class Wrapped(Subtomograms):
    """A data set around another one, of which all that is known is known of this."""

    def __init__(self, dataset: SubtomogramDataset) -> None:
        """Take any data set; what it lacks of `Subtomograms` has the default."""
        self.dataset = dataset
        self.classes, self.labels = dataset.classes, dataset.labels
        self.ids, self.groups = dataset.ids, dataset.groups
        self.voxel_size, self.box = dataset.voxel_size, dataset.box
        self.contrast = getattr(dataset, "contrast", None)
        self.tilt_range, self.tilt_axis = getattr(dataset, "tilt_range", None), getattr(dataset, "tilt_axis", None)
        self.positions = getattr(dataset, "positions", None)
        self.notes = getattr(dataset, "notes", ())
        self.simulated, self.weighted = getattr(dataset, "simulated", False), getattr(dataset, "weighted", False)
        self.optimisation_set = getattr(dataset, "optimisation_set", None)

    @cached_property
    def clean(self) -> SubtomogramDataset | None:
        """The noise-free copies; looked for at first use, as they may have to be made."""
        return getattr(self.dataset, "clean", None)

    @cached_property
    def lists(self) -> Mapping[str, str]:
        """The digests of lists; looked for at first use."""
        return getattr(self.dataset, "lists", {})

    @cached_property
    def duplicates(self) -> Sequence[Hashable] | None:
        """The keys that identical subtomograms share; looked for at first use."""
        return getattr(self.dataset, "duplicates", None)

    @cached_property
    def columns(self) -> Mapping[str, NDArray[Any]]:
        """Further values of each subtomogram; read at first use."""
        return getattr(self.dataset, "columns", {})

    def origin(self, index: int) -> Origin | None:
        """Return the file and row of a subtomogram."""
        told = getattr(self.dataset, "origin", super().origin)
        return told(index)

    def prefetch(self, indices: Iterable[int]) -> None:
        """Pass the hint on."""
        announce = getattr(self.dataset, "prefetch", super().prefetch)
        announce(indices)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        return self.dataset[index]


def with_defaults(dataset: SubtomogramDataset) -> Subtomograms:
    """Return a data set with a default for all that it does not know: itself, where it is of that class."""
    return dataset if isinstance(dataset, Subtomograms) else Wrapped(dataset)


def within(dataset: object, kind: type[T]) -> T | None:
    """Return the data set of a kind that a data set is, or stands around; None where there is none."""
    while dataset is not None and not isinstance(dataset, kind):
        dataset = getattr(dataset, "dataset", None)
    return dataset
