"""What a new run takes from the weights that it starts from: their encoder, a run's own data, a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cryoreg.config import PROVENANCE_SECTION, STARTED_FROM, Layer, absolute, chosen_learner, learner_recipe, resolve
from cryoreg.config.starts import SCRATCH, require_known, start_of
from cryoreg.errors import UnknownComponentError

if TYPE_CHECKING:
    from cryoreg.runs.weights import Registered


def layers_of_run(
    task: str, layers: Sequence[Layer], recipe: str | None = None, resumed: Path | None = None
) -> list[Layer]:
    """Return all layers of a run in the order of their precedence: of a new one, or of the one in ``resumed``."""
    from cryoreg.config.recipes import recipe_layer

    first = [] if recipe is None else [recipe_layer(recipe, task, _starts_from_weights(layers))]
    if resumed is None:
        return with_start(task, layers, first)
    from cryoreg.runs.run_folder import with_run

    return [*first, *with_run(task, list(layers), resumed)]


def _starts_from_weights(layers: Sequence[Layer]) -> bool:
    """Tell whether layers start from weights by name, or leave the start open, and the encoder to the weights."""
    start = _start_in(layers)
    if start is None:
        return not any("encoder" in layer.values for layer in layers)
    return start not in (SCRATCH, "") and isinstance(start, (str, Path)) and isinstance(start_of(start), str)


def with_start(task: str, layers: Sequence[Layer], recipe: Sequence[Layer] = ()) -> list[Layer]:
    """Return the layers of a new run, in the order of their precedence, with what the weights that it starts from say.

    That is the encoder, what it must be given and, where the weights are a run's, its data set and split: over
    ``recipe``, below ``layers``.
    Registered weights may have a recipe for fine-tuning, below all; that of the learner goes before it. Fine-tuning
    that is told no start begins from the encoder's own trained weights, where it has some and no layer chooses another
    encoder.
    """
    given = [*recipe, *layers]
    start = _start_in(given)
    if start is None and (own := _own_weights(task, given)):
        chosen = Layer("default", {"training": {"pretrained": own.component.reference}})
        return _from_registered(own, task, layers, [chosen, *recipe])
    if start in (SCRATCH, "") or not isinstance(start, (str, Path)):  # `resolve` refuses what is no path
        return given
    from cryoreg.runs.weights import find_weights, registered  # a run that starts from nothing needs no torch yet

    require_known(start)
    start = start_of(start)
    if isinstance(start, str):
        return _from_registered(registered(start), task, layers, recipe)
    return [*recipe, *_recorded_in(find_weights(absolute(start)), layers), *layers]


def _start_in(layers: Sequence[Layer]) -> object:
    starts = [layer.values.get("training", {}).get("pretrained") for layer in layers]
    return next((start for start in reversed(starts) if start is not None), None)


def _recorded_in(path: Path, layers: Sequence[Layer]) -> list[Layer]:
    """Return encoder, data set, split and input of a run, as its weights record them; other code's file has none.

    A list of labels is of the run's own data, and not taken where ``layers`` name others.
    """
    from cryoreg.runs.lab_checkpoint import is_lab_checkpoint, read_state
    from cryoreg.runs.weights import input_of, labels_of, load_trained

    if is_lab_checkpoint(path):
        read_state(path)  # better refused now than when the data set is open
        return []
    card = load_trained(path).card
    inherited = {key: card["config"][key] for key in ("encoder", "dataset", "split", PROVENANCE_SECTION)}
    others = any({"name", "root"} & layer.values.get("dataset", {}).keys() for layer in layers)
    given = {**input_of(card), **({} if others else labels_of(card))}
    return [Layer(str(path), {**inherited, "input": given})]


def _from_registered(weights: Registered, task: str, layers: Sequence[Layer], recipe: Sequence[Layer]) -> list[Layer]:
    from cryoreg.runs.weights import input_of

    name, card = weights.component.reference, weights.card
    config = card["config"]
    advice = _advice(weights, [*recipe, *layers]) if task == "finetune" else []
    packages = {"encoder": config[PROVENANCE_SECTION].get("encoder", "")}
    told = {"encoder": config["encoder"], "input": input_of(card), PROVENANCE_SECTION: packages}
    package = Layer(f"weights {name}", {PROVENANCE_SECTION: {STARTED_FROM: weights.package}})
    return [*advice, *recipe, Layer(f"weights {name}", told), *layers, package]


def _advice(weights: Registered, layers: Sequence[Layer]) -> list[Layer]:
    """Return what suits the weights, what suits the learner that layers choose, and what suits it on these weights."""
    spec, source = weights.spec, f"recipe of {weights.component.reference}"
    own = Layer(source, spec.recipe)
    name = chosen_learner("finetune", [own, *layers]) or ""
    special = [Layer(source, {"learner": {"name": name, **spec.learners[name]}})] if name in spec.learners else []
    return [own, *learner_recipe("finetune", layers), *special]


def _own_weights(task: str, layers: Sequence[Layer]) -> Registered | None:
    """Return the trained weights of the encoder that layers choose, unless they give it other settings than these."""
    layers = _of_the_encoder(layers)
    name = resolve(task, layers).spec("encoder").default_weights if task == "finetune" else None
    if name is None:
        return None
    from cryoreg.runs.networks import disagreements
    from cryoreg.runs.weights import registered

    try:
        weights = registered(name)
    except UnknownComponentError:
        return None
    card = weights.card
    chosen = resolve(task, [Layer(f"weights {name}", {"encoder": card["config"]["encoder"]}), *layers])
    return None if disagreements("encoder", card, chosen.to_dict()["encoder"]) else weights


def _of_the_encoder(layers: Sequence[Layer]) -> list[Layer]:
    """Return what layers say of the encoder: the rest may be of components that the weights' recipe brings."""
    sections = ("encoder", PROVENANCE_SECTION)
    return [Layer(source, {key: values[key] for key in sections if key in values}) for source, values in layers]
