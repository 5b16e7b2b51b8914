"""The data sets that are files of volumes, and what all that read files share."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cryoreg.datasets import recognition
from cryoreg.errors import DataError
from cryoreg.specs import DatasetSpec, Tilts

if TYPE_CHECKING:
    from cryoreg.contracts import SubtomogramDataset, Subtomograms


class FileDatasetSpec(DatasetSpec):
    """A source of subtomograms in files, and what the user says of them where the files do not."""

    file_facts: ClassVar[tuple[str, ...]] = ("voxel_size", "contrast", "tilt_range", "tilt_axis")

    root: Path = Field(description="the file or folder")
    voxel_size: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Å per voxel, where the files do not say or are wrong"
    )
    rescale_to: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Å per voxel to resample to; boxes keep their extent in Å"
    )
    contrast: Literal["bright", "dark"] | None = Field(
        None, description="how density looks in the files; dark is inverted, none leaves it as it is"
    )
    tilt_range: Tilts | None = Field(None, description="smallest and largest tilt, degrees, where the files do not say")
    tilt_axis: Literal["x", "y"] | None = Field(None, description="the axis of the tilt series, the beam being z")

    def build(self) -> SubtomogramDataset:
        """Open the files; headers and tables are checked now, voxels when they are read."""
        from cryoreg.datasets.conventions import Conventional

        return Conventional(self.open(), self.contrast, self.rescale_to, self.tilt_range, self.tilt_axis)

    def load(self) -> Subtomograms:
        """Return what `build` returns; where a project file says what the files are like, they must agree with it."""
        dataset = super().load()
        if self.stated is None:
            return dataset
        from cryoreg.datasets.stated import agreed

        return agreed(dataset, self, self.stated, self.own_sizes)

    @abstractmethod
    def open(self) -> SubtomogramDataset:
        """Return the subtomograms as the files hold them."""

    def own_sizes(self, opened: SubtomogramDataset) -> dict[str, float | None]:
        """Return file -> Å per voxel as files say it themselves, of what `open` returned; None where they do not.

        Raises `MixedVoxelSizesError` where they say several.
        """
        silent = self.model_copy(update={"voxel_size": None, "rescale_to": None})
        return {str(self.root): silent.open().voxel_size}


class MrcFolderSpec(FileDatasetSpec):
    """A folder of MRC files: ``root/<class>/*.mrc``, or flat and unlabelled: ``root/*.mrc``.

    Files are read as they are: axes (z, y, x), voxel size from the headers.
    """

    @classmethod
    def fits(cls, path: Path) -> str | None:
        """Take a folder of MRC files whose first is one volume, and no tomogram."""
        return recognition.mrc_volumes(path)

    def open(self) -> SubtomogramDataset:
        """Open the folder."""
        from cryoreg.datasets.readers.mrc_folder import MrcFolder

        return MrcFolder(self.root, self.voxel_size)


class MrcStackSpec(FileDatasetSpec):
    """Stacks of volumes: one MRC file, or a folder of them: ``root/<class>.mrcs`` or ``root/<class>/*.mrcs``.

    A stack is an MRC2014 volume stack (space group 401), or a series of images that is cut into cubes.
    """

    box: int | None = Field(None, ge=1, description="edge of the boxes, voxels, where a stack is a series of images")

    @classmethod
    def fits(cls, path: Path) -> str | None:
        """Take MRC files that are stacks by their names, or the first of them by its header."""
        return recognition.mrc_stacks(path)

    def open(self) -> SubtomogramDataset:
        """Open the stacks."""
        from cryoreg.datasets.readers.mrc_stack import MrcStack

        return MrcStack(self.root, self.voxel_size, self.box)


class NpyFolderSpec(FileDatasetSpec):
    """NumPy arrays: ``root/<class>/*.npy`` or flat, each a volume (D, H, W) or a stack of them (N, D, H, W).

    Arrays have axes (z, y, x); arrays of objects are refused, as they could run code.
    """

    @classmethod
    def fits(cls, path: Path) -> str | None:
        """Take what ends with .npy."""
        return recognition.of_endings(path, ".npy")

    def open(self) -> SubtomogramDataset:
        """Open the folder."""
        from cryoreg.datasets.readers.npy_folder import NpyFolder

        return NpyFolder(self.root, self.voxel_size)


class PngMontageSpec(FileDatasetSpec):
    """Slices side by side in 8-bit PNG files: ``root/<class>/*.png`` or flat, as the Noble set is distributed.

    That set (Noble et al. 2018, as used by Gupta et al. 2022) has 174×145 pixels: a grid of 29×29 patches, of which the
    first 28 are the slices along z of a 28³ subtomogram; the last row and column of each patch is a border.
    """

    patch: int = Field(29, ge=2, description="edge of a patch of the grid, pixels")
    box: int = Field(28, ge=2, description="edge of the boxes, voxels: so many patches, and pixels of each, are read")

    @classmethod
    def fits(cls, path: Path) -> str | None:
        """Take what ends with .png."""
        return recognition.of_endings(path, ".png")

    def open(self) -> SubtomogramDataset:
        """Open the folder."""
        from cryoreg.datasets.readers.png_montage import PngMontage

        return PngMontage(self.root, self.voxel_size, patch=self.patch, box=self.box)


class Eman2Spec(FileDatasetSpec):
    """3D particles of EMAN2: a stack (.hdf), a folder of them, or a list of images (.lst).

    HDF5 as HdfIO2 writes it; images in few bits are scaled back. Classes are folders, else the labels in the names of
    several stacks (``TS_01__ribosome.hdf``); of a list, only what ``label`` names. Stacks of 2D images are refused.
    """

    folder: Path | None = Field(
        None, description="where relative names in a list start: EMAN2's project folder [searched above the list]"
    )
    label: str | None = Field(None, description="what holds the class: a name in the list, or an attribute of images")

    @classmethod
    def fits(cls, path: Path) -> str | None:
        """Take HDF5 with EMAN2's images, a folder of such, or a list of them."""
        return recognition.eman2_images(path)

    def open(self) -> SubtomogramDataset:
        """Open the list and the headers of the images."""
        from cryoreg.datasets.readers.eman2 import Eman2

        return Eman2(self.root, self.voxel_size, self.folder, self.label)


class LabSpec(FileDatasetSpec):
    """What the paper's lab writes: MRC with JSON files in folders, or all in one pickle or HDF5 file.

    The folder holds ``subtomogram_mrc/tomotarget<N>.mrc`` and ``json_label/target<N>.json``, paired by the number N. A
    pickle is a list of ``{"v": volume, "id": class}`` or a dictionary ``{class: volumes}``, and read without running
    code; HDF5 has ``dataset_1`` and ``target``. The lab's beam lies along MRC X; volumes are turned (axes cyclically
    permuted, so nothing is mirrored) to have the beam along z, as everywhere in cryoreg. The tilt axis is then x.
    """

    @classmethod
    def fits(cls, path: Path) -> str | None:
        """Take one of the lab's folders, a pickle, or HDF5 with its key."""
        from cryoreg.datasets.readers.lab_layout import HDF5_VOLUMES
        from cryoreg.datasets.store.mark import FORMAT

        if path.is_dir():
            name = recognition.lab_folder(path)
            return name and f"the folder {name}"
        found = recognition.hdf5_keys(path)
        if found is None:
            return recognition.of_endings(path, ".pkl", ".pickle", ".p") and "a pickle"
        from cryoreg.datasets.io.eman2_images import GROUP

        if FORMAT in found[1] or GROUP in found[0]:
            return None
        if HDF5_VOLUMES in found[0]:
            return f"the HDF5 key {HDF5_VOLUMES}"
        keys = ", ".join(found[0][:6]) or "nothing"
        raise DataError(
            f"{path}: is HDF5 with {keys}, and neither a store of cryoreg nor has '{HDF5_VOLUMES}'; "
            "convert it to MRC or NumPy files"
        )

    def open(self) -> SubtomogramDataset:
        """Open the folder or file."""
        from cryoreg.datasets.readers.lab import open_lab

        return open_lab(self.root, self.voxel_size)


class StoreSpec(FileDatasetSpec):
    """cryoreg's own store, one HDF5 file: what `cryoreg convert`, `simulate` and `extract` write.

    Each subtomogram is one run of bytes with its own checksum, so that training reads it at random without reading
    others. Noise-free copies of simulated subtomograms are kept beside them where asked for; duplicates are known.
    """

    @classmethod
    def fits(cls, path: Path) -> str | None:
        """Take HDF5 with the mark of cryoreg."""
        from cryoreg.datasets.store.mark import FORMAT

        found = recognition.hdf5_keys(path)
        return "the mark of a cryoreg store" if found and FORMAT in found[1] else None

    def open(self) -> SubtomogramDataset:
        """Open the store."""
        from cryoreg.datasets.store.reader import Store

        return Store(self.root, self.voxel_size)
