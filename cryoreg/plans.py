"""What methods and learners are shown at each step: they ask, and training draws. No torch is needed to ask."""

from __future__ import annotations

from typing import NamedTuple


class ViewPlan(NamedTuple):
    """Which views of each subtomogram a method compares."""

    whole: int
    """Augmented views of the whole box."""
    clean: int = 0
    """How many of these, the last ones, are taken from the noise-free copy of the subtomogram, or a denoised one."""
    local: int = 0
    """Smaller views: random parts of further augmented views, cut without resampling."""
    local_edge: float = 1.0
    """The edge of a local view as a fraction of the box's."""


class LessonPlan(NamedTuple):
    """What a learner is shown of a batch."""

    labelled: ViewPlan = ViewPlan(1)
    """Views of each labelled subtomogram."""
    unlabelled: ViewPlan | None = None
    """Views of each subtomogram whose label is not shown; None: the learner does without them."""
    ratio: int = 1
    """So many of those for each labelled one."""
