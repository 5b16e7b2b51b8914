"""What is shown: particles of a list, or of a run's data, with their classes, in their tomograms."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryoreg.config import Layer, Project, absolute
from cryoreg.datasets.io.class_columns import class_labels
from cryoreg.datasets.io.columns import natural_order
from cryoreg.datasets.particles.sniffing import folder_of, lists_in, why_no_lists
from cryoreg.datasets.readers.listed_places import listed_places
from cryoreg.datasets.readers.tomogram import group_of
from cryoreg.datasets.rows_of_lists import agree, rows_of
from cryoreg.datasets.specs import StoreSpec
from cryoreg.datasets.tomograms.files import Tomogram
from cryoreg.datasets.tomograms.telling_apart import tell_apart
from cryoreg.errors import ConfigError, DataError
from cryoreg.inference.predict import classify
from cryoreg.inference.trained import Trained
from cryoreg.labelling.opening import is_run
from cryoreg.labelling.whereabouts import whereabouts_of
from cryoreg.runs.weights import CLASSIFIER_FILE
from cryoreg.seams import Shown
from cryoreg.selection import listed
from cryoreg.selection.listed import Listed

RADIUS = 80.0
"""Å, of a particle that is sure, or of which nobody says how sure."""
_LEAST = 0.4
"""The radius of one that is not sure at all, as a share of that."""
_ORIGIN = ("file", "row")
"""Columns of tables of subtomograms that say which row of which list each is."""
_COLOURS = (
    *((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167)),
    *((31, 119, 180), (44, 160, 44), (214, 39, 40), (148, 103, 189), (140, 86, 75), (188, 189, 34), (23, 190, 207)),
)
"""Okabe and Ito's, which the colour-blind can tell apart, then others; they are taken in turn."""
_GREY = (150, 150, 150)


class Told(NamedTuple):
    """What the user says of a source."""

    tomograms: Path | None = None
    """The folder of the tomograms, where they are not beside the list."""
    voxel_size: float | None = None
    """Å, of the tomograms."""
    coordinate_size: float | None = None
    """Å per unit of the coordinates."""
    class_column: str | None = None
    data: Path | None = None
    """What a run's classifier is to be shown, instead of its own data."""
    radius: float = RADIUS
    project: Project | None = None
    """It says of tomograms what is not said here."""

    def of_tomograms(self) -> dict[str, object]:
        """Return what is said of tomograms, as settings of the reader that cuts boxes out of them."""
        said = {key: getattr(self, key) for key in ("tomograms", "voxel_size", "coordinate_size")}
        return {key: value for key, value in said.items() if value is not None}


class Particles(NamedTuple):
    """N particles."""

    tomograms: Sequence[Tomogram]
    which: NDArray[np.int64]
    """(N,): the number of each one's tomogram."""
    places: NDArray[np.float64]
    """(N, 3): x, y, z in voxels there."""
    ids: Sequence[str]
    classes: Sequence[str]
    confidences: Sequence[float | None]
    rows: Sequence[tuple[str, int]] = ()
    """The list and the row there of each, where they are of lists."""


def open_source(source: Path, told: Told, say: Callable[[str], object] = lambda line: None) -> list[Shown]:
    """Return what is to be shown of a list, a table of predictions or clusters, a store or a run, by tomogram.

    Raises a `CryoregError`, one line, where places or tomograms are not known.
    """
    run = source.is_dir() and not lists_in(source)
    store = bool(not source.is_dir() and StoreSpec.fits(source))
    if told.class_column is not None and (store or run):
        raise ConfigError(f"--class-column {told.class_column}: goes with a list, and {source} is none")
    if run and not is_run(source) and not (source / CLASSIFIER_FILE).is_file():
        raise DataError(f"{source}: is neither a run nor a folder of particle lists ({why_no_lists(source)})")
    if run:
        particles = _of_run(source, told, say)
    elif told.data is not None:
        raise ConfigError(f"--data {told.data}: goes with a run, and {source} is none")
    elif store:
        particles = _of_store(source, told, say)
    else:
        particles = _of_table(source, told, say) or _of_list(source, told, say)
    return list(_shown(particles, told.radius))


def _of_list(path: Path, told: Told, say: Callable[[str], object]) -> Particles:
    list_, placed, places, notes = listed_places(path, *told[:3], told.project)
    for note in notes:
        say(f"note: {note}")
    which = np.empty(len(places), dtype=np.int64)
    for number, each in enumerate(placed):
        which[each.rows] = number
    tomograms = [each.tomogram for each in placed]
    if listed.can_be_kept(path):
        return Particles(tomograms, which, places, *_said(Listed.read(str(path)), told.class_column), list_.rows)
    names, labels = class_labels(path, list_.columns, told.class_column or list_.label)
    named = [group_of(list_.named[each.rows[0]], each.tomogram) for each in placed]
    ids = [f"{named[number]}/{row}" for number, (_, row) in zip(which, list_.rows, strict=True)]
    classes = ["" if label is None else names[label] for label in labels]
    return Particles(tomograms, which, places, ids, classes, [None] * len(ids), list_.rows)


def _said(table: Listed, class_column: str | None) -> tuple[list[str], list[str], list[float | None]]:
    """Return ids, classes and confidences of a list."""
    column = table.column(listed.CONFIDENCE)
    sure = [None] * len(table) if column is None else table.shares([column], "confidence").tolist()
    return table.ids(), [name or "" for name in table.classes(class_column)], sure


