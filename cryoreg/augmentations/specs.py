"""The built-in augmentations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from cryoreg.specs import AugmentationSpec

if TYPE_CHECKING:
    from cryoreg.augmentations.gupta2022 import Gupta2022
    from cryoreg.augmentations.gupta2022_monai import Gupta2022Monai
    from cryoreg.augmentations.identity import Identity


class NoAugmentationSpec(AugmentationSpec):
    """No augmentation: every view is the subtomogram itself."""

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
