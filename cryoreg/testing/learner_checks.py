"""What a learner promises. It is built around a tiny encoder, and shown two classes of noisy volumes of 16³ voxels.

Learners that take no step, as nothing in them is trained by gradients, learn in `begin_epoch`.
"""

from __future__ import annotations

import copy
import io
import itertools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Adam, Optimizer

from cryoreg.contracts import Answer, Encoder, Learner, Lesson, Material, StepOutput
from cryoreg.plans import ViewPlan
from cryoreg.specs import LearnerSpec
from cryoreg.testing.checks import NotApplicable, require
from cryoreg.testing.elsewhere import on_two_ranks
from cryoreg.testing.samples import BATCH, EDGE, TinyEncoder, TinyEncoderSpec, volumes
from cryoreg.testing.states import differing, require_one_state, shared_state
from cryoreg.training.optimization import trains
from cryoreg.training.views import local_box

CLASSES = 3
"""Of which the last one has no label."""
STEPS = 6
"""Steps in a check's short run, three to an epoch."""
LESSONS = 60
"""Steps in which classes that are easy to tell apart are learnt."""
IDLE = 1e-6
"""A gradient whose length is a smaller fraction of the longest one is rounding."""
_EPOCH = 3


def learner_of(spec: LearnerSpec, seed: int = 0) -> Learner:
    """Return the learner around a small encoder, the weights of both drawn from a seed."""
    torch.manual_seed(seed)
    return spec.build(TinyEncoder(), CLASSES)


