"""Volumes in EMAN2's HDF5 files: an image each in ``/MDF/images/<number>/image``, with attributes ``EMAN.<name>``.

As EMAN2's HdfIO2 reads and writes them: axes (z, y, x); whole numbers of ``stored_renderbits`` bits stand for values
from ``stored_rendermin`` to ``stored_rendermax``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import h5py
import numpy as np

from cryoreg.datasets.io.hdf5 import own
from cryoreg.datasets.io.volume_files import (
    check_count,
    check_kind,
    guarded,
    name_of_slot,
    one_volume,
    refuse,
    to_float32,
)

if TYPE_CHECKING:
    from cryoreg.contracts import Box

GROUP = "MDF"
"""What the file's first group is called."""
_IMAGES, _IMAGE = "images", "image"
_OF_EXTRACTION = ("class_ptcl_src", "file_twod")
"""The stack of 2D particles, which only e2spt_extract writes into 3D ones; its name begins with the tomogram's."""
_MOST_BITS = 16
_MOST_PACKED = 1100
"""Bytes to one that deflate makes of it at most, with some leeway."""
_LABEL = "__"
"""Between the tomogram and the label in the name of a stack that e2spt_extract wrote."""


class Stored(NamedTuple):
    """One image: what its header says, and where its voxels lie."""

    box: Box
    voxel_sizes: tuple[float, float, float] | None
    """Å along x, y, z."""
    coordinates: tuple[float, float, float] | None
    """x, y, z in the tomogram, in whatever unit and frame."""
    extracted: bool
    """Whether e2spt_extract wrote it: coordinates are then in its voxels, from the middle of the tomogram."""
    tomogram: str | None
    scale: tuple[float, float] | None
    """By what whole numbers are multiplied, and what is added then; None where voxels are stored as they are."""
    dtype: np.dtype[Any]
    offset: int | None
    """Where its voxels begin in the file; None where they are compressed."""
    label: str | None
    """The value of the attribute that was asked for."""


def image_numbers(file: str) -> list[int]:
    """Return the numbers of the images in a file, sorted; raise `DataError` where it holds none."""
    with _images(file) as images:
        numbers = sorted(int(name) for name in images if name.isdecimal())
    if not numbers:
        refuse(file, "holds no images; check the path")
    check_count(file, len(numbers))
    return numbers


def read_stored(file: str, numbers: Iterable[int], label: str | None = None) -> Iterator[Stored]:
    """Yield what the headers of 3D images say; raise `DataError`, with the first at fault, for 2D ones and transforms.

    ``label`` is the name of an attribute, without ``EMAN.``, that holds the class.
    """
    with _images(file) as images:
        for number in numbers:
            yield _stored(file, number, images, label)


def read_image(file: str, number: int, stored: Stored) -> np.ndarray:
    """Read one volume, float32 (z, y, x), scaled back where it was stored in few bits."""
    where = name_of_slot(file, number)
    with guarded(file, "an HDF5 file"):
        voxels = _voxels(file, number, stored).reshape(stored.box)
    volume = to_float32(where, voxels)
    if stored.scale is None:
        return volume
    factor, least = stored.scale
    volume *= np.float32(factor)
    volume += np.float32(least)
    return volume


def named_tomogram(path: str) -> str | None:
    """Return the tomogram in the name of a stack that e2spt_extract wrote, ``<tomogram>__<label>.hdf``."""
    name, mark, _ = _stem(path).partition(_LABEL)
    return name if mark and name else None


def named_label(path: str) -> str | None:
    """Return the label in the name of such a stack."""
    return _stem(path).partition(_LABEL)[2] or None


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


@contextmanager
def _images(file: str) -> Iterator[h5py.Group]:
    with guarded(file, "an HDF5 file"), h5py.File(file, "r", locking=False) as archive:
        outer = own(archive, GROUP)
        images = own(outer, _IMAGES) if isinstance(outer, h5py.Group) else None
        if not isinstance(images, h5py.Group):
            refuse(file, f"has no images of EMAN2 (/{GROUP}/{_IMAGES}); check the path")
        yield images


