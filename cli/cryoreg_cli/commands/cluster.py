"""`cryoreg cluster`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cryoreg import telling
from cryoreg.quick_imports import quick_imports
from cryoreg_cli import describing, network_options, next_steps, options, setting_options, terminal
from cryoreg_cli.setting_options import EXPLORE

if TYPE_CHECKING:
    from cryoreg.analysis.cluster_files import Clustered
    from cryoreg.analysis.clusters import Agreement, Clustering, Method


@options.command()
@network_options.network
@setting_options.options(EXPLORE)
@options.option(
    "--algorithm",
    "method",
    type=click.Choice(["kmeans", "gmm", "leiden"]),
    default="kmeans",
    older=("--method",),
    help="How to cluster.",
)
@click.option(
    "--clusters",
    default="auto",
    metavar="N|FIRST-LAST|auto",
    help="How many; auto tries 2 to 20, a range all in it. Leiden finds out itself.",
)
@click.option("--resolution", type=options.POSITIVE, default=1.0, help="Of Leiden.")
@click.option("--neighbours", type=click.IntRange(min=1), default=15, help="Of each, in Leiden's graph.")
@click.option("--pca", type=click.IntRange(min=1), default=50, metavar="N", help="Principal components kept.")
@options.SEED
@options.output(".csv, .parquet, or the data's list with clusters: .star, .tbl.")
@click.option("--montage", type=options.PATH, metavar="PNG", help="Draw what each cluster looks like. [not drawn]")
@options.OVERWRITE
@options.jsonable
@options.quietable
def cluster(
    run: Path | None,
    start: str | None,
    method: Method,
    clusters: str,
    resolution: float,
    neighbours: int,
    pca: int,
    seed: int,
    output: Path,
    montage: Path | None,
    overwrite: bool,
    as_json: bool,
    assignments: tuple[str, ...],
    **given: object,
) -> None:
    """Sort subtomograms into clusters by the features of an encoder, with no labels.

    The encoder is that of RUN, or --from trained weights, for which no run is needed. Where there are labels, they are
    compared with the clusters.
    """
    with quick_imports():
        from cryoreg.analysis.cluster_files import run_cluster
        from cryoreg.analysis.clusters import ClusterSettings, parse_clusters

    settings = ClusterSettings(method, parse_clusters(clusters, method), resolution, neighbours, pca, seed)
    layers = setting_options.layers(EXPLORE, given, assignments)
    network = network_options.network_of(run, start)
    found = run_cluster(network, layers, settings, output, montage, overwrite, telling.tell)
    next = next_steps.after_clusters(run, found.dataset, output, given, assignments)
    if as_json:
        return terminal.result(describing.to_json({**_plain(found, output, montage), "next": next}))
    _print_curve(found.clustering, method)
    _print_sizes(found.clustering)
    if found.agreement is not None:
        _print_agreement(found.agreement, found.dataset.classes, found.seen)
    for what, path in (("clusters", output), ("montage", montage)):
        if path:
            terminal.written(path, f"{what:<9} {path}")
    if next:
        click.echo(f"next      {next}")


def _plain(found: Clustered, output: Path, montage: Path | None) -> dict[str, object]:
    clustering, agreement = found.clustering, found.agreement
    return {
        "output": str(output),
        "montage": montage and str(montage),
        "subtomograms": len(clustering.clusters),
        "sizes": clustering.sizes,
        "curve": clustering.curve,
        "stability": clustering.stability,
        "agreement": agreement and agreement._asdict() | {"table": agreement.table.tolist()},
        "classes": found.dataset.classes,
        "seen_labels": found.seen,
    }


def _print_curve(clustering: Clustering, method: Method) -> None:
    if not clustering.curve:
        return
    name, better = ("BIC", "lowest") if method == "gmm" else ("silhouette", "highest")
    click.echo(f"clusters  {name} (the {better} is taken)")
    for count, value in clustering.curve.items():
        taken = "  <-" if count == clustering.wanted else ""
        click.echo(f"{count:8d}  {value:.{0 if method == 'gmm' else 3}f}{taken}")


def _print_sizes(clustering: Clustering) -> None:
    sizes = ", ".join(f"{size:,}" for size in clustering.sizes)
    click.echo(f"{len(clustering.sizes)} clusters of {sizes} subtomograms")
    click.echo(
        f"stability {clustering.stability:.3f}: the mean adjusted Rand index between runs with different seeds "
        "(1: always the same clusters)"
    )


def _print_agreement(agreement: Agreement, classes: Sequence[str], seen: bool) -> None:
    from rich.table import Table

    table = Table("#", *classes, title="subtomograms of each class, by cluster")
    for column in table.columns:
        column.justify = "right"
    for number, row in enumerate(agreement.table, 1):
        table.add_row(str(number), *(str(count) if count else "·" for count in row))
    terminal.console().print(table)
    click.echo(
        f"ARI {agreement.ari:.3f}, NMI {agreement.nmi:.3f}, purity {100 * agreement.purity:.1f} %, "
        f"accuracy with clusters matched to classes {100 * agreement.accuracy:.1f} %"
    )
    if seen:
        click.echo("note: this network was fine-tuned on labels, so that its agreement with them is no discovery")
