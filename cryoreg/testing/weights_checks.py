"""What trained weights promise."""

from __future__ import annotations

import torch
from torch import Tensor

from cryoreg.config import Layer, resolve
from cryoreg.errors import CheckpointError, CryoregError
from cryoreg.runs.cards import Card, names_places, unsaid
from cryoreg.runs.weights import load_trained
from cryoreg.specs import WeightsSpec
from cryoreg.testing.checks import NotApplicable, require
from cryoreg.testing.samples import volumes

BATCH = 3


def check_file_is_sound(spec: WeightsSpec) -> None:
    """The file is there, cryoreg wrote it, and its checksum is that of its content."""
    try:
        load_trained(spec.path())
    except CheckpointError as error:
        require(False, f"{error}; write it again with `cryoreg export --portable`")


def check_card_says_what_users_must_know(spec: WeightsSpec) -> None:
    """The card says encoder, voxel size, box, contrast and normalisation."""
    missing = unsaid(_card(spec))
    require(not missing, f"the card does not say {', '.join(missing)}; train on data that say it, and export again")


def check_card_names_no_place(spec: WeightsSpec) -> None:
    """The card names no file of the machine on which it was written."""
    require(not names_places(_card(spec)), "the card names files of a machine; export it with --portable")


def check_licence_is_named(spec: WeightsSpec) -> None:
    """The spec says under which licence others may use the weights."""
    require(bool(spec.license.strip()), "`license` is empty; name one, as SPDX does: Apache-2.0, CC-BY-4.0")


def check_evaluation_is_told(spec: WeightsSpec) -> None:
    """The spec says on what the encoder was evaluated."""
    require(bool(spec.evaluated.strip()), "`evaluated` is empty; say on which data, and how it did, or that nobody has")


def check_encoder_is_registered(spec: WeightsSpec) -> None:
    """The encoder that the card names is installed, and takes the file's tensors and the card's box."""
    _card(spec)
    try:
        spec.build()
    except CryoregError as error:
        require(False, f"{error}; export the run again, with the encoder's package installed")


def check_features(spec: WeightsSpec) -> None:
    """The encoder gives finite float32 features, as many as the card says."""
    features = _features(spec)
    shape, claimed = tuple(features.shape), (BATCH, _card(spec)["num_features"])
    require(shape == claimed, f"features are {shape}, not (B, num_features) = {claimed}; export the run again")
    require(features.dtype == torch.float32, f"features are {features.dtype}; `build` returns a network in float32")
    require(bool(features.isfinite().all()), "features are not finite; the weights are spoilt: train again")


def check_deterministic(spec: WeightsSpec) -> None:
    """Built twice, the encoder gives the same features, to the bit, and different ones of different subtomograms."""
    first, second = _features(spec), _features(spec)
    require(torch.equal(first, second), "built twice, it gives different features; load all weights, in eval mode")
    require(not torch.equal(first[0], first[1]), "all subtomograms have the same features; the encoder has collapsed")


def check_recipe_resolves(spec: WeightsSpec) -> None:
    """The recipe for fine-tuning, and those of learners, name sections, components and settings that there are."""
    if not (spec.recipe or spec.learners):
        raise NotApplicable("there is no recipe")
    others = [[Layer("recipe", {"learner": {"name": name, **values}})] for name, values in spec.learners.items()]
    try:
        for special in [[], *others]:
            resolve("finetune", [Layer("recipe", spec.recipe), *special])
    except CryoregError as error:
        require(False, f"the recipe cannot be used: {error}; mend it")


def _card(spec: WeightsSpec) -> Card:
    try:
        return load_trained(spec.path()).card
    except CheckpointError:
        raise NotApplicable("the file is not sound") from None


def _features(spec: WeightsSpec) -> Tensor:
    """Return the features of noise, by a network that is built anew."""
    depth, height, width = _card(spec)["box"]
    try:
        encoder = spec.build()
    except CryoregError:
        raise NotApplicable("the encoder cannot be built") from None
    with torch.no_grad():
        return encoder(volumes(BATCH, (depth, height, width)))
