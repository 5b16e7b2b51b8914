"""The errors that a user can cause. Each carries one line: what is wrong, where, and what to do."""

from __future__ import annotations

import re


class CryoregError(Exception):
    """A mistake that the user can mend. The command line prints its message and exits 1, without a traceback."""


class UnknownComponentError(CryoregError):
    """No component of that kind has that name."""


class AmbiguousComponentError(CryoregError):
    """Two packages offer a component of that kind under one name."""


class BrokenComponentError(CryoregError):
    """A component is installed but cannot be loaded."""


class ConfigError(CryoregError):
    """A setting is unknown, malformed or out of its limits."""


class CallError(ConfigError, TypeError):
    """A function is called with arguments that it does not take, or without one that it needs."""


class DataError(CryoregError):
    """Input data is missing, damaged or inconsistent."""


class EmptyListError(DataError):
    """A list has none of what it should have."""


class MixedError(DataError):
    """Files of one data set differ in their boxes or voxel sizes."""

    def __init__(self, message: str, counts: dict[str, dict[str, int]]) -> None:
        """Take what differs: ``"box"`` -> ``"32×32×32"`` -> files that have it, and the same for ``"voxel size"``."""
        super().__init__(message)
        self.counts = counts


class MixedVoxelSizesError(DataError):
    """Subtomograms of one data set differ in their voxel sizes, and the reader can bring them to one."""


class CheckpointError(CryoregError):
    """A checkpoint is missing, damaged, or does not fit."""


class OutputError(CryoregError):
    """A file or folder that is to be written exists already, or cannot lie there."""


class RunFolderError(CryoregError):
    """A run directory is occupied, unwritable or full."""


class NonFiniteError(CryoregError):
    """A loss or gradient became NaN or infinite; training stopped before the step was taken."""


class ProcessLostError(CryoregError):
    """One of a run's processes was killed, which ends the others."""


_OUT_OF_MEMORY = re.compile("out of memory|can't allocate memory|not enough memory")
"""How torch says it, on a GPU and on CPUs."""


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory was what lacked."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and bool(_OUT_OF_MEMORY.search(str(error)))
    )


def message_of(error: BaseException) -> str:
    """Return an error's message without line breaks, or its type where it has none."""
    return " ".join(str(error).split()) or type(error).__name__
