"""Reads encoders from checkpoints of other code: the lab's MoCo (Gupta et al. 2022), or any state dict of a network.

Such a file, ``*.pth``, ``*.pt`` or ``*.pth.tar``, says nothing about the network: that comes from the user's settings.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cryoreg.errors import CheckpointError
from cryoreg.files import require_file
from cryoreg.runs.checkpoint import refuse_packed

_SUFFIXES = (".pth", ".pt", ".tar")
_CONTAINERS = ("state_dict", "model")
_PREFIXES = ("module.encoder_q.", "encoder_q.", "module.encoder.", "encoder.", "module.", "")
_HEAD = "fc."
"""The lab's classifier, or the method's projection head in its place."""


def is_lab_checkpoint(path: Path) -> bool:
    """Tell a checkpoint of other code from the weights that cryoreg writes, by its name."""
    return path.suffix in _SUFFIXES


def load_lab_weights(encoder: nn.Module, path: Path) -> None:
    """Load the encoder's weights from a checkpoint of other code; its head and all that is no encoder are left out.

    Raises `CheckpointError` where the file cannot be read safely, or holds another network.
    """
    wanted = encoder.state_dict()
    found = _encoder_part(read_state(path), path)
    for name in sorted(wanted.keys() | found.keys()):
        ours, theirs = (_shape(tensors.get(name)) for tensors in (wanted, found))
        if ours != theirs:
            raise CheckpointError(
                f"{path} does not fit this encoder: '{name}' is {theirs} in the file, but {ours} in the encoder; "
                f"{_advice(found)}"
            )
    encoder.load_state_dict(found)


def read_state(path: Path) -> dict[str, Tensor]:
    """Return all tensors of a checkpoint's state dict, on the CPU; raise `CheckpointError` where there is none."""
    content = _load(path)
    if isinstance(content, Mapping):
        content = next((content[key] for key in _CONTAINERS if key in content), content)
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds no state dict, but a {type(content).__name__}")
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def _load(path: Path) -> Any:
    require_file(path, CheckpointError)
    try:
        with path.open("rb") as file:
            refuse_packed(file, path)
            return torch.load(file, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint {path}") from None
    except pickle.UnpicklingError as error:
        unsafe = re.search(r"GLOBAL ([\w.]+)", str(error))
        if unsafe is None:
            raise CheckpointError(f"cannot read checkpoint {path}: it is no file of torch") from None
        raise CheckpointError(
            f"checkpoint {path} holds objects other than tensors and plain values ({unsafe[1]}), which could run code; "
            "refused: where you trust it, load it with torch and save its 'state_dict' alone"
        ) from None
    except Exception as error:
        raise CheckpointError(f"cannot read checkpoint {path}: {' '.join(str(error).split())[:200]}") from error


def _encoder_part(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the tensors behind the first prefix that occurs, without the head's."""
    prefix = next(prefix for prefix in _PREFIXES if not prefix or any(name.startswith(prefix) for name in state))
    names = (name.removeprefix(prefix) for name in state if name.startswith(prefix))
    found = {name: state[prefix + name] for name in names if not name.startswith(_HEAD)}
    if not found:
        raise CheckpointError(f"{path} holds no weights of an encoder")
    return found


def _shape(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else "×".join(map(str, tensor.shape)) or "a number"


def _advice(found: Mapping[str, Tensor]) -> str:
    """Name the encoder that the file was trained with, where its tensors tell."""
    stem = found.get("conv1.weight")
    if stem is None or "bottleneck_layers.0.conv1.weight" not in found:
        return "choose the encoder and the parameters that it was trained with"
    return f"choose encoder rb3d with encoder.width={len(stem)}"
