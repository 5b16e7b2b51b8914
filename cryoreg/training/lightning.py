"""What cryoreg uses of Lightning Fabric, imported in half the time.

Fabric asks for torchmetrics' version by importing all of it, and with it torchvision's operators and scipy's signal
processing: more than a second of each start, for nothing that is used here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from types import ModuleType


@contextmanager
def _torchmetrics_knows_its_version_only() -> Iterator[None]:
    stand_in = ModuleType("torchmetrics")
    stand_in.__version__ = metadata.version("torchmetrics")  # type: ignore[attr-defined]
    found = sys.modules.setdefault("torchmetrics", stand_in)
    try:
        yield
    finally:
        if found is stand_in:
            del sys.modules["torchmetrics"]


with _torchmetrics_knows_its_version_only():
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment, SLURMEnvironment
    from lightning_fabric.plugins.environments.lightning import find_free_network_port
    from lightning_fabric.strategies import DDPStrategy

__all__ = ["DDPStrategy", "Fabric", "LightningEnvironment", "SLURMEnvironment", "find_free_network_port"]
