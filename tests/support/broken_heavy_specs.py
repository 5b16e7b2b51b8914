"""A spec in a module that imports what it must not."""

from __future__ import annotations

import numpy  # noqa: F401  (the fault)

from support.broken_specs import SoundEncoder


class Heavy(SoundEncoder):
    """Costs the user time.

    Written for this test.
    """
