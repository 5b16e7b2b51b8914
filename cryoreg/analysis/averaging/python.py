"""Class averages from Python."""

from __future__ import annotations

from pathlib import Path

from cryoreg.analysis.averaging.class_average import ClassAverage, run_average
from cryoreg.analysis.averaging.sources import of_data, of_run
from cryoreg.config.calls import checked
from cryoreg.errors import CallError
from cryoreg.telling import tell


@checked()
def average(
    name: str,
    output: str | Path,
    *,
    data: str | Path | None = None,
    dataset: str | None = None,
    run: str | Path | None = None,
    labels_from: str | Path | None = None,
    limit: int = 500,
    seed: int = 0,
    overwrite: bool = False,
    **parameters: object,
) -> ClassAverage:
    """Average the particles of a class, turned and shifted onto each other, as `cryoreg average` does.

    Who is of the class ``name`` says the classifier of a fine-tuning ``run``, else a list or file of predictions
    (``labels_from``), else the labels of ``data``. ``dataset`` is the reader of the data, ``parameters`` are settings
    of it, such as ``tilt_range``; ``limit`` particles are drawn of more, by ``seed``. Written are ``output`` (.mrc),
    both halves and a PNG. The result knows the volumes, float32 (D, H, W), their Fourier shell correlation and, as
    ``averaged.resolution``, where that falls below a limit (Å). Raises a `CryoregError` for any mistake; nothing is
    then written.
    """
    if data is None and run is None:
        raise CallError("average() needs data=PATH, or run=RUN")
    if run is not None and labels_from is not None:
        raise CallError("average() asks who is of the class: run=..., or labels_from=..., not both")
    told = None if labels_from is None else Path(labels_from)
    if run is not None:
        source = of_run(Path(run), name, None if data is None else Path(data), dataset, parameters, tell)
    else:
        assert data is not None
        source = of_data(Path(data), name, dataset, parameters, told, say=tell)
    return run_average(*source[:2], Path(output), name, limit, seed, overwrite, source.inputs, tell)
