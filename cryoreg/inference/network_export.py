"""A run's network as one file for other programs: safetensors or ONNX, checked before it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from cryoreg.datasets.normalisation import normalise
from cryoreg.errors import CheckpointError, ConfigError
from cryoreg.inference.export_checks import Exported, check_volumes, differences
from cryoreg.inference.onnx_export import export_onnx
from cryoreg.outputs import check_file
from cryoreg.runs.cards import Card
from cryoreg.runs.cards import portable as portable_card
from cryoreg.runs.networks import Network, answer, open_network
from cryoreg.runs.records import FILES
from cryoreg.runs.weights import write_weights

NetworkFormat = Literal["safetensors", "onnx"]
_WORST_HALF = 0.01
"""Relative difference of features above which float16 is refused."""


def run_export(
    run: Path,
    output: Path,
    form: NetworkFormat | None = None,
    *,
    classifier: bool = False,
    half: bool = False,
    portable: bool = False,
    normalisation: bool = True,
    batch: int | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write the encoder (or ``classifier``) of a run as safetensors or ONNX, by ``form`` or the name of ``output``.

    ``half`` stores safetensors as float16, ``portable`` leaves the places of this machine's files out of their card.
    In ONNX, ``normalisation`` is part of the graph unless it is False, and ``batch`` is None for batches of any size.
    Raises `ConfigError` for options that do not fit the format, `CheckpointError` where the network cannot be exported,
    or gives something else in the file.
    """
    chosen = form or output.suffix.lower().removeprefix(".")
    if chosen not in get_args(NetworkFormat):
        raise ConfigError(f"{output}: its name ends in neither .safetensors nor .onnx; say --format")
    if chosen == "onnx" and (half or portable):
        option = "--half" if half else "--portable"
        raise ConfigError(f"{option} is for safetensors; ONNX is written in float32, with the run's whole card")
    if chosen == "safetensors" and not (normalisation and batch is None):
        raise ConfigError("--batch and --no-normalisation are for ONNX; safetensors holds weights, and no graph")
    network = open_network(run, "classifier" if classifier else "encoder")
    check_file(output, overwrite, [network.path, *(network.path.parent / name for name in FILES)])
    if chosen == "safetensors":
        card = portable_card(network.card, network.path) if portable else network.card
        return _export_weights(network, output, half, card)
    return export_onnx(network, output, normalisation, batch)


def _export_weights(network: Network, output: Path, half: bool, card: Card) -> Exported:
    if not half:
        write_weights(output, network.tensors, card)
        return Exported(output, {}, [])
    tensors = {name: _halved(name, tensor) for name, tensor in network.tensors.items()}
    volumes, notes = check_volumes(network.card)
    found: dict[str, tuple[float, float]] = {}
    wanted = {kind: _run(network, x) for kind, x in volumes.items()}
    network.load(tensors)  # back in float32, as whoever loads the file has it
    for kind, x in volumes.items():
        for name, got, expected in zip(network.outputs, _run(network, x), wanted[kind], strict=True):
            found |= differences(name, got, expected, kind)
    worst = max(relative for _, relative in found.values())
    if not worst <= _WORST_HALF:
        raise CheckpointError(f"{network.path}: in float16 its outputs differ by {worst:.1%}; leave out --half")
    write_weights(output, tensors, card | {"dtype": "float16"})
    return Exported(output, found, notes)


def _halved(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    small = tensor.half()
    if not torch.isfinite(small).all():
        raise CheckpointError(f"'{name}' has values that float16 cannot hold; leave out --half")
    return small


@torch.no_grad()
def _run(network: Network, x: Tensor) -> tuple[Tensor, ...]:
    return answer(network.module, normalise(x))
