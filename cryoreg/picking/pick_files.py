"""`cryoreg pick`: from files to lists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cryoreg import notebook
from cryoreg.datasets.io.volume_files import together
from cryoreg.datasets.tomograms.files import Tomogram, notes_on, open_tomogram
from cryoreg.datasets.tomograms.kinds import instead_of_tomograms, is_tomogram, tomograms_in
from cryoreg.datasets.tomograms.masks import masks_for
from cryoreg.errors import DataError
from cryoreg.files import write_atomically
from cryoreg.outputs import check_files
from cryoreg.picking.pick_lists import check_names, list_files, name_of, table, write_lists
from cryoreg.picking.pickers import DOG
from cryoreg.picking.picks import Picks, pick
from cryoreg.picking.settings import PickSettings
from cryoreg.picking.told import NOTHING, Told
from cryoreg.telling import track


class Outputs(NamedTuple):
    """What to write."""

    list: Path
    """The STAR file; the CSV file lies beside it."""
    picture: Path | None = None
    overwrite: bool = False


class Picked(NamedTuple):
    """What was picked in some tomograms, and where it is written."""

    picks: tuple[Picks, ...]
    """Of each tomogram."""
    star: Path
    csv: Path
    notes: tuple[str, ...]
    """Lines on the tomograms."""

    def __len__(self) -> int:
        return sum(len(picks.positions) for picks in self.picks)

    def _repr_html_(self) -> str:
        rows = [(name_of(picks.path), len(picks.positions), picks.verdict.contrast) for picks in self.picks]
        figures = notebook.table(("tomogram", "picks", "density"), rows)
        facts = {"lists": f"{self.star}, {self.csv}"}
        return notebook.shown(f"{len(self):,} picks", facts, notebook.lines([*self.warnings(), *self.notes]), figures)

    def lines(self) -> list[str]:
        """Return a summary for the user, line by line."""
        notes = [f"note      {note}" for note in self.notes]
        return [*_summary(self.picks), *notes, f"lists     {self.star}, {self.csv}"]

    def to_dict(self) -> dict[str, object]:
        """Return what was picked, tomogram by tomogram, as plain values."""
        return {
            "output": str(self.star),
            "csv": str(self.csv),
            "picks": len(self),
            "tomograms": [picks.to_dict() for picks in self.picks],
            "notes": list(self.notes),
        }

    def warnings(self) -> list[str]:
        """Return a line for each tomogram whose contrast is not certain."""
        return [_uncertain(picks) for picks in self.picks if not picks.verdict.decided]

    def columns(self) -> dict[str, list[object]]:
        """Return the table of all picks, as the CSV file has it."""
        return {name: column.tolist() for name, column in table(self.picks, self.csv.parent).items()}


def run_pick(paths: Sequence[Path], settings: PickSettings, outputs: Outputs, told: Told = NOTHING) -> Picked:
    """Pick in every tomogram, write the lists and the picture, and return what was found.

    What is ``told`` of the tomograms goes with the lists; its voxel size overrules the files. Raises `DataError` where
    a tomogram is at fault or nothing is found, `OutputError` where an output exists; nothing is then written.
    """
    star, csv = list_files(outputs.list)
    files = find_tomograms(paths)
    tomograms = [open_tomogram(file, told.voxel_size) for file in files]
    masks = masks_for(settings.where, tomograms)
    on_masks = [note for of in masks for mask in of for note in mask.notes]
    inputs: list[str | Path] = [*files, *(mask.path for of in masks for mask in of)]
    inputs += [settings.template] if settings.template else []
    check_files([star, csv, *([outputs.picture] if outputs.picture else [])], outputs.overwrite, inputs)
    check_names(files)
    found = [pick(tomogram, settings, masks.pop(0)) for tomogram in _shown(tomograms)]  # which frees their voxels
    if not any(len(picks.positions) for picks in found):
        raise DataError(_nothing(found, settings))
    write_lists(found, star, csv, told.tilt_range, told.tilt_axis)
    if outputs.picture:
        _write_picture(outputs.picture, tomograms, found, settings)
    return Picked(tuple(found), star, csv, (*together(notes_on(tomograms)), *on_masks))


def find_tomograms(paths: Sequence[Path]) -> list[Path]:
    """Return the files named, and in place of each folder the tomograms in it, sorted by name."""
    return [file for path in paths for file in (_in_folder(path) if _is_folder(path) else [path])]


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not is_tomogram(path)


def _in_folder(folder: Path) -> list[Path]:
    files = [folder / name for name in tomograms_in(folder)]
    if not files:
        raise DataError(f"{folder}: holds {instead_of_tomograms(folder)}; check the path")
    return files


def _shown(tomograms: Sequence[Tomogram]) -> Iterable[Tomogram]:
    return track(tomograms, "picking")


def _nothing(found: Sequence[Picks], settings: PickSettings) -> str:
    where = found[0].path if len(found) == 1 else f"{found[0].path} and {len(found) - 1} more"
    highest = max(picks.highest for picks in found)
    removing = [str(each.path) for each in settings.where if each.verb != "mark"]
    if highest >= settings.lowest and removing:
        return f"{where}: no picks are left by --where ({', '.join(removing)}); ask for another distance"
    if highest >= settings.lowest and settings.min_cc is not None:
        return f"{where}: no picks correlate with the template by {settings.min_cc:g}; lower --min-cc"
    if settings.lowest == -np.inf:
        return f"{where}: picker '{settings.picker}' proposes nothing away from the faces; lower --margin"
    return (
        f"{where}: no peaks above threshold {settings.lowest:g} away from the faces (the highest of all is "
        f"{highest:.2f}); lower --threshold or --margin, or check --radius and --contrast"
    )


def _summary(found: Sequence[Picks]) -> Iterator[str]:
    for picks in found:
        verdict = picks.verdict
        known = "" if np.isnan(verdict.skewness) else f" (skewness {verdict.skewness:+.1f} σ)"
        density = f"density {verdict.contrast}{known}"
        yield f"{name_of(picks.path)}  {len(picks.positions)} picks{_range(picks)}; {density}"
        if not verdict.decided:
            yield _uncertain(picks)
    if len(found) > 1:
        yield f"total     {sum(len(picks.positions) for picks in found)} picks in {len(found)} tomograms"


def _uncertain(picks: Picks) -> str:
    return (
        f"warning   {name_of(picks.path)}: whether density is bright or dark is not certain; "
        "look at it (--picture), and say --contrast"
    )


def _range(picks: Picks) -> str:
    if not len(picks.scores):
        return ""
    low, middle, high = np.quantile(picks.scores, [0, 0.5, 1])
    name = "correlation" if picks.cc is not None else "DoG" if picks.picker == DOG else picks.picker
    return f", {name} {low:.2f} to {high:.2f} (median {middle:.2f})"


def _write_picture(file: Path, tomograms: Sequence[Tomogram], found: Sequence[Picks], settings: PickSettings) -> None:
    from cryoreg.picking.picture import draw

    figure = draw(tomograms, found, settings.radius)
    write_atomically(file, lambda stream: figure.savefig(stream, format="png"))
