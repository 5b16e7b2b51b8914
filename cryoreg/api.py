"""Components by name, and data sets by path, from Python."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from cryoreg import registry
from cryoreg.config import absolute, build_spec, choose_dataset
from cryoreg.config.calls import brief, checked
from cryoreg.config.settings import InputSettings
from cryoreg.errors import BrokenComponentError, CallError, CheckpointError, ConfigError
from cryoreg.kinds import Kind, Seam
from cryoreg.specs import EncoderSpec

if TYPE_CHECKING:
    from cryoreg.contracts import Augmentation, Encoder, Learner, Method, Subtomograms
    from cryoreg.datasets.inspection import Inspection


@checked()
def create_encoder(
    name: str | None = None, *, pretrained: str | Path | bool | None = None, **parameters: object
) -> Encoder:
    """Return an encoder: (B, 1, D, H, W) -> (B, num_features).

    ``pretrained`` is the name of weights, a run directory or an ``encoder.safetensors``, or True: the encoder's own
    trained weights; name and parameters then come from it, and those that are given must agree. A checkpoint of other
    code (``*.pth``, ``*.pth.tar``), as the lab's, records neither: they are those given, by default rb3d's. Weights
    are else drawn from torch's global generator.
    """
    if pretrained is None or pretrained is False:
        if name is None:
            raise CheckpointError("create_encoder needs a name, pretrained=NAME or PATH, or both")
        return build_spec("encoder", name, parameters).spec.build()
    from cryoreg.runs.lab_checkpoint import is_lab_checkpoint, load_lab_weights
    from cryoreg.runs.networks import open_network, require_same_component
    from cryoreg.runs.weights import weights_file

    path = weights_file(_own_weights(name) if pretrained is True else pretrained)
    if is_lab_checkpoint(path):
        encoder = build_spec("encoder", name or "rb3d", parameters).spec.build()
        load_lab_weights(encoder, path)
        return encoder
    network = open_network(path, "encoder")
    require_same_component(
        "encoder", network.card, parameters if name is None else {"name": name, **parameters}, network.path
    )
    if "turns" in parameters:
        recorded = network.card["config"]["encoder"] | parameters
        network.encoder.turns = build_spec("encoder", recorded.pop("name"), recorded).spec.turns
    return network.encoder.train()


def _own_weights(encoder: str | None) -> str:
    """Return the name of an encoder's own trained weights; raise `ConfigError` where it has none."""
    if encoder is None:
        raise ConfigError("pretrained=True means an encoder's own trained weights; name the encoder, or the weights")
    registry.find_spec("encoder", encoder)  # which says what is wrong with it
    own = _default_weights(encoder)
    if own is None:
        raise ConfigError(f"encoder '{encoder}' has no trained weights of its own; `cryoreg list --kind weights`")
    return own


@checked()
def create_method(name: str, encoder: Encoder, **parameters: object) -> Method:
    """Return a self-supervised method around ``encoder``."""
    if not hasattr(encoder, "num_features"):
        raise _no_encoder("create_method", encoder)
    return build_spec("method", name, parameters).spec.build(encoder)


@checked()
def create_learner(name: str, encoder: Encoder, classes: int, **parameters: object) -> Learner:
    """Return a learner of so many classes around ``encoder``, with fresh weights of its own.

    ``begin_epoch``, a step's ``forward`` and ``answer`` are what `finetune` calls; those that only fit to features, as
    linear_probe, have learnt after ``begin_epoch(0, 1, material)``.
    """
    from cryoreg.contracts import Encoder
    from cryoreg.runs.networks import learner_of

    if not isinstance(encoder, Encoder):
        raise CallError(
            f"create_learner() needs an encoder, as cryoreg.create_encoder returns it, not {brief(encoder)}"
        )
    if not isinstance(classes, int) or classes < 2:
        raise CallError(f"create_learner() needs a number of classes, 2 or more, not {brief(classes)}")
    component, spec = build_spec("learner", name, parameters)
    return learner_of(component, spec, encoder, classes)


@checked()
def create_augmentation(name: str, **parameters: object) -> Augmentation:
    """Return an augmentation: (x, rng) -> x, both (B, 1, D, H, W)."""
    return build_spec("augmentation", name, parameters).spec.build()


@checked()
def create_dataset(name: str, **parameters: object) -> Subtomograms:
    """Open a data set."""
    return build_spec("dataset", name, parameters).spec.load()


@checked()
def create_dataset_like(other: Subtomograms, name: str, **parameters: object) -> Subtomograms:
    """Open a data set and bring it to the voxel size, box and contrast of ``other``; its notes tell what was done."""
    from cryoreg.datasets.adaptation import load_adapted

    _require_dataset("create_dataset_like", other)
    wanted = InputSettings(voxel_size=other.voxel_size, box=other.box, contrast=other.contrast)
    return load_adapted(build_spec("dataset", name, parameters).spec, wanted)


