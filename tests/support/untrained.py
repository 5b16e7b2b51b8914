"""What a run leaves, with random weights and without the training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from cryoreg.config import Layer, resolve
from cryoreg.learners.full import FullFineTuning
from cryoreg.runs.weights import make_card, save_weights
from support.synthetic import write_classes


def make_run(
    folder: Path,
    encoder: str = "rb3d",
    box: int = 8,
    classifier: bool = True,
    dataset: dict[str, Any] | None = None,
    **parameters: Any,
) -> FullFineTuning:
    """Write a run's weights and return its classifier; its data are ``dataset``, else six volumes beside the run."""
    if dataset is None:
        data = write_classes(folder.with_name(f"{folder.name}-data"), per_class=3, box=box)
        dataset = {"name": "mrc_folder", "root": str(data)}
    config = resolve("finetune", [Layer("test", {"encoder": {"name": encoder, **parameters}, "dataset": dataset})])
    torch.manual_seed(0)
    opened = config.spec("dataset").build()
    module = FullFineTuning(config.spec("encoder").build(), max(2, len(opened.classes)))
    nn.init.normal_(module.head.weight)
    known = {"classes": list(opened.classes)} if classifier else {}
    card = make_card(config, opened, module.encoder.num_features, **known)
    folder.mkdir()
    save_weights(folder / "encoder.safetensors", module.encoder.state_dict(), card)
    if classifier:
        save_weights(folder / "classifier.safetensors", module.state_dict(), card)
    return module.eval()
