"""cryoreg: self-supervised learning for cryo-electron-tomography subtomograms.

Importing this package costs milliseconds: what needs torch is imported when it is first used.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from cryoreg.version import PLUGIN_API, __version__

if TYPE_CHECKING:
    from cryoreg.analysis.averaging.python import average
    from cryoreg.analysis.cluster_files import cluster
    from cryoreg.analysis.report import report
    from cryoreg.api import (
        create_augmentation,
        create_dataset,
        create_dataset_like,
        create_encoder,
        create_learner,
        create_method,
        inspect,
        list_augmentations,
        list_datasets,
        list_encoders,
        list_formats,
        list_learners,
        list_loggers,
        list_methods,
        list_pickers,
        list_queries,
        list_recipes,
        list_studies,
        list_viewers,
        list_weights,
        list_writers,
        open_dataset,
    )
    from cryoreg.datasets.conversion.extract import extract
    from cryoreg.datasets.torch_data import as_torch
    from cryoreg.inference.embedding import embed
    from cryoreg.inference.evaluate import evaluate
    from cryoreg.inference.predict import predict
    from cryoreg.inference.tables import to_anndata, to_pandas
    from cryoreg.picking.python import pick
    from cryoreg.selection.python import select
    from cryoreg.training.finetune import finetune
    from cryoreg.training.pretrain import pretrain

_HOMES = {
    "as_torch": "cryoreg.datasets.torch_data",
    "average": "cryoreg.analysis.averaging.python",
    "cluster": "cryoreg.analysis.cluster_files",
    "create_augmentation": "cryoreg.api",
    "create_dataset": "cryoreg.api",
    "create_dataset_like": "cryoreg.api",
    "create_encoder": "cryoreg.api",
    "create_learner": "cryoreg.api",
    "create_method": "cryoreg.api",
    "embed": "cryoreg.inference.embedding",
    "evaluate": "cryoreg.inference.evaluate",
    "extract": "cryoreg.datasets.conversion.extract",
    "finetune": "cryoreg.training.finetune",
    "inspect": "cryoreg.api",
    "list_augmentations": "cryoreg.api",
    "list_datasets": "cryoreg.api",
    "list_encoders": "cryoreg.api",
    "list_formats": "cryoreg.api",
    "list_learners": "cryoreg.api",
    "list_loggers": "cryoreg.api",
    "list_methods": "cryoreg.api",
    "list_pickers": "cryoreg.api",
    "list_queries": "cryoreg.api",
    "list_recipes": "cryoreg.api",
    "list_studies": "cryoreg.api",
    "list_viewers": "cryoreg.api",
    "list_weights": "cryoreg.api",
    "list_writers": "cryoreg.api",
    "open_dataset": "cryoreg.api",
    "pick": "cryoreg.picking.python",
    "predict": "cryoreg.inference.predict",
    "pretrain": "cryoreg.training.pretrain",
    "report": "cryoreg.analysis.report",
    "select": "cryoreg.selection.python",
    "to_anndata": "cryoreg.inference.tables",
    "to_pandas": "cryoreg.inference.tables",
}

__all__ = [
    "PLUGIN_API",
    "__version__",
    "as_torch",
    "average",
    "cluster",
    "create_augmentation",
    "create_dataset",
    "create_dataset_like",
    "create_encoder",
    "create_learner",
    "create_method",
    "embed",
    "evaluate",
    "extract",
    "finetune",
    "inspect",
    "list_augmentations",
    "list_datasets",
    "list_encoders",
    "list_formats",
    "list_learners",
    "list_loggers",
    "list_methods",
    "list_pickers",
    "list_queries",
    "list_recipes",
    "list_studies",
    "list_viewers",
    "list_weights",
    "list_writers",
    "open_dataset",
    "pick",
    "predict",
    "pretrain",
    "report",
    "select",
    "to_anndata",
    "to_pandas",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'cryoreg' has no attribute '{name}'", name=name, obj=sys.modules[__name__])
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
