"""The built-in data sets."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cryoreg.datasets import recognition
from cryoreg.errors import DataError
from cryoreg.specs import DatasetSpec

if TYPE_CHECKING:
    from cryoreg.contracts import Box, SubtomogramDataset, Subtomograms
    from cryoreg.datasets.readers.tomogram import TomogramParticles


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
    tilt_range: tuple[float, float] | None = Field(
        None, description="smallest and largest tilt, degrees, where the files do not say"
    )
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
        if FORMAT in found[1]:
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
    AV3, IMOD, PEET, emClarity, PyTom or EMAN2; tomograms are MRC, OME-Zarr or TIFF stacks. Boxes that reach beyond a
    tomogram repeat its outermost voxels, and are counted. Centred coordinates of RELION 5 are understood: pixel = Å /
    pixel size of the tilt series + size / 2, both unbinned, then over the binning.
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
        """Return what the tomograms' headers say; a level of an OME-Zarr image is chosen by its voxel size."""
        from cryoreg.datasets.tomograms.files import open_tomogram

        files = [tomogram.path for tomogram in getattr(opened, "tomograms", ())]
        return {file: open_tomogram(file).voxel_size for file in files if not Path(file).is_dir()}


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


class DemoSpec(DatasetSpec):
    """Ten procedural assemblies with point-group symmetry: the embedded default, generated once and cached.

    Random bead protomers in C1, C2, C3, C4, C6, D2, D3, D7, T and O symmetry, 450-650 kDa, with neighbours, CTF,
    ±60° missing wedge and noise. The variance ratio of 6 inside the crop is about what the nominal SNR of 0.05 of Gupta
    et al. 2022 comes to there. Density is white on 0, the noise's standard deviation is 1. See `cryoreg.simulation`.
    """

    per_class: int = Field(150, ge=1, description="subtomograms per class")
    box: int = Field(24, ge=16, description="edge of the boxes, voxels")
    voxel_size: float = Field(12.0, ge=4, allow_inf_nan=False, description="Å per voxel")
    snr: float = Field(
        6.0, gt=0, description="variance of the target's signal over variance of the noise, in the crop; inf: no noise"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="seed of structures, poses and noise")

    def build(self) -> SubtomogramDataset:
        """Open the cached set, generating it first where it is missing."""
        from cryoreg.datasets.readers.demo import DemoSettings, load_demo

        return load_demo(DemoSettings(**self.model_dump()))


class UniverseSpec(DatasetSpec):
    """Made-up structures through random microscopes, simulated while training: as many scenes as are asked for.

    Assemblies of all point groups and of none, 50 kDa to 4 MDa, protein with nucleic acid, membranes, filaments, gold,
    carbon and empty ice; none is of the PDB or the EMDB. Classes are the structures, groups the sessions.
    Scene number i shows structure i modulo their number, the same bits wherever it is made. See `docs/simulation.md`.
    """

    structures: int = Field(1500, ge=2, description="how many of the endless series of structures")
    per_class: int = Field(20, ge=1, description="scenes of each structure; any number, as nothing is kept on disk")
    first: int = Field(0, ge=0, description="scenes of each structure to pass over")
    box: int = Field(16, ge=4, description="edge of the boxes, voxels")
    voxel_size: float = Field(20.0, gt=0, allow_inf_nan=False, description="Å per voxel")
    seed: int = Field(0, ge=0, lt=2**63, description="seed of structures, microscopes, poses and noise")

    def build(self) -> SubtomogramDataset:
        """Return the set; nothing is simulated before it is read."""
        from cryoreg.datasets.readers.universe import MadeUp
        from cryoreg.datasets.universe_set import UniverseSet

        return MadeUp(UniverseSet(**self.model_dump()))
