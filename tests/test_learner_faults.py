"""A learner of a package that does not do as it must is one line that names it, and never a wrong result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import cryoreg
from cryoreg.errors import BrokenComponentError

MODULE = '''
"""A learner with one fault, by name."""
from cryoreg.specs import LearnerSpec


class FaultySpec(LearnerSpec):
    """Is wrong somewhere.

    For tests.
    """

    fault: str = ""

    def build(self, encoder, classes):
        from torch import nn
        from cryoreg.contracts import Answer
        from cryoreg.learners.full import FullFineTuning

        class Faulty(FullFineTuning):
            fault = self.fault

            def forward(self, lesson):
                output = super().forward(lesson)
                return output._replace(loss=output.loss.detach()) if self.fault == "no gradient" else output

            def figures(self):
                return {"val_accuracy": 1.0, "loss": 0.0, "mine": 2.0} if self.fault == "figures" else {"mine": 2.0}

            def classify(self, x):
                logits, features = super().classify(x)
                if self.fault == "wide":
                    logits = logits.repeat(1, 2)
                if self.fault == "nan" and not self.training:
                    logits = logits * float("nan")
                return (logits, features) if self.fault == "tuple" else Answer(logits, features)

        class Bare(nn.Module):
            pass

        if self.fault == "build":
            raise KeyError("oh")
        made = Bare() if self.fault == "no learner" else Faulty(encoder, classes)
        if self.fault == "no encoder":
            del made.encoder
        return made
'''


@pytest.fixture
def run(fake_plugin: Callable[..., Path], tmp_path: Path) -> Callable[..., object]:
    fake_plugin("odd", "[cryoreg.learners]\nfaulty = odd_specs:FaultySpec\n", module=MODULE)

    def finetune(fault: str, **settings: object) -> object:
        return cryoreg.finetune(
            tmp_path / "run",
            dataset={"name": "demo", "per_class": 8, "box": 16},
            encoder={"name": "rb3d", "width": 4},
            learner={"name": "faulty", "fault": fault},
            pretrained="scratch",
            **{"augmentation": "none", "epochs": 1, "batch_size": 8, "device": "cpu", "workers": 0, **settings},
        )

    return finetune


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("build", "fails with KeyError: 'oh'; update or uninstall odd"),
        ("no learner", "builds no cryoreg.contracts.Learner, but a Bare"),
        ("no encoder", "builds a learner whose `encoder` is no cryoreg.contracts.Encoder"),
        ("no gradient", "returns no StepOutput whose loss is one number with a gradient"),
        ("tuple", "answers with no cryoreg.contracts.Answer, but a tuple"),
        ("wide", r"answers to \d+ volumes of (\d+) classes with logits \(\d+, \d+\)"),
        ("nan", "answers with logits that are not finite; lower training.lr, .* or update odd"),
        ("figures", "has figures that are called as the run's own: loss, val_accuracy"),
    ],
)
def test_a_learner_that_does_not_do_as_it_must_is_named(run: Callable[..., object], fault: str, message: str) -> None:
    with pytest.raises(BrokenComponentError, match=rf"learner 'faulty' of odd 1\.0 {message}"):
        run(fault)


@pytest.mark.slow
def test_a_sound_one_has_columns_of_its_own_beside_the_run_s(run: Callable[..., object], tmp_path: Path) -> None:
    run("")
    header, row = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert header.split(",")[:3] == ["epoch", "step", "loss"]
    assert dict(zip(header.split(","), row.split(","), strict=True))["mine"] == "2.0"


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["wide", "nan"])
def test_so_it_is_where_no_split_validates(run: Callable[..., object], fault: str) -> None:
    with pytest.raises(BrokenComponentError, match=r"learner 'faulty' of odd 1\.0 answers"):
        run(fault, split={"scheme": "cv", "folds": 2, "fractions": [1, 0, 0]})
