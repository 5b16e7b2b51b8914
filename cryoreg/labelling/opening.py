"""`cryoreg label`: from a source of subtomograms to a page in the browser."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import webbrowser
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cryoreg.config import Layer
from cryoreg.config.starts import Start
from cryoreg.contracts import Subtomograms
from cryoreg.datasets.divisions import scheme_that_fits
from cryoreg.datasets.label_lists import with_labels
from cryoreg.datasets.table_sources import data_of_table, grouping
from cryoreg.errors import ConfigError, CryoregError, DataError, OutputError
from cryoreg.files import readable, write_atomically
from cryoreg.inference.optimisation_sets import new_sets, write_sets
from cryoreg.inference.trained import Trained
from cryoreg.inference.writers import notes_on_files
from cryoreg.labelling.label_file import LabelFile
from cryoreg.labelling.lists import FORMS, listed
from cryoreg.labelling.session import PROPER, Row, Session, by_number, is_class, is_name, known_classes, said_by
from cryoreg.labelling.suggestions import query_of
from cryoreg.labelling.teaching import Teacher
from cryoreg.outputs import check_file, check_files, numbered_paths
from cryoreg.specs import DatasetSpec

if TYPE_CHECKING:
    from starlette.applications import Starlette

WEIGHTS = "rb3d_universe"
"""Whose features are asked where the source is no run."""
LABELS = Path("labels.csv")
"""Where labels go, in the working directory."""
FIRST_QUERY, LATER_QUERY, FEW = "typiclust", "margin", 10
"""What did best in the study du2021: the first up to so many labels a class, then the other."""
_RUN_FILES = ("config.toml", "encoder.safetensors")
_BOXES = (24, 64)
"""Voxels of the smallest and the largest box that is cut for pictures."""
_REDIRECT = '<!DOCTYPE html><meta http-equiv="refresh" content="0;url={url}"><title>cryoreg</title>'


def grouped_by(source: Path) -> tuple[Path, Path | None]:
    """Return the data to label, and the table by which to group them: that of clusters or predictions is both.

    Such a table names the file of its rows. Raises `DataError` where that is none, several, or not there.
    """
    return data_of_table(source, f"`cryoreg label DATA --groups-from {source.name}`")


def open_source(source: Path, start: Start | None, layers: Sequence[Layer]) -> Trained:
    """Return a network and the data to label: a run with its own data, or trained weights and any data.

    Raises a `CryoregError` where there are no such data, or the network cannot take them.
    """
    if is_run(source):
        if start is not None:
            raise ConfigError(f"{source}: is a run, whose own encoder is asked; give its data instead, or drop --from")
        return Trained.open(source, layers, "encoder", labels=False)
    data = Layer(str(source), {"dataset": {"root": source}})
    return Trained.open(start or WEIGHTS, [*layers, data], "encoder", labels=False)


def is_run(source: Path) -> bool:
    """Tell a run, which has data and an encoder of its own, from data."""
    return any((source / name).is_file() for name in _RUN_FILES)


def shown(trained: Trained) -> Subtomograms:
    """Return the data as people want to see them: at their own voxel size, in boxes as wide as the network's."""
    try:
        found = _own_boxes(trained, trained.config.spec("dataset"))
    except CryoregError:  # such as mixed voxel sizes
        return trained.dataset
    return found if list(found.ids) == list(trained.dataset.ids) else trained.dataset


def _own_boxes(trained: Trained, spec: DatasetSpec) -> Subtomograms:
    own, wide = spec.load(), trained.dataset
    if not (own.voxel_size and wide.voxel_size):
        return own
    smallest, largest = _BOXES
    edge = min(largest, max(smallest, 2 * round(wide.box[0] * wide.voxel_size / own.voxel_size / 2)))
    cut = spec.cut_to(None, (edge, edge, edge))
    return own if cut is None else cut.load()


def free_place(dataset: Subtomograms, first: Path = LABELS) -> Path:
    """Return where labels go that nobody names a file for: a file of labels of the data, or one that is not there.

    Others keep what they hold, such as lists written by hand and labels of other data: labels_2.csv is asked next.
    """
    ids = {str(readable(name)) for name in dataset.ids}
    return next(place for place in numbered_paths(first) if not os.path.lexists(place) or _is_of(place, ids))


def _is_of(place: Path, ids: Collection[str]) -> bool:
    try:
        labels = LabelFile(place).labels
    except CryoregError:
        return False
    return not labels or any(name in ids for name in labels)


