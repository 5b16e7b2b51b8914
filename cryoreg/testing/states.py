"""States of modules compared: the keys that differ, and what processes must have in common."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cryoreg.testing.checks import require

State = dict[str, Tensor]


def differing(state: State, other: State) -> list[str]:
    """Return the keys whose tensors differ; NaN is equal to itself."""
    return [key for key in state if key not in other or not torch.equal(_plain(state[key]), _plain(other[key]))]


def _plain(tensor: Tensor) -> Tensor:
    return tensor.nan_to_num(12345.0) if tensor.is_floating_point() else tensor


def shared_state(module: nn.Module) -> State:
    """Return the state but for BatchNorm's own statistics, which each process may have of its own subtomograms."""
    local = {f"{n}.{b}" for n, m in module.named_modules() if isinstance(m, _BatchNorm) for b, _ in m.named_buffers()}
    return {key: value for key, value in module.state_dict().items() if key not in local}


def require_one_state(first: State, second: State, steps: int) -> None:
    """Raise `CheckFailed` unless two processes have the same state after ``steps`` steps."""
    apart = differing(first, second)
    require(
        not apart,
        f"after {steps} steps two processes differ in {', '.join(apart)}; gather over processes what after_step takes "
        "from a batch",
    )
