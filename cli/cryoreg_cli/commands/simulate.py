"""`cryoreg simulate`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cryoreg_cli import options, run_options, terminal
from cryoreg_cli.completion_values import SCENE_SETTING
from cryoreg_cli.run_options import PATH

if TYPE_CHECKING:
    from cryoreg.datasets.conversion.simulated_store import Outcome, SimulatedSet
    from cryoreg.datasets.universe_set import UniverseSet
    from cryoreg.simulation.settings import SceneSettings

PRESETS = ("liu2020", "clean", "hard", "extreme")


@options.command()
@click.option("--preset", type=click.Choice(PRESETS), default="liu2020", help="Settings of scenes.")
@options.settings("KEY=VALUE", SCENE_SETTING)
@click.option("--show-settings", is_flag=True, help="Print all settings with their meaning, and stop.")
@click.option("--structures", type=PATH, metavar="DIR", help="PDB, mmCIF and MRC files. [ten made-up assemblies]")
@click.option(
    "--universe",
    type=click.IntRange(2),
    metavar="N",
    help="So many made-up structures of every kind instead, through random microscopes. [none]",
)
@click.option("--box", type=click.IntRange(4), metavar="VOXELS", help="Edge of the boxes, with --universe. [16]")
@click.option(
    "--voxel-size", type=click.FloatRange(0, min_open=True), metavar="Å", help="Of the boxes, with --universe. [20]"
)
@click.option("--assembly", default="1", help="Biological assembly, or 'none' for atoms as listed.")
@click.option(
    "--map-voxel-size",
    type=click.FloatRange(0, min_open=True),
    metavar="Å",
    help="Of MRC maps, where headers do not say or are wrong. [as they say]",
)
@click.option(
    "--map-threshold",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.05,
    metavar="FRACTION",
    help="Leave out voxels of maps below this share of the maximum.",
)
@click.option("--per-class", type=click.IntRange(1), help="Subtomograms of each class. [500; 20 with --universe]")
@click.option(
    "--first",
    type=click.IntRange(0),
    default=0,
    help="Scenes of each class to pass over: sets of one seed with other scenes share nothing.",
)
@options.seed(2**63 - 1)
@click.option("--snr", type=float, metavar="RATIO", help="Variance of signal over noise; inf: no noise. [the preset's]")
@click.option("--snr-region", type=click.Choice(["crop", "box"]), help="Where it counts. [the preset's]")
@click.option("--mode", type=click.Choice(["fast", "tilt-series"]), help="How scenes are imaged. [fast]")
@options.output("The store to write (HDF5). [required]", required=False)
@options.OVERWRITE
@click.option("--clean-copies", is_flag=True, help="Keep each subtomogram's noise-free copy in the store too.")
@click.option("--lab", type=PATH, metavar="DIR", help="Write the layout of the paper's lab as well. [no]")
@click.option("--mrc", type=PATH, metavar="DIR", help="Write a folder of MRC files by class as well. [no]")
@click.option("--montage", type=PATH, metavar="PNG", help="Draw the first subtomogram of each class. [not drawn]")
@options.PROCESSES
@options.quietable
def simulate(assignments: tuple[str, ...], show_settings: bool, output: Path | None, **given: Any) -> None:
    """Simulate subtomograms of known classes.

    A target among random neighbours, seen through a microscope with CTF, missing wedge and noise. The same command goes
    on where an interrupted one ended; the same seed gives the same bits with any number of processes.
    """
    from cryoreg.simulation.settings import make_settings

    settings = make_settings(
        given["preset"], assignments, snr=given["snr"], snr_region=given["snr_region"], mode=given["mode"]
    )
    if show_settings:
        _print_settings(settings)
        return
    if output is None:
        raise click.UsageError("Missing option '--output': the store to write")
    folders = {kind: given[option] for kind, option in (("lab", "lab"), ("mrc_folder", "mrc")) if given[option]}
    _check_outputs(given, output, list(folders.values()))
    from cryoreg.datasets.conversion.simulated_store import SimulatedSet, write

    simulated = _universe(given) if given["universe"] else _set_of(settings, given)
    with run_options.resumable():
        outcome = write(
            simulated, output, given["preset"], given["clean_copies"], given["processes"], given["overwrite"]
        )
    _report(outcome, output)
    _write_folders(output, folders, given["overwrite"])
    if given["montage"] and isinstance(simulated, SimulatedSet):
        _draw(simulated, given["montage"])


def _set_of(settings: SceneSettings, given: dict[str, Any]) -> SimulatedSet:
    from cryoreg.datasets.conversion.simulated_store import SimulatedSet
    from cryoreg.simulation.assemblies import make_assemblies
    from cryoreg.simulation.structure_files import StructureOptions, read_structures

    if given["structures"] is None:
        bodies = make_assemblies(0)
    else:
        size, threshold = given["map_voxel_size"], given["map_threshold"]
        options = StructureOptions(settings.point_spacing, given["assembly"], size, threshold)
        bodies = read_structures(given["structures"], options)
    simulated = SimulatedSet(bodies, settings, given["seed"], given["per_class"] or 500, given["first"])
    _list_structures(simulated)
    return simulated


def _universe(given: dict[str, Any]) -> UniverseSet:
    """Return the set of made-up structures that is asked for; refuse options that mean nothing there."""
    from cryoreg.datasets.universe_set import UniverseSet

    for option in ("structures", "snr", "snr_region", "mode", "montage"):
        if given[option] is not None:
            raise click.UsageError(f"--{option.replace('_', '-')} and --universe exclude each other")
    wanted = {name: given[name] for name in ("per_class", "box", "voxel_size") if given[name] is not None}
    return UniverseSet(given["universe"], seed=given["seed"], first=given["first"], **wanted)


def _list_structures(simulated: SimulatedSet) -> None:
    extent = simulated.settings.box * simulated.settings.voxel_size
    for body in simulated.structures:
        note = "; larger than the box" if 2 * body.radius > extent else ""
        said = f"{body.mass / 1e3:.0f} kDa, radius {body.radius:.0f} Å, {len(body.points):,} points{note}"
        run_options.warn(f"structure {body.name}: {said}")


def _check_outputs(given: dict[str, Any], output: Path, folders: list[Path]) -> None:
    """Refuse, before hours of simulation, what cannot be written after it."""
    from cryoreg.outputs import check_file, check_folder

    structures = given["structures"]
    inputs = list(structures.iterdir()) if structures is not None and structures.is_dir() else []
    if os.path.lexists(output):  # else the folder that it lies in is made
        check_file(output, given["overwrite"], inputs)
    if given["montage"]:
        check_file(given["montage"], given["overwrite"], [output, *inputs])
    for folder in folders:
        check_folder(folder, given["overwrite"], inputs)


def _report(outcome: Outcome, output: Path) -> None:
    resumed = outcome.total - outcome.written
    earlier = f", {resumed:,} of them by an earlier call" if resumed else ""
    terminal.written(output, f"store     {output}  {outcome.total:,} subtomograms{earlier}")
    if outcome.written:
        rate = outcome.written / outcome.seconds
        click.echo(f"speed     {rate:.0f} volumes/s")
        if outcome.snr_box == outcome.snr_box:  # not NaN: made-up structures have no box
            click.echo(f"SNR       {outcome.snr_crop:.3g} in the crop (target alone), {outcome.snr_box:.3g} in the box")


def _write_folders(output: Path, folders: dict[str, Path], overwrite: bool) -> None:
    from cryoreg.datasets.conversion.convert import convert
    from cryoreg.datasets.specs import StoreSpec

    for kind, folder in folders.items():
        convert(StoreSpec(root=output).build(), folder, kind, overwrite=overwrite)  # type: ignore[arg-type]
        terminal.written(folder, f"{kind:<10} {folder}")


def _draw(simulated: SimulatedSet, path: Path) -> None:
    from cryoreg.simulation.montage import write_montage

    shown = list(simulated.scenes(simulated.indices[: len(simulated.structures)]))
    write_montage(path, shown, [body.name for body in simulated.structures], simulated.settings.voxel_size)
    terminal.written(path, f"montage   {path}")


def _print_settings(settings: SceneSettings) -> None:
    from cryoreg_cli import describing

    page = describing.page()
    rows = [
        (name, str(getattr(settings, name)), field.description or "")
        for name, field in type(settings).model_fields.items()
    ]
    describing.write_table(page, [("setting", "value", "meaning"), *rows])
    click.echo(page.getvalue().rstrip("\n"))
