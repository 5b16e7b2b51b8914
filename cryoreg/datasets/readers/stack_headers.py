"""What stacks of tilt images have in common: the edge of an image, the size of a pixel."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from cryoreg.datasets.io import relion
from cryoreg.datasets.io.mrc_header import MrcHeader
from cryoreg.datasets.io.volume_files import refuse, times
from cryoreg.datasets.io.voxel_sizes import edge_length, same_size
from cryoreg.datasets.readers.file_dataset import CommonBox
from cryoreg.errors import MixedVoxelSizesError


def common_edge(headers: Mapping[str, MrcHeader]) -> int:
    """Return the edge of all images; raise `DataError` unless they are squares of one even edge."""
    boxes = CommonBox()
    for file, header in headers.items():
        _, height, width = header.box
        if height != width or height % 2:
            refuse(file, f"has images of {times((height, width))} pixels, not of one even edge; extract it again")
        boxes.add(file, (height, height, height))
    return boxes.box[0]


def common_size(path: str, table: pd.DataFrame, headers: Mapping[str, MrcHeader]) -> float:
    """Return Å per pixel, as the table says, or else the first stack; raise `DataError` where rows differ."""
    stated = relion.image_sizes(path, table)
    other = next((row for row, size in enumerate(stated) if not same_size(size, stated[0])), None)
    if other is not None:
        a, b = (f"{each:.4g} Å" if each else "none" for each in (stated[0], stated[other]))
        raise MixedVoxelSizesError(f"mixed voxel sizes in {path}: row 0 has {a} and row {other} {b}; split the list")
    file, header = next(iter(headers.items()))
    size = stated[0] or edge_length(file, header.voxel_sizes)
    if size is None:
        refuse(path, f"has no {relion.IMAGE_SIZES[0]}, nor do its stacks; say --set dataset.voxel_size=<Å>")
    return size
