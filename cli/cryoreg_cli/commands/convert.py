"""`cryoreg convert`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cryoreg import telling
from cryoreg_cli import describing, next_steps, options, setting_options, terminal
from cryoreg_cli.setting_options import DATASET

if TYPE_CHECKING:
    from cryoreg.contracts import Subtomograms
    from cryoreg.datasets.conversion.convert import Conversion

OPTIONS = (DATASET,)
_FOLDERS = ("mrc_folder", "lab")
"""Formats of MRC files."""


@options.command()
@options.data(required=False)
@setting_options.options(OPTIONS, "pretrain")
@options.CONFIG
@options.output("The file or folder to write.", metavar="PATH")
@options.FORMAT
@options.OVERWRITE
@options.SKIP_BAD
@options.jsonable
@options.quietable
def convert(
    data: Path | None,
    config: Path | None,
    output: Path,
    form: str,
    overwrite: bool,
    skip_bad: bool,
    as_json: bool,
    assignments: tuple[str, ...],
    **given: object,
) -> Subtomograms:
    """Write DATA, any data set, as a store: one HDF5 file, from which training streams what memory does not hold.

    Also as a folder of MRC files by class, in the layout of the paper's lab, or as packages have it. The same command
    goes on where an interrupted one ended.
    """
    from cryoreg.config import resolve

    resolved = resolve("pretrain", setting_options.layers(OPTIONS, given, assignments, config, data))
    from cryoreg.datasets.conversion.convert import run_conversion

    spec, settings = resolved.spec("dataset"), resolved.to_dict()["dataset"]
    with terminal.resumable():
        done, dataset = run_conversion(spec, settings, output, form, overwrite, skip_bad, telling.tell)
    for reason in done.left_out.values():
        telling.tell(f"left out  {reason}")
    lost = _what_folders_cannot_hold(dataset, form) if form in _FOLDERS else []
    next = next_steps.after_data(dataset, done.path, lost) if form in ("store", *_FOLDERS) else None
    if as_json:
        terminal.result(describing.to_json({"format": form, **_plain(done), "to_say": lost, "next": next}))
        return dataset
    counted = f"{done.written:,} subtomograms{_gone_on(done.resumed)}{_lost(done.left_out)}"
    terminal.written(done.path, f"{form:<10} {done.path}  {counted}")
    if lost:
        click.echo(f"not in MRC files, so say when you read it: {' '.join(f'--set {text}' for text in lost)}")
    if next:
        click.echo(f"next       {next}")
    return dataset


def _plain(done: Conversion) -> dict[str, object]:
    return {
        "output": str(done.path),
        "subtomograms": done.written,
        "by_an_earlier_call": done.resumed,
        "left_out": done.left_out,
    }


def _what_folders_cannot_hold(dataset: Subtomograms, to: str) -> list[str]:
    """Return the settings by which a folder of MRC files is read as what it was."""
    known = {key: getattr(dataset, key) for key in ("contrast", "tilt_range", "tilt_axis")}
    if to == "lab" and known["tilt_axis"] == "x":
        del known["tilt_axis"]  # as its reader takes it to be
    return [f"dataset.{key}={_typed(value)}" for key, value in known.items() if value is not None]


def _typed(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value).replace(" ", "")


def _gone_on(resumed: int) -> str:
    return f", {resumed:,} of them by an earlier call" if resumed else ""


def _lost(left_out: dict[str, str]) -> str:
    return f"; {len(left_out):,} left out: {', '.join(left_out)}" if left_out else ""
