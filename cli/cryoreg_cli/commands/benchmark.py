"""`cryoreg benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from cryoreg import telling
from cryoreg_cli import options, terminal
from cryoreg_cli.completion_values import COMPONENT, STUDY

if TYPE_CHECKING:
    from cryoreg.benchmark.study import Study


class _Given(TypedDict):
    """Options that change the study, and those that say where its jobs run."""

    structures: Path | None
    data: Path | None
    dataset: str | None
    starts: str | None
    seeds: int | None
    scale: float | None
    assignments: tuple[str, ...]
    processes: int
    gpus: int
    slurm: tuple[str, ...]


@options.command()
@click.argument("name", type=STUDY, metavar="STUDY")
@options.run_dir("Where jobs and tables go; the same folder goes on. [runs/STUDY]")
@click.option(
    "--structures", type=options.PATH, metavar="DIR", help="PDB, mmCIF and MRC files to simulate from. [the study's]"
)
@click.option(
    "--data",
    type=options.PATH,
    metavar="PATH",
    help="Data that are not simulated. [the study's]",
)
@click.option("--dataset", type=COMPONENT["dataset"], metavar="NAME", help="Its reader. [worked out from the data]")
@click.option("--starts", metavar="NAME,NAME", help="Only these starts (and random). [all]")
@click.option("--seeds", type=click.IntRange(1), metavar="N", help="So many seeds, from 0 on. [the study's]")
@click.option("--scale", type=options.POSITIVE, help="Factor on subtomograms per class and epochs. [1]")
@options.settings("KEY=VALUE", help="Another value of the study: a.b.c=TOML; repeatable. [none]")
@click.option(
    "--processes",
    type=click.IntRange(1),
    default=1,
    help="Jobs at a time; with SLURM, in its queue.",
)
@click.option("--gpus", type=click.IntRange(0), default=0, help="GPUs to spread them over.")
@click.option(
    "--slurm",
    multiple=True,
    metavar="KEY=VALUE",
    help="Submit to SLURM: partition=gpu, ...; repeatable. [this machine]",
)
@click.option("--dry-run", is_flag=True, help="List the jobs and which of them are done, and stop.")
@options.quietable
def benchmark(name: str, run_dir: Path | None, dry_run: bool, **given: Unpack[_Given]) -> None:
    """Run STUDY: gupta2022, gupta2022-real, du2021, smoke, or a TOML file of yours; print its table beside the paper's.

    Every cell is a job that is run once: the same command goes on where an interrupted one stopped.
    """
    from cryoreg.benchmark.study import load_study
    from cryoreg.config import find_project

    changes = _changes(given["scale"], given["assignments"])
    study = load_study(name, changes, given["structures"], given["data"], given["dataset"])
    study = _chosen(study, given["starts"], given["seeds"])
    root = run_dir or Path("runs") / Path(name).stem
    if dry_run:
        return _list(study, root)
    from cryoreg.benchmark.execution import Execution
    from cryoreg.benchmark.run_study import run_study

    execution = Execution(given["processes"], given["gpus"], _pairs(given["slurm"]) or None)
    with terminal.resumable():
        table = run_study(study, root, execution, telling.tell, find_project())
    from cryoreg.benchmark.tables import to_markdown

    click.echo(f"{study.title}\n\n{to_markdown(table)}\n")
    terminal.written(root, f"tables in {root}")


def _changes(scale: float | None, assignments: tuple[str, ...]) -> dict[str, object]:
    """Return the options as changes of the study's file."""
    from cryoreg.benchmark.study import laid_over

    changes: dict[str, object] = {} if scale is None else {"scale": scale}
    for text in assignments:
        *tables, last = _key(text)
        change: dict[str, object] = {last: _value(text.partition("=")[2].strip())}
        for table in reversed(tables):
            change = {table: change}
        changes = laid_over(changes, change)
    return changes


def _key(text: str) -> list[str]:
    """Read the dotted key of an assignment; parts with dots or spaces are quoted, as in TOML."""
    from cryoreg.config.layers import parse_toml

    key, equals, _ = text.partition("=")
    try:
        found: object = parse_toml(f"{key.strip()} = 0") if equals else None
    except ValueError:
        found = None
    if not found:
        raise click.UsageError(f"--set {text}: expected key=value, for example pretrain.training.epochs=50")
    parts = []
    while isinstance(found, dict):
        ((part, found),) = found.items()
        parts.append(part)
    return parts


def _value(text: str) -> object:
    from cryoreg.config.layers import parse_toml

    try:
        return parse_toml(f"x = {text}")["x"]
    except ValueError:
        return text


def _pairs(texts: tuple[str, ...]) -> dict[str, object]:
    return {text.partition("=")[0]: _value(text.partition("=")[2]) for text in texts}


def _chosen(study: Study, starts: str | None, seeds: int | None) -> Study:
    """Return the study with fewer starts (random stays, as what the others are compared with) or other seeds."""
    from cryoreg.benchmark.study import RANDOM
    from cryoreg.errors import ConfigError
    from cryoreg.registry import suggestion

    changes: dict[str, object] = {} if seeds is None else {"seeds": list(range(seeds))}
    if starts is not None:
        wanted = {RANDOM, *starts.split(",")}
        for name in wanted - study.starts.keys() - {RANDOM}:
            raise ConfigError(f"--starts: the study has no '{name}'{suggestion(name, study.starts)}")
        changes["starts"] = {name: start for name, start in study.starts.items() if name in wanted}
    return study.model_copy(update=changes)


def _list(study: Study, root: Path) -> None:
    """Print every job that the study would run, and which of them are done."""
    from cryoreg.benchmark.jobs import results, with_needs
    from cryoreg.benchmark.plan import Plan
    from cryoreg.config import find_project

    plan = Plan(study, project=find_project(), say=telling.tell)
    searched = [job for _, tried in plan.searches() for candidate in tried for job in candidate.jobs]
    jobs = {job.key: job for job in with_needs([*searched, *plan.jobs()])}
    done = results(jobs.values(), root)
    for key, job in jobs.items():
        click.echo(f"{'done' if key in done else 'open'}  {key}  {job.name}")
    click.echo(f"{len(jobs)} jobs, {len(done)} of them done" + ("; a search may change the last ones" * bool(searched)))
