"""What every reader owes to bad input: one line that names the file and says what to do, and untouched files."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cryoreg.contracts import SubtomogramDataset
from cryoreg.errors import DataError
from support.mrc_writing import open_files, state


def refused(use: Callable[[], object], *phrases: str, root: Path) -> str:
    """Assert that ``use`` ends in a `DataError` of one line with these phrases, leaving files below ``root`` alone."""
    before, files = (state(root), open_files()) if root.exists() else ({}, open_files())
    message = _message(use)
    assert len(message.splitlines()) == 1
    assert "; " in message, "no word on what to do"
    for phrase in (root.name, *phrases):
        assert phrase in message
    assert open_files() <= files
    assert (state(root) if root.exists() else {}) == before
    return message


def _message(use: Callable[[], object]) -> str:
    """Return the message alone: the error's traceback would keep what the reader had open."""
    try:
        use()
    except DataError as error:
        return str(error)
    pytest.fail("nothing was refused")


def check_dataset(dataset: SubtomogramDataset, volumes: list[np.ndarray], root: Path) -> None:
    """Assert that a data set, and its pickled copy, serve these volumes, and that reading leaves no trace."""
    before, files = state(root), open_files()
    assert isinstance(dataset, SubtomogramDataset)
    assert len(dataset) == len(volumes) == len(set(dataset.ids)) == len(dataset.labels) == len(dataset.groups)
    for served in (dataset, pickle.loads(pickle.dumps(dataset))):
        for index, volume in enumerate(volumes):
            sample = served[index]
            assert sample.volume.shape == (1, *dataset.box)
            np.testing.assert_array_equal(sample.volume[0], volume.astype(np.float32))
            assert (sample.id, sample.label) == (dataset.ids[index], dataset.labels[index])
    places = {(dataset.origin(i).file, dataset.origin(i).row) for i in range(len(dataset))}
    assert len(places) == len(dataset)
    assert state(root) == before
    assert open_files() == files
