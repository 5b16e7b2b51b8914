"""SimCLR v2: fine-tune from within the projection head, then distil (Chen et al. 2020, arXiv 2006.10029)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cryoreg.contracts import Encoder, Lesson, Material, StepOutput
from cryoreg.errors import ConfigError
from cryoreg.learners.full import FullFineTuning
from cryoreg.learners.linear import Head, LinearLearner
from cryoreg.plans import LessonPlan, ViewPlan

_HEAD = "head."


class SimCLRv2(LinearLearner):
    """A teacher learns from labels; a student, which answers, then learns to say what the teacher says of everything.

    The teacher is the encoder that is given, the first layer of its projection head and a linear layer. ``encoder`` and
    ``head`` are the student's. While one learns the other stays as it is.
    """

    distils: Tensor

    def __init__(
        self,
        encoder: Encoder,
        classes: int,
        *,
        student: Encoder | None,
        hidden_dim: int,
        finetuning: float,
        temperature: float,
        weight: float,
        ratio: int,
        head: Head = "random",
        unit_length: bool = False,
    ) -> None:
        """Take the student's encoder; None: a copy of the one that is given."""
        kept = copy.deepcopy(encoder) if student is None else student
        super().__init__(kept, classes, head=head, unit_length=unit_length)
        taught = Projected(encoder, hidden_dim) if hidden_dim else encoder
        self.teacher = FullFineTuning(taught, classes, head=head, unit_length=unit_length)
        self.hidden_dim, self.finetuning, self.ratio = hidden_dim, finetuning, ratio
        self.temperature, self.weight = temperature, weight
        self.register_buffer("distils", torch.tensor(False))

    def lesson_plan(self) -> LessonPlan:
        """Ask for one view of everything, which teacher and student share."""
        return LessonPlan(labelled=ViewPlan(1), unlabelled=ViewPlan(1), ratio=self.ratio)

    def take_up(self, left: Callable[[], Mapping[str, Tensor]]) -> str:
        """Begin with the first layer of the start's projection head; raise `ConfigError` where that has another width.

        Without one, features go straight to the linear layer, or through a new layer where a width was asked for.
        """
        if not isinstance(self.teacher.encoder, Projected):
            return "" if first_layer(left()) else f"{_NO_HEAD} the linear layer begins at the encoder's features"
        found = first_layer(left())
        if found is None:
            return f"{_NO_HEAD} a new layer of {self.hidden_dim} takes its place"
        if len(found.bias) != self.hidden_dim:
            raise ConfigError(
                f"learner.hidden_dim: the projection head of the start begins with a layer of {len(found.bias)}, not "
                f"{self.hidden_dim}; leave it out"
            )
        self.teacher.encoder.layer.load_state_dict(found._asdict())
        return ""

    def train(self, mode: bool = True) -> Self:
        """Let the one learn whose turn it is; the teacher teaches in evaluation mode."""
        super().train(mode)
        if mode:
            distils = bool(self.distils)
            self.teacher.train(not distils).requires_grad_(not distils)
            for part in (self.encoder, self.head):
                part.requires_grad_(distils)
        return self

    def begin_epoch(self, epoch: int, epochs: int, material: Material) -> None:
        """Begin both linear layers where they begin as probes; say whose turn it is."""
        if epochs < 2:
            raise ConfigError("simclr_v2 learns from labels, then from what it learnt: take --epochs 2 or more")
        super().begin_epoch(epoch, epochs, material)
        self.teacher.turns = self.turns
        self.teacher.begin_epoch(epoch, epochs, material)
        self.distils.fill_(epoch >= min(epochs - 1, max(1, round(self.finetuning * epochs))))

    def forward(self, lesson: Lesson) -> StepOutput:
        """Return the teacher's cross-entropy; later α · the student's to the teacher + (1 − α) · that to the labels."""
        if not self.distils:
            taught: StepOutput = self.teacher(lesson)
            return taught
        known, shown = len(lesson.labels), torch.cat([lesson.views[0], *lesson.unlabelled[:1]])
        with torch.no_grad():
            wanted = self.teacher.classify(shown).logits
        logits, features = self.classify(shown)
        loss = self.weight * distillation(logits, wanted, self.temperature)
        if self.weight < 1:
            loss = loss + (1 - self.weight) * F.cross_entropy(logits[:known].float(), lesson.labels)
        return StepOutput(loss, features[:known].detach())

    @property
    def may_be_kept(self) -> bool:
        """Whether the student, which answers, has had a turn."""
        return bool(self.distils)

    def figures(self) -> dict[str, float]:
        """Return whether it was the student's turn."""
        return {"distils": float(self.distils)}


_NO_HEAD = "no projection head comes with the start:"


class Projected(Encoder):
    """An encoder and the first layer of a projection head: features ReLU(W·f(x) + b)."""

    def __init__(self, encoder: Encoder, width: int) -> None:
        super().__init__()
        self.encoder, self.layer = encoder, nn.Linear(encoder.num_features, width)
        self.num_features, self.map_margin = width, encoder.map_margin
        self.turns, encoder.turns = encoder.turns, 1

    def forward_features(self, x: Tensor) -> Tensor:
        """Map (B, 1, D, H, W) to the encoder's feature map."""
        return self.encoder.forward_features(x)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 1, D, H, W) to features (B, width)."""
        return F.relu(self.layer(self.encoder(x)))


class Linear(NamedTuple):
    """A linear layer."""

    weight: Tensor
    bias: Tensor


def first_layer(left: Mapping[str, Tensor]) -> Linear | None:
    """Return the first layer of a method's projection head, a BatchNorm after it folded in; None where there is none.

    ``left`` is the method's state_dict, in which the head is ``head``. One of a single matrix has no layer within.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in left.items():
        if name.startswith(_HEAD):
            module, _, own = name.rpartition(".")
            parts.setdefault(module, {})[own] = tensor
    layers = list(parts.values())
    linear = [number for number, layer in enumerate(layers) if "weight" in layer and layer["weight"].ndim == 2]
    if len(linear) < 2:
        return None
    first, *norms = layers[linear[0] : linear[1]]
    weight = first["weight"]
    folded = Linear(weight, first.get("bias", weight.new_zeros(len(weight))))
    for norm in norms:
        if "running_var" in norm:
            folded = _normalised(folded, norm)
    return folded


def _normalised(layer: Linear, norm: Mapping[str, Tensor]) -> Linear:
    """Return a layer with the BatchNorm of evaluation after it."""
    spread = (norm["running_var"] + nn.BatchNorm1d(1).eps).sqrt()
    scale = norm.get("weight", torch.ones_like(spread)) / spread
    shift = norm.get("bias", torch.zeros_like(spread))
    return Linear(layer.weight * scale[:, None], (layer.bias - norm["running_mean"]) * scale + shift)


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return −mean over subtomograms of Σ_y P_T(y) log P_S(y), P = softmax(logits / τ), of logits (B, classes)."""
    wanted = F.softmax(teacher.float() / temperature, dim=1)
    return F.cross_entropy(student.float() / temperature, wanted)
