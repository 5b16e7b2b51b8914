"""The network of a run or file: the one way in which trained weights become an encoder or a learner again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from torch import Tensor

from cryoreg.config import TASKS, AnyConfig, Choice, RunConfig, build_spec
from cryoreg.config.settings import FinetuneSettings
from cryoreg.config.starts import SCRATCH, Start, place_of
from cryoreg.contracts import Answer, Encoder, Learner
from cryoreg.errors import CheckpointError
from cryoreg.registry import Component
from cryoreg.runs.cards import Card
from cryoreg.runs.checkpoint import load_checkpoint
from cryoreg.runs.lab_checkpoint import is_lab_checkpoint, load_lab_weights
from cryoreg.runs.run_folder import RunFolder
from cryoreg.runs.weights import (
    CLASSIFIER_FILE,
    ENCODER_FILE,
    Weights,
    load_into,
    load_trained,
    require_same_tensors,
    save_weights,
    weights_file,
)
from cryoreg.specs import LearnerSpec

Wanted = Literal["encoder", "classifier", "either"]
"""What of a run to open; "either": the classifier where there is one."""
_HOLDS = "holds"
"""The card's word for what a file holds; cards of cryoreg 0.1.0 do not have it."""
_OLD_HEAD = "head.weight"
"""By which a classifier of such a file is told from an encoder."""


class Network(NamedTuple):
    """An encoder, or a learner around one, on the CPU in evaluation mode, and what its file says of it."""

    path: Path
    """The file."""
    card: Card
    tensors: dict[str, Tensor]
    """As the file holds them."""
    encoder: Encoder
    learner: Learner | None
    """None where the file holds an encoder alone."""

    @property
    def module(self) -> Encoder | Learner:
        """What was trained: the learner where there is one."""
        return self.learner or self.encoder

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what `answer` returns."""
        return ("features",) if self.learner is None else Answer._fields

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take other values of the same tensors."""
        if self.learner is None:
            load_into(self.encoder, tensors, self.path)
        else:
            _load_learner(self.learner, tensors, self.path)


def answer(module: Encoder | Learner, x: Tensor) -> tuple[Tensor, ...]:
    """Return a learner's logits and features, or an encoder's features alone, of normalised volumes (B, 1, D, H, W)."""
    return tuple(module.answer(x)) if isinstance(module, Learner) else (module(x),)


def open_network(run: Start, wanted: Wanted = "either") -> Network:
    """Open what was trained in a run directory, what a file holds, or weights by name; no data are needed.

    Raises `CheckpointError` where weights are missing, damaged or another network's, or hold an encoder where a
    classifier is wanted.
    """
    path = _file(run, wanted)
    weights = load_trained(path)
    classifies = wanted != "encoder" and _holds_classifier(weights)
    if wanted == "classifier" and not classifies:
        raise _no_classifier(run)
    encoder = build_encoder(weights.card)
    learner = build_learner(weights.card, encoder) if classifies else None
    network = Network(path, weights.card, weights.tensors, learner.encoder if learner else encoder, learner)
    network.load(weights.tensors)
    network.module.eval()
    return network


def _load_learner(learner: Learner, tensors: Mapping[str, Tensor], path: Path) -> None:
    require_same_tensors(learner.saved_state(), tensors, path)
    learner.load_saved_state(tensors)


def _file(run: Start, wanted: Wanted) -> Path:
    path, encoder = (weights_file(run, file) for file in (CLASSIFIER_FILE, ENCODER_FILE))
    if wanted == "encoder" or (wanted == "either" and not path.exists()):
        return encoder
    if not path.exists() and encoder.exists():
        raise _no_classifier(run)
    return path


def _no_classifier(run: Start) -> CheckpointError:
    return CheckpointError(f"{run} holds an encoder without a classifier; `cryoreg finetune` trains one")


def _holds_classifier(weights: Weights) -> bool:
    recorded = weights.card.get(_HOLDS)
    return _OLD_HEAD in weights.tensors if recorded is None else recorded == "classifier"


def build_encoder(card: Card) -> Encoder:
    """Return an encoder of random weights, as a card describes it."""
    return recorded_spec("encoder", card).build()


def build_learner(card: Card, encoder: Encoder) -> Learner:
    """Return a learner around an encoder, with fresh weights of its own, as a card describes it."""
    component, spec = _recorded("learner", card)
    return learner_of(component, spec, encoder, len(card["classes"]))


def learner_of(component: Component, spec: LearnerSpec, encoder: Encoder, classes: int) -> Learner:
    """Return the learner that a spec builds; raise `BrokenComponentError` where it is none, or has no encoder."""
    with component.running():
        made: object = spec.build(encoder, classes)
    if not isinstance(made, Learner):
        raise component.faulty(f"builds no cryoreg.contracts.Learner, but a {type(made).__name__}")
    if not isinstance(getattr(made, "encoder", None), Encoder):
        raise component.faulty("builds a learner whose `encoder` is no cryoreg.contracts.Encoder")
    return made