def open_session(
    trained: Trained, output: Path, title: str, classes: Sequence[str] = (), query: str | None = None, who: str = ""
) -> Session:
    """Return a session whose teacher waits to be started; ``classes`` are names to begin with, ``who`` labels."""
    for name in classes:
        if not is_class(name):
            raise ConfigError(f"--classes: '{name}' can be no class; {PROPER}")
    if who and not is_name(who):
        raise ConfigError(f"--who: '{who}' can be no name; take up to 60 letters, without blanks at the ends")
    check_file(output, overwrite=True, inputs=trained.inputs())  # which labels are added to
    chosen, first = query_of(query or LATER_QUERY, {}), query_of(FIRST_QUERY, {})
    session = Session(shown(trained), output, title, classes, who)
    session.teacher = Teacher(trained, chosen, first, session.labels, 0 if query else FEW)
    return session


def prepare(session: Session, labels: Path | None, groups: Path | None, data_classes: bool) -> None:
    """Take over labels of a list, or the data's own, and show ``groups`` of a list; see `with_labels`."""
    if groups is not None:
        session.said, session.grouped = said_by(with_labels(session.dataset, groups, grouping(groups))), True
    if labels is not None:
        begin_with(session, said_by(with_labels(session.dataset, labels)), "list")
    if data_classes:
        begin_with(session, said_by(session.dataset), "data")


def begin_with(session: Session, said: Mapping[int, str], source: str) -> int:
    """Take labels over where there are none yet, row -> class; return how many are new."""
    there = session.labels()
    rows = [Row(row, name, "") for row, name in said.items() if row not in there]
    for name in {each.name for each in rows}:
        if not is_class(name):
            raise DataError(f"'{name}' can be no class here; {PROPER}")
    if rows:
        session.label(rows, source)
    return len(rows)


def export(
    trained: Trained,
    labels: Path,
    output: Path,
    overwrite: bool,
    first: Sequence[str] = (),
    say: Callable[[str], object] = lambda line: None,
) -> int:
    """Write labels as a list, by the ending of its name, with its optimisation set; return how many there are.

    Numbers of classes are those of `numbered`. ``say`` gets notes on files that the list names.
    """
    if output.suffix.lower().lstrip(".") not in FORMS:
        raise ConfigError(f"{output}: labels are written as {', '.join(f'.{form}' for form in FORMS)}")
    check_files([output, *new_sets(output, trained.dataset)], overwrite, {*trained.inputs(), str(labels)})
    said = said_by(with_labels(trained.dataset, labels))
    data = listed(trained.dataset, said, output, numbered(labels, first))
    for line in notes_on_files(output, None, trained.dataset):
        say(line)
    write_atomically(output, lambda file: file.write(data))
    write_sets(output, trained.dataset)
    return len(said)


def numbered(labels: Path, first: Sequence[str] = ()) -> list[str]:
    """Return the classes of a file of labels by their numbers in lists; none where the page has not written it.

    ``first`` are those to begin with, as on the page.
    """
    with suppress(DataError):
        file = LabelFile(labels)
        return by_number(known_classes(file, dict.fromkeys(file.labels.values()), first))
    return []


def scheme_of(trained: Trained, labels: Path) -> str:
    """Return how a classifier can be tested that learns from a file of labels: `scheme_that_fits`."""
    return scheme_that_fits(with_labels(trained.dataset, labels))


def require_server() -> None:
    """Raise `ConfigError` where the libraries of the server are not installed."""
    try:
        import starlette
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigError(f'the page needs {error.name}; pip install "cryoreg[label]"') from None
    del starlette


def serve(session: Session, port: int, browser: bool, say: Callable[[str], object]) -> None:
    """Serve the page on this machine until somebody interrupts it; port 0 means a free one."""
    from cryoreg.labelling.server import make_app, new_token

    token = new_token()
    with _listening(port) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/{token}/"
        say(f"page      {url}\nlabels go to {session.file.path}; Ctrl-C ends the page")
        with _redirect(url) as file:
            if browser:
                webbrowser.open(file.as_uri())
            with _at_work(session):
                _run(make_app(session, token), listener)


@contextmanager
def _at_work(session: Session) -> Iterator[None]:
    """Let a session's teacher learn, and its pictures be drawn, in the background."""
    stopped = threading.Event()
    drawing = threading.Thread(target=session.pictures.draw_all, args=(stopped,), daemon=True)
    drawing.start()
    if session.teacher is not None:
        session.teacher.start()
    yield
    stopped.set()
    if session.teacher is not None:
        session.teacher.stop()


def _run(app: Starlette, listener: socket.socket) -> None:
    import uvicorn

    config = uvicorn.Config(app, log_level="error", access_log=False, timeout_graceful_shutdown=2)
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])


@contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            raise OutputError(f"--port {port}: cannot be used ({error.strerror}); take another, or none") from None
        yield listener


@contextmanager
def _redirect(url: str) -> Iterator[Path]:
    """Yield a file of the user's own that leads to an address: other users see what a browser is started with."""
    descriptor, name = tempfile.mkstemp(suffix=".html", prefix="cryoreg-label-")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(_REDIRECT.format(url=url))
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
