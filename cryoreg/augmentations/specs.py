"""The built-in augmentations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, JsonValue, ValidationInfo, field_validator

from cryoreg.errors import ConfigError
from cryoreg.specs import AugmentationSpec

if TYPE_CHECKING:
    from cryoreg.augmentations.cryoet import CryoET
    from cryoreg.augmentations.gupta2022 import Gupta2022
    from cryoreg.augmentations.gupta2022_monai import Gupta2022Monai
    from cryoreg.augmentations.identity import Identity
    from cryoreg.augmentations.monai_pipeline import MonaiPipeline
    from cryoreg.augmentations.strong import Strong
    from cryoreg.contracts import Subtomograms

_TILT_STEP = 3.0
"""Degrees between the images of a usual tilt series, to which a range is known."""
_NO_WEDGE = 90.0
"""The largest tilt, degrees, where all is measured."""


def _tilt_ranges(dataset: Subtomograms) -> list[tuple[float, float]]:
    """Return the different tilt ranges of data, as far as they are known."""
    if dataset.tilt_range:
        return [dataset.tilt_range]
    origins = (dataset.origin(index) for index in range(len(dataset)))
    return sorted({origin.tilt_range for origin in origins if origin and origin.tilt_range})


class NoAugmentationSpec(AugmentationSpec):
    """No augmentation: every view is the subtomogram itself.

    For comparison, and for methods that make their own task of one view, as `mae` and `rotation` do.
    """

    deterministic: ClassVar[bool] = True

    def build(self) -> Identity:
        """Return the identity."""
        from cryoreg.augmentations.identity import Identity

        return Identity()


class Gupta2022Spec(AugmentationSpec):
    """The paper's recipe: random resized crop, then rotation about z, in-plane shift and zoom, in one resampling.

    Gupta et al. 2022 (Front. Physiol. 13:957484). Runs on the whole batch on its device; crop and affine compose into
    one matrix, so each view is interpolated once.
    """

    crop_p: float = Field(0.5, ge=0, le=1, description="probability of the resized crop")
    crop_scale_min: float = Field(0.5, gt=0, le=1, description="smallest crop, as a fraction of the volume")
    affine_p: float = Field(0.5, ge=0, le=1, description="probability of the affine transformation")
    rotation: float = Field(45.0, ge=0, le=180, description="largest rotation about z (the beam), degrees either way")
    translation: float = Field(0.1, ge=0, le=1, description="largest shift along y and x, as a fraction of the edge")
    scale: float = Field(0.1, ge=0, lt=1, description="largest zoom, as a fraction either way")

    def build(self) -> Gupta2022:
        """Return the batched augmentation."""
        from cryoreg.augmentations.gupta2022 import Gupta2022

        return Gupta2022(**self.model_dump())


class Gupta2022MonaiSpec(Gupta2022Spec):
    """The paper's recipe composed of MONAI's own 3D transforms, volume by volume: the reference for `gupta2022`.

    Gupta et al. 2022 (Front. Physiol. 13:957484). Slower, and interpolates twice where both parts are drawn;
    crops are whole voxels.
    """

    def build(self) -> Gupta2022Monai:
        """Return the MONAI pipeline."""
        from cryoreg.augmentations.gupta2022_monai import Gupta2022Monai

        return Gupta2022Monai(**self.model_dump())


class CryoETSpec(AugmentationSpec):
    """Another look at the particle by the same microscope: turned freely, under a missing wedge that stays in place.

    Rotation, zoom and sub-voxel shift are one resampling; missing wedge, band-pass, CTF and the colour of the noise
    are one Fourier filter each for signal and noise. Then each view is brought to mean 0 and standard deviation 1, as
    its subtomogram was. Defaults suit boxes of 24 to 32 voxels of 10 to 12 Å.

    `rotation`: the orientation of a particle says nothing about what it is, so `so3` turns it uniformly over all
    rotations. But the particle's own missing wedge turns with it. The wedge of the laboratory, which no orientation
    escapes, is then imposed again, so that a view lacks both: of a ±60° series (which lacks a third) a view keeps
    about 45 % of the frequencies; added noise fills the turned wedge in part. `wedge_preserving` only takes
    the rotations that map the wedge onto itself, by 180° about x, y and z: nothing is lost, but there are four of
    them. `in_plane` turns about the beam, by any angle. No mirror by default: it changes the handedness.

    `tilt_axis` is y in cryoreg's simulator, x in the lab's data as `lab` reads them. `tilt` is the data's own tilt
    range; the ends of it are jittered one by one. Where data know which part of each Fourier coefficient was measured
    (`tilt_stack`), that is imposed again instead, as each particle has it. The band-pass is Gaussian (1/e at the
    cut-off); `ctf_rings` is λ·defocus / (2·voxel)², 1.5 for 3 µm at 300 kV and 10 Å, and modulates by up to
    `ctf_depth` without reversing a phase, since the data have their own CTF already. The noise passes the same wedge,
    as a real one does, and is measured in standard deviations of the view before it.
    """

    uses_weights: ClassVar[bool] = True

    rotation: Literal["so3", "wedge_preserving", "in_plane", "none"] = Field(
        "so3", description="uniform over all rotations; or only those that keep the wedge; or about the beam"
    )
    shift: float = Field(1.5, ge=0, description="largest shift along each axis, voxels either way")
    zoom: float = Field(0.0, ge=0, lt=1, description="largest zoom, as a fraction either way")
    mirror_p: float = Field(0.0, ge=0, le=1, description="probability of a mirror image")
    tilt_axis: Literal["x", "y"] = Field("y", description="axis of the tilt series")
    tilt: float = Field(60.0, gt=0, le=90, description="largest tilt, degrees; 90, without jitter: no wedge")
    tilt_jitter: float = Field(
        5.0, ge=0, le=45, validate_default=True, description="largest change of either end of the tilt range, degrees"
    )
    tilt_edge: float = Field(0.0, ge=0, le=45, description="width of the wedge's soft rim, degrees; 0: hard")
    wedge_p: float = Field(1.0, ge=0, le=1, description="probability that the wedge is imposed again")
    bandpass_p: float = Field(0.5, ge=0, le=1, description="probability of the band-pass filter")
    lowpass: float = Field(1.0, gt=0, description="lowest low-pass cut-off, as a fraction of Nyquist")
    highpass: float = Field(0.05, ge=0, lt=1, description="highest high-pass cut-off, as a fraction of Nyquist")
    ctf_p: float = Field(0.5, ge=0, le=1, description="probability of the CTF modulation")
    ctf_rings: tuple[float, float] = Field((0.5, 2.5), description="fewest and most Thon rings up to Nyquist")
    ctf_depth: float = Field(0.3, ge=0, le=1, description="largest depth of the CTF modulation")
    noise_p: float = Field(0.8, ge=0, le=1, description="probability of added noise")
    noise: float = Field(0.5, ge=0, description="largest noise, in standard deviations of the view")
    noise_colour: float = Field(1.0, ge=0, description="largest exponent β of the noise's power ∝ k^-β; 0: white")

    @field_validator("tilt_jitter")
    @classmethod
    def _leaves_a_range(cls, value: float, info: ValidationInfo) -> float:
        if value >= info.data.get("tilt", math.inf):
            raise ValueError("should be smaller than tilt")
        return value

    @field_validator("ctf_rings")
    @classmethod
    def _is_a_range(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= value[0] <= value[1]:
            raise ValueError("should be two numbers of at least 0, the smaller first")
        return value

    def check_data(self, dataset: Subtomograms) -> None:
        """Raise `ConfigError` where the wedge would be imposed across another axis than the data's own."""
        axis = dataset.tilt_axis
        if axis not in (None, self.tilt_axis) and not getattr(dataset, "weighted", False):
            raise ConfigError(
                f"the data's tilt axis is {axis}, but the augmentation would impose its missing wedge across that of a "
                f"series about {self.tilt_axis}; say --set augmentation.tilt_axis={axis}"
            )

    def notes_on(self, dataset: Subtomograms) -> list[str]:
        """Tell where the wedge would be another than that of the data, by more than its jitter and a step of tilts."""
        some = max(self.tilt_jitter, _TILT_STEP)
        ranges = [] if self._imposes_none() or getattr(dataset, "weighted", False) else _tilt_ranges(dataset)
        other = next((each for each in ranges if max(abs(self.tilt + each[0]), abs(self.tilt - each[1])) > some), None)
        if other is None:
            return []
        told = "the tilts of {}the data are from {:g}° to {:g}°".format("some of " if len(ranges) > 1 else "", *other)
        nearest = round(sum(high - low for low, high in ranges) / (2 * len(ranges)), 1)
        advice = f"; nearer: --set augmentation.tilt={nearest:g}" if abs(nearest - self.tilt) > 1 else ""
        return [f"{told}, and the missing wedge of cryoet is that of ±{self.tilt:g}° (augmentation.tilt){advice}"]

    def _imposes_none(self) -> bool:
        return self.wedge_p == 0 or self.tilt - self.tilt_jitter >= _NO_WEDGE

    def build(self) -> CryoET:
        """Return the batched augmentation."""
        from cryoreg.augmentations.cryoet import CryoET

        return CryoET(**self.model_dump())