def _of_table(path: Path, told: Told, say: Callable[[str], object]) -> Particles | None:
    """Return the particles of a table that names rows of lists, as `predict` and `cluster` write; None of others."""
    if path.suffix.lower() not in listed.TEXTS or not listed.can_be_kept(path):
        return None
    table = Listed.read(str(path))
    if not set(_ORIGIN) <= set(table.table) or {"x", "y", "z"} <= set(table.table):
        return None
    files = [*map(Path, table.table["file"].dropna())]
    if len(files) < len(table.table) or table.table["row"].isna().any():
        raise DataError(f"{path}: does not say of every particle which row of which list it is; predict it anew")
    source = _source(path, list(dict.fromkeys(files)))
    told_rows = table.rows_told()
    for file in dict.fromkeys(files):
        _check_list(path, str(file), told_rows.rows(str(file)))
    whole = _of_list(source, told._replace(class_column=None), say)
    place = {(Path(file), row): index for index, (file, row) in enumerate(whole.rows)}
    named = [*zip(files, table.figures(["row"], "rows").astype(int).tolist(), strict=True)]
    strange = next((one for one in named if one not in place), None)
    if strange is not None:
        raise DataError(f"{path}: names row {strange[1]} of {strange[0]}, which has no such row; predict it anew")
    rows = np.array([place[one] for one in named])
    _check_tomograms(path, str(source), table.ids(), [whole.ids[row] for row in rows])
    return Particles(whole.tomograms, whole.which[rows], whole.places[rows], *_said(table, told.class_column))


def _source(path: Path, files: Sequence[Path]) -> Path:
    """Return the list whose rows a table names, or the folder of its lists."""
    if len(files) == 1:
        return files[0]
    folder = folder_of(files)
    if folder is None:
        raise DataError(f"{path}: names rows of {len(files)} lists; open a list of its own for each")
    return folder


def _check_list(path: Path, list_: str, rows: Collection[str]) -> None:
    """Raise `DataError` where a list has other ``rows`` by now than when a table was written, if that says it."""
    now = rows_of(list_) if rows else None
    if now and not agree(list_, now, rows):
        raise DataError(
            f"{path}: is of {list_} as it was; that lists other particles by now, or in another order; predict it anew"
        )


def _check_tomograms(path: Path, list_: str, said: Sequence[str], now: Sequence[str]) -> None:
    """Raise `DataError` where particles are in other tomograms by now than a table says: the list is another."""
    here = [name.rpartition("/")[0] for name in now]
    known = set(here)
    for name, one, tomogram in zip(said, now, here, strict=True):
        then = name.rpartition("/")[0]
        if then != tomogram and then in known:
            raise DataError(f"{path}: says '{name}' of what is '{one}' in {list_} by now; predict it anew")


def _of_store(path: Path, told: Told, say: Callable[[str], object]) -> Particles:
    """Return the particles of a store with the classes that it has."""
    store = StoreSpec(root=absolute(path)).load()
    where = whereabouts_of(store, told.of_tomograms())
    if where is None:
        raise DataError(
            f"{path}: has boxes, and not the list and tomograms that these were cut out of, or both are others by now; "
            "say --tomograms PATH where they are elsewhere, or open the list of its particles"
        )
    for note in store.notes:
        say(f"note: {note}")
    classes = ["" if label is None else store.classes[label] for label in store.labels]
    return Particles(where.tomograms, where.which, where.places, store.ids, classes, [None] * len(store))


def _of_run(run: Path, told: Told, say: Callable[[str], object]) -> Particles:
    chosen: dict[str, object] = {"root": absolute(told.data)} if told.data else {}
    chosen |= told.of_tomograms()
    layers = [told.project.layer()] if told.project else []
    layers += [Layer("options", {"dataset": chosen})] if chosen else []
    trained = Trained.open(run, layers, "classifier", labels=False)
    where = whereabouts_of(trained.dataset)
    if where is None:
        raise DataError(f"{run}: its data are no particles in tomograms; say --data LIST, whose tomograms are known")
    for line in trained.remarks():
        say(line)
    said = classify(trained)
    index = {name: row for row, name in enumerate(trained.dataset.ids)}
    rows = np.array([index[name] for name in said.ids])
    classes = [said.classes[number] for number in said.predictions]
    sure = [float(each) for each in said.confidences]
    return Particles(where.tomograms, where.which[rows], where.places[rows], said.ids, classes, sure)


def _shown(particles: Particles, radius: float) -> Iterator[Shown]:
    colours = colours_of(particles.classes)
    radii = np.array([radius * (1 if sure is None else _LEAST + (1 - _LEAST) * sure) for sure in particles.confidences])
    called = tell_apart((tomogram.path for tomogram in particles.tomograms), "tomograms")
    for number, tomogram in enumerate(particles.tomograms):
        rows = np.flatnonzero(particles.which == number).tolist()
        if not rows:
            continue
        if tomogram.voxel_size is None:
            raise DataError(f"{tomogram.path}: has no voxel size; say --voxel-size <Å>")
        yield Shown(
            name=called[tomogram.path].replace("/", "_"),
            tomogram=Path(tomogram.path).absolute(),
            shape=tomogram.shape,
            voxel_size=tomogram.voxel_size,
            ids=[particles.ids[row] for row in rows],
            places=[tuple(place) for place in particles.places[rows].tolist()],
            classes=[particles.classes[row] for row in rows],
            confidences=[particles.confidences[row] for row in rows],
            radii=radii[rows].tolist(),
            colours=colours,
        )


def colours_of(classes: Iterable[str]) -> dict[str, tuple[int, int, int]]:
    """Return a colour for each class, in natural order; grey, and last, where there is none."""
    names = sorted(set(classes), key=lambda name: (not name, natural_order(name)))
    return {name: _COLOURS[place % len(_COLOURS)] if name else _GREY for place, name in enumerate(names)}
