"""Views fit the method's plan: whole, clean and local ones, by one recipe or two."""

from __future__ import annotations

import math

import pytest
import torch

from cryoreg.augmentations.crops import random_parts
from cryoreg.config import Layer, resolve
from cryoreg.contracts import Sample, Subtomograms
from cryoreg.datasets.made_specs import DemoSpec
from cryoreg.datasets.normalisation import normalise
from cryoreg.errors import ConfigError
from cryoreg.randomness import SampleRng
from cryoreg.specs import ViewPlan
from cryoreg.training.loading import Batch, BatchOrder, VolumeLoader
from cryoreg.training.views import Views, local_box


def config(plan: ViewPlan, monkeypatch: pytest.MonkeyPatch, **sections: dict):
    from cryoreg.methods.specs import SimCLRSpec

    monkeypatch.setattr(SimCLRSpec, "view_plan", lambda self: plan)
    defaults = {"method": {"name": "simclr"}, "augmentation": {"name": "none"}}
    return resolve("pretrain", [Layer("test", defaults | sections)])


def views_of(run, edge: int = 10) -> Views:
    """Views that are denoised by sums along x, so that a test sees where that went."""
    return Views(run.spec("method").view_plan(), run, (edge,) * 3, lambda x: x.cumsum(-1))


def a_batch(edge: int = 10, clean: bool = False) -> Batch:
    volumes = torch.randn(3, 1, edge, edge, edge, generator=torch.Generator().manual_seed(0))
    samples = torch.tensor([5, 2, 7])
    return Batch(volumes, torch.zeros(3), samples, 2 * volumes if clean else None)


def streams(samples: list[int], view: int = 0) -> SampleRng:
    return SampleRng.for_batch(0, 0, torch.tensor(samples), view)


def test_parts_are_cut_unchanged_from_one_place_in_each_volume():
    x = torch.arange(6 * 7 * 8.0).view(1, 1, 6, 7, 8).repeat(40, 2, 1, 1, 1)
    parts = random_parts(x, (3, 4, 5), streams(list(range(40))))
    assert parts.shape == (40, 2, 3, 4, 5)
    corners = set()
    for part in parts:
        first = int(part[0, 0, 0, 0])
        z, y, x_ = first // 56, first // 8 % 7, first % 8
        corners.add((z, y, x_))
        assert torch.equal(part, x[0, :, z : z + 3, y : y + 4, x_ : x_ + 5])
    assert {z for z, _, _ in corners} == {y for _, y, _ in corners} == {x for _, _, x in corners} == {0, 1, 2, 3}


def test_a_part_does_not_depend_on_the_batch():
    x = torch.randn(4, 1, 6, 6, 6)
    whole = random_parts(x, (3, 3, 3), streams([4, 1, 8, 3]))
    assert torch.equal(random_parts(x[2:3], (3, 3, 3), streams([8])), whole[2:3])


def test_views_are_whole_then_local_and_the_two_recipes_alternate(monkeypatch):
    run = config(
        ViewPlan(2, local=3, local_edge=0.6), monkeypatch, augmentation_2={"name": "gupta2022", "affine_p": 1.0}
    )
    batch = a_batch()
    drawn = views_of(run).draw(batch)
    assert [tuple(view.shape[2:]) for view in drawn] == [(10,) * 3, (10,) * 3, (6,) * 3, (6,) * 3, (6,) * 3]
    assert torch.equal(drawn[0], batch.volumes)
    assert not torch.equal(drawn[1], batch.volumes)
    known = {round(value, 6) for value in batch.volumes[0].flatten().tolist()}
    unchanged = [{round(v, 6) for v in view[0].flatten().tolist()} <= known for view in drawn[2:]]
    assert unchanged == [True, False, True]


def test_without_a_second_recipe_all_views_have_the_first(monkeypatch):
    drawn = views_of(config(ViewPlan(2), monkeypatch)).draw(a_batch())
    assert torch.equal(drawn[0], drawn[1])


def test_the_last_views_are_of_the_clean_copy_or_of_a_denoised_one(monkeypatch):
    views = views_of(config(ViewPlan(2, clean=1), monkeypatch))
    with_copy, without = a_batch(clean=True), a_batch()
    assert torch.equal(views.draw(with_copy)[1], with_copy.clean)
    first, second = views.draw(without)
    assert torch.equal(first, without.volumes)
    assert torch.equal(second, normalise(without.volumes.cumsum(-1)))


def test_local_boxes_are_what_the_encoder_takes(monkeypatch):
    run = config(ViewPlan(2), monkeypatch)
    plan = ViewPlan(2, local=1, local_edge=0.6)
    assert local_box(plan, (24, 30, 11), run.spec("encoder")) == (14, 18, 6)
    yopo = config(plan, monkeypatch, encoder={"name": "yopo"})
    with pytest.raises(ConfigError, match=r"local views: .*exactly 32 voxels.*local views to 0"):
        views_of(yopo, 32)


def test_clean_copies_of_the_demo_set_are_its_scenes_without_noise(tmp_path, monkeypatch):
    monkeypatch.setenv("CRYOREG_CACHE", str(tmp_path))
    dataset = DemoSpec(per_class=1, box=16, snr=1.0).build()
    loader = VolumeLoader(dataset, BatchOrder(torch.arange(10), 5, seed=0), torch.device("cpu"), clean=True)
    quiet = DemoSpec(per_class=1, box=16, snr=math.inf).build()
    for batch in loader.epoch():
        for copy, volume, sample in zip(batch.clean, batch.volumes, batch.samples.tolist(), strict=True):
            assert torch.equal(copy, normalise(quiet[sample].volume[None])[0])
            # The same scene: signal and noise of equal variance correlate by √½, other scenes hardly.
            assert (copy * volume).mean() > 0.4


def test_a_set_without_clean_copies_serves_none():
    class Plain(Subtomograms):
        labels, box = [None] * 4, (4, 4, 4)

        def __len__(self):
            return 4

        def __getitem__(self, index):
            return Sample(torch.randn(1, 4, 4, 4), None, str(index), None)

    loader = VolumeLoader(Plain(), BatchOrder(torch.arange(4), 2, seed=0), torch.device("cpu"), clean=True)
    assert [batch.clean for batch in loader.epoch()] == [None, None]
