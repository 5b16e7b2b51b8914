"""What a method promises. It is built around a tiny encoder and fed a batch of 8 noisy subtomograms of 16³ voxels."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Adam, Optimizer

from cryoreg.contracts import Method, StepOutput
from cryoreg.errors import message_of
from cryoreg.specs import MethodSpec
from cryoreg.testing.checks import NotApplicable, require
from cryoreg.testing.elsewhere import on_two_ranks
from cryoreg.testing.samples import BATCH, BlindEncoder, TinyEncoder, batch_of, method_of
from cryoreg.testing.states import differing, require_one_state, shared_state
from cryoreg.training.monitor import FeatureFigures, Monitor

STEPS = 6
"""Steps in a check's short run."""
FALL = 40
"""Steps in which the loss of a fixed batch falls."""
IDLE = 1e-6
"""A gradient whose length is a smaller fraction of the longest one is rounding."""


def output_of(method: nn.Module, batch: Sequence[object], seed: int = 0) -> StepOutput:
    """Call a method as training does: after seeding torch's global generator, from which it may draw."""
    torch.manual_seed(seed)
    output: StepOutput = method(*batch)
    require(
        isinstance(output, StepOutput),
        f"forward returns a {type(output).__name__}; return StepOutput(loss, features), of cryoreg.contracts",
    )
    return output


def optimizer_of(method: Method, lr: float = 1e-3) -> Optimizer:
    """Return an optimizer of all that is trained."""
    return Adam([p for p in method.parameters() if p.requires_grad], lr)


def descend(method: nn.Module, optimizer: Optimizer, batch: Sequence[object], seed: int = 0) -> float:
    """Take a step without `after_step`; return its loss."""
    loss = output_of(method, batch, seed).loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def train(spec: MethodSpec, method: Method, optimizer: Optimizer, steps: Sequence[int]) -> list[float]:
    """Take some steps of a run of `STEPS`; return their losses."""
    losses = []
    for step in steps:
        losses.append(descend(method, optimizer, batch_of(spec, step), seed=step))
        method.after_step(step, STEPS)
    return losses


def check_build_returns_a_method_around_the_encoder(spec: MethodSpec) -> None:
    """`build` returns a `cryoreg.contracts.Method` whose ``encoder`` is the one it was given."""
    encoder = TinyEncoder()
    method = spec.build(encoder)
    require(isinstance(method, Method), f"build returns {type(method).__name__}; derive it from contracts.Method")
    require(method.encoder is encoder, "method.encoder is not the encoder given; that is the one which is exported")


def check_loss_is_a_finite_float32_scalar(spec: MethodSpec) -> None:
    """The loss is one finite number in float32, also under bf16 autocast, and where no label of the batch is known."""
    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, autocast):
            loss = output_of(method_of(spec), batch_of(spec)).loss
        where = "under bf16 autocast the loss" if autocast else "the loss"
        require(loss.shape == (), f"{where} has the shape {tuple(loss.shape)}; return a scalar")
        require(loss.dtype == torch.float32, f"{where} is {loss.dtype}; compute it with autocast off, from x.float()")
        require(bool(loss.isfinite()), f"{where} is {loss.item()}; look for logarithms and divisions")
    if spec.uses_labels:
        views, _ = batch_of(spec)
        loss = output_of(method_of(spec), [views, torch.full((BATCH,), -1)]).loss
        require(bool(loss.isfinite()), f"without any label the loss is {loss.item()}; labels of -1 are not known")


def check_smallest_batch_teaches(spec: MethodSpec) -> None:
    """A batch of ``min_batch`` subtomograms, the fewest that the spec claims, gives a finite loss and a gradient."""
    method, fewest = method_of(spec), spec.min_batch
    try:
        loss = output_of(method, batch_of(spec, rows=slice(fewest))).loss
        loss.backward()
    except ValueError as error:  # BatchNorm's answer to one value
        require(
            False, f"a batch of {fewest} is an error ({message_of(error)}); declare a larger `min_batch` in the spec"
        )
    taught = any(p.grad is not None and bool(p.grad.any()) for p in method.parameters())
    require(
        bool(loss.isfinite()) and taught,
        f"from a batch of {fewest} nothing is learnt (loss {loss.item():.4g}, no gradient); declare "
        "`min_batch: ClassVar[int] = 2` in the spec",
    )


