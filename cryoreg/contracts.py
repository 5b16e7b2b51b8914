"""What a spec builds. Third parties implement these; cryoreg relies on nothing else."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cryoreg.plans import LessonPlan
from cryoreg.randomness import SampleRng
from cryoreg.turns import Turns, of_turns

Box = tuple[int, int, int]
"""The size of a volume in voxels: (D, H, W), the beam along D."""


class Encoder(nn.Module, ABC):
    """A network from subtomograms to feature vectors, with timm's habits."""

    num_features: int
    map_margin: int = 0
    """Voxels at each face of the box that the feature map does not reach, as without padding."""
    turns: Turns = 1
    """How many turned copies of each volume features are averaged over while the network is not training.

    `cryoreg.turns.rotation_group` says which: a group, so that none of its rotations changes the features. On a CPU
    they are taken in several threads: ``forward``, in evaluation, must not write to the network.
    """

    def __call__(self, x: Tensor) -> Tensor:
        """Return the features (B, num_features) of ``x`` (B, 1, D, H, W): their mean over ``turns`` in evaluation."""
        if self.training or self.turns == 1:
            return super().__call__(x)
        return sum(of_turns(super().__call__, x, self.turns)) / self.turns

    @contextmanager
    def averaging(self, turns: Turns) -> Iterator[None]:
        """Average over so many turned copies meanwhile."""
        usual, self.turns = self.turns, turns
        try:
            yield
        finally:
            self.turns = usual

    @abstractmethod
    def forward_features(self, x: Tensor) -> Tensor:
        """Map ``x`` (B, 1, D, H, W) to a feature map (B, C, d, h, w)."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (B, 1, D, H, W) to features (B, num_features), float32 or the autocast dtype."""


@contextmanager
def as_single_views(module: nn.Module) -> Iterator[None]:
    """Let no encoder within a module average over turned copies meanwhile, nor a teacher's, which is evaluated."""
    with ExitStack() as stack:
        for part in module.modules():
            if isinstance(part, Encoder):
                stack.enter_context(part.averaging(turns=1))
        yield


class StepOutput(NamedTuple):
    """What one training step returns."""

    loss: Tensor
    """Scalar, float32."""
    features: Tensor
    """(B, num_features), detached: the encoder's features of the first view, from which monitors read collapse."""
    other_features: Tensor | None = None
    """(B, num_features), detached: those of a second view where there is one, from which monitors read alignment."""


class Method(nn.Module, ABC):
    """A self-supervised method around an encoder.

    All that the method needs to go on lives in its ``state_dict``: queues, pointers, prototypes, momentum encoders. A
    projection head is best called ``head``: learners may go on from its first layer.
    """

    encoder: Encoder
    """The network that is kept at the end."""
    collapsed_loss: float | None = None
    """The loss while all subtomograms look alike to the encoder, where that is known; monitors warn of it."""

    @abstractmethod
    def forward(self, views: Sequence[Tensor]) -> StepOutput:
        """Return the loss of a batch given as the views that ``MethodSpec.view_plan`` asks for.

        First the whole views (B, 1, D, H, W), then the smaller local ones (B, 1, d, h, w). A method whose spec has
        ``uses_labels`` takes them as a second argument, ``labels``: int64 (B,), -1 where unknown. The loss is computed
        here, so that DDP synchronises it, and in float32.
        """

    def denoise(self, x: Tensor) -> Tensor:
        """Return a cleaner copy of volumes (B, 1, D, H, W), for the clean views where the data set has none."""
        return x

    def after_step(self, step: int, total_steps: int) -> None:
        """Update what is not trained by gradients: momentum encoder, queue, prototypes. ``step`` counts from 0."""


class Lesson(NamedTuple):
    """What a learner is shown at a step: this process's share of a batch, as its `LessonPlan` asks for."""

    views: Sequence[Tensor]
    """Of b labelled subtomograms: whole views (b, 1, D, H, W), then local ones (b, 1, d, h, w)."""
    labels: Tensor
    """int64 (b,): the class of each."""
    unlabelled: Sequence[Tensor] = ()
    """Views of subtomograms whose labels are not shown; none where the plan asks for none, or there are none."""


class Material(NamedTuple):
    """What a learner may look at between epochs: normalised volumes as they are, the same on every process.

    Each can be gone through again and again. Volumes are (b, 1, D, H, W), labels int64 (b,).
    """

    labelled: Iterable[tuple[Tensor, Tensor]]
    """The subtomograms to learn from, and their classes."""
    validation: Iterable[tuple[Tensor, Tensor]]
    """Those by which the epoch to keep is chosen."""
    unlabelled: Iterable[Tensor]
    """Those of the train split whose labels are not shown; none where the plan asks for none."""


class Answer(NamedTuple):
    """What a learner says of B subtomograms."""

    logits: Tensor
    """(B, classes): softmax makes class probabilities of them."""
    features: Tensor
    """(B, num_features)."""


