"""A data set as PyTorch's `DataLoader` takes it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.utils.data import Dataset

from cryoreg.config.calls import brief, checked
from cryoreg.contracts import SubtomogramDataset
from cryoreg.datasets.normalisation import normalise
from cryoreg.errors import CallError

UNLABELLED = -1
"""The label of a subtomogram that has none."""
Change = Callable[[Tensor], Tensor]


class TorchDataset(Dataset[tuple[Tensor, int]]):
    """Volumes and labels of a data set: (float32 (1, D, H, W), label), -1 where there is no label."""

    def __init__(self, dataset: SubtomogramDataset, normalised: bool = True, transform: Change | None = None) -> None:
        """Take a data set; see `as_torch`."""
        self.dataset, self.normalised, self.transform = dataset, normalised, transform
        self.classes = list(dataset.classes)
        self.targets = [UNLABELLED if label is None else label for label in dataset.labels]

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"{index}: the data set has {len(self)} subtomograms")
        index %= len(self)
        volume = self.dataset[index].volume.float()
        if self.normalised:
            volume = normalise(volume[None])[0]
        return volume if self.transform is None else self.transform(volume), self.targets[index]


@checked()
def as_torch(dataset: SubtomogramDataset, *, normalised: bool = True, transform: Change | None = None) -> TorchDataset:
    """Return a data set for `torch.utils.data.DataLoader`, with workers or without: pairs of a volume and its label.

    Volumes are float32 (1, D, H, W), labels index ``classes``, -1 where unknown; ``targets`` has all of them. With
    ``normalised`` each volume has mean 0 and standard deviation 1, as all networks of cryoreg were trained with; a
    constant one is 0. Else they are as stored. ``transform`` changes a volume after that.
    """
    if not isinstance(dataset, SubtomogramDataset):
        raise CallError(
            f"as_torch() needs an open data set, not {brief(dataset)}: cryoreg.open_dataset(PATH), "
            "or cryoreg.create_dataset(NAME, ...)"
        )
    return TorchDataset(dataset, normalised, transform)