def check_features_are_the_encoders(spec: MethodSpec) -> None:
    """``StepOutput.features`` are features of the encoder (B, num_features), detached."""
    features = output_of(method_of(spec), batch_of(spec)).features
    shape, wanted = tuple(features.shape), (BATCH, TinyEncoder.num_features)
    require(shape == wanted, f"features are {shape}, not (B, num_features) = {wanted}; return the encoder's output")
    require(not features.requires_grad, "features carry a graph, which keeps memory; return features.detach()")


def check_views_are_left_alone(spec: MethodSpec) -> None:
    """The method does not write into the views it gets."""
    batch = batch_of(spec)
    before = copy.deepcopy(batch)
    output_of(method_of(spec), batch)
    require(
        all(map(torch.equal, _views(batch), _views(before))), "forward writes into its views; use no inplace operation"
    )


def _views(batch: list[object]) -> list[Tensor]:
    return cast(list[Tensor], batch[0])


def check_loss_falls_on_a_fixed_batch(spec: MethodSpec) -> None:
    """Training on one batch lowers the loss: every late loss is below every early one."""
    method, batch = method_of(spec), batch_of(spec)
    optimizer = optimizer_of(method)
    losses = [descend(method, optimizer, batch) for _ in range(FALL)]
    early, late = min(losses[:5]), max(losses[-5:])
    require(
        late < early,
        f"after {FALL} steps on one batch the loss is {late:.4g}, at first it was {early:.4g}; look at its sign and at "
        "what is detached",
    )


def check_no_parameter_is_idle(spec: MethodSpec) -> None:
    """The loss depends on every parameter that asks for gradients: DDP waits for all of them."""
    method = method_of(spec)
    output_of(method, batch_of(spec)).loss.backward()
    sizes = {
        n: 0.0 if p.grad is None else p.grad.norm().item() for n, p in method.named_parameters() if p.requires_grad
    }
    idle = [name for name, size in sizes.items() if size <= IDLE * max(sizes.values())]
    require(not idle, f"no gradient reaches {', '.join(idle)}; use it in the loss, or say requires_grad_(False)")


def check_same_seed_same_run(spec: MethodSpec) -> None:
    """All randomness, that of the first weights included, follows torch's global generator."""
    runs = []
    for _ in range(2):
        method = method_of(spec)
        runs.append(train(spec, method, optimizer_of(method), range(2)))
    require(runs[0] == runs[1], "two runs from one seed differ; draw from torch's global generator only")