@checked()
def open_dataset(path: str | Path, reader: str | None = None, **parameters: object) -> Subtomograms:
    """Open the data set in a file or folder, by the reader that fits where none is named.

    ``parameters`` are those of the reader. Raises `DataError` where none fits, or several do.
    """
    return choose_dataset(absolute(Path(path)), reader, parameters)[0].spec.load()


@checked()
def inspect(
    data: str | Path | Subtomograms, reader: str | None = None, *, everything: bool = False, **parameters: object
) -> Inspection:
    """Return what a data set holds and what is wrong with it, as `cryoreg inspect` does; nothing is changed.

    ``data`` is a file or folder, opened as by `open_dataset`, or an open data set. The voxels of up to 200 subtomograms
    are looked at, or with ``everything`` those of all. Raises `DataError` where nothing can be opened.
    """
    from cryoreg.datasets import inspection

    if isinstance(data, (str, Path)):
        return inspection.inspect_path(absolute(Path(data)), reader, parameters, everything)
    _require_dataset("inspect", data)
    return inspection.inspect(data, everything)


def _no_encoder(function: str, found: object) -> CallError:
    return CallError(f"{function}() needs an encoder, as cryoreg.create_encoder returns it, not {brief(found)}")


def _require_dataset(function: str, found: object) -> None:
    from cryoreg.contracts import SubtomogramDataset

    if not isinstance(found, SubtomogramDataset):
        raise CallError(f"{function}() needs a data set, as cryoreg.open_dataset returns it, not {brief(found)}")


@checked()
def list_encoders(pattern: str = "*", *, pretrained: bool = False) -> list[str]:
    """Return the names of all encoders, or of those that match a pattern: ``list_encoders("rb3d*")``.

    Those of plugins are among them. ``pretrained``: only those with trained weights of their own.
    """
    found = list_of("encoder", pattern)
    return [name for name in found if _default_weights(name)] if pretrained else found


@checked()
def list_methods(pattern: str = "*") -> list[str]:
    """Return the names of the self-supervised methods that match a pattern."""
    return list_of("method", pattern)


@checked()
def list_augmentations(pattern: str = "*") -> list[str]:
    """Return the names of the augmentations that match a pattern."""
    return list_of("augmentation", pattern)


@checked()
def list_datasets(pattern: str = "*") -> list[str]:
    """Return the names of the sources of subtomograms that match a pattern."""
    return list_of("dataset", pattern)


@checked()
def list_learners(pattern: str = "*") -> list[str]:
    """Return the names of the learners, ways to learn from labels, that match a pattern."""
    return list_of("learner", pattern)


@checked()
def list_weights(pattern: str = "*") -> list[str]:
    """Return the names of the trained weights that match a pattern."""
    return list_of("weights", pattern)


@checked()
def list_queries(pattern: str = "*") -> list[str]:
    """Return the names of the queries, ways to choose whom to label next, that match a pattern."""
    return list_of("query", pattern)


@checked()
def list_recipes(pattern: str = "*") -> list[str]:
    """Return the names of the recipes for `pretrain` and `finetune` that match a pattern."""
    return list_of("recipe", pattern)


@checked()
def list_pickers(pattern: str = "*") -> list[str]:
    """Return the names of the pickers that match a pattern."""
    return list_of("picker", pattern)


@checked()
def list_formats(pattern: str = "*") -> list[str]:
    """Return the names of the formats of `extract` and `cryoreg convert` that match a pattern."""
    return list_of("format", pattern)


@checked()
def list_viewers(pattern: str = "*") -> list[str]:
    """Return the names of the viewers of `cryoreg open` that match a pattern."""
    return list_of("viewer", pattern)


@checked()
def list_writers(pattern: str = "*") -> list[str]:
    """Return the names of the writers, formats of `predict`, that match a pattern."""
    return list_of("writer", pattern)


@checked()
def list_loggers(pattern: str = "*") -> list[str]:
    """Return the names of the loggers, to which a run's figures go, that match a pattern."""
    return list_of("logger", pattern)


@checked()
def list_studies(pattern: str = "*") -> list[str]:
    """Return the names of the studies of `cryoreg benchmark` that match a pattern."""
    return list_of("study", pattern)


def list_of(kind: Kind | Seam, pattern: str) -> list[str]:
    """Return the shortest names that mean the components of a kind; those that match ``pattern``, as of a shell."""
    found = registry.components(registry.group_of(kind))
    matching = [each for each in found if any(fnmatchcase(name, pattern) for name in (each.name, each.qualified))]
    return [component.reference for component in matching]


def _default_weights(encoder: str) -> str | None:
    """Return the name of an encoder's own trained weights, None where it has none, or cannot be loaded."""
    try:
        spec = registry.find("encoders", encoder).spec()
    except BrokenComponentError:
        return None
    return spec.default_weights if issubclass(spec, EncoderSpec) else None
