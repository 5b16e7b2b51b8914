"""The formats of predictions: those that cryoreg brings, and which one a file is written in. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cryoreg import registry
from cryoreg.errors import AmbiguousComponentError, BrokenComponentError, ConfigError, UnknownComponentError
from cryoreg.seams import Writer

if TYPE_CHECKING:
    from cryoreg.contracts import Subtomograms
    from cryoreg.predictions import Predictions

    Write = Callable[[Predictions], str | bytes]


class StarWriter(Writer):
    """STAR: the list that the data come from with all that it had, or a new one of MRC files.

    Class number, name, confidence and unsure are columns of it.
    """

    suffix = ".star"

    def prepare(self, output: Path, dataset: Subtomograms, classes: Sequence[str]) -> Write:
        """Raise `DataError` where the data are of no one list, or STAR cannot hold a name."""
        from cryoreg.inference.prediction_files import prepare_star

        return prepare_star(output, dataset, classes)


class CsvWriter(Writer):
    """CSV: a row for each subtomogram, with its place, its label, the prediction and all probabilities."""

    suffix = ".csv"

    def prepare(self, output: Path, dataset: Subtomograms, classes: Sequence[str]) -> Write:
        """Take any data."""
        from cryoreg.inference.prediction_files import predictions_csv

        return partial(predictions_csv, dataset)


class DynamoWriter(Writer):
    """Dynamo table: the one that the data come from, with the class number in column 22."""

    suffix = ".tbl"

    def prepare(self, output: Path, dataset: Subtomograms, classes: Sequence[str]) -> Write:
        """Raise `DataError` where the data are not of one table."""
        from cryoreg.inference.prediction_files import prepare_dynamo

        return prepare_dynamo(output, dataset)


class ListWriter(Writer):
    """The list that the data come from, of any program, with the class in its own place and nothing else changed.

    For ``--format list``, as ".csv" alone means a table of predictions.
    """

    suffix = ".csv"

    def prepare(self, output: Path, dataset: Subtomograms, classes: Sequence[str]) -> Write:
        """Raise `DataError` where the data are not of one list, or of one that has no place for a class."""
        from cryoreg.inference.kept_lists import prepare_kept

        return prepare_kept(output, dataset, classes)


def prepare_writer(
    output: Path, name: str | None, dataset: Subtomograms, classes: Sequence[str] = ()
) -> Callable[[Predictions], bytes]:
    """Return what turns predictions for ``dataset`` into the content of ``output``, having made sure that it can.

    The format is that of the writer ``name``, or else of the file's ending. Raises `ConfigError` where no writer
    or several have that ending, what `Writer.prepare` raises, and `BrokenComponentError` where a package's code fails.
    """
    component = _chosen(output, name)
    part: type[Writer] = component.part()
    with component.running():
        write = part().prepare(output, dataset, classes)
    return lambda predictions: _as_bytes(component, write, predictions)


def notes_on_files(output: Path, name: str | None, dataset: Subtomograms) -> list[str]:
    """Return notes on files that a list names and that are not found from where it is written with classes.

    Of a writer that keeps the list that the data come from. Raises `DataError` where a name would lead to another file.
    """
    if not issubclass(_chosen(output, name).part(), (StarWriter, DynamoWriter, ListWriter)):
        return []
    from cryoreg.inference.moved_names import notes_on_kept

    return notes_on_kept(output, dataset)


class Suffixes(NamedTuple):
    """What the endings of files mean."""

    owners: dict[str, list[registry.Component]]
    """Each ending with the writers that have it; where cryoreg's own has it, with the first of these alone."""
    unasked: str
    """The end of a line that finds an ending in none: which writers cannot be loaded; empty where all can."""


def suffixes() -> Suffixes:
    """Return the endings that files of predictions may have; a writer that cannot be loaded hides no other."""
    owners: dict[str, list[registry.Component]] = {}
    broken = []
    for component in sorted(registry.components("writers"), key=lambda each: not each.builtin):
        try:
            known = owners.setdefault(component.part().suffix, [])
        except BrokenComponentError:
            broken.append(component.qualified)
            continue
        if not any(owner.builtin for owner in known):
            known.append(component)
    unasked = f" ({', '.join(broken)} cannot be asked: `cryoreg doctor`)" if broken else ""
    return Suffixes(dict(sorted(owners.items())), unasked)


def _chosen(output: Path, name: str | None) -> registry.Component:
    return _by_suffix(output) if name is None else _by_name(name)


def _by_name(name: str) -> registry.Component:
    try:
        return registry.find("writers", name)
    except UnknownComponentError as error:
        raise ConfigError(f"--format: no format has that name: {error}") from error


def _by_suffix(output: Path) -> registry.Component:
    known, unasked = suffixes()
    owners = known.get(output.suffix.lower(), [])
    if not owners:
        best_first = ", ".join(sorted(known, key=lambda suffix: suffix != StarWriter.suffix))
        raise ConfigError(f"{output}: '{output.suffix}' is no format to write; use {best_first} or --format{unasked}")
    if len(owners) > 1:
        names = " or ".join(owner.reference for owner in owners)
        raise AmbiguousComponentError(f"{output}: several packages write '{output.suffix}'; say --format {names}")
    return owners[0]


def _as_bytes(component: registry.Component, write: Write, predictions: Predictions) -> bytes:
    with component.running():
        content: object = write(predictions)
    if not isinstance(content, (str, bytes)):
        raise component.faulty(f"writes neither str nor bytes, but a {type(content).__name__}")
    return content.encode(errors="surrogateescape") if isinstance(content, str) else content
