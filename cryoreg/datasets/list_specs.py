"""The data sets that are lists of particles: of their volumes, of their tilt images, and of places in tomograms."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from cryoreg.datasets import recognition
from cryoreg.datasets.specs import FileDatasetSpec
from cryoreg.errors import DataError

if TYPE_CHECKING:
    from cryoreg.contracts import Box, SubtomogramDataset
    from cryoreg.datasets.readers.tomogram import TomogramParticles


class StarSpec(FileDatasetSpec):
    """Subtomograms listed in a STAR file of RELION 3, 4 or 5 or of Warp or M, each a 3D image.

    ``rlnImageName`` names the volume, also as ``slot@stack``; optics groups give voxel sizes. Stacks of
    2D tilt images, the default of RELION 5 and WarpTools, are read by `tilt_stack`.
    """

    folder: Path | None = Field(
        None, description="where relative image names start: RELION's project folder [searched above the STAR file]"
    )
    label: str | None = Field(None, description="column that holds the class, for example rlnClassNumber")

    @classmethod
    def fits(cls, path: Path) -> str | None:
        """Take a STAR file with a column of images."""
        return recognition.image_column(path)

    def open(self) -> SubtomogramDataset:
        """Open the STAR file."""
        from cryoreg.datasets.readers.star import Star

        return Star(self.root, self.voxel_size, self.folder, self.label, mixed_voxel_sizes=self.rescale_to is not None)


class TiltStackSpec(FileDatasetSpec):
    """Particles as RELION 5 and WarpTools write them by default: stacks of 2D tilt images, made into volumes.

    An optimisation set, or the particles' STAR file; or a particle series of Warp 1 and M 1, with a row for each tilt
    image. Each stack is back-projected in Fourier space with the projections
    of its tomogram (matrices, or RELION 5's angles), the exposure filter and the CTF at its own depth, and divided by
    the summed weights as Wiener's filter does. Volumes lie in the tomogram's frame, the particle in the middle.
    """

    tomograms: Path | None = Field(
        None, description="the tomograms STAR file [what the optimisation set names, else the one beside the particles]"
    )
    folder: Path | None = Field(
        None, description="where relative image names start: RELION's project folder [searched above the STAR file]"
    )
    coordinate_size: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="Å per unit of rlnCoordinateX [the tilt series before binning; for WarpTools the images]",
    )
    wiener: float = Field(
        0.1, gt=0, allow_inf_nan=False, description="noise over signal where the summed weight is the mean"
    )
    label: str | None = Field(None, description="column that holds the class, for example rlnClassNumber")

    @classmethod
    def fits(cls, path: Path) -> str | None:
        """Take a STAR file of 2D stacks or of their single images, or an optimisation set with such a one."""
        return recognition.tilt_stacks(path)

    def open(self) -> SubtomogramDataset:
        """Open the STAR files and the stacks' headers."""
        if recognition.tilt_images(self.root):
            return self._open_rows()
        from cryoreg.datasets.readers.tilt_stack import TiltStack

        return TiltStack(
            self.root,
            self.tomograms,
            voxel_size=self.voxel_size,
            folder=self.folder,
            coordinate_size=self.coordinate_size,
            wiener=self.wiener,
            label=self.label,
        )

    def _open_rows(self) -> SubtomogramDataset:
        from cryoreg.datasets.readers.tilt_images import TiltImages

        for name in ("tomograms", "coordinate_size"):
            if getattr(self, name) is not None:
                raise DataError(
                    f"{self.root}: has a row for each tilt image, which says it all; leave out dataset.{name}"
                )
        return TiltImages(
            self.root, voxel_size=self.voxel_size, folder=self.folder, wiener=self.wiener, label=self.label
        )


class TomogramSpec(FileDatasetSpec):
    """Boxes cut on the fly from tomograms at the coordinates of a particle list.

    The list is a STAR file, a Dynamo table (.tbl), CSV, copick-style points (.ndjson, .json) or one of STOPGAP, TOM and
    AV3, IMOD, PEET, emClarity, PyTom, EMAN2, crYOLO or TomoTwin; tomograms are MRC, OME-Zarr or TIFF stacks. Boxes that
    reach beyond a tomogram repeat its outermost voxels, and are counted. Centred coordinates of RELION 5 are
    understood: pixel = Å / pixel size of the tilt series + size / 2, both unbinned, then over the binning.
    """

    file_facts: ClassVar[tuple[str, ...]] = (*FileDatasetSpec.file_facts, "tomograms")

    tomograms: Path | None = Field(
        None,
        description="folder of the tomograms, the only one, tomograms.star, a .doc or tomolist [beside the list]",
    )
    box: int = Field(32, ge=2, description="edge of the boxes, voxels (after rescaling)")
    coordinate_size: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Å per unit of the coordinates, where they are in other voxels"
    )
    label: str | None = Field(None, description="column that holds the class [rlnClassNumber, class, ... where varied]")

    @classmethod
    def fits(cls, path: Path) -> str | None:
        """Take a list with coordinates; tomograms alone, and folders with lists, are answered with what to do."""
        recognition.refuse_tomograms(path)
        return recognition.particle_list(path)

    def cut_to(self, voxel_size: float | None, box: Box) -> TomogramSpec | None:
        """Return the spec that cuts such boxes; None where they are no cubes."""
        grid: dict[str, object] = {"box": box[0], "rescale_to": voxel_size or self.rescale_to}
        return self.model_copy(update=grid) if len(set(box)) == 1 else None

    def build(self) -> SubtomogramDataset:
        """Open the list and the tomograms' headers; boxes are cut at the voxel size asked for, not rescaled after."""
        from cryoreg.datasets.conventions import Conventional

        opened = self.open()
        if self.contrast is None and len(opened.contrasts) > 1:
            raise DataError(
                f"{self.root}: says that density is bright in some tomograms and dark in others; say --set "
                "dataset.contrast=<bright or dark> of all, or `cryoreg select --split tomogram`"
            )
        if self.tilt_axis is None and len(opened.axes) > 1:
            raise DataError(
                f"{self.root}: says that tilts are about x in some tomograms and about y in others; say --set "
                "dataset.tilt_axis=<x or y> of all, or `cryoreg select --split tomogram`"
            )
        return Conventional(opened, self.contrast, None, self.tilt_range, self.tilt_axis)

    @classmethod
    def names_files(cls, root: Path) -> Path | None:
        """Return the file of the first tomogram, in lists of cryoreg whose files are where they say."""
        return recognition.listed_tomogram(root)

    def open(self) -> TomogramParticles:
        """Open the list and the tomograms' headers."""
        from cryoreg.datasets.readers.tomogram import TomogramParticles

        return TomogramParticles(
            self.root,
            self.tomograms,
            box=self.box,
            voxel_size=self.voxel_size,
            rescale_to=self.rescale_to,
            coordinate_size=self.coordinate_size,
            label=self.label,
        )

    def own_sizes(self, opened: SubtomogramDataset) -> dict[str, float | None]:
        """Return what the tomograms' headers say."""
        from cryoreg.datasets.tomograms.files import header_sizes

        return header_sizes(tomogram.path for tomogram in getattr(opened, "tomograms", ()))