class StrongSpec(Gupta2022Spec):
    """What the paper tried and dropped, on top of its recipe: blur, gamma, elastic deformation and bias field.

    Gupta et al. 2022 (Front. Physiol. 13:957484) give no strengths; these are ours. After the geometry of `gupta2022`,
    MONAI's `Rand3DElastic`, `RandGaussianSmooth`, `RandAdjustContrast` and `RandBiasField` run volume by volume. The
    gamma curve spans each volume's own range of values, so negative densities are no trouble, and mean and standard
    deviation stay.
    """

    elastic_p: float = Field(0.5, ge=0, le=1, description="probability of the elastic deformation")
    elastic: float = Field(1.0, ge=0, description="largest root-mean-square displacement along each axis, voxels")
    elastic_sigma: float = Field(4.0, ge=1, le=64, description="smoothness of the deformation, voxels")
    blur_p: float = Field(0.5, ge=0, le=1, description="probability of the blur")
    blur: float = Field(1.5, gt=0, description="largest standard deviation of the Gaussian blur, voxels")
    gamma_p: float = Field(0.5, ge=0, le=1, description="probability of the gamma curve")
    gamma: float = Field(1.5, gt=1, description="largest exponent; the smallest is its inverse")
    bias_p: float = Field(0.5, ge=0, le=1, description="probability of the bias field")
    bias: float = Field(0.3, ge=0, le=2, description="largest coefficient of the bias field, a polynomial")

    def build(self) -> Strong:
        """Return the augmentation; the geometry is batched, the rest goes volume by volume."""
        from cryoreg.augmentations.strong import Strong, distort

        values = self.model_dump()
        geometry = {name: values.pop(name) for name in Gupta2022Spec.model_fields}
        return Strong(**geometry, distortions=distort(**values))


