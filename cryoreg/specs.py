"""What every component declares: a frozen pydantic model that imports no torch.

A spec class is what an entry point names. Its docstring is the component's summary and source, its fields are the
hyper-parameters (type, default, limits, help), and ``build`` imports the heavy libraries and returns the object.
"""

from __future__ import annotations

import functools
import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from cryoreg.errors import DataError
from cryoreg.kinds import KINDS, Kind
from cryoreg.parameters import Parameter, describe
from cryoreg.plans import ViewPlan

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from cryoreg.contracts import Augmentation, Box, Encoder, Learner, Method, Query, SubtomogramDataset, Subtomograms

__all__ = [
    "KINDS",
    "SPEC_TYPES",
    "AugmentationSpec",
    "DatasetSpec",
    "EncoderSpec",
    "Kind",
    "LearnerSpec",
    "MethodSpec",
    "QuerySpec",
    "Settings",
    "Spec",
    "ViewPlan",
    "WeightsSpec",
]


def _rising(given: tuple[float, float]) -> tuple[float, float]:
    if not -90 <= given[0] < given[1] <= 90:
        raise ValueError("should be the smallest and the largest tilt, between -90 and 90 degrees")
    return given


Tilts = Annotated[tuple[float, float], AfterValidator(_rising)]
"""The smallest and the largest tilt of a tilt series, degrees."""


class Settings(BaseModel):
    """Frozen, typed, finite values; an unknown field is an error."""

    # Validators are built at first use: describing a component needs none, and they cost a third of its import.
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="constants", defer_build=True
    )


class Spec(Settings, ABC):
    """The part that all kinds share."""

    kind: ClassVar[Kind]

    @classmethod
    def summary(cls) -> str:
        """Return the first line of the class docstring."""
        return cls._docstring().partition("\n")[0]

    @classmethod
    def source(cls) -> str:
        """Return the docstring after its first line: the paper, the formula, the remarks."""
        return cls._docstring().partition("\n")[2].strip()

    @classmethod
    def _docstring(cls) -> str:
        return inspect.cleandoc(cls.__doc__ or "").replace("``", "`")

    @classmethod
    def parameters(cls) -> list[Parameter]:
        """Describe every field, in the order of declaration."""
        return [describe(name, field) for name, field in cls.model_fields.items()]

    @classmethod
    def facts(cls) -> dict[str, str]:
        """Return what else `cryoreg show` tells: name -> text. By default, nothing."""
        return {}

    @classmethod
    def check_files(cls) -> None:
        """Raise a `CryoregError` where a file that the package must bring is missing or is not what it should be."""
        return None


