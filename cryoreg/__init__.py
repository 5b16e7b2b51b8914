"""cryoreg: self-supervised learning for cryo-electron-tomography subtomograms.

Importing this package costs milliseconds: what needs torch is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from cryoreg.version import PLUGIN_API, __version__

if TYPE_CHECKING:
    from cryoreg.api import create_augmentation, create_dataset, create_dataset_like, create_encoder, create_method
    from cryoreg.inference.evaluate import evaluate
    from cryoreg.inference.predict import predict
    from cryoreg.training.finetune import finetune
    from cryoreg.training.pretrain import pretrain

_HOMES = {
    "create_augmentation": "cryoreg.api",
    "create_dataset": "cryoreg.api",
    "create_dataset_like": "cryoreg.api",
    "create_encoder": "cryoreg.api",
    "create_method": "cryoreg.api",
    "evaluate": "cryoreg.inference.evaluate",
    "finetune": "cryoreg.training.finetune",
    "predict": "cryoreg.inference.predict",
    "pretrain": "cryoreg.training.pretrain",
}

__all__ = [
    "PLUGIN_API",
    "__version__",
    "create_augmentation",
    "create_dataset",
    "create_dataset_like",
    "create_encoder",
    "create_method",
    "evaluate",
    "finetune",
    "predict",
    "pretrain",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'cryoreg' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
