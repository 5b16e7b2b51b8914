"""Rotations of the grid against numpy's, the missing wedge under them, and the loss of telling them apart."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from support.methods import build, output_of, some_batch
from torch import Tensor

from cryoreg.errors import DataError
from cryoreg.methods.rotation import rotation_set
from cryoreg.turns import Rotation


def turned(rotation: Rotation, x: np.ndarray) -> np.ndarray:
    return rotation(torch.from_numpy(x.copy())[None, None])[0, 0].numpy()


def cube_group(x: np.ndarray) -> set[bytes]:
    """Return all that quarter turns about two axes make of a volume."""
    found, new = set(), [x]
    while new:
        volume = new.pop()
        if volume.tobytes() not in found:
            found.add(volume.tobytes())
            new += [np.rot90(volume, axes=(0, 1)), np.rot90(volume, axes=(1, 2))]
    return found


NUMBERED = np.arange(27.0).reshape(3, 3, 3)


def test_cube_has_the_24_rotations_that_quarter_turns_generate():
    volumes = {turned(rotation, NUMBERED).tobytes() for rotation in rotation_set("cube")}
    assert len(rotation_set("cube")) == 24
    assert volumes == cube_group(NUMBERED)


def test_inplane_rotations_are_the_quarter_turns_about_the_beam():
    volumes = {turned(rotation, NUMBERED).tobytes() for rotation in rotation_set("inplane")}
    assert volumes == {np.rot90(NUMBERED, k, axes=(1, 2)).tobytes() for k in range(4)}


@pytest.mark.parametrize("name", ["wedge", "inplane", "cube"])
def test_identity_comes_first(name):
    assert np.array_equal(turned(rotation_set(name)[0], NUMBERED), NUMBERED)


@pytest.mark.parametrize("tilt_axis", [1, 2], ids=["tilt axis H", "tilt axis W"])
def test_wedge_rotations_are_those_that_keep_a_missing_wedge(tilt_axis):
    """The wedge of tilts of ±60°: |k along the beam| > tan 60° · |k across|, constant along the tilt axis."""
    axes = np.meshgrid(*3 * [np.arange(-5.0, 6)], indexing="ij")
    wedge = np.abs(axes[0]) > math.tan(math.radians(60)) * np.abs(axes[3 - tilt_axis])
    keeping = [rotation for rotation in rotation_set("cube") if np.array_equal(turned(rotation, wedge), wedge)]
    assert keeping == rotation_set("wedge")
    assert len(keeping) == 4


@pytest.mark.parametrize(("rotations", "copies"), [("wedge", 4), ("inplane", 2), ("cube", 5), ("wedge", 9)])
def test_loss_is_the_cross_entropy_of_the_rotations_shown(rotations, copies):
    method, [[view]] = build("rotation", rotations=rotations, copies=copies), some_batch("rotation")
    seen: list[Tensor] = []
    method.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    output = output_of(method, [[view]])
    possible = [[turned(rotation, volume.numpy()).tobytes() for rotation in method.rotations] for [volume] in view]
    shown = [possible[i % 6].index(volume[0].numpy().tobytes()) for i, volume in enumerate(seen[0])]
    scores = method.head(method.encoder(seen[0])).double().tolist()
    losses = [math.log(sum(map(math.exp, row))) - row[right] for row, right in zip(scores, shown, strict=True)]
    assert output.loss.item() == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert len(losses) == 6 * min(copies, len(method.rotations))
    assert all(len(set(shown[i::6])) == len(shown) // 6 for i in range(6))
    assert torch.equal(output.features, method.encoder(seen[0])[:6])


@pytest.mark.slow
def test_copies_are_drawn_anew_and_uniformly():
    method = build("rotation", rotations="cube", copies=1)
    method.rotated = lambda x, chosen: counts.extend(chosen.flatten().tolist()) or x[None]
    counts: list[int] = []
    for seed in range(2):
        output_of(method, [[torch.zeros(2400, 1, 4, 4, 4)]], seed)
    assert counts[:2400] != counts[2400:]
    deviation = [counts.count(r) - 200 for r in range(24)]
    assert sum(d * d / 200 for d in deviation) < 50  # χ² of 23 degrees of freedom: p = 0.0009


@pytest.mark.parametrize(("rotations", "box"), [("inplane", (4, 6, 8)), ("cube", (4, 6, 6)), ("cube", (6, 6, 4))])
def test_a_box_that_does_not_fit_is_one_clear_line(rotations, box):
    with pytest.raises(DataError, match=r"exchange axes.*are \d×\d×\d; .*rotations=wedge"):
        build("rotation", rotations=rotations)([torch.zeros(2, 1, *box)])


@pytest.mark.parametrize(("rotations", "box"), [("wedge", (4, 6, 8)), ("inplane", (4, 6, 6))])
def test_other_boxes_are_taken(rotations, box):
    assert build("rotation", rotations=rotations)([torch.randn(2, 1, *box)]).loss.isfinite()


@pytest.mark.parametrize(("rotations", "count"), [("wedge", 4), ("inplane", 4), ("cube", 24)])
def test_collapsed_loss_is_that_of_a_guess(rotations, count):
    assert build("rotation", rotations=rotations).collapsed_loss == pytest.approx(math.log(count))
