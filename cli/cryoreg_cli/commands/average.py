"""`cryoreg average`."""

from __future__ import annotations

from pathlib import Path

import click

from cryoreg import telling
from cryoreg_cli import describing, options, setting_options, terminal
from cryoreg_cli.completion_values import SETTING


@options.command()
@click.argument("name", metavar="CLASS")
@click.option("--data", type=options.PATH, metavar="PATH", help="Subtomograms, or a particle list. [those of RUN]")
@options.READER
@click.option("--run", type=options.PATH, metavar="RUN", help="A fine-tuning run, whose classifier says so. [none]")
@options.option(
    "--labels-from",
    "classes",
    type=options.PATH,
    metavar="FILE",
    older=("--classes",),
    help="A list that says so: predictions, clusters, ids and classes. [the data]",
)
@options.output("Beside it: _half1.mrc, _half2.mrc, a .png.", metavar="MRC")
@options.option(
    "--limit",
    "most",
    type=click.IntRange(8),
    default=500,
    older=("--most",),
    help="Draw so many of more.",
)
@options.SEED
@setting_options.files
@options.settings("dataset.KEY=VALUE", SETTING)
@options.OVERWRITE
@options.jsonable
@options.quietable
def average(
    name: str,
    data: Path | None,
    dataset: str | None,
    run: Path | None,
    classes: Path | None,
    output: Path,
    most: int,
    seed: int,
    assignments: tuple[str, ...],
    overwrite: bool,
    as_json: bool,
) -> None:
    """Average the particles of CLASS, turned and shifted onto each other: is it one structure?

    Two halves are aligned independently of each other, with the missing wedge taken into account; their Fourier shell
    correlation says what is alike in both. Who is of the class say --run, --labels-from, or the labels of the data.
    """
    if data is None and run is None:
        raise click.UsageError("which subtomograms? say --data PATH, or --run RUN")
    if run is not None and classes is not None:
        raise click.UsageError("who says the class? --run or --labels-from, not both")
    from cryoreg.analysis.averaging.class_average import run_average
    from cryoreg.analysis.averaging.sources import of_data, of_run
    from cryoreg.config import find_project

    settings, project = setting_options.dataset_settings(assignments, "average"), find_project()
    if run is not None:
        source = of_run(run, name, data, dataset, settings, telling.tell, project)
    else:
        assert data is not None
        source = of_data(data, name, dataset, settings, classes, project, telling.tell)
    found = run_average(*source[:2], output, name, most, seed, overwrite, source.inputs, telling.tell)
    if as_json:
        return terminal.result(describing.to_json({"class": name, "output": str(output), **found.to_dict()}))
    for line in found.lines():
        click.echo(line)
    for path in found.files:
        terminal.written(path, f"written   {path}")
