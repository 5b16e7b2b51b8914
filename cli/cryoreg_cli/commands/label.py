"""`cryoreg label`."""

from __future__ import annotations

from pathlib import Path

import click

from cryoreg import telling
from cryoreg_cli import network_options, next_steps, options, setting_options, terminal
from cryoreg_cli.completion_values import COMPONENT, START
from cryoreg_cli.setting_options import DATASET, DEVICE

_OPTIONS = (DATASET, DEVICE)


@options.command()
@options.data(name="source", metavar="DATA|RUN")
@options.output(
    "Every label is added to it at once; labels in it are gone on with. [labels.csv; labels_2.csv if that is another]",
    metavar="CSV",
    required=False,
)
@click.option(
    "--labels-from",
    "labels",
    type=options.PATH,
    metavar="PATH",
    help="Labels to begin with: a table (.csv, .star) of ids and classes, or a folder of lists of ids. [none]",
)
@click.option(
    "--groups-from",
    "groups",
    type=options.PATH,
    metavar="PATH",
    help="Groups to arrange and show particles by, as `cryoreg cluster` writes them. [none]",
)
@click.option("--data-classes", is_flag=True, help="Begin with the classes that the data say.")
@click.option("--classes", default="", metavar="NAME,NAME", help="Classes to begin with. [the project's]")
@click.option("--who", default="", metavar="NAME", help="Who labels, as the file of labels says. [your user name]")
@click.option(
    "--from",
    "start",
    type=START,
    metavar="NAME|PATH",
    help="Trained weights whose features suggest labels. [rb3d_universe; a run's own]",
)
@click.option(
    "--query",
    type=COMPONENT["query"],
    metavar="NAME",
    help="How to choose whom to label next. [typiclust up to ten labels a class, then margin]",
)
@setting_options.options(_OPTIONS)
@click.option("--port", type=click.IntRange(0, 65535), default=0, metavar="N", help="Of the page. [a free one]")
@click.option("--no-browser", is_flag=True, help="Print the address, and open no browser.")
@click.option(
    "--export", type=options.PATH, metavar="FILE", help="Write the labels as .star, .tbl or .csv, and stop. [no]"
)
@options.OVERWRITE
@options.quietable
def label(
    source: Path,
    output: Path | None,
    labels: Path | None,
    groups: Path | None,
    data_classes: bool,
    classes: str,
    who: str,
    start: str | None,
    query: str | None,
    port: int,
    no_browser: bool,
    export: Path | None,
    overwrite: bool,
    assignments: tuple[str, ...],
    **given: object,
) -> None:
    """Label the subtomograms of DATA by looking, on a page in the browser.

    DATA are a store, a particle list or a folder, or a table of clusters or predictions that names one; of a RUN, its
    own. The page is served on this machine alone. Suggestions are learnt from the labels as they come.
    """
    from cryoreg.labelling import opening

    if export is None:
        opening.require_server()
    layers = setting_options.layers(_OPTIONS, given, assignments)
    data, table = opening.grouped_by(source)
    told = None if start or opening.is_run(data) else network_options.start_of_project()
    trained = opening.open_source(data, start or told, layers)
    for line in trained.remarks():
        telling.tell(line)
    names = [name.strip() for name in classes.split(",") if name.strip()] or network_options.classes_of_project()
    if export is not None:
        output = output or opening.LABELS
        count = opening.export(trained, output, export, overwrite, names, telling.tell)
        numbers = ", ".join(f"{number} {name}" for number, name in enumerate(opening.numbered(output, names), 1))
        line = f"labels    {count} of {len(trained.dataset)} subtomograms: {export}"
        terminal.written(export, f"{line}\nclasses   {numbers}" if numbers else line)
        return
    if output is None:
        output = opening.free_place(trained.dataset)
        if output != opening.LABELS:
            telling.tell(f"note: {opening.LABELS} is a list of another kind, or of other data; labels go to {output}")
    session = opening.open_session(trained, output, source.absolute().name, names, query, who)
    opening.prepare(session, labels, groups or table, data_classes)
    opening.serve(session, port, not no_browser, terminal.result)
    terminal.written(output, f"labels    {len(session.labels())} of {len(session.ids)} subtomograms: {output}")
    if session.labels():
        scheme = opening.scheme_of(trained, output)
        next = next_steps.after_labels(source, opening.is_run(source), output, scheme, given, assignments)
        click.echo(f"next      {next}")
