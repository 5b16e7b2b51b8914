"""Some samples of a data set, in groups of one's own: what splits look at."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np


class Divisible(Protocol):
    """What a split looks at."""

    @property
    def classes(self) -> Sequence[str]:
        """As of a data set, and so are the others."""
        ...

    @property
    def labels(self) -> Sequence[int | None]:
        """The class of each."""
        ...

    @property
    def ids(self) -> Sequence[str]:
        """The name of each."""
        ...

    @property
    def groups(self) -> Sequence[str | None]:
        """What each stays together with."""
        ...

    @property
    def duplicates(self) -> Sequence[Hashable | None] | None:
        """The key that identical ones share."""
        ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Some:
    """Some samples of a data set; ``units`` says in the plural what their groups are."""

    classes: Sequence[str]
    labels: Sequence[int | None]
    ids: Sequence[str]
    groups: Sequence[str | None]
    duplicates: Sequence[Hashable | None] | None
    units: str = "tomograms"

    @classmethod
    def of(cls, dataset: Divisible, chosen: Sequence[int]) -> Self:
        """Return those of a data set that are chosen by index, in that order."""
        keys = dataset.duplicates
        return cls(
            dataset.classes,
            [dataset.labels[index] for index in chosen],
            [dataset.ids[index] for index in chosen],
            [dataset.groups[index] for index in chosen],
            None if keys is None else [keys[index] for index in chosen],
            units_of(dataset),
        )

    def grouped(self, groups: Sequence[str | None], units: str) -> Self:
        """Return the same in other groups."""
        return replace(self, groups=groups, units=units)

    def __len__(self) -> int:
        return len(self.ids)


def units_of(dataset: Divisible) -> str:
    """Return what the groups of a data set are, in the plural."""
    return dataset.units if isinstance(dataset, Some) else "tomograms"


def labelled_of(dataset: Divisible) -> np.ndarray:
    """Return the indices of those that have a label, in the order of the data set."""
    return np.array([index for index, label in enumerate(dataset.labels) if label is not None], np.int64)