class Learner(nn.Module, ABC):
    """What comes after pretraining: it learns to tell classes apart around an encoder, and says what it has learnt.

    Training knows steps, epochs, validation and files; the learner knows what it learns from, its loss, and what it
    says of any volumes. All that it needs to go on, and to answer, lives in its ``state_dict``: heads, teachers,
    adapters, ensembles.
    """

    encoder: Encoder
    """The network whose features it answers with, kept and explained: of the kind that was given to it, unless its spec
    says that it `answers_with` another.
    """
    turns: Turns = 1
    """Over how many turned copies of each volume `answer` takes the mean; see `Encoder.turns`.

    More than one take the place of the encoder's: each copy is then classified by features of its own, as in training.
    """

    def lesson_plan(self) -> LessonPlan:
        """Return what it wants to be shown at each step; by default, one view of each labelled subtomogram."""
        return LessonPlan()

    def take_up(self, left: Callable[[], Mapping[str, Tensor]]) -> str:
        """Go on from what the start has beside its encoder; return what the user should know of it, one line or none.

        ``left()`` is the state_dict of the method of a pretraining run, empty where the start is none. Called once,
        before the first step; a resume has it in its own state.
        """
        return ""

    def begin_epoch(self, epoch: int, epochs: int, material: Material) -> None:
        """Do what is done between epochs, which count from 0: fit in closed form, unfreeze, label, begin to distil."""

    def learning_rates(self) -> dict[str, float]:
        """Return a factor on the learning rate for parameters by name, where that is not 1."""
        return {}

    @abstractmethod
    def forward(self, lesson: Lesson) -> StepOutput:
        """Return the loss of a step. It is computed here, so that DDP synchronises it, and in float32."""

    def after_step(self, step: int, total_steps: int) -> None:
        """Update what is not trained by gradients, such as a teacher. ``step`` counts from 0."""

    @property
    def may_be_kept(self) -> bool:
        """Whether what answers has learnt by the end of this epoch; one in which it has not is never kept.

        By the end of the last epoch it must have. It follows from the ``state_dict``, as a resume asks again.
        """
        return True

    def figures(self) -> dict[str, float]:
        """Return columns for metrics.csv on the epoch that ends, of the same names in each; NaN leaves one empty.

        None is called as the run's own are: epoch, step, loss, val_accuracy, ...
        """
        return {}

    @abstractmethod
    def classify(self, x: Tensor) -> Answer:
        """Say what normalised volumes (B, 1, D, H, W) are. In evaluation mode, each is answered by itself."""

    def answer(self, x: Tensor) -> Answer:
        """Return what is said of normalised volumes: mean probabilities and features over ``turns`` in evaluation."""
        if self.training or self.turns == 1:
            return self.classify(x)
        with self.encoder.averaging(turns=1):
            answers = of_turns(self.classify, x, self.turns)
        logs = torch.stack([answer.logits.float().log_softmax(1) for answer in answers])
        mean = logs.logsumexp(0) - math.log(self.turns)
        return Answer(mean, torch.stack([answer.features for answer in answers]).mean(0))

    def saved_state(self) -> dict[str, Tensor]:
        """Return what a file must hold so that a learner built anew gives the same answers; by default, all.

        Names and shapes follow from the encoder and the number of classes, whatever was learnt.
        """
        return self.state_dict()

    def load_saved_state(self, saved: Mapping[str, Tensor]) -> None:
        """Take back what `saved_state` returned; names and shapes are those of this learner's own."""
        self.load_state_dict(dict(saved))


class Pool(NamedTuple):
    """N subtomograms, of which some have a label, as a query sees them."""

    features: NDArray[np.float32]
    """(N, num_features), as the classifier sees them."""
    labels: NDArray[np.int64]
    """(N,): the class of each, -1 where it has no label."""
    probabilities: NDArray[np.float64]
    """(N, classes): what a classifier says that was taught by the labels; all alike while there are none."""

    @property
    def labelled(self) -> NDArray[np.int64]:
        """The rows that have a label, in order."""
        return np.flatnonzero(self.labels >= 0)

    @property
    def unlabelled(self) -> NDArray[np.int64]:
        """The rows that have none, in order."""
        return np.flatnonzero(self.labels < 0)


