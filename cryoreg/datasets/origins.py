"""Where subtomograms come from."""

from __future__ import annotations

from cryoreg.contracts import Origin, SubtomogramDataset


def origins_of(dataset: SubtomogramDataset) -> list[Origin]:
    """Return the file and row of each subtomogram; its id where the data set does not know."""
    told = getattr(dataset, "origin", None)
    return [told(index) if told else Origin(dataset.ids[index]) for index in range(len(dataset))]
