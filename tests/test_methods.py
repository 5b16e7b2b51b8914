"""Every built-in method keeps the contract; their formulas are in test_method_formulas.py, test_swav.py and so on."""

from __future__ import annotations

import copy

import pytest
import torch
from methods import (
    NAMES,
    SMALL,
    Blind,
    adam,
    build,
    descend,
    output_of,
    some_batch,
    tiny_encoder,
    train,
)

from cryoreg import registry
from cryoreg.contracts import Method

EVERY = pytest.mark.parametrize("name", NAMES)
SHOW_COLLAPSE = ["dino", "moco", "nrcl", "rotation", "simclr", "supcon", "swav"]


@EVERY
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_keeps_the_contract(name, precision):
    encoder = tiny_encoder(name)
    method = build(name, encoder=encoder)
    batch = some_batch(name)
    before = copy.deepcopy(batch)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision is torch.bfloat16):
        output = output_of(method, batch)
    assert isinstance(method, Method)
    assert method.encoder is encoder
    assert (output.loss.shape, output.loss.dtype) == ((), torch.float32)
    assert output.loss.isfinite()
    assert output.features.shape == (6, encoder.num_features)
    assert not output.features.requires_grad
    assert all(map(torch.equal, batch[0], before[0]))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in {"mae", "rotation"}])
def test_features_are_those_of_both_whole_views(name):
    """Those of `mae` are of visible tokens, those of `rotation` of turned copies: see their tests."""
    method, batch = build(name), some_batch(name)
    output = output_of(method, batch)
    assert torch.equal(output.features, method.encoder(batch[0][0]))
    assert torch.equal(output.other_features, method.encoder(batch[0][1]))
    assert not output.other_features.requires_grad


@EVERY
def test_no_parameter_is_idle(name):
    """Gradients of a parameter that the loss does not depend on are zero but for rounding."""
    method = build(name)
    output_of(method, some_batch(name)).loss.backward()
    sizes = {n: p.grad.norm().item() for n, p in method.named_parameters() if p.requires_grad and p.grad is not None}
    assert sizes.keys() == {n for n, p in method.named_parameters() if p.requires_grad}
    assert [n for n, size in sizes.items() if size < 1e-4 * max(sizes.values())] == []
    assert all(p.grad is None for p in method.parameters() if not p.requires_grad)


@EVERY
def test_loss_falls_on_a_fixed_batch(name):
    """Every late loss is below every early one. Without `after_step`, so that nothing but gradients moves."""
    method, batch = build(name), some_batch(name)
    optimizer = adam(method)
    losses = [descend(method, optimizer, batch) for _ in range(40)]
    assert max(losses[-10:]) < min(losses[:10])


@EVERY
@pytest.mark.parametrize("stop", [1, 3])
def test_restored_run_equals_an_uninterrupted_one_to_the_bit(name, stop):
    """Also where it stops while prototypes are frozen, the queue not yet in use and the temperature still rising."""
    method = build(name)
    optimizer = adam(method)
    train(method, optimizer, name, range(stop))
    saved = copy.deepcopy((method.state_dict(), optimizer.state_dict()))
    expected = train(method, optimizer, name, range(stop, 6))

    other = build(name, seed=1)
    other_optimizer = adam(other)
    other.load_state_dict(saved[0])
    other_optimizer.load_state_dict(saved[1])
    assert train(other, other_optimizer, name, range(stop, 6)) == expected
    for key, value in method.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key


@EVERY
def test_same_seed_same_run_and_another_seed_another(name):
    runs = []
    for seed in (0, 0, 1):
        method = build(name, seed)
        runs.append(train(method, adam(method), name, range(2)))
    assert runs[0] == runs[1] != runs[2]


@EVERY
def test_after_step_leaves_trained_parameters_alone(name):
    """Except prototypes, which it freezes or normalises."""
    method = build(name)
    descend(method, adam(method), some_batch(name))
    before = {n: p.clone() for n, p in method.named_parameters() if p.requires_grad and "prototypes" not in n}
    method.after_step(0, 6)
    assert all(torch.equal(method.get_parameter(n), p) for n, p in before.items())


@EVERY
def test_evaluation_changes_no_state(name):
    method, batch = build(name), some_batch(name)
    train(method, adam(method), name, range(1))
    before = copy.deepcopy(method.state_dict())
    method.eval()
    with torch.no_grad():
        output_of(method, batch)
    method.train()
    assert all(torch.equal(value, before[key]) for key, value in method.state_dict().items())
    assert not any(value for module in method.modules() for value in [getattr(module, "_pending", None)])


@EVERY
def test_heads_and_loss_are_float32_under_autocast(name):
    method, seen = build(name), []
    for part, module in method.named_children():
        if "encoder" not in part and part not in {"criterion", "queue"}:
            module.register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        output = output_of(method, some_batch(name))
    assert output.loss.dtype == torch.float32
    assert seen
    assert set(seen) == {torch.float32}


@pytest.mark.parametrize("name", SHOW_COLLAPSE)
def test_loss_of_a_collapsed_encoder_is_what_the_method_says(name):
    """The heads do what they can, for 400 steps of a falling learning rate; no loss is better than guessing."""
    queue = {"queue_size": 18, "momentum": 0.9999}  # keys that hardly drift: a query cannot tell the newest one
    method = build(name, encoder=Blind(), **queue if name in {"moco", "nrcl"} else {})
    optimizer = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr=3e-3)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.01, total_iters=400)
    batch = some_batch(name)
    for step in range(400):
        loss = descend(method, optimizer, batch, seed=step)
        method.after_step(step, 400)
        decay.step()
    assert loss == pytest.approx(method.collapsed_loss, rel=0.01)
    assert output_of(method, batch).features.std(0).max() == 0


@pytest.mark.parametrize("name", SHOW_COLLAPSE)
def test_loss_of_an_encoder_that_learnt_is_below_that(name):
    method, batch = build(name), some_batch(name)
    optimizer = adam(method)
    losses = [descend(method, optimizer, batch) for _ in range(60)]
    assert losses[-1] < 0.9 * method.collapsed_loss


@pytest.mark.parametrize("name", NAMES)
def test_no_other_method_claims_such_a_loss(name):
    assert (build(name).collapsed_loss is not None) == (name in SHOW_COLLAPSE and name not in {"simclr", "supcon"})


@EVERY
def test_defaults_build(name):
    registry.find("methods", name).spec()().build(tiny_encoder(name))
    assert name not in SMALL or registry.find("methods", name).spec()(**SMALL[name])
