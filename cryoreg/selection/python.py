"""Choosing particles from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryoreg.config.calls import checked
from cryoreg.datasets.id_lists import read_ids, rows_told_by
from cryoreg.datasets.tomograms.masks import Verb, Where
from cryoreg.selection.distances import Distance
from cryoreg.selection.rules import Marked, Rules
from cryoreg.selection.select import Selected, Split, run_select
from cryoreg.telling import tell

Names = str | Sequence[str]
"""One, or several."""


@checked()
def select(
    list: str | Path,
    output: str | Path,
    *,
    classes: Names = (),
    class_column: str | None = None,
    min_confidence: float | None = None,
    min_familiarity: float | None = None,
    unsure: Marked = "keep",
    none_of_these: Marked = "keep",
    tomogram: Names = (),
    ids: Names = (),
    distance: str | None = None,
    coordinate_size: float | None = None,
    per_tomogram: int | None = None,
    where: Sequence[tuple[str | Path, Verb, str]] = (),
    tomograms: str | Path | None = None,
    voxel_size: float | None = None,
    merge: str | Path | Sequence[str | Path] = (),
    split: Split | None = None,
    overwrite: bool = False,
) -> Selected:
    """Write those particles of a list that keep all rules, as `cryoreg select` does; all columns and comments stay.

    ``classes`` and ``tomogram`` are names to keep, one or several, ``ids`` ids or files of them. ``unsure`` and
    ``none_of_these`` are "keep", "drop" or "only". Of two particles nearer than ``distance`` ("120A", "12nm", "8vx")
    the better stays, of each tomogram the best ``per_tomogram``. ``where`` asks masks: each a path, "keep", "drop" or
    "mark", and a distance ("0": inside, "120A": or so near, "-20nm": so deep); ``tomograms`` is the folder of their
    tomograms. ``merge`` names further lists, ``split`` "class" or "tomogram" writes a file for each. Sizes are in Å.
    Returns what was chosen and the files. Raises a `CryoregError` for any mistake; nothing is then written.
    """
    rules = Rules(
        tuple(_several(classes)),
        class_column,
        min_confidence,
        min_familiarity,
        unsure,
        none_of_these,
        tuple(_several(tomogram)),
        frozenset(read_ids(_several(ids))) if ids else None,
        Distance.parse(distance) if distance else None,
        coordinate_size,
        per_tomogram,
        tuple(Where.parse(Path(path), verb, text) for path, verb, text in where),
        None if tomograms is None else Path(tomograms),
        voxel_size,
        rows_of_ids=rows_told_by(_several(ids)),
    )
    lists = [list, *([merge] if isinstance(merge, str | Path) else merge)]
    return run_select([Path(path).expanduser() for path in lists], rules, Path(output), split, overwrite, tell)


def _several(names: Names) -> Sequence[str]:
    return [names] if isinstance(names, str) else [*names]
