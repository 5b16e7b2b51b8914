"""What cryoreg's registry reads. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, JsonValue, PrivateAttr, field_validator, model_validator

import cryoreg
from cryoreg.errors import ConfigError
from cryoreg.specs import LearnerSpec

if TYPE_CHECKING:
    from cryoreg.contracts import Encoder, Subtomograms
    from cryoreg_yu2020.learner import FewShotAdaptation
    from cryoreg_yu2020.source import Source


class FewShotAdaptationSpec(LearnerSpec):
    """Few-shot domain adaptation: classes from a labelled source, as simulated, and a few labels of the target.

    Yu et al. 2020 (arXiv 2007.15422). Four phases, as shares of the steps. (1) Cross-entropy on the source. (2) The
    same + w · ‖C_s − C_t‖_F / 4d², C the covariance of d features of source and target, which needs no label (Deep
    CORAL, Sun & Saenko 2016, squares the norm). (3) A discriminator learns to tell four groups of pairs apart: same
    domain and class, other domain, other class, both other. (4) It stays; on pairs of a source and a target
    subtomogram, cross-entropy of both + λ · that of the discriminator with the group that they would be in, were they
    of one domain. Each domain has first layers of its own, the others are shared; the target's answer.
    """

    recipe: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "training": {"optimizer": "adam", "lr": 1e-3, "schedule": "constant", "epochs": 200}
    }
    in_phases: ClassVar[bool] = True

    source_data: dict[str, JsonValue] = Field(
        default_factory=dict,
        description='the labelled source data set, as a table: {name = "store", root = "simulated.h5"}; its classes '
        "are those of the same names",
    )
    source_batch: int = Field(32, ge=2, description="source subtomograms in each step, drawn evenly from the classes")
    specific: float = Field(
        0.5, ge=0, le=1, description="share of the encoder's layers, the first ones, that each domain has for itself"
    )
    teaching: float = Field(0.3, gt=0, lt=1, description="share of the steps in which the source alone is learnt")
    aligning: float = Field(0.2, ge=0, lt=1, description="share in which covariances are aligned, too")
    discriminating: float = Field(
        0.2, ge=0, lt=1, description="share in which the discriminator learns; the rest adapts"
    )
    coral: float = Field(500.0, ge=0, description="w, the weight of the distance of covariances")
    adversarial: float = Field(0.2, ge=0, description="λ, the weight of what the discriminator is to be led to say")
    pairs: int = Field(10, ge=1, description="pairs of each group in a step, at most")
    hidden_dim: int = Field(64, ge=1, description="width of the discriminator's two hidden layers")

    _opened: Source | None = PrivateAttr(None)

    @field_validator("source_data")
    @classmethod
    def _from_anywhere(cls, source: dict[str, JsonValue]) -> dict[str, JsonValue]:
        root = source.get("root")
        return {**source, "root": os.path.abspath(root)} if isinstance(root, str) else source

    @model_validator(mode="after")
    def _something_is_left(self) -> Self:
        if self.teaching + self.aligning + self.discriminating >= 1:
            raise ValueError("teaching, aligning and discriminating leave no step to adapt in; lower them")
        return self

    def for_data(self, dataset: Subtomograms) -> Self:
        """Open the source as the data are; raise a `CryoregError` where there is none, or it has no class of theirs."""
        spec = self.model_copy()
        spec._opened = _source(self.source_data, dataset)
        return spec

    def build(self, encoder: Encoder, classes: int) -> FewShotAdaptation:
        """Return the learner around ``encoder``; a source that is not open yet is opened at the first step."""
        from cryoreg_yu2020.learner import FewShotAdaptation

        given = self.model_dump(exclude={"source_data"})
        return FewShotAdaptation(encoder, classes, self._opened or partial(_source, self.source_data), **given)


def _source(given: Mapping[str, JsonValue], target: Subtomograms | None = None) -> Source:
    """Open what is given, as the target is and with its classes, where there is one."""
    from cryoreg_yu2020.source import Source

    name, parameters = given.get("name"), {key: value for key, value in given.items() if key != "name"}
    if not isinstance(name, str):
        raise ConfigError(
            "few_shot_adaptation learns from a labelled source data set; name it: "
            """--set learner.source_data='{name = "store", root = "simulated.h5"}'"""
        )
    if target is None:
        dataset = cryoreg.create_dataset(name, **parameters)
        return Source(dataset, dataset.classes)
    return Source(cryoreg.create_dataset_like(target, name, **parameters), target.classes)
