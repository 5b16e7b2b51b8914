"""What built-in methods share beyond the conformance kit, which each passes (test_kit_builtins.py).

Their formulas are in test_method_formulas.py, test_swav.py and so on.
"""

from __future__ import annotations

import copy

import pytest
import torch
from support.methods import (
    NAMES,
    adam,
    build,
    descend,
    output_of,
    some_batch,
    train,
)

EVERY = pytest.mark.parametrize("name", NAMES)
SHOW_COLLAPSE = ["dino", "moco", "nrcl", "rotation", "simclr", "structures", "supcon", "swav"]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in {"mae", "rotation", "structures"}])
def test_features_are_those_of_both_whole_views(name):
    """Those of `mae` are of visible tokens, those of `rotation` of turned copies; `structures` has one view."""
    method, batch = build(name), some_batch(name)
    output = output_of(method, batch)
    assert torch.equal(output.features, method.encoder(batch[0][0]))
    assert torch.equal(output.other_features, method.encoder(batch[0][1]))
    assert not output.other_features.requires_grad


@pytest.mark.parametrize("name", ["dino", "swav"])
def test_a_run_restored_while_prototypes_are_frozen_equals_an_uninterrupted_one(name):
    """To the bit. The queue is not yet in use then, either, and the temperature still rises."""
    method, other = build(name), build(name, seed=1)
    optimizer, other_optimizer = adam(method), adam(other)
    train(method, optimizer, name, range(1))
    saved = copy.deepcopy((method.state_dict(), optimizer.state_dict()))
    other.load_state_dict(saved[0])
    other_optimizer.load_state_dict(saved[1])
    assert train(other, other_optimizer, name, range(1, 6)) == train(method, optimizer, name, range(1, 6))
    assert all(torch.equal(other.state_dict()[key], value) for key, value in method.state_dict().items())


@EVERY
def test_evaluation_sets_nothing_aside(name):
    method, batch = build(name), some_batch(name)
    method.eval()
    with torch.no_grad():
        output_of(method, batch)
    assert not any(getattr(module, "_pending", None) for module in method.modules())


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


@pytest.mark.slow
@pytest.mark.parametrize("name", SHOW_COLLAPSE)
def test_loss_of_an_encoder_that_learnt_is_below_that_of_a_collapsed_one(name):
    method, batch = build(name), some_batch(name)
    optimizer = adam(method)
    losses = [descend(method, optimizer, batch) for _ in range(60)]
    assert losses[-1] < 0.9 * method.collapsed_loss


@pytest.mark.parametrize("name", NAMES)
def test_no_other_method_claims_such_a_loss(name):
    assert (build(name).collapsed_loss is not None) == (name in SHOW_COLLAPSE and name not in {"simclr", "supcon"})
