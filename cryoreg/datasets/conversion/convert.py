"""From any data set to cryoreg's store or to folders of MRC files: one subtomogram at a time, resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cryoreg import notebook
from cryoreg.contracts import SubtomogramDataset, Subtomograms
from cryoreg.datasets.conversion.formats import DEFAULT, find_format
from cryoreg.datasets.rows_of_lists import rows_of_each
from cryoreg.datasets.store.format import StoreLayout
from cryoreg.errors import DataError
from cryoreg.outputs import check_file, check_folder
from cryoreg.specs import DatasetSpec
from cryoreg.telling import track


class Conversion(NamedTuple):
    """What a conversion did."""

    path: Path
    written: int
    """Subtomograms in the result."""
    resumed: int
    """How many of these an earlier, interrupted call had written."""
    left_out: dict[str, str]
    """Id -> why it could not be read."""

    def _repr_html_(self) -> str:
        facts = {"written": f"{self.written:,} subtomograms", "path": self.path, "left out": len(self.left_out) or None}
        return notebook.shown("Subtomograms written", facts, notebook.lines(self.left_out.values()))


def convert(
    dataset: Subtomograms,
    path: Path,
    to: str = DEFAULT,
    settings: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    skip_bad: bool = False,
) -> Conversion:
    """Write ``dataset`` to ``path``, in constant memory; the same call goes on where an interrupted one ended.

    ``to`` is the name of a format. ``settings`` tell how the data set was opened, and are kept. A subtomogram that
    cannot be read ends the call with a `DataError` that names it, unless ``skip_bad`` leaves it out; what was written
    stays in ``.<name>.part``.
    """
    form = find_format(to)
    layout = layout_of(dataset, settings or {}, extra=form.keeps_all)
    copies = dataset.clean if layout.clean else None  # the demo set reads its file for this
    left_out: dict[str, str] = {}
    with form.begin(path, layout, overwrite) as writer:
        missing = writer.missing()
        for row in _shown(missing, path):
            try:
                content = _read(dataset, copies, row, layout)
            except DataError as error:
                if not skip_bad:
                    raise DataError(_advised(str(error), dataset.ids[row])) from error
                left_out[dataset.ids[row]] = str(error)
                writer.leave_out(row)
                continue
            writer.put(row, *content)
        writer.finish()
    total = len(dataset)
    return Conversion(path, total - len(left_out), total - len(missing), left_out)


def run_conversion(
    spec: DatasetSpec,
    settings: Mapping[str, Any],
    path: Path,
    to: str = DEFAULT,
    overwrite: bool = False,
    skip_bad: bool = False,
    say: Callable[[str], object] = lambda line: None,
) -> tuple[Conversion, Subtomograms]:
    """Open a data set and `convert` it; ``say`` gets its notes. Raises `OutputError` before anything is opened."""
    (check_folder if find_format(to).folder else check_file)(path, overwrite)
    dataset = spec.load()
    for note in dataset.notes:
        say(f"note: {note}")
    return convert(dataset, path, to, settings, overwrite, skip_bad), dataset


def layout_of(dataset: Subtomograms, settings: Mapping[str, Any], extra: bool = True) -> StoreLayout:
    """Return what is known of a data set without reading a volume; ``extra``: of noise-free copies and weights, too."""
    origins = [origin for index in range(len(dataset)) if (origin := dataset.origin(index))]
    return StoreLayout(
        ids=dataset.ids,
        labels=dataset.labels,
        groups=dataset.groups,
        classes=list(dataset.classes),
        box=dataset.box,
        voxel_size=dataset.voxel_size,
        contrast=dataset.contrast,
        tilt_range=dataset.tilt_range,
        tilt_axis=dataset.tilt_axis,
        origins=origins or None,
        columns={name: (column.dtype.str, column.shape[1:]) for name, column in dataset.columns.items()},
        settings=settings,
        lists=rows_of_each(dataset, (origin.file for origin in origins)),
        clean=extra and dataset.clean is not None,
        weighted=extra and dataset.weighted,
    )


def _read(dataset: Subtomograms, copies: SubtomogramDataset | None, row: int, layout: StoreLayout) -> tuple[Any, ...]:
    """Return a volume, its noise-free copy where wanted, what else is known of it, and its weight where kept."""
    sample = dataset[row]
    volume = layout.voxels(row, sample.volume)
    noise_free = None if copies is None else layout.voxels(row, copies[row].volume)
    columns = dataset.columns if layout.columns else {}
    known = volume, noise_free, {name: column[row] for name, column in columns.items()}
    return (*known, sample.weight) if layout.weighted else known


def _shown(rows: list[int], path: Path) -> Iterator[int]:
    return iter(track(rows, f"writing {path.name}"))


def _advised(message: str, name: str) -> str:
    named = message if name in message else f"{name}: {message}"
    return f"{named} (what was read before it is kept; mend it and repeat the command, or leave it out: --skip-bad)"
