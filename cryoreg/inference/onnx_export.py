"""A network as an ONNX graph, from raw volumes to features, with its card; compared with torch before it is written."""

from __future__ import annotations

import contextlib
import copy
import importlib
import io
import json
import logging
import math
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cryoreg.contracts import Encoder, Learner
from cryoreg.datasets.normalisation import normalise
from cryoreg.errors import CheckpointError, ConfigError
from cryoreg.files import write_atomically
from cryoreg.inference.export_checks import Exported, check_volumes, differences
from cryoreg.runs.networks import Network, answer

WORST = 1e-3
"""Largest difference from torch, relative to the largest value, that is let through."""
CARD_KEY = "cryoreg_card"
INPUT = "volumes"
_LIBRARIES = ("onnx", "onnxruntime", "onnxscript")


class Graph(nn.Module):
    """What the file computes: a network of raw volumes, or of z-scored ones where ``normalisation`` is False."""

    def __init__(self, network: Encoder | Learner, normalisation: bool = True) -> None:
        super().__init__()
        self.network, self.normalisation = network, normalisation

    def forward(self, volumes: Tensor) -> tuple[Tensor, ...]:
        """Map (B, 1, D, H, W) to a learner's logits and features, or an encoder's features."""
        return answer(self.network, normalise(volumes) if self.normalisation else volumes)


class SeparablePool(nn.Module):
    """`torch.nn.AdaptiveAvgPool3d`, which ONNX does not have, as a product with a matrix along each axis."""

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.sizes: tuple[int | None, ...] = (output_size,) * 3 if isinstance(output_size, int) else output_size

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, D, H, W) to (B, C, *output_size)."""
        for axis, size in enumerate(self.sizes, 2):
            if size is not None:
                x = (x.movedim(axis, -1) @ window_means(x.shape[axis], size)).movedim(-1, axis)
        return x


def window_means(edge: int, size: int) -> Tensor:
    """Return (edge, size): column i averages voxels from floor(i edge / size) up to ceil((i + 1) edge / size)."""
    matrix = torch.zeros(edge, size)
    for window in range(size):
        start, end = window * edge // size, math.ceil((window + 1) * edge / size)
        matrix[start:end, window] = 1 / (end - start)
    return matrix


def export_onnx(network: Network, output: Path, normalisation: bool = True, batch: int | None = None) -> Exported:
    """Write a network's ONNX graph for its card's box; raises as `run_export` does, and then writes nothing."""
    _require_libraries()
    graph = Graph(network.module, normalisation).eval()
    data = _with_card(_translated(network, graph, batch), network, normalisation)
    volumes, notes = check_volumes(network.card, batch)
    if not normalisation:
        volumes = {kind: normalise(x) for kind, x in volumes.items()}
    found = compare(data, graph, volumes, network.outputs)
    worst = max(found, key=lambda name: found[name][1])
    if not found[worst][1] <= WORST:
        raise CheckpointError(
            f"{network.path}: its ONNX graph gives other {worst}: by {found[worst][1]:.2g} of the largest; "
            "nothing is written; export safetensors instead"
        )
    write_atomically(output, lambda file: file.write(data))
    return Exported(output, found, notes)


def compare(
    model: bytes, graph: nn.Module, volumes: dict[str, Tensor], names: tuple[str, ...]
) -> dict[str, tuple[float, float]]:
    """Return how far onnxruntime's outputs on the CPU are from torch's."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    found: dict[str, tuple[float, float]] = {}
    for kind, x in volumes.items():
        with torch.no_grad():
            wanted = graph(x)
        made = session.run(list(names), {INPUT: x.numpy()})
        for name, got, expected in zip(names, made, wanted, strict=True):
            found |= differences(name, torch.from_numpy(got), expected, kind)
    return found


def _translated(network: Network, graph: nn.Module, batch: int | None) -> Any:
    """Return the model; raise `CheckpointError` for a network that has no counterpart in ONNX."""
    example = torch.randn(batch or 2, 1, *network.card["box"], generator=torch.Generator().manual_seed(0))
    shapes = None if batch else {INPUT: {0: torch.export.Dim("batch", min=1)}}
    try:
        with _quiet():
            program = torch.onnx.export(
                _without_adaptive_pools(graph),
                (example,),
                input_names=[INPUT],
                output_names=list(network.outputs),
                dynamic_shapes=shapes,
                dynamo=True,
                verbose=False,
            )
        assert program is not None
        return program.model_proto
    except Exception as error:  # whatever torch's exporter stumbles over
        name = network.card["config"]["encoder"]["name"]
        raise CheckpointError(
            f"the encoder '{name}' cannot be written as ONNX ({_reason(error)}); export safetensors instead"
        ) from error


def _without_adaptive_pools(module: nn.Module) -> nn.Module:
    changed = copy.deepcopy(module)
    for parent in list(changed.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, nn.AdaptiveAvgPool3d):
                setattr(parent, name, SeparablePool(layer.output_size))
    return changed


def _with_card(model: Any, network: Network, normalisation: bool) -> bytes:
    import onnx

    given = "raw volumes, density bright" if normalisation else "volumes of mean 0 and standard deviation 1"
    onnx.helper.set_model_props(
        model, {CARD_KEY: json.dumps(network.card), "input": f"{given}; float32 (batch, 1, z, y, x)"}
    )
    return model.SerializeToString()


def _require_libraries() -> None:
    for name in _LIBRARIES:
        try:
            importlib.import_module(name)
        except ImportError:
            raise ConfigError(f'--format onnx needs {name}; pip install "cryoreg[onnx]"') from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks to itself."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _reason(error: BaseException) -> str:
    """Return the first line of what began it all."""
    while error.__cause__ is not None:
        error = error.__cause__
    plain = re.sub(r"\x1b\[[\d;]*m", "", str(error)).strip() or type(error).__name__
    return plain.splitlines()[0][:200]
