"""What stacks of tilt images have in common: the edge of an image, the size of a pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from cryoreg.datasets.io import relion
from cryoreg.datasets.io.mrc_header import MrcHeader
from cryoreg.datasets.io.volume_files import refuse, times
from cryoreg.datasets.io.voxel_sizes import edge_length, same_size
from cryoreg.datasets.readers.file_dataset import CommonBox
from cryoreg.errors import MixedVoxelSizesError

_UNSET = 1.0


def common_edge(headers: Mapping[str, MrcHeader]) -> int:
    """Return the edge of all images; raise `DataError` unless they are squares of one even edge."""
    boxes = CommonBox()
    for file, header in headers.items():
        _, height, width = header.box
        if height != width or height % 2:
            refuse(file, f"has images of {times((height, width))} pixels, not of one even edge; extract it again")
        boxes.add(file, (height, height, height))
    return boxes.box[0]


def check_edges(path: str, table: pd.DataFrame, edge: int) -> None:
    """Raise `DataError` where a table tells another size of its images: they are those of another extraction."""
    for row, told in enumerate(relion.image_edges(path, table)):
        if told not in (None, edge):
            refuse(
                path,
                f"says {relion.IMAGE_EDGE} {told} in row {row}, and its stacks have images of {edge} pixels; give the "
                "list of the job that extracted them",
            )


def common_size(path: str, table: pd.DataFrame, headers: Mapping[str, MrcHeader]) -> float:
    """Return Å per pixel, on which the table, its binning and the stacks' headers agree.

    A header of 1 Å is what programs write that know of no size. Raises `DataError` where two of them differ, or two
    rows, and where nobody says.
    """
    stated, binned = relion.image_sizes(path, table), relion.binned_sizes(path, table)
    _check_one(path, stated)
    _check_one(path, binned)
    size = stated[0] or binned[0]
    if stated[0] and binned[0] and not same_size(stated[0], binned[0]):
        refuse(
            path,
            f"says {relion.IMAGE_SIZES[0]} {stated[0]:g}, and {relion.TILT_SIZE} times {relion.BINNING_OF_IMAGES} is "
            f"{binned[0]:g}; say which with --set dataset.voxel_size=<Å>",
        )
    for file, header in headers.items():
        measured = edge_length(file, header.voxel_sizes)
        if measured is None or measured == _UNSET:
            continue
        if size and not same_size(measured, size):
            refuse(
                file,
                f"has {measured:.4g} Å per pixel in its header and {size:.4g} Å in {path}; say which with --set "
                "dataset.voxel_size=<Å>",
            )
        size = size or measured
    if not size:
        refuse(path, f"has no {relion.IMAGE_SIZES[0]}, nor do its stacks; say --set dataset.voxel_size=<Å>")
    return size


def _check_one(path: str, sizes: Sequence[float | None]) -> None:
    other = next((row for row, size in enumerate(sizes) if not same_size(size, sizes[0])), None)
    if other is not None:
        a, b = (f"{each:.4g} Å" if each else "none" for each in (sizes[0], sizes[other]))
        raise MixedVoxelSizesError(f"mixed voxel sizes in {path}: row 0 has {a} and row {other} {b}; split the list")
