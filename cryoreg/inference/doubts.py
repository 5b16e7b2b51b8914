"""What stands beside predictions: whether each may be none of the classes, and whether data are what was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cryoreg.doubt.answers import Answers
from cryoreg.doubt.drift import LEAST_REFERENCE, Difference, differences
from cryoreg.doubt.familiar import NONE_BELOW, Familiar
from cryoreg.doubt.familiar_file import load_familiar
from cryoreg.doubt.out_of_fold import COMPARABLE
from cryoreg.doubt.strangeness import SCORES
from cryoreg.doubt.words import describe, family
from cryoreg.errors import ConfigError
from cryoreg.inference.trained import Trained
from cryoreg.predictions import Doubts, Strangers

AUTO, OFF = "auto", "off"
_APART = (
    "warning: {score} does not compare between the models of a cross-validation whose encoder learns, too, and may "
    f"mark far too many as none of these; say --none-of-these {' or '.join(COMPARABLE)}"
)


class Doubter(NamedTuple):
    """What is known of a run's own data, and the score that tells what is none of the classes."""

    familiar: Familiar
    score: str
    """`OFF`: none."""

    @property
    def tells(self) -> bool:
        """Whether the run knows enough subtomograms to tell what is none of the classes."""
        return len(self.familiar.predictions) >= LEAST_REFERENCE

    def doubts(self, trained: Trained, answers: Answers, groups: Sequence[str | None]) -> Doubts:
        """Return what tells against predictions for the subtomograms of these answers."""
        found = [] if trained.own else self.differences(answers, groups)
        warnings = describe(found, trained.card["classes"])
        return Doubts(kinds(found, groups), tuple(warnings), None if self.score == OFF else self.strangers(answers))

    def strangers(self, answers: Answers) -> Strangers:
        """Return how familiar subtomograms look."""
        shares = self.familiar.familiarity(answers, self.score)
        return Strangers(self.score, shares, shares <= NONE_BELOW, self.tells)

    def differences(self, answers: Answers, groups: Sequence[str | None]) -> list[Difference]:
        """Return in what subtomograms differ from those of validation; see `drift.differences`."""
        return differences(self.familiar.reference, self.familiar.seen(answers, groups))

    def notes(self) -> list[str]:
        """Return what cannot be told: the validation split is too small, or a score does not compare between models."""
        known = len(self.familiar.predictions)
        apart = self.familiar.by_folds_of_their_own and self.score not in (OFF, *COMPARABLE)
        lines = [_APART.format(score=self.score)] if apart else []
        comparable = len(self.familiar.reference.values)
        if self.tells and comparable < LEAST_REFERENCE:
            lines.append(
                f"note: of {known} validation subtomograms {comparable} were not alone in their class: too few to tell "
                f"whether these data are like those; {LEAST_REFERENCE} are needed"
            )
        if self.tells:
            return lines
        return [
            *lines,
            f"note: {known} validation subtomograms are too few to tell what is none of the classes, or whether these "
            f"data are like those; {LEAST_REFERENCE} are needed",
        ]


def kinds(found: Sequence[Difference], groups: Sequence[str | None]) -> tuple[str, ...]:
    """Return what differs of all, or of each subtomogram's tomogram: "power spectrum; features"; empty: nothing."""
    by_place: dict[str | None, dict[str, None]] = {}
    for difference in found:
        by_place.setdefault(difference.tomogram, {})[family(difference)] = None
    overall = by_place.get(None, {})
    return tuple("; ".join(overall | by_place.get(group, {})) for group in groups)


def doubter_of(trained: Trained, wanted: str = AUTO) -> Doubter | str:
    """Return what doubts a run's predictions, or why nothing does, in a line.

    ``wanted`` is the score that tells what is none of the classes: one by name, the one that fine-tuning chose ("auto")
    or none ("off"). Raises `ConfigError` where there is none of that name, or the run cannot tell.
    """
    if wanted not in (AUTO, OFF, *SCORES):
        raise ConfigError(f"--none-of-these {wanted}: should be {AUTO}, {OFF} or one of {', '.join(SCORES)}")
    familiar = trained.other_turns or load_familiar(trained.path)
    if not isinstance(familiar, str):
        return Doubter(familiar, familiar.chosen if wanted == AUTO else wanted)
    if wanted in SCORES:
        raise ConfigError(f"--none-of-these {wanted}: {familiar}")
    return f"note: nothing tells what is none of the classes, or other data than those of training: {familiar}"
