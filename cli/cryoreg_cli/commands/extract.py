"""`cryoreg extract`: `cryoreg convert` of boxes around picks."""

from __future__ import annotations

from pathlib import Path

import click

from cryoreg import telling
from cryoreg_cli import options
from cryoreg_cli.commands.convert import convert
from cryoreg_cli.completion_values import SETTING
from cryoreg_cli.setting_options import dataset_settings, own_options, said

_FACTS = ("voxel_size", "contrast", "tilt_range", "tilt_axis")
"""What a project file keeps of tomograms."""


@options.command()
@options.data(metavar="LIST")
@options.TOMOGRAMS
@options.box(32)
@options.VOXEL_SIZE
@click.option(
    "--rescale-to", type=options.POSITIVE, metavar="Å", help="Voxel size of the boxes. [that of the tomograms]"
)
@click.option("--contrast", type=click.Choice(["bright", "dark"]), help="Dark is inverted. [not known]")
@options.TILT_RANGE
@options.settings("dataset.KEY=VALUE", SETTING)
@options.output("The file or folder to write.", metavar="PATH")
@options.FORMAT
@options.OVERWRITE
@options.SKIP_BAD
@click.pass_context
@options.jsonable
@options.quietable
def extract(
    context: click.Context,
    /,
    data: Path,
    assignments: tuple[str, ...],
    output: Path,
    form: str,
    overwrite: bool,
    skip_bad: bool,
    as_json: bool,
    **settings: object,
) -> None:
    """Cut boxes around the particles of LIST (STAR, .tbl, CSV or ndjson) out of their tomograms.

    The same as `cryoreg convert --dataset tomogram`: `cryoreg show dataset tomogram` lists every setting. To train
    straight from tomograms, without a copy, give `--dataset tomogram` to `cryoreg pretrain`.
    """
    from cryoreg.config.project import Facts
    from cryoreg.config.project_text import remember
    from cryoreg.datasets.readers.tomogram import ParticleBoxes
    from cryoreg.wrapped import within

    told = settings | dataset_settings(assignments, "extract")
    with own_options(*settings):
        dataset = context.invoke(
            convert,
            data=data,
            config=None,
            output=output,
            form=form,
            overwrite=overwrite,
            skip_bad=skip_bad,
            as_json=as_json,
            assignments=(*said(settings), *assignments),
            dataset__name="tomogram",
        )
    if told["tomograms"]:
        facts = Facts.model_validate({"path": told["tomograms"], **{key: told.get(key) for key in _FACTS}})
        boxes = within(dataset, ParticleBoxes)
        overrule = (boxes is not None and boxes.overruled_by(facts.voxel_size)) or None
        if line := remember("tomograms", {**dict(facts), "overrule": overrule}, output, "extract"):
            (telling.tell if as_json else click.echo)(f"project    {line}")