def _turn_and_add_noise() -> tuple[dict[str, JsonValue], ...]:
    about_z: dict[str, JsonValue] = {
        "rotate_range": [3.1416, 0.0, 0.0],
        "translate_range": [1.5, 1.5, 1.5],
        "padding_mode": "zeros",
    }
    return {"name": "RandAffine", "prob": 1.0, **about_z}, {"name": "RandGaussianNoise", "prob": 0.5, "std": 0.3}


class MonaiSpec(AugmentationSpec):
    """Any pipeline of MONAI's transforms, from the config, volume by volume.

    `transforms` is a list of tables: the name of a transform of `monai.transforms` and its arguments, as in
    `transforms = [{name = "RandFlip", prob = 0.5, spatial_axis = 0}]`. Volumes are (1, D, H, W), so that spatial axis 0
    is z, the beam. Transforms of space, intensity, crops and smooth fields are taken: those that run code or touch
    files are not. Crops must be undone (`Resize`, `SpatialPad`), as views have the shape of the subtomogram. Every
    transform is seeded from the sample's own stream. The default turns about the beam by any angle, shifts, and adds
    noise.
    """

    transforms: tuple[dict[str, JsonValue], ...] = Field(
        default_factory=_turn_and_add_noise, description="tables of a name and the transform's arguments"
    )

    def build(self) -> MonaiPipeline:
        """Return the pipeline; raise `ConfigError` where a table names no transform, or gives it wrong arguments."""
        from cryoreg.augmentations.monai_pipeline import MonaiPipeline, create

        return MonaiPipeline(tuple(create(number, table) for number, table in enumerate(self.transforms, 1)))
