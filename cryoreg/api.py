"""Components by name, from Python."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cryoreg import registry
from cryoreg.config import build_spec
from cryoreg.config.settings import InputSettings
from cryoreg.errors import CheckpointError, ConfigError
from cryoreg.specs import EncoderSpec

if TYPE_CHECKING:
    from cryoreg.contracts import Augmentation, Encoder, Method, Subtomograms


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
    from cryoreg.runs.networks import open_network, require_same_encoder
    from cryoreg.runs.weights import weights_file

    path = weights_file(_own_weights(name) if pretrained is True else pretrained)
    if is_lab_checkpoint(path):
        encoder = build_spec("encoder", name or "rb3d", parameters).spec.build()
        load_lab_weights(encoder, path)
        return encoder
    network = open_network(path, "encoder")
    require_same_encoder(network.card, parameters if name is None else {"name": name, **parameters}, network.path)
    if "turns" in parameters:
        recorded = network.card["config"]["encoder"] | parameters
        network.encoder.turns = build_spec("encoder", recorded.pop("name"), recorded).spec.turns
    return network.encoder.train()


def _own_weights(encoder: str | None) -> str:
    """Return the name of an encoder's own trained weights; raise `ConfigError` where it has none."""
    if encoder is None:
        raise ConfigError("pretrained=True means an encoder's own trained weights; name the encoder, or the weights")
    _, spec = registry.find_spec("encoder", encoder)
    own = spec.default_weights if issubclass(spec, EncoderSpec) else None
    if own is None:
        raise ConfigError(f"encoder '{encoder}' has no trained weights of its own; `cryoreg list --kind weights`")
    return own


def create_method(name: str, encoder: Encoder, **parameters: object) -> Method:
    """Return a self-supervised method around ``encoder``."""
    return build_spec("method", name, parameters).spec.build(encoder)


def create_augmentation(name: str, **parameters: object) -> Augmentation:
    """Return an augmentation: (x, rng) -> x, both (B, 1, D, H, W)."""
    return build_spec("augmentation", name, parameters).spec.build()


def create_dataset(name: str, **parameters: object) -> Subtomograms:
    """Open a data set."""
    return build_spec("dataset", name, parameters).spec.load()


def create_dataset_like(other: Subtomograms, name: str, **parameters: object) -> Subtomograms:
    """Open a data set and bring it to the voxel size, box and contrast of ``other``; its notes tell what was done."""
    from cryoreg.datasets.adaptation import load_adapted

    wanted = InputSettings(voxel_size=other.voxel_size, box=other.box, contrast=other.contrast)
    return load_adapted(build_spec("dataset", name, parameters).spec, wanted)
