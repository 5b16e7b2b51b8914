"""A trained network on a data set: the run's own or another one, how that differs, and what the network says of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryoreg.config import Layer, RunConfig, resolve
from cryoreg.config.settings import FinetuneSettings
from cryoreg.config.starts import Start, is_name, start_of
from cryoreg.contracts import Encoder, Learner, Subtomograms
from cryoreg.datasets.adaptation import differences
from cryoreg.datasets.normalisation import NORMALISATION
from cryoreg.datasets.origins import inputs_of
from cryoreg.doubt.answers import Answers, answer_in_full
from cryoreg.errors import ConfigError
from cryoreg.inference.other_data import fit_to_data, has_ids_of, has_volumes_of, load_for
from cryoreg.randomness import build_seeded
from cryoreg.runs.networks import Network, Wanted, answer, open_network, recorded_spec, require_same_component
from cryoreg.runs.weights import input_of, labels_of
from cryoreg.training.device import one_device, to_device
from cryoreg.training.loading import VolumeLoader, in_order, residency
from cryoreg.training.passes import run_over

_OTHER_VOLUMES = (
    "ids and labels are those of the training data, the volumes are not: another reconstruction, filter or contrast"
)
_RECORDED = ("encoder", "dataset", "split", "packages")


class Trained:
    """The network of a run, and a data set for it: the run's own unless layers say otherwise."""

    def __init__(self, network: Network, config: RunConfig[FinetuneSettings], dataset: Subtomograms) -> None:
        """Take a data set that the network can take, and a config that says how to compute."""
        self.network, self.config, self.dataset = network, config, dataset
        network.encoder.turns = config.spec("encoder").turns  # which may be others than the run's
        if network.learner is not None:
            network.learner.turns = config.spec("learner").turns

    @classmethod
    def open(cls, run: Start, layers: Sequence[Layer] = (), wanted: Wanted = "either", labels: bool = True) -> Self:
        """Open the classifier or the encoder of a run or file, or weights by name, and data for it.

        ``layers`` change the data set (root, another reader) and how to compute. Where the data are not as the network
        knows them, they are brought to its voxel size, box and contrast; notes of the data set say so. Raises
        `CheckpointError` as `open_network` does, `DataError` and `ConfigError` for data that the network cannot take,
        and where weights have a name and no data are given.
        """
        network = open_network(run, wanted)
        if is_name(start_of(run)) and not any(layer.values.get("dataset") for layer in layers):
            raise ConfigError(f"weights '{run}' come without data; say --data PATH")
        return cls.with_data(network, layers, labels)

    @classmethod
    def encoder(cls, run: Start, layers: Sequence[Layer] = ()) -> Self:
        """Open the encoder of a run, an encoder.safetensors or weights by name; see `open`."""
        return cls.open(run, layers, "encoder")

    @classmethod
    def classifier(cls, run: Start, layers: Sequence[Layer] = ()) -> Self:
        """Open the classifier of a fine-tuning run, or a classifier.safetensors; see `open`."""
        return cls.open(run, layers, "classifier")

    @classmethod
    def with_data(cls, network: Network, layers: Sequence[Layer] = (), labels: bool = True) -> Self:
        """Open data for a network; see `open`. Without ``labels``, other data need not have those of the run."""
        recorded = {section: network.card["config"][section] for section in _RECORDED}
        if network.learner is not None:
            recorded |= {"learner": network.card["config"].get("learner", {})}
        first = Layer(str(network.path), {**recorded, "input": {**input_of(network.card), **labels_of(network.card)}})
        config = resolve("finetune", [first, *fit_to_data(network.card, layers, labels)])
        require_same_component("encoder", network.card, config.to_dict()["encoder"], network.path)
        if network.learner is not None:
            require_same_component("learner", network.card, config.to_dict()["learner"], network.path)
        dataset = load_for(network, config)
        config.spec("encoder").check_box(dataset.box)
        return cls(network, config, dataset)

    @property
    def path(self) -> Path:
        """The file that holds the network."""
        return self.network.path

    @property
    def card(self) -> dict[str, Any]:
        """What that file says of it."""
        return self.network.card

    @property
    def module(self) -> Encoder | Learner:
        """The learner where there is one, else the encoder."""
        return self.network.module

    @property
    def classifies(self) -> bool:
        """Whether there is a learner, which tells classes apart."""
        return self.network.learner is not None

    def encoder_alone(self) -> Self:
        """Return the same without its learner."""
        return self._with(self.network._replace(learner=None))

    def untrained(self) -> Self:
        """Return the same with an encoder of random weights, drawn by ``training.seed``."""
        encoder = build_seeded(self.config.training.seed, lambda: self.config.spec("encoder").build())
        return self._with(self.network._replace(encoder=encoder.eval(), learner=None))

    def _with(self, network: Network) -> Self:
        return type(self)(network, self.config, self.dataset)

    def inputs(self) -> set[str]:
        """Return the files that the data set and the network are read from."""
        return {str(self.path), *inputs_of(self.dataset, self.config.spec("dataset"))}

    @cached_property
    def own(self) -> bool:
        """Whether the data are those of the run: the same ids, labels, tomograms and box, and the same volumes."""
        return has_ids_of(self.dataset, self.card) and has_volumes_of(self.dataset, self.card)

    @property
    def turns(self) -> dict[str, int]:
        """Over how many turned copies the encoder's features and the learner's answers are means."""
        return {"encoder": self.config.spec("encoder").turns, "learner": self.config.spec("learner").turns}

    @property
    def other_turns(self) -> str:
        """Where a classifier is asked with other turned copies than validation was, which; all answers are others."""
        if not self.classifies:
            return ""
        encoder, learner = recorded_spec("encoder", self.card), recorded_spec("learner", self.card)
        for kind, validated in (("encoder", encoder.turns), ("learner", learner.turns)):
            if self.turns[kind] != validated:
                return f"{kind}.turns is {self.turns[kind]}, and was {validated} when the run was validated"
        return ""

    def differences(self) -> list[str]:
        """Return a line for each way in which the data set, as it is served, is not what the network was trained on."""
        others = [] if self.own or not has_ids_of(self.dataset, self.card) else [_OTHER_VOLUMES]
        return [*differences(self.dataset, self.card), *others]

    def remarks(self) -> list[str]:
        """Return what a user should read before the work begins: `differences`, and the notes of the data set."""
        lines = [f"differs: {line}" for line in self.differences()]
        if self.card["normalisation"] != NORMALISATION:
            told = self.card["normalisation"]
            lines.append(f"differs: trained with {told}, now each volume gets a {NORMALISATION}")
        if self.other_turns and self.card.get("calibration"):
            lines.append(f"note: {self.other_turns}: its temperature was fitted there, so that confidences may be off")
        return [*lines, *(f"note: {line}" for line in self.dataset.notes)]

    def features(self, samples: Sequence[int] | None = None) -> NDArray[np.float32]:
        """Return the features (N, num_features) of subtomograms by index, in that order; None: of all."""
        return self._run(lambda x: answer(self.module, x)[-1], samples)

    def logits(self, samples: Sequence[int] | None = None) -> NDArray[np.float32]:
        """Return the learner's logits (N, classes) of subtomograms by index, in that order; None: of all."""
        return self._run(lambda x: answer(self.module, x)[0], samples)

    def answers(self, samples: Sequence[int] | None = None) -> Answers:
        """Return the learner's answers to subtomograms by index, and what these look like, from one pass."""
        learner = self.network.learner
        assert learner is not None, "a classifier was opened"
        component, classes = self.config.choices["learner"].component, len(self.card["classes"])
        return Answers.split(self._run(lambda x: answer_in_full(learner, x, classes, component), samples), classes)

    def _run(self, function: Callable[[Tensor], Tensor], samples: Sequence[int] | None) -> NDArray[np.float32]:
        settings = self.config.training
        chosen = torch.arange(len(self.dataset)) if samples is None else torch.as_tensor(samples, dtype=torch.int64)
        place = one_device(settings)
        to_device(self.module.eval(), place, settings)
        resident = residency(self.dataset, settings)
        loader = VolumeLoader(self.dataset, in_order(chosen), place.device, resident, settings.workers)
        return run_over(loader, place, function).numpy()
