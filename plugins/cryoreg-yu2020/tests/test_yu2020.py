"""Losses and pairs against slow re-implementations; which phase changes what; how the source's classes are met."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cryoreg.contracts import Encoder, Lesson, Sample, Subtomograms
from cryoreg.datasets.normalisation import normalise
from cryoreg.errors import ConfigError, CryoregError, DataError
from cryoreg_yu2020.learner import (
    ADAPT,
    ALIGN,
    BOTH_OTHER,
    DISCRIMINATE,
    ONE,
    OTHER_CLASS,
    OTHER_DOMAIN,
    TEACH,
    FewShotAdaptation,
    covariance_distance,
    grouped_pairs,
    twin,
)
from cryoreg_yu2020.source import Source, standardised
from cryoreg_yu2020.specs import FewShotAdaptationSpec


class Two(Encoder):
    """Two convolutions, the first with BatchNorm, and the mean of the map."""

    num_features = 5

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4)
        self.second = nn.Conv3d(4, 5, 3, padding=1)

    def forward_features(self, x: Tensor) -> Tensor:
        return torch.tanh(self.second(torch.tanh(self.norm(self.first(x)))))

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_features(x).mean((2, 3, 4))


class Noise(Subtomograms):
    """Noise of some classes; one subtomogram has no label."""

    voxel_size, box = 10.0, (8, 8, 8)

    def __init__(self, classes: Sequence[str] = ("a", "b", "c"), count: int = 13) -> None:
        self.classes = classes
        self.labels = [None, *(i % len(classes) for i in range(1, count))]
        self.ids, self.groups = [str(i) for i in range(count)], [None] * count
        self.volumes = torch.randn(count, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0)) * 3 + 1

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        return Sample(self.volumes[index], self.labels[index], self.ids[index], None)


def learner(phase: int = TEACH, **parameters: object) -> FewShotAdaptation:
    spec = FewShotAdaptationSpec(source_batch=6, hidden_dim=7, specific=0.7, **parameters)  # type: ignore[arg-type]
    spec._opened = Source(Noise(), ("a", "b", "c"))
    torch.manual_seed(0)
    model = spec.build(Two(), 3)
    model.phase.fill_(phase)
    return model.train()


def lesson() -> Lesson:
    x = torch.randn(7, 1, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    return Lesson([x[:4]], torch.tensor([0, 2, 2, 1]), [x[4:]])


def output(model: FewShotAdaptation) -> Tensor:
    torch.manual_seed(3)
    return model(lesson()).loss


def drawn(model: FewShotAdaptation) -> tuple[Tensor, Tensor]:
    torch.manual_seed(3)
    return model.source.draw(6)


def crossed(logits: Tensor, labels: Sequence[int]) -> float:
    """Return the mean cross-entropy, written out."""
    total = 0.0
    for row, label in zip(logits.tolist(), labels, strict=True):
        total -= row[label] - math.log(sum(map(math.exp, row)))
    return total / len(labels)


def test_covariances_are_compared_by_the_frobenius_norm() -> None:
    one, other = torch.randn(9, 4).double(), torch.randn(6, 4).double() * 2
    found = [np.cov(features.numpy(), rowvar=False) for features in (one, other)]
    assert covariance_distance(one, other).item() == pytest.approx(np.sqrt(((found[0] - found[1]) ** 2).sum()) / 64)
    assert covariance_distance(one[:1], other) == 0


def test_pairs_are_in_the_group_of_their_domains_and_classes() -> None:
    source, target = torch.tensor([0, 1, 1, 2, 0]), torch.tensor([1, 1, 3])
    found = grouped_pairs(source, target, 1000)
    wanted: dict[int, set[tuple[int, int]]] = {group: set() for group in range(4)}
    labels = [*source.tolist(), *target.tolist()]
    for i in range(5):
        for j in range(i + 1, 8):
            same = labels[i] == labels[j]
            within = j < 5
            group = (ONE if same else OTHER_CLASS) if within else (OTHER_DOMAIN if same else BOTH_OTHER)
            wanted[group].add((i, j))
    assert {group: {tuple(pair) for pair in pairs.tolist()} for group, pairs in found.items()} == wanted
    assert {group: len(pairs) for group, pairs in grouped_pairs(source, target, 2).items()} == {0: 2, 1: 2, 2: 2, 3: 2}


def test_the_source_alone_and_then_with_covariances() -> None:
    for phase in (TEACH, ALIGN):
        model = learner(phase, coral=50.0)
        x, labels = drawn(model)
        with torch.no_grad():
            loss, features = output(model).item(), model.source_encoder(x)
            wanted = crossed(model.classifier(features), labels.tolist())
            if phase == ALIGN:
                others = model.encoder(torch.cat([lesson().views[0], lesson().unlabelled[0]]))
                wanted += 50 * covariance_distance(features, others).item()
        assert loss == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("phase", [DISCRIMINATE, ADAPT])
def test_pairs_are_discriminated_and_then_brought_together(phase: int) -> None:
    model = learner(phase, pairs=1000, adversarial=0.3)
    x, labels = drawn(model)
    both = [*labels.tolist(), *lesson().labels.tolist()]
    with torch.no_grad():
        loss = output(model).item()
        features = torch.cat([model.source_encoder(x), model.encoder(lesson().views[0])])
        pairs = grouped_pairs(labels, lesson().labels, 1000)
        goal = {0: 0, 1: 1, 2: 2, 3: 3} if phase == DISCRIMINATE else {OTHER_DOMAIN: ONE, BOTH_OTHER: OTHER_CLASS}
        rows = [(i, j, goal[group]) for group in goal for i, j in pairs[group].tolist()]
        said = torch.stack([model.discriminator(torch.cat([features[i], features[j]])) for i, j, _ in rows])
        wanted = crossed(said, [group for *_, group in rows])
        if phase == ADAPT:
            logits = model.classifier(features)
            each = [crossed(logits[[row[k] for row in rows]], [both[row[k]] for row in rows]) for k in (0, 1)]
            wanted = sum(each) + 0.3 * wanted
    assert loss == pytest.approx(wanted, rel=1e-4)


LEARNING = {
    TEACH: {"source_encoder", "shared", "classifier"},
    ALIGN: {"encoder", "source_encoder", "shared", "classifier"},
    DISCRIMINATE: {"discriminator"},
    ADAPT: {"encoder", "source_encoder", "shared", "classifier"},
}


@pytest.mark.parametrize("phase", LEARNING)
def test_each_phase_teaches_its_own_parts(phase: int) -> None:
    model = learner(phase)
    output(model).backward()
    assert model.source_encoder.second is model.encoder.second
    assert model.source_encoder.first is not model.encoder.first
    learning = {
        "shared" if name.startswith("encoder.second") else name.partition(".")[0]
        for name, weight in model.named_parameters()
        if weight.grad is not None
    }
    assert learning == LEARNING[phase]
    assert {name for name, weight in model.named_parameters() if weight.requires_grad} == {
        name for name, weight in model.named_parameters() if weight.grad is not None
    }


def test_phases_follow_the_steps_and_the_target_begins_as_the_source() -> None:
    model = learner(teaching=0.4, aligning=0.2, discriminating=0.1)
    phases = []
    for step in range(10):
        phases.append(int(model.phase))
        if step == 1:
            for tensor in (model.source_encoder.first.weight.data, model.source_encoder.norm.running_mean):
                tensor += 1
        model.after_step(step, 10)
    assert phases == [TEACH] * 4 + [ALIGN] * 2 + [DISCRIMINATE] + [ADAPT] * 3
    for name, tensor in model.encoder.state_dict().items():
        assert torch.equal(tensor, model.source_encoder.state_dict()[name])


@pytest.mark.parametrize(("share", "own"), [(0.0, 0), (0.34, 1), (1.0, 3)])
def test_a_twin_has_the_first_layers_for_itself(share: float, own: int) -> None:
    encoder = Two()
    other = twin(encoder, share)
    x = torch.randn(2, 1, 8, 8, 8)
    assert torch.equal(encoder.eval()(x), other.eval()(x))
    layers = ("first", "norm", "second")
    assert [encoder.get_submodule(n) is not other.get_submodule(n) for n in layers] == [i < own for i in range(3)]


def test_classes_of_the_source_are_those_of_the_same_names() -> None:
    source = Source(Noise(("x", "c", "a")), ("a", "b", "c"))
    names = Noise(("x", "c", "a"))
    x, labels = source.draw(200)
    assert set(labels.tolist()) == {0, 2}
    assert len(source) == sum(label in (1, 2) for label in names.labels)
    known = {normalise(names.volumes[i : i + 1]).numpy().tobytes(): names.labels[i] for i in range(len(names))}
    served = [known[volume.numpy().tobytes()] for volume in x.split(1)]
    assert [("a", "b", "c")[label] for label in labels.tolist()] == [("x", "c", "a")[label or 0] for label in served]
    with pytest.raises(DataError, match="no subtomogram of the classes d; its own are a, b, c"):
        Source(Noise(), ("d",))


def test_volumes_are_normalised_as_training_does() -> None:
    x = torch.cat([torch.randn(3, 1, 4, 4, 4) * 7 + 2, torch.full((1, 1, 4, 4, 4), 3.0)])
    assert torch.equal(standardised(x), normalise(x))


def test_without_a_source_it_says_so_and_a_trained_one_needs_none() -> None:
    with pytest.raises(ConfigError, match=r"name it: --set learner\.source_data="):
        FewShotAdaptationSpec().for_data(Noise())
    assert FewShotAdaptationSpec().build(Two(), 3).eval().classify(lesson().views[0]).logits.shape == (4, 3)
    with pytest.raises(ValueError, match="leave no step"):
        FewShotAdaptationSpec(teaching=0.5, aligning=0.3, discriminating=0.2)


def test_the_source_is_brought_to_the_box_of_the_data(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("source")
    for name in "ab":
        (folder / name).mkdir()
        np.save(folder / name / "stack.npy", np.random.default_rng(0).normal(size=(3, 12, 12, 12)).astype("f4"))
    given = {"name": "npy_folder", "root": str(folder), "voxel_size": 10.0}
    spec = FewShotAdaptationSpec(source_data=given).for_data(Noise())
    model = spec.build(Two(), 3)
    assert model.source.draw(2)[0].shape == (2, 1, 8, 8, 8)
    assert "6 subtomograms of 2 of the classes" in model.take_up(dict)
    with pytest.raises(CryoregError):
        FewShotAdaptationSpec(source_data={**given, "root": str(folder / "none")}).for_data(Noise())