def recorded_spec(kind: Literal["encoder", "dataset", "learner"], card: Card) -> Any:
    """Return the spec of a component as a card records it; one that earlier releases did not have is the default."""
    return _recorded(kind, card).spec


def _recorded(kind: Literal["encoder", "dataset", "learner"], card: Card) -> Choice[Any]:
    recorded = _description(kind, card)
    parameters = {key: value for key, value in recorded.items() if key != "name"}
    return build_spec(kind, recorded["name"], parameters, card["config"].get("packages", {}).get(kind))


def _description(kind: Literal["encoder", "dataset", "learner"], card: Card) -> Mapping[str, Any]:
    """Return name and parameters of a component, as a card has them; where it has none, the default."""
    return card["config"].get(kind) or {"name": TASKS["finetune"].components[kind]}


def first_encoder(config: AnyConfig, resumes: bool = False) -> Encoder:
    """Return the encoder of a run before any step, with the weights that it starts from; not where it ``resumes``."""
    encoder: Encoder = config.spec("encoder").build()
    start = None if resumes else config.training.pretrained
    if start is not None and start != SCRATCH:
        load_pretrained(encoder, config.to_dict()["encoder"], start)
    return encoder


def left_by(start: Start | None) -> dict[str, Tensor]:
    """Return the state of the method that a pretraining run left; empty where the start is no such run's directory."""
    if start is None or start == SCRATCH:
        return {}
    last = RunFolder(place_of(start)).last
    state = load_checkpoint(last) if last.exists() else {}
    return dict(state["module"]) if state.get("config", {}).get("task") == "pretrain" else {}


def fitted_to_start(config: RunConfig[FinetuneSettings]) -> RunConfig[FinetuneSettings]:
    """Return a config with what its learner takes from the start filled in."""
    component, _ = config.choices["learner"]
    fitted = config.spec("learner").for_start(partial(left_by, config.training.pretrained))
    return replace(config, choices={**config.choices, "learner": Choice(component, fitted)})


def answering_config(config: RunConfig[FinetuneSettings]) -> RunConfig[FinetuneSettings]:
    """Return a config with the encoder that its learner answers with: that of what the run keeps."""
    given = config.to_dict()["encoder"]
    kept = dict(config.spec("learner").answers_with(given))
    if kept == given:
        return config
    chosen = build_spec("encoder", str(kept.pop("name")), kept)
    return replace(config, choices={**config.choices, "encoder": chosen})


def load_pretrained(encoder: Encoder, described: Mapping[str, object], start: Start) -> None:
    """Load weights by name, of a run, a file or a checkpoint of the lab into an encoder.

    ``described`` are the encoder's name and parameters. Raises `CheckpointError` where they are another network's.
    """
    path = weights_file(start)
    if is_lab_checkpoint(path):
        load_lab_weights(encoder, path)
        return
    weights = load_trained(path)
    require_same_component("encoder", weights.card, described, path)
    load_into(encoder, weights.tensors, path)


def require_same_component(
    kind: Literal["encoder", "learner"], card: Card, described: Mapping[str, object], path: Path
) -> None:
    """Raise `CheckpointError` where a card's component is not the one that is ``described`` by name and parameters."""
    for key, (recorded, wanted) in disagreements(kind, card, described).items():
        article = "an" if kind == "encoder" else "a"
        raise CheckpointError(f"{path} holds {article} {kind} with {key} = {recorded!r}, not {wanted!r}")


def disagreements(
    kind: Literal["encoder", "learner"], card: Card, described: Mapping[str, object]
) -> dict[str, tuple[object, object]]:
    """Return in what a card's component is not the one that is ``described``: key -> the card's value and the other.

    `turns` may differ: they say how a network is asked, not what it is.
    """
    recorded = recorded_spec(kind, card).model_dump(mode="json") | dict(_description(kind, card))
    differing = {key: value for key, value in described.items() if key != "turns" and recorded.get(key) != value}
    return {key: (recorded.get(key), value) for key, value in differing.items()}


def save_encoder(folder: Path, encoder: Encoder, card: Card) -> Path:
    """Write an encoder into a run directory; return the file."""
    save_weights(path := folder / ENCODER_FILE, encoder.state_dict(), {**card, _HOLDS: "encoder"})
    return path


def save_learner(folder: Path, learner: Learner, card: Card) -> Path:
    """Write what a learner needs to give its answers into a run directory; return the file."""
    save_weights(path := folder / CLASSIFIER_FILE, learner.saved_state(), {**card, _HOLDS: "classifier"})
    return path
