"""`cryoreg simulate`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cryoreg import telling
from cryoreg_cli import next_steps, options, terminal
from cryoreg_cli.completion_values import SCENE_SETTING

if TYPE_CHECKING:
    from cryoreg.datasets.conversion.simulated_store import Outcome, SimulatedSet
    from cryoreg.datasets.universe_set import UniverseSet
    from cryoreg.simulation.settings import SceneSettings
    from cryoreg.simulation.structures import Structure

PRESETS = ("liu2020", "clean", "hard", "extreme")
_SIZE, _PARTICLES, _WIDE = (400, 400, 120), 100, 320.0
"""Of tomograms: voxels x y z, particles in each, and Å of the cubes in which their SNR counts."""
_OF_TOMOGRAMS = ("count", "size", "particles")
_OF_SUBTOMOGRAMS = (*("universe", "per_class", "snr_region", "mode", "lab", "mrc", "montage", "clean_copies"),)


@options.command()
@click.option(
    "--preset", type=click.Choice(PRESETS), help="Settings of scenes. [liu2020; hard with --tomogram]", metavar="NAME"
)
@options.settings("KEY=VALUE", SCENE_SETTING)
@click.option("--show-settings", is_flag=True, help="Print all settings with their meaning, and stop.")
@click.option(
    "--structures", type=options.PATH, metavar="DIR", help="PDB, mmCIF and MRC files. [ten made-up assemblies]"
)
@click.option(
    "--universe",
    type=click.IntRange(2),
    metavar="N",
    help="So many made-up structures of every kind instead, through random microscopes. [none]",
)
@click.option(
    "--tomogram", is_flag=True, help="Whole tomograms instead, with lists of what is in them; --output is a folder."
)
@click.option("--count", type=click.IntRange(1), metavar="N", help="Tomograms. [1]")
@click.option("--size", type=(click.IntRange(8),) * 3, metavar="X Y Z", help="Voxels of each tomogram. [400 400 120]")
@click.option("--particles", type=click.IntRange(1), metavar="N", help="In each tomogram, structures in turn. [100]")
@click.option(
    "--box", type=click.IntRange(4), metavar="VOXELS", help="Edge of the boxes. [the preset's; 16 with --universe]"
)
@click.option(
    "--voxel-size",
    type=options.POSITIVE,
    metavar="Å",
    help="Of what is simulated. [the preset's; 20 with --universe]",
)
@click.option("--assembly", default="1", help="Biological assembly, or 'none' for atoms as listed.")
@click.option(
    "--map-voxel-size",
    type=options.POSITIVE,
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
    help="Scenes of each class, or tomograms, to pass over: sets of one seed with other ones share nothing.",
)
@options.seed(2**63 - 1)
@click.option("--snr", type=float, metavar="RATIO", help="Variance of signal over noise; inf: no noise. [the preset's]")
@click.option("--snr-region", type=click.Choice(["crop", "box"]), help="Where it counts. [the preset's]")
@click.option("--mode", type=click.Choice(["fast", "tilt-series"]), help="How scenes are imaged. [fast]")
@options.output("The store to write (HDF5), or the folder of tomograms. [required]", metavar="PATH", required=False)
@options.OVERWRITE
@click.option("--clean-copies", is_flag=True, help="Keep each subtomogram's noise-free copy in the store too.")
@click.option("--lab", type=options.PATH, metavar="DIR", help="Write the layout of the paper's lab as well. [no]")
@click.option("--mrc", type=options.PATH, metavar="DIR", help="Write a folder of MRC files by class as well. [no]")
@click.option(
    "--montage", type=options.PATH, metavar="PNG", help="Draw the first subtomogram of each class. [not drawn]"
)
@options.PROCESSES
@options.quietable
def simulate(assignments: tuple[str, ...], show_settings: bool, output: Path | None, **given: Any) -> None:
    """Simulate subtomograms of known classes, or whole tomograms.

    A target among random neighbours, seen through a microscope with CTF, missing wedge and noise. The same command goes
    on where an interrupted one ended; the same seed gives the same bits with any number of processes.
    """
    from cryoreg.simulation.settings import make_settings

    _check_options(given)
    given["preset"] = given["preset"] or ("hard" if given["tomogram"] else "liu2020")
    if given["tomogram"] and given["voxel_size"] and not given["box"]:
        given["box"] = max(4, 2 * round(_WIDE / given["voxel_size"] / 2))
    named = ("snr", "snr_region", "mode", *(() if given["universe"] else ("box", "voxel_size")))
    settings = make_settings(given["preset"], assignments, **{name: given[name] for name in named})
    if show_settings:
        _print_settings(settings)
        return
    if output is None:
        raise click.UsageError("Missing option '--output': what to write")
    if given["tomogram"]:
        _write_tomograms(settings, output, given)
        return
    folders = {kind: given[option] for kind, option in (("lab", "lab"), ("mrc_folder", "mrc")) if given[option]}
    _check_outputs(given, output, list(folders.values()))
    from cryoreg.datasets.conversion.simulated_store import SimulatedSet, write

    simulated = _universe(given) if given["universe"] else _set_of(settings, given)
    with terminal.resumable():
        outcome = write(
            simulated, output, given["preset"], given["clean_copies"], given["processes"], given["overwrite"]
        )
    _report(outcome, output)
    _write_folders(output, folders, given["overwrite"])
    if given["montage"] and isinstance(simulated, SimulatedSet):
        _draw(simulated, given["montage"])


def _check_options(given: dict[str, Any]) -> None:
    """Refuse options that mean nothing beside others."""
    unfit, other = tuple[str, ...](), ""
    if given["tomogram"]:
        unfit, other = _OF_SUBTOMOGRAMS, "--tomogram exclude each other"
    elif given["universe"]:
        unfit, other = ("structures", "snr", "snr_region", "mode", "montage"), "--universe exclude each other"
    found = [(option, f"and {other}") for option in unfit if given[option]]
    found += [(option, "goes with --tomogram") for option in _OF_TOMOGRAMS if given[option] and not given["tomogram"]]
    if found:
        raise click.UsageError(f"--{found[0][0].replace('_', '-')} {found[0][1]}")


def _structures(settings: SceneSettings, given: dict[str, Any]) -> Sequence[Structure]:
    from cryoreg.simulation.assemblies import make_assemblies
    from cryoreg.simulation.structure_files import StructureOptions, read_structures

    if given["structures"] is None:
        return make_assemblies(0)
    size, threshold = given["map_voxel_size"], given["map_threshold"]
    options = StructureOptions(settings.point_spacing, given["assembly"], size, threshold)
    return read_structures(given["structures"], options)


def _set_of(settings: SceneSettings, given: dict[str, Any]) -> SimulatedSet:
    from cryoreg.datasets.conversion.simulated_store import SimulatedSet

    bodies = _structures(settings, given)
    _list_structures(bodies, settings)
    return SimulatedSet(bodies, settings, given["seed"], given["per_class"] or 500, given["first"])


def _write_tomograms(settings: SceneSettings, output: Path, given: dict[str, Any]) -> None:
    """Write tomograms and lists, and say what can be done with them."""
    from cryoreg.datasets.conversion.simulated_tomograms import STAR, TomogramSet, write_tomograms

    if settings.snr_region == "box" and given["snr"] is None and settings.snr < float("inf"):
        raise click.UsageError(
            f"the SNR of '{given['preset']}' counts in a mostly empty box, that of a tomogram around each particle; "
            "say --snr, or another --preset"
        )
    bodies = _structures(settings, given)
    _list_structures(bodies, settings)
    x, y, z = given["size"] or _SIZE
    count, particles = given["count"] or 1, given["particles"] or _PARTICLES
    made = TomogramSet(bodies, settings, given["seed"], count, (z, y, x), particles, given["first"])
    listed = write_tomograms(made, output, given["overwrite"])
    many = f"{count} tomogram{'s' if count > 1 else ''} of {x}×{y}×{z} voxels (x y z), {settings.voxel_size:g} Å"
    terminal.written(output, f"written   {output}  {many}; {listed:,} particles, SNR {settings.snr:g} around each")
    click.echo(f"next      {next_steps.after_tomograms(output / STAR, settings.box)}")


def _universe(given: dict[str, Any]) -> UniverseSet:
    """Return the set of made-up structures that is asked for."""
    from cryoreg.datasets.universe_set import UniverseSet

    wanted = {name: given[name] for name in ("per_class", "box", "voxel_size") if given[name] is not None}
    return UniverseSet(given["universe"], seed=given["seed"], first=given["first"], **wanted)


def _list_structures(bodies: Sequence[Structure], settings: SceneSettings) -> None:
    extent = settings.box * settings.voxel_size
    for body in bodies:
        note = "; larger than the box" if 2 * body.radius > extent else ""
        said = f"{body.mass / 1e3:.0f} kDa, radius {body.radius:.0f} Å, {len(body.points):,} points{note}"
        telling.tell(f"structure {body.name}: {said}")


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
