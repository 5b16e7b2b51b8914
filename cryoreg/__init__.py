"""cryoreg: self-supervised learning for cryo-electron-tomography subtomograms.

Importing this package costs milliseconds: what needs torch is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
PLUGIN_API = 1
"""The version of what plugins build on; `cryoreg.plugin_api` says how a plugin declares its own."""

if TYPE_CHECKING:
    from cryoreg.analysis.predict import predict
    from cryoreg.api import create_augmentation, create_dataset, create_encoder, create_method
    from cryoreg.training.evaluate import evaluate
    from cryoreg.training.finetune import finetune
    from cryoreg.training.pretrain import pretrain

_HOMES = {
    "create_augmentation": "cryoreg.api",
    "create_dataset": "cryoreg.api",
    "create_encoder": "cryoreg.api",
    "create_method": "cryoreg.api",
    "evaluate": "cryoreg.training.evaluate",
    "finetune": "cryoreg.training.finetune",
    "predict": "cryoreg.analysis.predict",
    "pretrain": "cryoreg.training.pretrain",
}

__all__ = [
    "PLUGIN_API",
    "__version__",
    "create_augmentation",
    "create_dataset",
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
