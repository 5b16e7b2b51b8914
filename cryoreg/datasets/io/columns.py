"""Columns of tables as what is needed of them: numbers, triples of numbers, texts, classes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import infer_dtype

from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.unlabelled import names_no_class

_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")


def numbers(path: str | Path, table: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """Return a column as finite numbers; raise `DataError`, with the first bad row, where it has others."""
    values = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    bad = np.arange(len(table)) if table[column].dtype == bool else np.flatnonzero(~np.isfinite(values))
    if len(bad):
        cell = str(table[column].iloc[bad[0]])
        what = "write a decimal point and no comma" if _DECIMAL_COMMA.fullmatch(cell) else "mend the row"
        refuse(path, f"has '{cell}' for {column} in row {bad[0]}, not a number; {what}")
    return values


def triples(path: str | Path, table: pd.DataFrame, columns: Iterable[str]) -> NDArray[np.float64] | None:
    """Return three columns of numbers, (N, 3); None where none of them is there, a `DataError` where some are."""
    names = list(columns)
    missing = [name for name in names if name not in table]
    if len(missing) == len(names):
        return None
    if missing:
        refuse(path, f"has no column {missing[0]}, though it has others of {', '.join(names)}; export it again")
    return np.stack([numbers(path, table, name) for name in names], axis=1)


def check_spelling(path: str | Path, columns: Iterable[str], words: Mapping[str, str]) -> None:
    """Raise `DataError` where a column is one of ``words``, keyed in lower case, but for capitals."""
    for column in columns:
        word = words.get(column.lower(), column)
        if word != column:
            refuse(path, f"has a column '{column}', which is spelt {word}; rename it")


def each_of(column: pd.Series[Any], word: Callable[[Any], str]) -> list[str | None]:
    """Return what ``word`` makes of each value of a column, None where it is missing; each value is asked once."""
    if column.dtype == object and infer_dtype(column, skipna=True) != "string":  # 1 and True count as one value
        return [None if pd.isna(value) else word(value) for value in column]
    codes, values = pd.factorize(column)
    words = [*map(word, values.tolist()), None]
    return [words[code] for code in codes.tolist()]


def natural_order(name: str) -> tuple[bool, float, str]:
    """Sort numbers by value, before text."""
    try:
        return (False, float(name), name)
    except ValueError:
        return (True, 0.0, name)


def class_name(value: Any) -> str:
    """Write a value of a table as the name of a class; empty where there is none."""
    name = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
    return "" if names_no_class(name) else name


def positive(path: str, column: str, sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values that must be positive; raise `DataError`, with the first row where one is not."""
    bad = np.flatnonzero(~(sizes > 0))
    if len(bad):
        refuse(path, f"has {sizes[bad[0]]:g} for {column} in row {bad[0]}, which must be positive; mend the row")
    return sizes


def first_of(table: pd.DataFrame, columns: Sequence[str]) -> str | None:
    """Return the first of some columns that a table has."""
    return next((column for column in columns if column in table), None)


def varied(table: pd.DataFrame, columns: Sequence[str]) -> str | None:
    """Return the first of some columns that has more than one value."""
    return next((column for column in columns if column in table and table[column].nunique() > 1), None)


def texts(table: pd.DataFrame, column: str | None) -> list[str | None]:
    """Return a column as text, None where it is empty; of no column, None for each row."""
    if column is None:
        return [None] * len(table)
    return [text or None for text in each_of(table[column], lambda value: str(value).strip())]


def tomogram_names(table: pd.DataFrame, column: str | None) -> list[str | None]:
    """Return the names or paths of tomograms, with the slashes of this system where Windows wrote others."""
    return [name and name.replace("\\", "/") for name in texts(table, column)]
