"""What an encoder promises."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cryoreg.contracts import Box, Encoder
from cryoreg.errors import DataError
from cryoreg.specs import EncoderSpec
from cryoreg.testing.checks import CheckFailed, NotApplicable, require
from cryoreg.testing.samples import relative_error, volumes
from cryoreg.training.small_convolutions import guard_convolutions

BATCH = 3
USUAL = 16
"""Voxels along each axis of the volumes that most checks use, where the encoder takes them; else the next larger."""
LARGEST = 128
ALIKE = 5e-3
"""Fresh features that differ by a smaller fraction of their length do not tell subtomograms apart.

Those of built-ins differ by 2e-2 at least; of RB3D in torch's own initialisation, from which nothing trains, by 2e-3.
"""


def built(spec: EncoderSpec, seed: int = 0) -> Encoder:
    """Return the network in evaluation mode, its weights drawn from a seed."""
    torch.manual_seed(seed)
    return spec.build().eval()


def features_of(encoder: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return features without gradients; whatever is drawn from torch's global generator is drawn from one seed."""
    torch.manual_seed(0)
    with torch.no_grad():
        return encoder(x)


def accepts(spec: EncoderSpec, box: Box) -> bool:
    """Tell whether the spec claims a box."""
    try:
        spec.check_box(box)
    except Exception:
        return False
    return True


def claimed_edge(spec: EncoderSpec, least: int = 1) -> int:
    """Return the smallest edge, from ``least`` on, of a cube that the spec claims; else the largest below that."""
    step = spec.box_step()
    edges = list(range(step, LARGEST + 1, step))
    above = (edge for edge in edges if edge >= least and accepts(spec, (edge,) * 3))
    below = (edge for edge in reversed(edges) if edge < least and accepts(spec, (edge,) * 3))
    edge = next(above, None) or next(below, None)
    if edge is None:
        raise CheckFailed(f"check_box refuses every cube up to {LARGEST} voxels; mend min_box, exact_box or box_step")
    return edge


def usual(spec: EncoderSpec, batch: int = BATCH, seed: int = 0) -> Tensor:
    """Return volumes (B, 1, D, H, W) of a box that the encoder claims."""
    return volumes(batch, (claimed_edge(spec, USUAL),) * 3, seed)


def check_build_returns_an_encoder(spec: EncoderSpec) -> None:
    """`build` returns a `cryoreg.contracts.Encoder`."""
    encoder = spec.build()
    require(isinstance(encoder, Encoder), f"build returns {type(encoder).__name__}; derive it from contracts.Encoder")


def check_feature_vector_shape(spec: EncoderSpec) -> None:
    """The network maps (B, 1, D, H, W) to (B, num_features)."""
    encoder = built(spec)
    shape, claimed = tuple(features_of(encoder, usual(spec)).shape), (BATCH, encoder.num_features)
    require(shape == claimed, f"features are {shape}, not (B, num_features) = {claimed}; mend forward or num_features")


def check_feature_map_shape(spec: EncoderSpec) -> None:
    """`forward_features` maps (B, 1, D, H, W) to (B, C, d, h, w)."""
    shape = tuple(built(spec).forward_features(usual(spec)).shape)
    require(
        len(shape) == 5 and shape[0] == BATCH and min(shape) > 0,
        f"forward_features returns {shape}; return a map (B, C, d, h, w), from which explanations are drawn",
    )


def check_features_are_finite(spec: EncoderSpec) -> None:
    """Features are finite, those of an empty volume, too."""
    encoder, x = built(spec), usual(spec)
    for what, each in (("noise", x), ("an empty volume", torch.zeros_like(x))):
        finite = bool(features_of(encoder, each).isfinite().all())
        require(finite, f"features of {what} are not finite; look for divisions by a standard deviation or a sum")


def check_fresh_features_differ(spec: EncoderSpec) -> None:
    """A network with fresh weights tells subtomograms apart; from features that are all alike nothing trains."""
    features = features_of(built(spec), usual(spec, 8))
    spread = float(features.std(dim=0).norm() / features.norm(dim=1).mean())
    require(
        spread > ALIKE,
        f"fresh features differ by {spread:.1e} of their length only; initialise the weights (Kaiming) or normalise",
    )


def check_eval_is_deterministic(spec: EncoderSpec) -> None:
    """In evaluation mode, the same subtomogram has the same features, to the bit."""
    encoder, x = built(spec), usual(spec)
    with torch.no_grad():
        first, second = encoder(x), encoder(x)
    require(
        torch.equal(first, second),
        "in eval mode two calls differ; draw no random numbers there (F.dropout needs training=self.training)",
    )


