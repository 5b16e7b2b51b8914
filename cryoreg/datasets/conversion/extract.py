"""Boxes around the particles of a list, cut out of their tomograms, from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cryoreg.config import Layer, resolve
from cryoreg.config.calls import checked
from cryoreg.datasets.conversion.convert import Conversion, run_conversion
from cryoreg.datasets.conversion.formats import DEFAULT
from cryoreg.telling import tell


@checked()
def extract(
    data: str | Path,
    output: str | Path,
    *,
    tomograms: str | Path | None = None,
    box: int = 32,
    voxel_size: float | None = None,
    rescale_to: float | None = None,
    contrast: Literal["bright", "dark"] | None = None,
    tilt_range: tuple[float, float] | None = None,
    format: str = DEFAULT,
    overwrite: bool = False,
    skip_bad: bool = False,
    **parameters: object,
) -> Conversion:
    """Cut boxes around the particles of a list out of their tomograms, as `cryoreg extract` does.

    ``data`` is STAR, a Dynamo table, CSV or ndjson; ``tomograms`` the folder of the tomograms, by default beside it.
    ``box`` is an edge in voxels, ``voxel_size`` and ``rescale_to`` are Å per voxel: where the files do not say, and of
    the boxes. ``parameters`` are others of the data set `tomogram`. ``format`` says what ``output`` is: "store" (a
    file), "mrc_folder", "lab" or what a package brings (`list_formats`). The same call goes on where an interrupted one
    ended. Raises a `CryoregError` for any mistake.
    """
    told = {
        **{"tomograms": tomograms, "box": box, "voxel_size": voxel_size, "rescale_to": rescale_to},
        **{"contrast": contrast, "tilt_range": tilt_range, **parameters},
    }
    given = {key: value for key, value in told.items() if value is not None}
    layer = Layer.of_arguments({"dataset": {"name": "tomogram", **given}}, None, {}, data)
    config = resolve("pretrain", [layer])
    settings = config.to_dict()["dataset"]
    return run_conversion(config.spec("dataset"), settings, Path(output), format, overwrite, skip_bad, tell)[0]