def _stored(file: str, number: int, images: h5py.Group, label: str | None) -> Stored:
    where, group = name_of_slot(file, number), own(images, str(number))
    if not isinstance(group, h5py.Group):
        refuse(file, f"holds no image {number} (counted from 0); copy it again, or mend the list")
    image = own(group, _IMAGE)
    if not isinstance(image, h5py.Dataset):
        refuse(where, "has no voxels in this file; extract it again")
    said = _Attributes(where, group.attrs)
    check_kind(where, image.dtype)
    written = image.id.get_storage_size()
    if written * _MOST_PACKED < image.nbytes:
        refuse(where, f"has {image.nbytes:,} bytes by its header, of which {written:,} were written; copy it again")
    _check_volume(where, image.shape, said)
    names = [said.text(each) for each in _OF_EXTRACTION]
    return Stored(
        one_volume(where, image.shape),
        said.voxel_sizes(),
        said.triple("ptcl_source_coord"),
        any(names),
        _tomogram(said.text("ptcl_source_image"), [*names, file]),
        said.scale(),
        image.dtype,
        image.id.get_offset(),
        None if label is None else said.word(label),
    )


def _check_volume(where: str, shape: Sequence[int], said: _Attributes) -> None:
    if len(shape) < 3 or min(shape) < 2:
        whole = said.text("file_threed")
        refuse(
            where,
            f"is no volume but an image of {'×'.join(map(str, shape))} pixels; give EMAN2's 3D particles "
            f"({whole or 'particles3d/'})",
        )
    if said.number("is_complex"):
        refuse(where, "holds complex numbers (a Fourier transform); transform it back to real space")


def _tomogram(source: str | None, stacks: Iterable[str | None]) -> str | None:
    if source:
        return named_tomogram(source) or _stem(source)
    return next((name for stack in stacks if stack and (name := named_tomogram(stack))), None)


def _voxels(file: str, number: int, stored: Stored) -> np.ndarray:
    count = int(np.prod(stored.box))
    if stored.offset is None:
        with h5py.File(file, "r", locking=False) as archive:
            return np.asarray(archive[f"{GROUP}/{_IMAGES}/{number}/{_IMAGE}"][()])
    if os.path.getsize(file) < stored.offset + count * stored.dtype.itemsize:
        refuse(file, "is truncated; copy it again")
    return np.fromfile(file, stored.dtype, count, offset=stored.offset)


class _Attributes:
    """What an image's header says, by EMAN2's names."""

    def __init__(self, where: str, attributes: h5py.AttributeManager) -> None:
        self._where, self._attributes = where, attributes

    def _values(self, name: str) -> np.ndarray | None:
        value = self._attributes.get(f"EMAN.{name}")
        return None if value is None or isinstance(value, h5py.Empty) else np.asarray(value).reshape(-1)

    def text(self, name: str) -> str | None:
        """Return an attribute that is text; None where it is not there, or none."""
        values = self._values(name)
        if values is None or len(values) != 1 or values.dtype.kind not in "SUO":
            return None
        value = values[0]
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

    def number(self, name: str) -> float | None:
        """Return an attribute that is one finite number; None where it is not there, or none."""
        values = self._values(name)
        if values is None or len(values) != 1 or values.dtype.kind not in "iuf" or not np.isfinite(values[0]):
            return None
        return float(values[0])

    def word(self, name: str) -> str:
        """Return an attribute as the name of a class; raise `DataError` where it has none."""
        number = self.number(name)
        word = self.text(name) if number is None else f"{number:g}"
        if word is None:
            refuse(self._where, f"has no EMAN.{name} to take the class from; check dataset.label")
        return word

    def triple(self, name: str) -> tuple[float, float, float] | None:
        """Return an attribute that is three finite numbers; None where it is not there, or others."""
        values = self._values(name)
        if values is None or values.dtype.kind not in "iuf" or len(values) != 3 or not np.isfinite(values).all():
            return None
        x, y, z = values.tolist()
        return float(x), float(y), float(z)

    def voxel_sizes(self) -> tuple[float, float, float] | None:
        """Return Å along x, y, z; None where they are not there."""
        sizes = [self.number(f"apix_{axis}") for axis in "xyz"]
        x, y, z = ((size if size is not None else sizes[0]) for size in sizes)
        if x is None or y is None or z is None:
            return None
        if not min(x, y, z) > 0:
            refuse(self._where, f"has an EMAN.apix_x of {x:g} Å, which no voxel has; say --set dataset.voxel_size=<Å>")
        return x, y, z

    def scale(self) -> tuple[float, float] | None:
        """Return how HdfIO2::read_data scales whole numbers back."""
        bits = self.number("stored_renderbits") or 0
        if bits <= 0:
            return None
        low, high = self.number("stored_rendermin"), self.number("stored_rendermax")
        if low is None or high is None:
            return None
        if bits > _MOST_BITS or bits % 1:
            refuse(self._where, f"is stored in {bits:g} bits, of which EMAN2 has up to {_MOST_BITS}; copy it again")
        return (high - low) / (2**bits - 1), low
