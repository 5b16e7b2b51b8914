"""The built-in learners that train the encoder. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, JsonValue, model_validator

from cryoreg.errors import ConfigError
from cryoreg.specs import LearnerSpec

if TYPE_CHECKING:
    from torch import Tensor

    from cryoreg.contracts import Encoder
    from cryoreg.learners.fixmatch import FixMatch
    from cryoreg.learners.full import FullFineTuning
    from cryoreg.learners.mean_teacher import MeanTeacher
    from cryoreg.learners.partial import PartialFineTuning
    from cryoreg.learners.s4l import S4L
    from cryoreg.learners.simclr_v2 import SimCLRv2

Recipe = Mapping[str, Mapping[str, object]]
UNIT_LENGTH = "the linear layer sees features divided by their length, as methods that compare by cosine teach them"


class LinearLayerSpec(LearnerSpec):
    """Shared by learners that train an encoder and one linear layer.

    Where trained weights are good already, a layer of random weights spoils them before it is any good itself; one that
    begins as the linear probe does not (Kumar et al. 2022, arXiv 2202.10054).
    """

    head: Literal["random", "probe"] = Field(
        "random", description="how the linear layer begins: N(0, 0.01), or as `linear_probe` fits it to the labels"
    )
    unit_length: bool = Field(False, description=UNIT_LENGTH)


class FullSpec(LinearLayerSpec):
    """Full fine-tuning: encoder and a linear layer, trained by cross-entropy on the labels.

    As Gupta et al. 2022 do. Loss: −log softmax(W·f(x) + b)_y, averaged over the labelled subtomograms of a batch.
    """

    def build(self, encoder: Encoder, classes: int) -> FullFineTuning:
        """Return the learner around ``encoder``."""
        from cryoreg.learners.full import FullFineTuning

        return FullFineTuning(encoder, classes, **self.model_dump())


class PartialSpec(LinearLayerSpec):
    """Partial fine-tuning: first layers frozen, the others the slower the earlier they are, or of low rank.

    Loss as `full`. Layers are counted in the order in which the encoder declares them; a normalisation belongs to the
    layer before it. The learning rate of the layer k steps before the head is lr · decay^k, as in BEiT and MAE (Clark
    et al. 2020, arXiv 2003.10555). With a rank, a matrix W learns W + B·A of that rank, and nothing else of the
    encoder changes but the statistics of normalisations (LoRA, Hu et al. 2021, arXiv 2106.09685); the sum is saved.
    """

    frozen: float = Field(0.0, ge=0, le=1, description="share of the encoder's layers, the first ones, that stay")
    decay: float = Field(0.75, gt=0, le=1, description="factor on the learning rate from a layer to the one before")
    rank: int = Field(0, ge=0, description="rank of what matrices learn; 0: they learn freely")

    def build(self, encoder: Encoder, classes: int) -> PartialFineTuning:
        """Return the learner around ``encoder``."""
        from cryoreg.learners.partial import PartialFineTuning

        return PartialFineTuning(encoder, classes, **self.model_dump())


class MeanTeacherSpec(LinearLayerSpec):
    """Mean teacher: agree, on subtomograms with and without a label, with one's own moving average.

    Tarvainen & Valpola 2017 (arXiv 1703.01780). Loss: cross-entropy + w(t) · mean (p_θ(x, η) − p_θ'(x, η'))² over
    classes and all subtomograms of a batch, η and η' two draws of the augmentation; w(t) = w · exp(−5 (1 − t/T)²) up to
    the end T of the ramp. The teacher, θ' ← α·θ' + (1 − α)·θ, gets no gradient, and is what answers.
    """

    weight: float = Field(100.0, ge=0, description="w, the weight of agreement after the ramp")
    ramp: float = Field(0.3, ge=0, le=1, description="T, as a share of all steps")
    momentum: float = Field(0.99, ge=0, lt=1, description="α while w rises")
    late_momentum: float = Field(
        0.99, ge=0, lt=1, description="α afterwards; the paper's 0.999 is for many thousands of steps"
    )
    ratio: int = Field(3, ge=1, description="subtomograms without a label for each with one, in a batch")

    def build(self, encoder: Encoder, classes: int) -> MeanTeacher:
        """Return the learner around ``encoder``."""
        from cryoreg.learners.mean_teacher import MeanTeacher

        return MeanTeacher(encoder, classes, **self.model_dump())


class FixMatchSpec(LinearLayerSpec):
    """FixMatch: what is said with confidence of a weak view is the label of a strong one.

    Sohn et al. 2020 (arXiv 2001.07685). Loss: cross-entropy + λ · mean 1[max p ≥ τ] · −log p_strong(argmax p) over the
    subtomograms without a label, p the probabilities of the weak view, without gradient. `align` multiplies p by the
    shares of the labels over the mean answer, as ReMixMatch (Berthelot et al. 2020, arXiv 1911.09785): with few labels,
    confidence alone selects few classes. Weak views are those of `augmentation`, strong ones of `augmentation_2`; the
    recipe has shifts and turns in the plane, and `cryoet`. metrics.csv says which share was selected.
    """

    recipe: ClassVar[Recipe] = {
        "augmentation": {"name": "gupta2022", "crop_p": 0.0, "affine_p": 1.0, "rotation": 180.0, "scale": 0.0},
        "augmentation_2": {"name": "cryoet"},
        "training": {"ema": 0.99},
    }

    threshold: float = Field(0.95, ge=0, le=1, description="τ, the least confidence from which is learnt")
    weight: float = Field(1.0, ge=0, description="λ, the weight of what is learnt without labels")
    ratio: int = Field(3, ge=1, description="subtomograms without a label for each with one; the paper's μ is 7")
    temperature: float = Field(1.0, gt=0, description="by which logits are divided before confidence is measured")
    align: bool = Field(True, description="align the distribution of answers with that of the labels")
    align_momentum: float = Field(0.95, ge=0, lt=1, description="momentum of the mean answer, from step to step")

    def build(self, encoder: Encoder, classes: int) -> FixMatch:
        """Return the learner around ``encoder``."""
        from cryoreg.learners.fixmatch import FixMatch

        return FixMatch(encoder, classes, **self.model_dump())


class S4LSpec(LinearLayerSpec):
    """S4L: the labels, and a self-supervised method on all subtomograms at once.

    Zhai et al. 2019 (arXiv 1905.03670). Loss: cross-entropy + w · that of any registered method, on equal shares of
    subtomograms with and without a label. The paper's own, `rotation`, is ill-posed for randomly oriented particles.
    """

    min_batch: ClassVar[int] = 2

    method: str = Field("vicreg", description="name of the method (`cryoreg list --kind method`)")
    settings: dict[str, JsonValue] = Field(
        default_factory=dict, description="its hyper-parameters, as a table: {temperature = 0.1}"
    )
    weight: float = Field(1.0, ge=0, description="w, the weight of the method's loss")

    def build(self, encoder: Encoder, classes: int) -> S4L:
        """Return the learner around ``encoder``; raise `ConfigError` for a method that needs labels or clean views."""
        from cryoreg.config import build_spec
        from cryoreg.learners.s4l import S4L

        spec = build_spec("method", self.method, self.settings).spec
        if spec.uses_labels or spec.view_plan().clean:
            raise ConfigError(
                f"learner.method: '{self.method}' compares by labels or with noise-free copies, which s4l has not; "
                "choose another, such as vicreg"
            )
        return S4L(
            encoder,
            classes,
            spec.build,
            spec.view_plan(),
            weight=self.weight,
            head=self.head,
            unit_length=self.unit_length,
        )


class SimCLRv2Spec(LinearLayerSpec):
    """SimCLR v2: fine-tune from within the projection head, then distil into the same or another encoder.

    Chen et al. 2020 (arXiv 2006.10029). First a teacher learns from the labels by cross-entropy: the encoder, the first
    layer of the projection head that it was pretrained with (a BatchNorm after it folded in, then ReLU) and a linear
    layer. Then it stays, and a student learns from all subtomograms, with or without a label: −Σ_y P_T(y|x; τ) log
    P_S(y|x; τ), P(y|x; τ) = softmax(logits / τ)_y. The student is the encoder as the start has it, or another one, with
    a linear layer of its own; it answers and is kept. Starts of other kinds than a run's directory bring no head.
    """

    in_phases: ClassVar[bool] = True

    student: str | None = Field(
        None,
        description="name of the encoder to distil into (`cryoreg list --kind encoder`), from random weights; unset: "
        "the same as the teacher's, from the weights that this started from",
    )
    student_settings: dict[str, JsonValue] = Field(
        default_factory=dict, description="its hyper-parameters, as a table: {width = 8}"
    )
    hidden_dim: int | None = Field(
        None, ge=0, description="width of the projection head's first layer; unset: what the start's has; 0: no layer"
    )
    finetuning: float = Field(0.5, gt=0, lt=1, description="share of the epochs in which the teacher learns")
    temperature: float = Field(0.1, gt=0, description="τ; the paper has 0.1 with few labels, 1 with all")
    weight: float = Field(
        1.0, ge=0, le=1, description="α: the student's loss is α · distillation + (1 − α) · cross-entropy on the labels"
    )
    ratio: int = Field(3, ge=1, description="subtomograms without a label for each with one, in a batch")

    @model_validator(mode="after")
    def _settings_are_of_a_student(self) -> Self:
        if self.student_settings and self.student is None:
            raise ValueError("student_settings are those of the encoder that `student` names; name it")
        return self

    def for_start(self, left: Callable[[], Mapping[str, Tensor]]) -> Self:
        """Return the spec with the width of the start's projection head, where none is given."""
        if self.hidden_dim is not None:
            return self
        from cryoreg.learners.simclr_v2 import first_layer

        layer = first_layer(left())
        return self.model_copy(update={"hidden_dim": len(layer.bias) if layer else 0})

    def answers_with(self, encoder: Mapping[str, object]) -> Mapping[str, object]:
        """Return the student."""
        return encoder if self.student is None else {"name": self.student, **self.student_settings}

    def build(self, encoder: Encoder, classes: int) -> SimCLRv2:
        """Return the learner around ``encoder``."""
        from cryoreg.config import build_spec
        from cryoreg.learners.simclr_v2 import SimCLRv2

        given = self.model_dump(exclude={"student", "student_settings", "hidden_dim"})
        student = self.student and build_spec("encoder", self.student, self.student_settings).spec.build()
        return SimCLRv2(encoder, classes, student=student or None, hidden_dim=self.hidden_dim or 0, **given)
