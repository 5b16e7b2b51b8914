"""Data sets and results as tables of other libraries: pandas, AnnData."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from cryoreg.config.calls import brief, checked
from cryoreg.contracts import SubtomogramDataset, Subtomograms
from cryoreg.errors import CallError, ConfigError
from cryoreg.inference.embedding import Embedding
from cryoreg.inference.subtomogram_table import frame, labels, places
from cryoreg.wrapped import with_defaults

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


@runtime_checkable
class Tabular(Protocol):
    """A result with a value in each column for each subtomogram."""

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """Return the columns by name."""
        ...


@checked()
def to_pandas(found: SubtomogramDataset | Tabular) -> pd.DataFrame:
    """Return a data set or a result as a table of pandas, a row for each subtomogram.

    A data set gives id, file, row, tomogram, label and its further columns; what `embed`, `predict`, `evaluate`,
    `cluster` and `pick` return gives the columns that these write as CSV, features and probabilities among them. What
    is unknown is missing (NA).
    """
    if isinstance(found, SubtomogramDataset):
        return frame(_of_dataset(with_defaults(found)))
    if isinstance(found, Tabular):
        return frame(found.columns())
    raise CallError(
        f"to_pandas() takes a data set, or what embed, predict, evaluate, cluster and pick return, not {brief(found)}"
    )


def _of_dataset(dataset: Subtomograms) -> dict[str, Any]:
    further = {name: values for name, values in dataset.columns.items() if np.ndim(values) == 1}
    return {**further, **places(dataset), **labels(dataset)}


@checked()
def to_anndata(embedding: Embedding) -> AnnData:
    """Return what `embed` returns as AnnData, for scanpy and its kin.

    ``X`` (N, num_features) has the features, ``obs`` all else that is known of each subtomogram, by its id; of a
    classifier, ``obsm["logits"]`` (N, classes), whose classes are ``uns["classes"]``; ``uns["card"]`` says, as JSON,
    what the network is. Raises `ConfigError` where anndata is not installed.
    """
    if not isinstance(embedding, Embedding):
        raise CallError(f"to_anndata() takes what cryoreg.embed returns, not {brief(embedding)}")
    try:
        import anndata
    except ImportError as error:
        raise ConfigError(f'to_anndata() needs {error.name}; pip install "cryoreg[anndata]"') from None
    known = frame(embedding.known()).set_index("id").dropna(axis="columns", how="all")  # which h5ad cannot hold
    names = [f"f{number:04d}" for number in range(embedding.features.shape[1])]
    found = anndata.AnnData(embedding.features, obs=known)
    found.var_names = names
    found.uns["card"] = json.dumps(embedding.card)
    if embedding.logits is not None:
        found.obsm["logits"] = embedding.logits
        found.uns["classes"] = embedding.classes
    return found
