"""A few subtomograms to look at: classes in turn, and tomograms in turn within them; or those that were named."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

from cryoreg.contracts import Subtomograms
from cryoreg.errors import DataError
from cryoreg.registry import suggestion


def choose(dataset: Subtomograms, count: int, labelled: bool = False) -> list[int]:
    """Return indices of up to ``count`` subtomograms, as `in_turns` does; of those alone that are ``labelled``."""
    rows = [row for row, label in enumerate(dataset.labels) if label is not None or not labelled]
    chosen = in_turns([dataset.labels[row] for row in rows], count, [dataset.groups[row] for row in rows])
    return [rows[place] for place in chosen]


def in_turns(labels: Sequence[int | str | None], count: int, groups: Sequence[str | None] | None = None) -> list[int]:
    """Return the places of up to ``count``: the first of each label, then a second of each, and so on.

    No label comes before labels. Whenever a label has its turn, the one is taken whose group (its tomogram) was shown
    least so far, and of that group the first; so every group is shown where ``count`` has room for it.
    """
    waiting: dict[int | str | None, dict[str | None, deque[int]]] = {}
    for place, (label, group) in enumerate(zip(labels, groups or [None] * len(labels), strict=True)):
        waiting.setdefault(label, {}).setdefault(group, deque()).append(place)
    turns = [waiting[label] for label in sorted(waiting, key=lambda label: (label is not None, label or 0))]
    shown: Counter[str | None] = Counter()
    chosen: list[int] = []
    while any(turns) and len(chosen) < count:
        for queues in filter(None, turns):
            group = min(queues, key=lambda name, own=queues: (shown[name], own[name][0]))  # type: ignore[misc]
            chosen.append(queues[group].popleft())
            shown[group] += 1
            if not queues[group]:
                del queues[group]
    return chosen[:count]


def find(dataset: Subtomograms, said: Sequence[str]) -> list[int]:
    """Return the indices of subtomograms by what `read_ids` takes.

    Raises `DataError` for an id that is not there, and where ids go by the rows of another list.
    """
    from cryoreg.datasets.id_lists import read_ids, rows_told_by
    from cryoreg.datasets.rows_of_lists import CHOICE, check_rows, goes_by_rows

    ids, told = read_ids(said), rows_told_by(said)
    if told.lists and goes_by_rows(dataset):
        check_rows(dataset, "--ids", ids, told, CHOICE)
    known = {name: index for index, name in enumerate(dataset.ids)}
    unknown = next((name for name in ids if name not in known), None)
    if unknown is not None:
        raise DataError(
            f"there is no subtomogram '{unknown}'{suggestion(unknown, known)}; the first of {len(known):,} ids is "
            f"'{dataset.ids[0]}'"
        )
    return [known[name] for name in ids]


def name_of(dataset: Subtomograms, index: int) -> str:
    """Return what to write beside a subtomogram: its id and, where known, its class and its tomogram, a line each."""
    label, group = dataset.labels[index], dataset.groups[index]
    name = dataset.ids[index]
    told = [None if label is None else dataset.classes[label], None if group is None or group in name else group]
    return "\n".join([name, *filter(None, told)])
