"""What an augmentation promises. It is fed a batch of 8 subtomograms of 16³ voxels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cryoreg.errors import message_of
from cryoreg.randomness import SampleRng
from cryoreg.specs import AugmentationSpec
from cryoreg.testing.checks import NotApplicable, require
from cryoreg.testing.elsewhere import elsewhere
from cryoreg.testing.samples import volumes

SAMPLES = torch.tensor([31, 4, 15, 92, 65, 35, 89, 7])
"""Their places in a data set, from which their random numbers come."""


def streams(rows: list[int] | slice = slice(None), seed: int = 0, epoch: int = 0, view: int = 0) -> SampleRng:
    """Return the random numbers of some samples of the batch."""
    return SampleRng.for_batch(seed, epoch, SAMPLES[rows], view)


def check_shape_and_dtype_stay(spec: AugmentationSpec) -> None:
    """Views have the shape and dtype of what they were made from: (B, 1, D, H, W), float32, no cubes at times."""
    for box in ((16, 16, 16), (12, 16, 20)):
        x = volumes(box=box)
        y = spec.build()(x, streams())
        require(type(y) is Tensor, f"views are {type(y).__name__}; return a plain torch.Tensor")
        require(y.shape == x.shape, f"views are {tuple(y.shape)}, not {tuple(x.shape)}; resize or pad after a crop")
        require(y.dtype == x.dtype, f"views are {y.dtype}, not {x.dtype}; cast them back")


def check_views_are_finite(spec: AugmentationSpec) -> None:
    """Views are finite, those of an empty volume, too."""
    for what, x in (("noise", volumes()), ("an empty volume", torch.zeros_like(volumes()))):
        finite = bool(spec.build()(x, streams()).isfinite().all())
        require(finite, f"views of {what} are not finite; look for divisions by a standard deviation or a maximum")


def check_input_is_not_written(spec: AugmentationSpec) -> None:
    """The batch is as it was: further views are made from it."""
    x = volumes()
    spec.build()(x, streams())
    require(torch.equal(x, volumes()), "the augmentation writes into the batch it gets; work on a copy")


def check_same_seed_same_result(spec: AugmentationSpec) -> None:
    """The same random numbers give the same views, whatever the global generators say."""
    views = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        views.append(spec.build()(volumes(), streams()))
    require(torch.equal(*views), "views of one seed differ; draw from the rng that is passed, and from nothing else")


def check_other_seed_other_result(spec: AugmentationSpec) -> None:
    """Another seed, epoch or view gives other views, or the spec says ``deterministic = True``."""
    if spec.deterministic:
        raise NotApplicable("the spec declares that nothing is drawn")
    augmentation, x = spec.build(), volumes()
    first = augmentation(x, streams())
    others = {"seed": streams(seed=1), "epoch": streams(epoch=1), "view": streams(view=1)}
    for what, rng in others.items():
        require(
            not torch.equal(augmentation(x, rng), first),
            f"another {what} gives the same views; draw from the rng that is passed, or declare "
            "`deterministic: ClassVar[bool] = True` in the spec",
        )


def check_samples_are_independent(spec: AugmentationSpec) -> None:
    """A subtomogram's view does not depend on what else is in the batch, or in which order."""
    augmentation, x = spec.build(), volumes()
    whole = augmentation(x, streams())
    for rows in ([0], [3], [7, 6, 5, 4, 3, 2, 1, 0], [2, 5, 1]):
        require(
            torch.equal(augmentation(x[rows], streams(rows)), whole[rows]),
            "a subtomogram's view depends on the rest of the batch; let sample i draw from stream i and nothing more",
        )


def check_global_generators_stay(spec: AugmentationSpec) -> None:
    """The global generators of torch and NumPy are where they were."""
    before = torch.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"].copy()
    spec.build()(volumes(), streams())
    after = torch.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"]
    same = torch.equal(before[0], after[0]) and bool((before[1] == after[1]).all())
    require(same, "the augmentation draws from a global generator; draw from the rng that is passed")


def check_device_is_kept(spec: AugmentationSpec) -> None:
    """Views are on the batch's device, and all in between is made there.

    As no GPU may be here, a CPU batch is augmented while tensors go to another device, torch's "meta", unless told.
    Where that ends because values on it cannot be read, as after a legitimate move, it says nothing.
    """
    augmentation, x, rng = spec.build(), volumes(), streams()
    devices = [x.device, *([torch.device("cuda")] if torch.cuda.is_available() else [])]
    for device in devices:
        views = augmentation(x.to(device), SampleRng(streams().keys.to(device)))
        require(views.device.type == device.type, f"views are on {views.device}, not on the batch's; use x.device")
    try:
        with torch.device("meta"):
            views = augmentation(x, rng)
    except Exception as error:
        require(_reads_meta(error), f"a tensor is made on the default device: {message_of(error)}; say device=x.device")
    require(views.device == x.device, "views are made on the default device; say device=x.device")


def _reads_meta(error: BaseException | None) -> bool:
    """Tell whether values of a tensor that has none were asked for."""
    while error is not None:
        if "meta tensor" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def check_it_survives_spawn(spec: AugmentationSpec) -> None:
    """Pickled and used in a spawned process, the augmentation gives the same views."""
    augmentation, x = spec.build(), volumes(2)
    views = elsewhere(augmentation, x, streams(slice(2)))
    torch.manual_seed(0)  # as there: global generators have a check of their own
    require(torch.equal(views, augmentation(x, streams(slice(2)))), "a pickled copy gives other views; keep its state")