def check_resumed_run_equals_an_uninterrupted_one(spec: MethodSpec) -> None:
    """A method that loads a saved `state_dict` goes on as the one that was saved, to the bit."""
    method, other = method_of(spec), method_of(spec, seed=1)
    optimizer, other_optimizer = optimizer_of(method), optimizer_of(other)
    train(spec, method, optimizer, range(STEPS // 2))
    other.load_state_dict(_saved_and_loaded(method.state_dict()))
    other_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    rest = range(STEPS // 2, STEPS)
    same = train(spec, method, optimizer, rest) == train(spec, other, other_optimizer, rest)
    apart = differing(method.state_dict(), other.state_dict())
    require(
        same and not apart,
        f"a resumed run differs from an uninterrupted one{f' in {apart[0]}' if apart else ''}; keep queues, counters "
        "and all else that the method goes on with in registered buffers",
    )


def _saved_and_loaded(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Tensor] = torch.load(file, weights_only=True)
    return loaded


def check_evaluation_changes_no_state(spec: MethodSpec) -> None:
    """In evaluation mode, without gradients, `forward` leaves the method as it is."""
    method = method_of(spec)
    train(spec, method, optimizer_of(method), range(1))
    before = copy.deepcopy(method.state_dict())
    with torch.no_grad():
        output_of(method.eval(), batch_of(spec))
    changed = differing(before, method.state_dict())
    require(not changed, f"evaluation changes {', '.join(changed)}; do that in after_step")


def check_after_step_leaves_trained_weights_alone(spec: MethodSpec) -> None:
    """`after_step` does not move what gradients train; outside the encoder it may undo a step, or normalise rows."""
    method = method_of(spec)
    start = _trained(method)
    descend(method, optimizer_of(method), batch_of(spec))
    stepped = _trained(method)
    method.after_step(0, STEPS)
    for name, now in _trained(method).items():
        allowed = torch.equal(now, stepped[name]) or (
            not name.startswith("encoder.") and (torch.equal(now, start[name]) or _same_rows(now, stepped[name]))
        )
        require(
            allowed, f"after_step moves {name}, which gradients train; let it update buffers and momentum copies only"
        )


def _trained(method: Method) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in method.named_parameters() if p.requires_grad}


def _same_rows(weights: Tensor, before: Tensor) -> bool:
    """Tell whether the rows of a matrix were scaled at most."""
    return weights.ndim == 2 and bool((nn.functional.cosine_similarity(weights, before) > 1 - 1e-5).all())


def check_two_processes_keep_one_state(spec: MethodSpec) -> None:
    """After some steps under DDP, each process with its own subtomograms, both have the same state."""
    first, second = on_two_ranks(_train_on_rank, spec)
    require_one_state(first, second, STEPS // 2)


def _train_on_rank(rank: int, spec: MethodSpec) -> dict[str, Tensor]:
    """Return what a few steps on one half of each batch make of the state, but for BatchNorm's own statistics."""
    method = method_of(spec)
    # Idle parameters have a check of their own.
    parallel = DistributedDataParallel(method, broadcast_buffers=False, find_unused_parameters=True)
    optimizer, half = optimizer_of(method), BATCH // 2
    for step in range(STEPS // 2):
        rows = slice(rank * half, (rank + 1) * half)
        descend(parallel, optimizer, batch_of(spec, step, rows), seed=2 * step + rank)
        method.after_step(step, STEPS)
    return shared_state(method)


def check_collapse_shows_in_the_features(spec: MethodSpec) -> None:
    """The monitor raises its alarm for a collapsed encoder, and none for a fresh one."""
    collapsed = _alarm(spec, BlindEncoder)
    require(
        bool(collapsed),
        "all subtomograms look alike to the encoder, but StepOutput.features differ; return the encoder's output",
    )
    alarm = _alarm(spec, TinyEncoder)
    require(not alarm, f"the encoder has not collapsed, but {alarm}: return its features of the whole batch")


def _alarm(spec: MethodSpec, encoder: type[TinyEncoder]) -> str:
    """Return what the monitor says of a batch, or an empty string; it does not know the loss."""
    output, monitor = output_of(method_of(spec, encoder), batch_of(spec)), Monitor()
    figures = FeatureFigures.of(output._replace(features=output.features.detach()))
    monitor.count(output.features, [float(figure) for figure in figures])
    monitor.end_epoch(math.nan)
    return monitor.alarm


COLLAPSE = 100
"""Steps in which the heads around a collapsed encoder come down to the loss that the method says."""


def check_collapsed_loss_is_that_of_a_collapsed_encoder(spec: MethodSpec) -> None:
    """Where the method declares a ``collapsed_loss``, its heads around a collapsed encoder reach it and no better."""
    method, batch = method_of(spec, BlindEncoder), batch_of(spec)
    output_of(method, batch)
    if (claimed := method.collapsed_loss) is None:
        raise NotApplicable("the method declares no collapsed_loss")
    loss = _loss_after(COLLAPSE, method, batch)
    require(
        abs(loss - claimed) < 0.01 * abs(claimed),  # as near as the monitor wants it
        f"collapsed_loss is {claimed:.4g}, but with a collapsed encoder the loss comes to {loss:.4g}; mend the former",
    )


def _loss_after(steps: int, method: Method, batch: list[object]) -> float:
    """Return the loss at the end of a short run on one batch, its learning rate falling to nothing."""
    optimizer, loss = optimizer_of(method, 3e-3), math.nan
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.01, steps)
    for step in range(steps):
        loss = descend(method, optimizer, batch, seed=step)
        method.after_step(step, steps)
        decay.step()
    return loss
