"""The settings of a run, apart from its components: how to split the data and how to train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from cryoreg.config.starts import SCRATCH, Start, start_of
from cryoreg.specs import Settings

StartSetting = Annotated[Start, BeforeValidator(start_of)]
Names = Annotated[tuple[str, ...], BeforeValidator(lambda given: names_in(given) if isinstance(given, str) else given)]
"""Names of components, also as one text: "csv,tensorboard"."""
SplitBy = Literal["auto", "tomogram", "position", "particle"]
Edge = Annotated[int, Field(ge=1)]


def names_in(text: str) -> tuple[str, ...]:
    """Return the names in a text that has commas between them."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


class SplitSettings(Settings):
    """How a data set is divided. The same settings divide it the same way in every run."""

    fractions: tuple[float, float, float] = Field((0.6, 0.2, 0.2), description="shares of train, val and test")
    seed: int = Field(0, ge=0, lt=2**63, description="seed of the division")
    by: SplitBy = Field(
        "auto",
        description="what stays in one part: tomogram, position (blocks within a tomogram) or particle; auto: whole "
        "tomograms where they are known and enough, else within them, which is said",
    )
    scheme: Literal["parts", "cv"] = Field(
        "parts", description="parts: one train, val and test part; cv: cross-validation, then a model of all labels"
    )
    folds: int | None = Field(
        None, ge=2, description="parts of the cross-validation; unset: 5, or fewer where labels or tomograms are few"
    )
    fold: int | None = Field(
        None, ge=1, description="the fold of the cross-validation to train for, alone; unset: all, and then all labels"
    )

    @field_validator("fractions")
    @classmethod
    def _sums_to_one(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(value) < 0 or abs(sum(value) - 1) > 1e-6:
            raise ValueError("the three fractions must not be negative and must sum to 1")
        return value


class InputSettings(Settings):
    """What the network is given, where that is not the data as they are: what trained weights were trained on."""

    voxel_size: float | None = Field(None, gt=0, description="Å per voxel to bring the data to; unset: as they are")
    box: tuple[Edge, Edge, Edge] | None = Field(
        None, description="box to cut or pad the data to, voxels; unset: as they are"
    )
    contrast: Literal["bright", "dark"] | None = Field(
        None, description="how density is to look, where that of the data is known; unset: as it does"
    )

    labels_from: Path | None = Field(
        None,
        description="labels from a list, instead of the data's own: a table (.csv, .star) of ids and classes, or a "
        "folder of lists of ids, one for each class",
    )
    label: str | None = Field(None, description="column of that table that holds the class [label, class, cluster]")

    @field_validator("box", mode="before")
    @classmethod
    def _cube(cls, value: object) -> object:
        return (value,) * 3 if isinstance(value, int) else value


class TrainingSettings(Settings):
    """What pretraining and fine-tuning share."""

    epochs: int = Field(ge=1, description="passes over the training subtomograms")
    batch_size: int = Field(16, ge=1, description="subtomograms per step, over all processes")
    optimizer: str = Field(
        description="any optimizer of timm: adam, adamw, sgd (Nesterov), momentum, lamb, ..., or a registered one"
    )
    lr: float = Field(gt=0, le=1e30, description="learning rate at its highest")
    weight_decay: float = Field(1e-4, ge=0, le=1e30, description="weight decay; none on biases and norms, as timm does")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of SGD; other optimizers ignore it")
    schedule: str = Field(
        description="constant, a schedule of timm (cosine, step, poly, tanh, ...) or a registered one"
    )
    warmup_epochs: int = Field(0, ge=0, description="epochs of linear warm-up")
    clip_grad: float | None = Field(None, gt=0, description="largest gradient norm; unset: not clipped")
    seed: int = Field(0, ge=0, lt=2**63, description="seed of weights, order and augmentation")
    accumulate: int = Field(
        1, ge=1, description="batches whose gradients are averaged before a step; adds no negatives to a batch"
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="where to compute")
    devices: int = Field(1, ge=1, description="processes on each node, one per GPU (or share of the CPU's cores)")
    num_nodes: int = Field(1, ge=1, description="nodes; more than one under torchrun or SLURM only")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto: bf16 autocast where the device has it"
    )
    channels_last: bool = Field(True, description="keep 3D tensors channels-last (torch.channels_last_3d)")
    resident: bool | None = Field(None, description="hold all volumes on the device; unset: when they fit")
    memory_gb: float | None = Field(
        None,
        ge=0,
        description="GB that all volumes of the data set may take to be resident; unset: 40 % of the free memory",
    )
    workers: int = Field(2, ge=0, description="reader processes, where volumes are not resident")
    save_every_epochs: int = Field(1, ge=1, description="epochs between checkpoints")
    save_every_minutes: float = Field(10.0, gt=0, description="minutes after which a checkpoint is due in mid-epoch")
    loggers: Names = Field(
        ("csv", "tensorboard"), description="where figures go as the run goes on, by name; csv: what reports draw"
    )
    pretrained: StartSetting | None = Field(
        None,
        description="what to go on from: weights by name, run directory, encoder.safetensors or lab checkpoint "
        "(.pth.tar); unset, or scratch: random weights",
    )


class PretrainSettings(TrainingSettings):
    """Pretraining; defaults of Gupta et al. 2022."""

    epochs: int = Field(200, ge=1, description="passes over the training subtomograms")
    optimizer: str = Field(
        "adam", description="any optimizer of timm: adam, adamw, sgd (Nesterov), lamb, ..., or a registered one"
    )
    lr: float = Field(1e-4, gt=0, le=1e30, description="learning rate at its highest")
    schedule: str = Field(
        "constant", description="constant, a schedule of timm (cosine, step, poly, tanh, ...) or a registered one"
    )
    part: Literal["train", "all"] = Field(
        "train", description="what to learn from: the train split (an unlabelled set: everything), or all"
    )
    labels: float = Field(
        1.0, gt=0, le=1, description="fraction of the train split's labels that a method which uses labels is shown"
    )
    labels_per_class: int | None = Field(None, ge=1, description="so many labels of each class, instead of a fraction")
    probe_every_epochs: int = Field(
        5, ge=0, description="epochs between kNN and linear probes, where there are labels; 0: never"
    )


class FinetuneSettings(TrainingSettings):
    """Fine-tuning on labels; defaults of Gupta et al. 2022."""

    epochs: int = Field(50, ge=1, description="passes over the labelled training subtomograms")
    optimizer: str = Field(
        "sgd", description="any optimizer of timm: sgd (Nesterov), momentum, adam, adamw, ..., or a registered one"
    )
    lr: float = Field(5e-4, gt=0, le=1e30, description="learning rate at its highest")
    schedule: str = Field(
        "cosine", description="constant, a schedule of timm (cosine, step, poly, tanh, ...) or a registered one"
    )
    pretrained: StartSetting | None = Field(
        SCRATCH,
        description="weights by name, run directory, encoder.safetensors or lab checkpoint (.pth.tar); scratch: random "
        "weights. Left out, `cryoreg finetune` takes the encoder's own trained weights, where it has some",
    )
    labels: float = Field(
        1.0, gt=0, le=1, description="fraction of the train split's labels to use; nested, and drawn by training.seed"
    )
    labels_per_class: int | None = Field(None, ge=1, description="so many labels of each class, instead of a fraction")
    ema: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="keep, and validate with, a moving average of the weights of this momentum; unset: the weights",
    )
    validate_every_epochs: int | None = Field(
        None,
        ge=1,
        description="epochs between validations, counted back from the last; unset: so often that it takes no longer "
        "than learning, but ten times at least",
    )