def check_eval_is_batch_independent(spec: EncoderSpec) -> None:
    """In evaluation mode, features do not depend on what else is in the batch."""
    encoder, x = built(spec), usual(spec)
    whole = features_of(encoder, x)
    error = max(relative_error(features_of(encoder, x[i : i + 1])[0], whole[i]) for i in range(BATCH))
    require(error < 1e-4, f"alone, a subtomogram has features {error:.1e} away; use no batch statistics in eval mode")


def check_input_is_left_alone(spec: EncoderSpec) -> None:
    """The network does not write into the volumes it gets."""
    x = usual(spec)
    before = x.clone()
    features_of(built(spec), x)
    require(torch.equal(x, before), "the network writes into its input; use no inplace operation on it")


def check_every_parameter_gets_a_gradient(spec: EncoderSpec) -> None:
    """Every parameter takes part in the features: DDP waits for all gradients."""
    encoder = built(spec).train()
    encoder(usual(spec, 4)).square().sum().backward()
    idle = [name for name, p in encoder.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    require(not idle, f"no gradient reaches {', '.join(idle)}; use it in forward, or drop it")


def check_state_dict_round_trip(spec: EncoderSpec) -> None:
    """A network that loads another's `state_dict` has its features, to the bit."""
    encoder, other, x = built(spec, seed=0), built(spec, seed=1), usual(spec)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)  # where weights come from a file, seeds make no difference
    other.load_state_dict(encoder.state_dict())
    require(
        torch.equal(features_of(encoder, x), features_of(other, x)),
        "a loaded state_dict gives other features; register all that forward uses as parameters or buffers",
    )


def check_takes_the_boxes_it_claims(spec: EncoderSpec) -> None:
    """The network takes the smallest box that `check_box` accepts, and somewhat larger ones, not only cubes."""
    encoder, edge, step = built(spec), claimed_edge(spec), spec.box_step()
    wanted = [(edge, edge, edge), (edge + step, edge, edge), (edge, edge, edge + step)]
    for box in (box for box in wanted if accepts(spec, box)):
        size = "×".join(map(str, box))
        try:
            with torch.no_grad():
                encoder(volumes(2, box))
        except Exception as error:
            raise CheckFailed(
                f"check_box accepts {size} voxels, but the network fails: {error}; mend min_box, exact_box or box_step"
            ) from error


def check_refuses_other_boxes_clearly(spec: EncoderSpec) -> None:
    """For any other box, `check_box` raises a `DataError` of one line that names the box."""
    edge = claimed_edge(spec)
    for box in ((edge, edge - 1, edge), (edge, edge, edge + 1)):
        try:
            spec.check_box(box)
        except Exception as error:
            size, message = "×".join(map(str, box)), str(error)
            require(
                isinstance(error, DataError) and size in message and "\n" not in message,
                f"check_box refuses {size} with {type(error).__name__}: {message!r}; raise a DataError of one line "
                f"that names the box as {size}",
            )


def check_bfloat16_is_close_to_float32(spec: EncoderSpec) -> None:
    """Under bf16 autocast, features are those of fp32 within 5 %, gradients within 30 %."""
    encoder, x = built(spec).to(memory_format=torch.channels_last_3d), usual(spec)
    guard_convolutions(encoder)  # as training does: torch's own are wrong on CPUs
    features, gradients = _features_and_gradients(encoder, x, autocast=True)
    expected_features, expected_gradients = _features_and_gradients(encoder, x, autocast=False)
    for what, error, limit in (
        ("features", relative_error(features, expected_features), 0.05),
        ("gradients", relative_error(gradients, expected_gradients), 0.3),
    ):
        require(error < limit, f"under bf16 autocast {what} are off by {error:.0%}; compute delicate parts in float32")


def _features_and_gradients(encoder: Encoder, x: Tensor, autocast: bool) -> tuple[Tensor, Tensor]:
    encoder.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, autocast):
        features = encoder(x)
    direction = torch.randn(features.shape[-1], generator=torch.Generator().manual_seed(0))
    (features.float() @ direction).sum().backward()
    return features.detach(), torch.cat([p.grad.flatten() for p in encoder.parameters() if p.grad is not None])


def check_compiles(spec: EncoderSpec) -> None:
    """`torch.compile` captures the network as one graph, or its spec says ``compiles = False``.

    The graph is run as it is (backend "eager"): what a component decides is whether there is one.
    """
    if not spec.compiles:
        raise NotApplicable("the spec declares that torch.compile cannot take the network")
    encoder, x = built(spec), usual(spec)
    try:
        features = features_of(torch.compile(encoder, backend="eager", fullgraph=True), x)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise CheckFailed(
            f"torch.compile finds no single graph: {reason}; let forward not branch on values, or declare "
            "`compiles: ClassVar[bool] = False` in the spec"
        ) from error
    finally:
        torch._dynamo.reset()
    require(
        relative_error(features, features_of(encoder, x)) < 1e-4,
        "torch.compile changes the features; keep side effects out",
    )
