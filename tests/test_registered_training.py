"""Optimizers and schedules that packages bring, against what their few lines must do."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import timm.optim
import torch
from timm.scheduler import StepLRScheduler
from torch import nn

import cryoreg
from cryoreg.config.settings import FinetuneSettings
from cryoreg.errors import BrokenComponentError, ConfigError
from cryoreg.training.optimization import Schedule, create_optimizer

Install = Callable[..., Path]
MODULE = '''
"""Signs of gradients with momentum, and three schedules. Imports no torch."""


def signs(groups, lr, momentum):
    """Signs of gradients."""
    import torch

    class Signum(torch.optim.Optimizer):
        def __init__(self):
            super().__init__(groups, {"lr": lr, "weight_decay": 0.0})

        @torch.no_grad()
        def step(self):
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                        mean.mul_(momentum).add_(p.grad)
                        p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(mean.sign(), alpha=group["lr"])

    return Signum()


def nothing(groups, lr, momentum):
    """Forgets to return it."""


def falling(progress):
    """Down to nothing."""
    return 1 - progress


def negative(progress):
    """Uphill."""
    return -1.0
'''
POINTS = (
    "[cryoreg.optimizers]\nsigns = mine_specs:signs\nnothing = mine_specs:nothing\nadamw = mine_specs:signs\n"
    "[cryoreg.schedules]\nfalling = mine_specs:falling\nnegative = mine_specs:negative\ncosine = mine_specs:falling\n"
)


@pytest.fixture(autouse=True)
def mine(fake_plugin: Install) -> None:
    fake_plugin("mine", POINTS, module=MODULE)


def settings(**given: object) -> FinetuneSettings:
    return FinetuneSettings(**{"optimizer": "signs", "lr": 0.5, "weight_decay": 0.1, "momentum": 0.9} | given)


def rates(given: FinetuneSettings, steps_per_epoch: int) -> list[float]:
    schedule = Schedule(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=given.lr), given, steps_per_epoch)
    return [schedule.set(step) for step in range(given.epochs * steps_per_epoch)]


def test_a_registered_optimizer_moves_the_weights_by_its_own_rule() -> None:
    layer = nn.Linear(2, 2)
    before = {name: each.detach().clone() for name, each in layer.named_parameters()}
    optimizer = create_optimizer(layer, settings(), {"weight": 0.5})
    Schedule(optimizer, settings(schedule="constant"), 1).set(0)
    layer(torch.ones(1, 2)).sum().backward()  # every gradient is 1
    optimizer.step()
    torch.testing.assert_close(layer.weight.data, before["weight"] * (1 - 0.25 * 0.1) - 0.25)
    torch.testing.assert_close(layer.bias.data, before["bias"] - 0.5)


def test_where_nothing_is_trained_it_has_nothing_to_move() -> None:
    optimizer = create_optimizer(nn.Identity(), settings())
    optimizer.step()
    assert sum(each.numel() for group in optimizer.param_groups for each in group["params"]) == 0


def test_what_returns_no_optimizer_is_broken() -> None:
    with pytest.raises(BrokenComponentError, match=r"optimizer 'nothing' of mine 1\.0 returns no torch.optim.Opt"):
        create_optimizer(nn.Linear(1, 1), settings(optimizer="nothing"))


def test_a_name_of_timm_means_timms() -> None:
    assert isinstance(create_optimizer(nn.Linear(1, 1), settings(optimizer="adamw")), torch.optim.AdamW)
    assert type(create_optimizer(nn.Linear(1, 1), settings(optimizer="mine:adamw"))).__name__ == "Signum"
    cosine, falling = (rates(settings(schedule=name, epochs=4), 2) for name in ("cosine", "mine:cosine"))
    assert cosine != pytest.approx(falling)
    assert falling == pytest.approx(rates(settings(schedule="falling", epochs=4), 2))


def test_a_registered_schedule_is_a_factor_on_the_rate_after_warm_up() -> None:
    found = rates(settings(schedule="falling", epochs=3, warmup_epochs=1), 4)
    warm_up = [0.005 + step * (0.5 - 0.005) / 4 for step in range(4)]
    assert found == pytest.approx([*warm_up, *(0.5 * (1 - done / 8) for done in range(8))])


@pytest.mark.parametrize("warmup_epochs", [0, 2])
def test_constant_is_timms_step_that_never_falls(warmup_epochs: int) -> None:
    reference = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    options = {"warmup_t": 3 * warmup_epochs, "warmup_lr_init": 0.5 * 1e-2, "t_in_epochs": False}
    scheduler = StepLRScheduler(reference, decay_t=1, decay_rate=1.0, **options)
    expected = []
    for step in range(15):
        scheduler.step_update(step)
        expected.append(reference.param_groups[0]["lr"])
    assert rates(settings(schedule="constant", epochs=5, warmup_epochs=warmup_epochs), 3) == expected


def test_a_rate_below_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"training\.schedule: 'negative' gives the factor -1\.0 at step 0"):
        rates(settings(schedule="negative"), 1)


@pytest.mark.parametrize(("name", "meant"), [("sings", "'signs'"), ("adamww", "'adamw'"), ("xyzzy", "")])
def test_an_unknown_optimizer_is_one_line_with_suggestions(name: str, meant: str) -> None:
    assert name not in timm.optim.list_optimizers()
    with pytest.raises(ConfigError, match=rf"^training\.optimizer: timm has no '{name}'.*{meant}") as caught:
        create_optimizer(nn.Linear(1, 1), settings(optimizer=name))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_run_with_both_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    def train(run: str, **more: object) -> list[str]:
        cryoreg.pretrain(tmp_path / run, **more)
        with (tmp_path / run / "steps.csv").open() as file:
            return [row["loss"] for row in csv.DictReader(file)]

    small = {
        "method": "simclr",
        "encoder": {"name": "rb3d", "width": 4},
        "dataset": {"name": "demo", "per_class": 2, "box": 16},
        **{"optimizer": "signs", "schedule": "falling", "lr": 1e-4, "epochs": 3, "batch_size": 8},
        **{"part": "all", "device": "cpu", "workers": 0, "loggers": "csv"},
    }
    whole = train("whole", **small)
    from cryoreg.training.engine import Engine

    real, begun = Engine._log_epoch, []

    def stop_in_the_second(engine: Engine, speed: float) -> None:
        begun.append(engine)
        if len(begun) == 2:
            raise KeyError
        real(engine, speed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "_log_epoch", stop_in_the_second)
        with pytest.raises(KeyError):
            train("cut", **small)
    assert train("cut", resume=True) == whole