def _with_turns(build: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(build)
    def turned(spec: Any, *given: object) -> Any:
        if spec.turns == 1:
            return build(spec, *given)
        built = build(spec.model_copy(update={"turns": 1}), *given)
        built.turns = spec.turns
        return built

    return turned


class TurnedSpec(Spec):
    """The part that encoders and learners share: what they say may be the mean over turned copies of a volume."""

    turns: Literal[1, 4, 8, 24] = Field(1, description="turned copies of a volume, outside training")

    def __init_subclass__(cls, **options: Any) -> None:
        """Let ``build`` know the component's own hyper-parameters only: `turns` is put on whatever it returns."""
        super().__init_subclass__(**options)
        if "build" in vars(cls):
            setattr(cls, "build", _with_turns(vars(cls)["build"]))  # noqa: B010

    @model_serializer(mode="wrap")
    def _without_one_turn(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave `turns` out where it is 1: ``model_dump`` is what is built with, and earlier cards hold."""
        return {key: value for key, value in serialise(self).items() if (key, value) != ("turns", 1)}


class EncoderSpec(TurnedSpec):
    """A 3D network that turns a subtomogram into a feature vector."""

    kind: ClassVar[Kind] = "encoder"
    min_box: ClassVar[int] = 1
    """The smallest edge, in voxels, that the network takes."""
    default_weights: ClassVar[str | None] = None
    """The registered weights from which fine-tuning starts unless told otherwise; None: from random ones."""
    initial_weights: ClassVar[frozenset[str]] = frozenset()
    """Fields that say where the first weights come from: trained weights, which replace those, do not record them."""
    exact_box: ClassVar[bool] = False
    """Whether the network takes cubes of ``min_box`` voxels only."""
    compiles: ClassVar[bool] = True
    """Whether `torch.compile` captures the network as one graph."""

    turns: Literal[1, 4, 8, 24] = Field(
        1,
        description="turned copies of a volume that features are the mean of, outside training: "
        "4 about the beam, 8 with those upside down, 24 of the cube",
    )

    def check_box(self, box: tuple[int, int, int]) -> None:
        """Raise `DataError` where the network cannot take a volume of ``box`` = (D, H, W) voxels."""
        size = "×".join(map(str, box))
        other = "or choose another encoder (`cryoreg list --kind encoder`)"
        if self.exact_box and set(box) != {self.min_box}:
            raise DataError(
                f"this encoder takes boxes of exactly {self.min_box} voxels along each axis, but the subtomograms are "
                f"{size}; extract such boxes {other}"
            )
        if min(box) < self.min_box:
            raise DataError(
                f"this encoder takes boxes of at least {self.min_box} voxels, but the subtomograms are {size}; "
                f"extract larger boxes {other}"
            )
        if any(edge % self.box_step() for edge in box):
            raise DataError(
                f"this encoder takes boxes whose edges are multiples of {self.box_step()} voxels, but the subtomograms "
                f"are {size}; extract such boxes {other}"
            )

    def box_step(self) -> int:
        """Return what the edges of a box must be multiples of, in voxels."""
        return 1

    @abstractmethod
    def build(self) -> Encoder:
        """Return the network with freshly initialised weights (from torch's global generator)."""


class MethodSpec(Spec):
    """A way of training an encoder without labels."""

    kind: ClassVar[Kind] = "method"
    views: ClassVar[int] = 2
    """How many augmented views of each subtomogram ``Method.forward`` takes."""
    uses_labels: ClassVar[bool] = False
    """Whether ``Method.forward`` also takes ``labels``."""
    min_batch: ClassVar[int] = 1
    """The fewest subtomograms in each process from which the method learns: 2 where it compares those of a batch."""

    def view_plan(self) -> ViewPlan:
        """Return the views to draw; methods with clean or local ones say so here."""
        return ViewPlan(self.views)

    def for_data(self, dataset: Subtomograms) -> MethodSpec:
        """Return the spec with what depends on the data filled in; raise `ConfigError` where it cannot take them."""
        return self

    @abstractmethod
    def build(self, encoder: Encoder) -> Method:
        """Return the method around ``encoder``."""


class AugmentationSpec(Spec):
    """A random transformation of a batch of subtomograms."""

    kind: ClassVar[Kind] = "augmentation"
    deterministic: ClassVar[bool] = False
    """Whether views of a subtomogram are all alike: nothing is drawn."""
    uses_weights: ClassVar[bool] = False
    """Whether the augmentation takes `Sample.weight` (B, 1, D, H, W // 2 + 1), too, as a third argument."""

    def check_data(self, dataset: Subtomograms) -> None:
        """Raise `ConfigError` where the transformation contradicts what is known of the data; by default, never."""
        return None

    def notes_on(self, dataset: Subtomograms) -> list[str]:
        """Return lines for the user on what the transformation assumes of the data; by default, none."""
        return []

    @abstractmethod
    def build(self) -> Augmentation:
        """Return the augmentation."""


class Stated(NamedTuple):
    """Which values of a data set's spec a project file says, and not the user of this command."""

    file: str
    """As messages name it."""
    path: str
    """Of which files it says so: these, or those below."""
    keys: tuple[str, ...]
    overrule: bool = False
    """Whether they hold against what the files say of themselves."""


class DatasetSpec(Spec):
    """A source of subtomograms. Its numbers may be infinite, as is the SNR without noise."""

    model_config = ConfigDict(allow_inf_nan=True)

    kind: ClassVar[Kind] = "dataset"
    file_facts: ClassVar[tuple[str, ...]] = ()
    """Fields that say what files are like, and that a project file may say once for all commands."""
    _stated: Stated | None = PrivateAttr(default=None)

    @classmethod
    def names_files(cls, root: Path) -> Path | None:
        """Return the first of the files that a list names by itself, so that nobody needs to say where they are."""
        return None

    @property
    def stated(self) -> Stated | None:
        """What a project file says of the files; None where all is said by the user."""
        return self._stated

    def as_stated(self, stated: Stated | None) -> Self:
        """Return the same spec, of which some values are a project file's."""
        spec = self.model_copy()
        spec._stated = stated
        return spec

    @classmethod
    def fits(cls, path: Path) -> str | None:
        """Return what in ``path`` is the reader's, as in "it has ...": "3 .npy files"; None where nothing is.

        Asked about every path that a command is given without ``--dataset``: look at names and headers, import no
        torch. Where the path is of the reader's kind and yet cannot be read, raise `DataError` with what to do
        instead; users see it where no other reader fits.
        """
        return None

    @abstractmethod
    def build(self) -> SubtomogramDataset:
        """Open the data set; raise `DataError` with one clear line where the data is at fault."""

    def cut_to(self, voxel_size: float | None, box: Box) -> DatasetSpec | None:
        """Return the spec of the same subtomograms, cut by the source itself at a voxel size (Å) and in a box (voxels).

        ``voxel_size`` None: their own. None where the source cuts no boxes, so that volumes are resampled as they are
        served.
        """
        return None

    def load(self) -> Subtomograms:
        """Return what `build` returns, with a default for all that it does not know."""
        from cryoreg.wrapped import with_defaults

        return with_defaults(self.build())


class WeightsSpec(Spec):
    """A trained encoder that a package brings: a safetensors file beside the module of its spec.

    What the file's own card says, it alone says: encoder and settings, voxel size, box, normalisation, contrast,
    training, metrics. `cryoreg.weights.specs.FileWeightsSpec` builds the encoder.
    """

    kind: ClassVar[Kind] = "weights"
    file: ClassVar[str]
    """The safetensors file, beside the module that declares the spec."""
    license: ClassVar[str] = ""
    """Under which others may use the weights, as SPDX writes it: "Apache-2.0", "CC-BY-4.0"."""
    evaluated: ClassVar[str] = ""
    """On what the encoder was evaluated and how it did, in a sentence or two."""
    recipe: ClassVar[Mapping[str, Mapping[str, object]]] = {}
    """Good settings for fine-tuning from these weights: section -> key -> value. Whatever a user says goes before."""
    learners: ClassVar[Mapping[str, Mapping[str, object]]] = {}
    """Good settings of other learners than the recipe's, where one of them is chosen: name -> key -> value."""

    @classmethod
    def path(cls) -> Path:
        """Return where the file lies."""
        from pathlib import Path

        return Path(str(sys.modules[cls.__module__].__file__)).with_name(cls.file)

    @classmethod
    def card(cls) -> dict[str, Any]:
        """Return what the file's card says; raise `CheckpointError` where there is none."""
        from cryoreg.weights_header import read_card

        return read_card(cls.path())

    @classmethod
    def check_files(cls) -> None:
        """Raise `CheckpointError` where the file or its card cannot be read."""
        cls.card()

    @classmethod
    def facts(cls) -> dict[str, str]:
        """Return licence, evaluation, and the card in words."""
        from cryoreg.weights_header import describe_card

        told = {"licence": cls.license, "evaluated": cls.evaluated, **describe_card(cls.card())}
        return {name: text for name, text in told.items() if text}

    @abstractmethod
    def build(self) -> Encoder:
        """Return the encoder with these weights, in float32, on the CPU, in evaluation mode."""


class LearnerSpec(TurnedSpec):
    """A way of learning classes, around an encoder, from labelled subtomograms and others."""

    kind: ClassVar[Kind] = "learner"
    min_batch: ClassVar[int] = 1
    """The fewest subtomograms in each process from which the learner learns: 2 where it compares those of a batch."""
    recipe: ClassVar[Mapping[str, Mapping[str, object]]] = {}
    """Good settings for fine-tuning by it: section -> key -> value. Whatever a user says goes before."""
    in_phases: ClassVar[bool] = False
    """Whether there are steps at which not all that it trains gets a gradient, as where one part learns after another.

    What does not learn says ``requires_grad_(False)`` meanwhile, from `Learner.train` on.
    """

    turns: Literal[1, 4, 8, 24] = Field(
        1,
        description="turned copies of a volume that class probabilities are the mean of, outside training: "
        "4 about the beam, 8 with those upside down, 24 of the cube",
    )

    def for_start(self, left: Callable[[], Mapping[str, Tensor]]) -> Self:
        """Return the spec with what depends on the start filled in, for the run to record; see `Learner.take_up`."""
        return self

    def for_data(self, dataset: Subtomograms) -> Self:
        """Return the spec with what depends on the data filled in; raise a `CryoregError` where it cannot take them."""
        return self

    def answers_with(self, encoder: Mapping[str, object]) -> Mapping[str, object]:
        """Return the encoder that answers, and is kept, by name and parameters; by default the one that is given."""
        return encoder

    @abstractmethod
    def build(self, encoder: Encoder, classes: int) -> Learner:
        """Return the learner around ``encoder``, with fresh weights of its own (from torch's global generator)."""


class QuerySpec(Spec):
    """A way of choosing which subtomograms to label next."""

    kind: ClassVar[Kind] = "query"
    needs_labels: ClassVar[bool] = True
    """Whether it chooses by what labels of two or more classes have taught, and so nothing before there are some."""

    @abstractmethod
    def build(self) -> Query:
        """Return what chooses."""


SPEC_TYPES: dict[Kind, type[Spec]] = {
    "encoder": EncoderSpec,
    "method": MethodSpec,
    "augmentation": AugmentationSpec,
    "dataset": DatasetSpec,
    "weights": WeightsSpec,
    "learner": LearnerSpec,
    "query": QuerySpec,
}
