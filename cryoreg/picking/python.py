"""Picking from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryoreg.config.calls import checked
from cryoreg.errors import ConfigError
from cryoreg.picking.pick_files import Outputs, Picked, run_pick
from cryoreg.picking.settings import PickSettings
from cryoreg.picking.told import Told
from cryoreg.telling import tell


@checked(PickSettings)
def pick(
    tomograms: str | Path | Sequence[str | Path],
    *,
    diameter: float | None = None,
    radius: float | None = None,
    voxel_size: float | None = None,
    output: str | Path = "picks.star",
    picture: str | Path | None = None,
    overwrite: bool = False,
    **settings: Any,
) -> Picked:
    """Find particles of one size in tomograms (files, or folders of them), as `cryoreg pick` does.

    ``diameter``, or ``radius``, and ``voxel_size`` (where the files do not say or are wrong) are in Å. ``output`` is
    the STAR file, beside which a CSV file is written; ``picture`` a PNG of the picks on the tomograms. ``settings`` are
    those of `PickSettings`: picker, contrast, threshold, distance, top, template, tilt_range, min_cc, ... Raises a
    `CryoregError` for any mistake; nothing is then written.
    """
    half = radius if diameter is None else diameter / 2
    if half is None or None not in (diameter, radius):
        raise ConfigError("pick() needs the size of the particles in Å: diameter=... or radius=...")
    if settings.get("template") is not None:
        settings["template"] = Path(settings["template"])
    chosen = PickSettings(radius=half, **settings)
    told = Told(voxel_size, chosen.contrast, chosen.tilt_range, settings.get("tilt_axis"))
    if not tomograms:
        raise ConfigError("pick() needs a tomogram, a folder of them, or several")
    paths = [tomograms] if isinstance(tomograms, (str, Path)) else tomograms
    outputs = Outputs(Path(output), None if picture is None else Path(picture), overwrite)
    found = run_pick([Path(path).expanduser() for path in paths], chosen, outputs, told)
    for line in [*found.warnings(), *(f"note: {note}" for note in found.notes)]:
        tell(line)
    return found
