"""What cryoreg's registry reads. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from cryoreg.specs import LearnerSpec

if TYPE_CHECKING:
    from cryoreg.contracts import Encoder
    from cryoreg_liu2019.learner import AutoencodingClassifier


class AutoencodingClassifierSpec(LearnerSpec):
    """Autoencoding classifier: learn the labels, and to reconstruct every subtomogram from the same code.

    Liu et al. 2019 (BMVC), "Semi-supervised macromolecule structural classification in cellular electron
    cryo-tomograms using 3D autoencoding classifier". Loss: cross-entropy of those with a label + w · mean over the
    voxels of all of (x − x̂)², x being a subtomogram's view and x̂ what the decoder makes of its code. The recipe is the
    paper's: Adam at 3e-4, batches of 16. Any encoder takes the place of theirs, and the decoder takes any box.
    """

    recipe: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "training": {"optimizer": "adam", "lr": 3e-4, "schedule": "constant", "batch_size": 16}
    }

    code_dim: int = Field(128, ge=1, description="length of the code")
    hidden_dim: int = Field(128, ge=1, description="width of the classifier's hidden layer")
    width: int = Field(32, ge=1, description="filters of the decoder's convolutions")
    weight: float = Field(1.0, ge=0, description="w, the weight of reconstruction")
    ratio: int = Field(1, ge=1, description="subtomograms without a label for each with one, in a batch")

    def build(self, encoder: Encoder, classes: int) -> AutoencodingClassifier:
        """Return the learner around ``encoder``."""
        from cryoreg_liu2019.learner import AutoencodingClassifier

        return AutoencodingClassifier(encoder, classes, **self.model_dump())
