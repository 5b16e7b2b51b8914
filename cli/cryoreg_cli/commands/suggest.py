"""`cryoreg suggest`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cryoreg import telling
from cryoreg_cli import describing, network_options, options, setting_options, terminal
from cryoreg_cli.completion_values import COMPONENT
from cryoreg_cli.setting_options import EXPLORE, LABELS_FROM

if TYPE_CHECKING:
    from cryoreg.labelling.suggestions import Suggested

_OPTIONS = (*EXPLORE, LABELS_FROM)


@options.command()
@network_options.network
@setting_options.options(_OPTIONS)
@click.option("--query", type=COMPONENT["query"], default="margin", metavar="NAME", help="How to choose.")
@click.option("--count", type=click.IntRange(1), default=20, help="How many to suggest.")
@options.SEED
@options.output("Write them as a table. [printed only]", metavar="CSV", required=False)
@options.OVERWRITE
@options.jsonable
@options.quietable
def suggest(
    run: Path | None,
    start: str | None,
    query: str,
    count: int,
    seed: int,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
    assignments: tuple[str, ...],
    **given: object,
) -> None:
    """Suggest which subtomograms to label next, so that few labels teach much.

    Features are those of RUN's encoder, or of trained weights (--from). Queries are components: `cryoreg list --kind
    query`; --set query.KEY=VALUE sets their parameters.
    """
    from cryoreg.labelling.suggestions import query_of, run_suggest

    chosen, rest = _of_query(assignments)
    spec = query_of(query, chosen)
    layers = setting_options.layers(_OPTIONS, given, rest)
    network = network_options.network_of(run, start)
    found = run_suggest(network, layers, spec, count, output, seed, overwrite, telling.tell)
    if as_json:
        return terminal.result(describing.to_json({"output": output and str(output), **_plain(found)}))
    _print(found, terminal.result if output is None else click.echo)
    if output is not None:
        terminal.written(output, f"suggestions {output}")


def _of_query(assignments: tuple[str, ...]) -> tuple[dict[str, object], tuple[str, ...]]:
    """Return the values of --set query.KEY=VALUE, and the other --set."""
    from cryoreg.config import parse_assignment

    own = {text for text in assignments if text.startswith("query.")}
    chosen: dict[str, object] = {}
    for text in own:
        chosen |= parse_assignment(text).values["query"]
    return chosen, tuple(text for text in assignments if text not in own)


def _plain(found: Suggested) -> dict[str, object]:
    rows = zip(found.ids, found.predictions, found.confidences.tolist(), strict=True)
    accuracy = found.accuracy
    return {
        "suggestions": [
            {"id": name, "prediction": said, "confidence": None if said is None else sure} for name, said, sure in rows
        ],
        "labelled": found.labelled,
        "accuracy": accuracy and accuracy.value,
        "accuracy_interval": accuracy and list(accuracy.interval),
    }


def _print(found: Suggested, say: Callable[[str], None]) -> None:
    for name, said, sure in zip(found.ids, found.predictions, found.confidences, strict=True):
        say(name if said is None else f"{name}  {said} {100 * sure:.0f} %")
    accuracy = ""
    if found.accuracy is not None:
        accuracy = f"; cross-validated accuracy {found.accuracy.said_of('labels')}"
    telling.tell(f"note: {found.labelled} labels so far{accuracy}")