def taught(count: int = BATCH, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return volumes (B, 1, D, H, W) and their labels (B,): 0 is noise that 1 has a bright half beside."""
    labels = torch.arange(count) % 2
    x = volumes(count, seed=seed)
    x[labels == 1, :, : EDGE // 2] += 2
    return (x - x.mean((1, 2, 3, 4), keepdim=True)) / x.std((1, 2, 3, 4), keepdim=True), labels


def material(labels: Tensor | None = None) -> Material:
    """Return what is looked at between epochs; ``labels``: other ones for the validation split."""
    x, y = taught(4, seed=7)
    return Material([taught()], [(x, y if labels is None else labels)], [taught(seed=1)[0]])


def lesson_of(learner: Learner, step: int = 0, rows: slice = slice(None)) -> Lesson:
    """Return what the learner asks to be shown: noisy copies of a batch, corners as local views."""
    plan = learner.lesson_plan()
    x, labels = taught()
    others = () if plan.unlabelled is None else _views(plan.unlabelled, taught(seed=1)[0], step + 1000, rows)
    return Lesson(_views(plan.labelled, x, step, rows), labels[rows], others)


def _views(plan: ViewPlan, x: Tensor, seed: int, rows: slice) -> Sequence[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    views = [x + 0.1 * torch.randn(x.shape, generator=generator) for _ in range(plan.whole + plan.local)]
    if plan.local:
        d, h, w = local_box(plan, (EDGE,) * 3, TinyEncoderSpec())
        views[plan.whole :] = [view[..., :d, :h, :w] for view in views[plan.whole :]]
    return [view[rows] for view in views]


def output_of(learner: torch.nn.Module, lesson: Lesson, seed: int = 0) -> StepOutput:
    """Call a learner as training does: after seeding torch's global generator, from which it may draw."""
    torch.manual_seed(seed)
    output: StepOutput = learner(lesson)
    require(
        isinstance(output, StepOutput),
        f"forward returns a {type(output).__name__}; return StepOutput(loss, features), of cryoreg.contracts",
    )
    return output


def optimizer_of(learner: Learner, lr: float = 3e-3) -> Optimizer | None:
    """Return an optimizer of all that is trained; None where nothing is."""
    return Adam([p for p in learner.parameters() if p.requires_grad], lr) if trains(learner) else None


def train(
    learner: Learner,
    optimizer: Optimizer | None,
    steps: Sequence[int],
    total: int = STEPS,
    shown: Material | None = None,
) -> list[float]:
    """Take some steps of a run of ``total``, beginning epochs where they are due; return their losses."""
    losses: list[float] = []
    for step in steps:
        if step % _EPOCH == 0:
            learner.begin_epoch(step // _EPOCH, total // _EPOCH, shown or material())
            learner.train()
        if optimizer is not None:
            losses.append(_descend(learner, learner, optimizer, step, total))
    return losses


def _descend(
    model: torch.nn.Module, learner: Learner, optimizer: Optimizer, step: int, total: int, rows: slice = slice(None)
) -> float:
    loss = output_of(model, lesson_of(learner, step, rows), seed=step).loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    learner.after_step(step, total)
    return loss.item()


def trained(spec: LearnerSpec) -> Learner:
    """Return a learner after a short run."""
    learner = learner_of(spec)
    train(learner, optimizer_of(learner), range(STEPS))
    return learner


@torch.no_grad()
def answers_of(learner: Learner, x: Tensor) -> Answer:
    """Return what a learner says in evaluation mode."""
    return learner.eval().answer(x)


def _require_steps(learner: Learner) -> None:
    if not trains(learner):
        raise NotApplicable("nothing in the learner is trained by gradients")


def check_build_returns_a_learner(spec: LearnerSpec) -> None:
    """`build` returns a `cryoreg.contracts.Learner` with an ``encoder`` of the kind that it is to answer with."""
    learner, given = spec.build(TinyEncoder(), CLASSES), {"name": "tiny"}
    require(isinstance(learner, Learner), f"build returns {type(learner).__name__}; derive it from contracts.Learner")
    encoder = getattr(learner, "encoder", None)
    kind = TinyEncoder if spec.answers_with(given) == given else Encoder
    require(isinstance(encoder, kind), "learner.encoder is no encoder of the kind given; it is exported")


def check_loss_is_a_finite_float32_scalar(spec: LearnerSpec) -> None:
    """The loss is one finite number in float32, under bf16 autocast, and where there are no subtomograms unlabelled."""
    learner = learner_of(spec)
    full = lesson_of(learner)
    situations = ((full, False), (full, True), (full._replace(unlabelled=()), False))
    for epoch, (lesson, autocast) in itertools.product(range(STEPS // _EPOCH), situations):
        train(learner, None, [epoch * _EPOCH])
        with torch.autocast("cpu", torch.bfloat16, autocast):
            loss = output_of(learner, lesson).loss
        where = "under bf16 autocast the loss" if autocast else "the loss"
        require(loss.shape == (), f"{where} has the shape {tuple(loss.shape)}; return a scalar")
        require(loss.dtype == torch.float32, f"{where} is {loss.dtype}; compute it from logits.float()")
        require(bool(loss.isfinite()), f"{where} is {loss.item()}; look for logarithms and divisions")


def check_lesson_is_left_alone(spec: LearnerSpec) -> None:
    """The learner does not write into what it is shown."""
    learner = learner_of(spec)
    lesson = lesson_of(learner)
    before = copy.deepcopy(lesson)
    output_of(learner, lesson)
    now, then = ([*each.views, each.labels, *each.unlabelled] for each in (lesson, before))
    require(all(map(torch.equal, now, then)), "forward writes into its views or labels; use no inplace operation")


def check_answers_have_their_shapes(spec: LearnerSpec) -> None:
    """`classify` gives finite logits (B, classes) and the features (B, num_features)."""
    learner = trained(spec)
    logits, features = answers_of(learner, taught()[0])
    shapes = tuple(logits.shape), tuple(features.shape)
    wanted = (BATCH, CLASSES), (BATCH, learner.encoder.num_features)
    require(shapes == wanted, f"classify returns logits and features of {shapes}; return {wanted}")
    finite = bool(logits.isfinite().all() and features.isfinite().all())
    require(finite, "classify returns numbers that are not finite; give classes without a label a low logit")


def check_each_is_answered_by_itself(spec: LearnerSpec) -> None:
    """In evaluation mode, what is said of a subtomogram does not depend on the others of its batch."""
    learner, (x, _) = trained(spec), taught()
    together, alone = (
        answers_of(learner, x).logits,
        torch.cat([answers_of(learner, each).logits for each in x.split(1)]),
    )
    require(
        torch.allclose(together, alone, atol=1e-4, rtol=1e-4),
        "logits depend on the rest of the batch; in evaluation mode use running statistics, and none of the batch",
    )


def check_answers_leave_the_learner_alone(spec: LearnerSpec) -> None:
    """In evaluation mode, answering changes no state."""
    learner = trained(spec)
    before = copy.deepcopy(learner.state_dict())
    answers_of(learner, taught()[0])
    changed = differing(before, learner.state_dict())
    require(not changed, f"answering changes {', '.join(changed)}; do that in forward or after_step")


def check_it_tells_taught_classes_apart(spec: LearnerSpec) -> None:
    """After a short run, two classes that are easy to tell apart are, by the numbers that their labels have."""
    learner = learner_of(spec)
    train(learner, optimizer_of(learner), range(LESSONS), total=LESSONS)
    x, labels = taught(32, seed=5)
    right = (answers_of(learner, x).logits.argmax(1) == labels).double().mean().item()
    require(right >= 0.9, f"of new subtomograms of two easy classes {right:.0%} are right; look at loss and labels")


def check_validation_labels_are_not_learnt_from(spec: LearnerSpec) -> None:
    """Other labels of the validation split, which chooses the epoch, change nothing that is learnt, to the bit."""
    learner = learner_of(spec)
    other = copy.deepcopy(learner)
    for each, labels in ((learner, None), (other, torch.tensor([1, 1, 0, 2]))):
        train(each, optimizer_of(each), range(STEPS), shown=material(labels))
    apart = differing(learner.state_dict(), other.state_dict())
    require(not apart, f"{apart[:1]} depends on validation labels; learn from material.labelled alone")


def check_no_parameter_is_idle(spec: LearnerSpec) -> None:
    """The loss depends on every parameter that asks for gradients, in each epoch: DDP waits for all of them."""
    learner = learner_of(spec)
    _require_steps(learner)
    optimizer, asking = optimizer_of(learner), _asking(learner)
    for steps in (range(2), range(2, STEPS - 1)):  # what begins at zero may hide what it is multiplied by
        train(learner, optimizer, steps)
        _require_gradients(learner)
        told = spec.in_phases or _asking(learner) == asking
        require(told, "other parameters ask for gradients than at first; say in_phases = True in the spec")


def _asking(learner: Learner) -> list[str]:
    return [name for name, parameter in learner.named_parameters() if parameter.requires_grad]


def _require_gradients(learner: Learner) -> None:
    learner.zero_grad()
    output_of(learner, lesson_of(learner)).loss.backward()
    sizes = {
        n: 0.0 if p.grad is None else p.grad.norm().item() for n, p in learner.named_parameters() if p.requires_grad
    }
    idle = [name for name, size in sizes.items() if size <= IDLE * max(sizes.values())]
    require(not idle, f"no gradient reaches {', '.join(idle)}; use it in the loss, or say requires_grad_(False)")


def check_it_may_be_kept_after_the_last_epoch(spec: LearnerSpec) -> None:
    """After a run's last epoch `may_be_kept` is true: else no epoch would be."""
    told = trained(spec).may_be_kept
    require(told, "may_be_kept is false after the last epoch; say True once what answers has begun to learn")


def check_same_seed_same_run(spec: LearnerSpec) -> None:
    """All randomness, that of the first weights included, follows torch's global generator."""
    apart = differing(trained(spec).state_dict(), trained(spec).state_dict())
    require(not apart, f"two runs from one seed differ in {apart[:1]}; draw from torch's global generator only")


def check_resumed_run_equals_an_uninterrupted_one(spec: LearnerSpec) -> None:
    """A learner that loads a saved `state_dict`, also amid an epoch, goes on as the one that was saved, to the bit."""
    for stop in (STEPS // 2, STEPS // 2 + 1):
        learner, other = learner_of(spec), learner_of(spec, seed=1)
        optimizer, other_optimizer = optimizer_of(learner), optimizer_of(other)
        train(learner, optimizer, range(stop))
        other.load_state_dict(_saved_and_loaded(learner.state_dict()))
        other.train()
        if optimizer is not None and other_optimizer is not None:
            other_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        rest = range(stop, STEPS)
        same = train(learner, optimizer, rest) == train(other, other_optimizer, rest)
        apart = differing(learner.state_dict(), other.state_dict())
        apart += differing(_tensors(learner.figures()), _tensors(other.figures()))
        require(
            same and not apart,
            f"a resumed run differs from an uninterrupted one{f' in {apart[0]}' if apart else ''}"
            "; keep teachers, counters and all else that the learner goes on with in registered buffers",
        )


def _tensors(figures: dict[str, float]) -> dict[str, Tensor]:
    return {name: torch.tensor(value) for name, value in figures.items()}


def _saved_and_loaded(state: dict[str, Tensor]) -> dict[str, Tensor]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Tensor] = torch.load(file, weights_only=True)
    return loaded


def check_saved_state_answers(spec: LearnerSpec) -> None:
    """A learner built anew that takes `saved_state` gives the same answers; its names and shapes do not depend on what
    was learnt.
    """
    learner, fresh = trained(spec), learner_of(spec, seed=1)
    saved, own = learner.saved_state(), fresh.saved_state()
    shapes = [{name: tensor.shape for name, tensor in state.items()} for state in (saved, own)]
    require(shapes[0] == shapes[1], "saved_state of a trained learner has other names or shapes than of a fresh one")
    fresh.load_saved_state({name: tensor.clone() for name, tensor in saved.items()})
    x, _ = taught()
    same = all(map(torch.equal, answers_of(learner, x), answers_of(fresh, x)))
    require(same, "a learner that loads saved_state answers otherwise; save all that classify uses, in tensors")


def check_two_processes_keep_one_state(spec: LearnerSpec) -> None:
    """After some steps under DDP, each process with its own subtomograms, both have the same state."""
    first, second = on_two_ranks(_train_on_rank, spec, STEPS)
    require_one_state(first, second, STEPS)


def _train_on_rank(rank: int, spec: LearnerSpec, steps: int = _EPOCH) -> dict[str, Tensor]:
    """Return what a few steps on one half of each batch make of the state, but for BatchNorm's own statistics."""
    learner = learner_of(spec)
    if not trains(learner):
        train(learner, None, [0])
        return shared_state(learner)
    # Idle parameters have a check of their own.
    parallel = DistributedDataParallel(learner, broadcast_buffers=False, find_unused_parameters=True)
    optimizer, half = Adam([p for p in learner.parameters() if p.requires_grad], 3e-3), BATCH // 2
    for step in range(steps):
        if step % _EPOCH == 0:
            train(learner, None, [step])
        _descend(parallel, learner, optimizer, step, STEPS, slice(rank * half, (rank + 1) * half))
    return shared_state(learner)