class Query(ABC):
    """Chooses which subtomograms to label next. What is chosen together should not be all alike."""

    @abstractmethod
    def choose(self, pool: Pool, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return ``count`` different rows without a label, the most telling first; all of them where there are fewer.

        All that is random is drawn from ``rng``. ``pool`` is left as it is.
        """


@runtime_checkable
class Augmentation(Protocol):
    """A random transformation of a whole batch, on the batch's device. Picklable; never writes into ``x``."""

    def __call__(self, x: Tensor, rng: SampleRng) -> Tensor:
        """Map ``x`` (B, 1, D, H, W) to the same shape; sample i draws only from stream i of ``rng``."""
        ...


@dataclass(frozen=True)
class Sample:
    """One subtomogram."""

    volume: Tensor
    """float32 (1, D, H, W), as stored: not yet normalised."""
    label: int | None
    """Index into ``SubtomogramDataset.classes``."""
    id: str
    """Unique in its data set, stable between runs."""
    group: str | None
    """The tomogram that it was cut from, where known."""
    weight: Tensor | None = None
    """float32 (1, D, H, W // 2 + 1), in the order of `torch.fft.rfftn`: from 0 to 1, the part of each Fourier
    coefficient that was measured, where that is known of each subtomogram: its own missing wedge."""


Contrast = Literal["bright", "dark"]
"""How density looks: bright (white) on a darker background, or dark as in micrographs that were not inverted."""
TiltAxis = Literal["x", "y"]


@dataclass(frozen=True)
class Origin:
    """Where a subtomogram came from, and how its file holds it."""

    file: str
    """The table, stack or volume that lists or holds it."""
    row: int | None = None
    """Counted from 0: its row in the table, its slot in the stack."""
    voxel_size: float | None = None
    """Å per voxel in the file, before any rescaling."""
    tilt_range: tuple[float, float] | None = None
    """Smallest and largest tilt of its tilt series, degrees."""
    place: tuple[float, float, float] | None = None
    """x, y, z in its tomogram, Å from the middle, where the file says."""


@runtime_checkable
class SubtomogramDataset(Protocol):
    """What a data set must offer: map style, picklable; labels, ids and groups are known without reading a volume.

    What else may be known of a set is described by `Subtomograms`, the base class that gives each of it a default.
    """

    @property
    def classes(self) -> Sequence[str]:
        """Class names; empty where the set is unlabelled."""
        ...

    @property
    def labels(self) -> Sequence[int | None]:
        """The class of each subtomogram as an index into ``classes``, None where it has none."""
        ...

    @property
    def ids(self) -> Sequence[str]:
        """A name for each subtomogram, unique and stable between runs."""
        ...

    @property
    def groups(self) -> Sequence[str | None]:
        """The tomogram of each subtomogram, None where unknown; splits keep those of a tomogram together."""
        ...

    @property
    def voxel_size(self) -> float | None:
        """Å per voxel, None where the files do not say."""
        ...

    @property
    def box(self) -> Box:
        """The size that all volumes have."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


class Subtomograms(ABC):
    """A `SubtomogramDataset` with a default for all that it need not know; the base class to write a reader from.

    A subclass assigns what it knows, or overrides it: with `functools.cached_property` where it costs time. What it
    leaves alone is unknown.
    """

    classes: Sequence[str]
    labels: Sequence[int | None]
    ids: Sequence[str]
    groups: Sequence[str | None]
    voxel_size: float | None
    box: Box

    contrast: Contrast | None = None
    """How density looks in the volumes, as they are served."""
    tilt_range: tuple[float, float] | None = None
    """Smallest and largest tilt, degrees, where all subtomograms have the same."""
    tilt_axis: TiltAxis | None = None
    """The axis of the tilt series, the beam being z."""
    positions: NDArray[Any] | None = None
    """(N, 3): x, y, z of each in its tomogram, all of a tomogram in one unit; splits by position cut blocks by them."""
    notes: Sequence[str] = ()
    """Lines for the user on what was assumed or read around: units, boxes that reach beyond a tomogram, ..."""
    simulated: bool = False
    """Whether subtomograms are made when they are read; training then starts before all of them are there."""
    weighted: bool = False
    """Whether each sample says which part of each Fourier coefficient was measured: `Sample.weight`."""
    optimisation_set: str | None = None
    """The file of RELION that names the list of these subtomograms beside others that belong to it."""

    @cached_property
    def clean(self) -> SubtomogramDataset | None:
        """The same subtomograms, index by index, without noise, where they are simulated; else None."""
        return None

    @cached_property
    def lists(self) -> Mapping[str, str]:
        """List -> a digest of its rows when these subtomograms were cut out, where that was earlier."""
        return {}

    @cached_property
    def duplicates(self) -> Sequence[Hashable] | None:
        """For each subtomogram a key that identical ones share, or None; splits keep those together."""
        return None

    @cached_property
    def columns(self) -> Mapping[str, NDArray[Any]]:
        """Further values of each subtomogram: name -> array (N, ...)."""
        return {}

    def origin(self, index: int) -> Origin | None:
        """Return the file and row of a subtomogram; None where the set does not know, then for all of them."""
        return None

    def prefetch(self, indices: Iterable[int]) -> None:
        """Take the hint that these subtomograms will be read soon."""
        return None

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Sample:
        """Read one subtomogram; raise `DataError` where its voxels are at fault."""

    def _repr_html_(self) -> str:
        from cryoreg import notebook

        return notebook.dataset(self)


OPTIONAL = tuple(name for name in vars(Subtomograms) if not name.startswith("_"))
"""What a data set may say of itself, and `Subtomograms` has a default for."""
