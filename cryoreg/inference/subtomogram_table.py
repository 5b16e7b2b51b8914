"""Tables with a row for each subtomogram, as CSV or Parquet: a column means the same in all of them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from cryoreg.contracts import Subtomograms
from cryoreg.datasets.label_lists import LIST_ROWS
from cryoreg.datasets.origins import known_origins
from cryoreg.datasets.rows_of_lists import rows_of_each
from cryoreg.files import cell, readable

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {
    "id": "of the subtomogram",
    "file": "that holds or lists it",
    "row": "its place in the file, counted from 0; empty where it is the only one",
    "tomogram": "that it was cut from, where known",
    "list_rows": "a digest of the rows of that file, where it is a list: by which it is known from a later one",
    "split": "train, val or test; empty for data that the run did not split",
    "label": "the class that the data say; empty where unlabelled",
    "prediction": "the class that the network says",
    "class_number": "of the prediction, as in a STAR file",
    "confidence": "probability of the prediction, or of the cluster",
    "unsure": "1 where the confidence is below the threshold",
    "familiarity": "share of validation subtomograms that are at least as strange to the network",
    "none_of_these": "1 where that is at most 0.05: it may be none of the classes",
    "drift": "in what its tomogram, or all of the data, differ from those of training; empty where in nothing",
    "cluster": "its number, from 1",
    "distance": "from the cluster's centre",
    "fold": "of a cross-validation, from 1: what is said is by the model that was not shown this fold",
}
"""Name -> what it holds, in the order of all tables; probabilities of classes and features come after these."""
_TEXT = ("id", "file", "tomogram", LIST_ROWS, "split", "label", "prediction", "drift")
_COUNTS = ("row", "fold", "class_number", "unsure", "none_of_these", "cluster")
Columns = Mapping[str, Sequence[object]]
"""Name -> a value for each subtomogram, None where unknown."""


def places(dataset: Subtomograms, samples: Sequence[int] | None = None) -> dict[str, list[Any]]:
    """Return id, file, row and tomogram of subtomograms by index; None: of all."""
    chosen, origins = range(len(dataset)) if samples is None else samples, known_origins(dataset)
    return {
        "id": [readable(dataset.ids[index]) for index in chosen],
        "file": [readable(origins[index].file) if origins else None for index in chosen],
        "row": [origins[index].row if origins else None for index in chosen],
        "tomogram": [readable(dataset.groups[index]) for index in chosen],
    }


def places_kept(dataset: Subtomograms, samples: Sequence[int] | None = None) -> dict[str, list[Any]]:
    """Return `places` for a table that is read back, with a digest of the lists among its files, where there are any.

    A list may be written anew by then, under the name that it has.
    """
    found = places(dataset, samples)
    digests = rows_of_each(dataset, found["file"])
    if not digests.keys() & {*found["file"]}:
        return found
    return {**found, LIST_ROWS: [digests.get(file) for file in found["file"]]}


def labels(dataset: Subtomograms, samples: Sequence[int] | None = None) -> dict[str, list[Any]]:
    """Return the names of the classes that a data set says of subtomograms by index; None: of all."""
    chosen = dataset.labels if samples is None else [dataset.labels[index] for index in samples]
    return {"label": [None if label is None else readable(dataset.classes[label]) for label in chosen]}


def csv_text(columns: Columns) -> str:
    """Return a table as CSV; what is unknown stays empty, and no cell is a formula."""
    text = io.StringIO()
    _write_csv(columns, text)
    return text.getvalue()


def write_csv(columns: Columns, file: BinaryIO) -> None:
    """Write a table as `csv_text` returns it."""
    text = io.TextIOWrapper(file, "utf-8", newline="")
    _write_csv(columns, text)
    text.detach()  # closing it would close the file


def write_parquet(columns: Columns, file: BinaryIO, metadata: Mapping[bytes, bytes] | None = None) -> None:
    """Write a table as Parquet; what is unknown is null."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = dict.fromkeys(_TEXT, pa.string()) | dict.fromkeys(_COUNTS, pa.int64())
    arrays = {name: pa.array(values, types.get(name)) for name, values in columns.items()}
    pq.write_table(pa.table(arrays).replace_schema_metadata(metadata), file)


def frame(columns: Columns) -> pd.DataFrame:
    """Return a table of pandas; what is unknown is NA."""
    import pandas as pd

    return pd.DataFrame(dict(columns)).astype(dict.fromkeys(columns.keys() & {*_COUNTS}, "Int64"))


def _write_csv(columns: Columns, text: io.TextIOBase) -> None:
    table = frame(columns)
    for name in columns.keys() & {*_TEXT}:
        table[name] = table[name].map(cell, na_action="ignore")
    table.to_csv(text, index=False, lineterminator="\n")
