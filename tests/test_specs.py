"""How a spec describes itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import pytest
from pydantic import Field, ValidationError

from cryoreg.errors import DataError
from cryoreg.specs import EncoderSpec


class Described(EncoderSpec):
    """First line: with ``code``.

    Second paragraph,
    in two lines.
    """

    min_box = 4

    integer: int = Field(3, ge=1, le=9, multiple_of=3, description="an integer")
    real: float | None = Field(None, gt=0, lt=1)
    flag: bool = True
    choice: Literal["a", 2] = "a"
    path: Path
    many: tuple[int, ...] = (1, 2)
    pair: Annotated[tuple[int, float], Field(description="annotated")] = (1, 2.0)
    inner: Annotated[int, Field(ge=7)] | None = None
    old_style: Optional[str] = ""  # noqa: UP045
    made: list[str] = Field(default_factory=lambda: ["x"], min_length=1, max_length=2)
    anything: dict[str, Any] = {}  # noqa: RUF012

    def build(self) -> Any:
        return self


class Exact(EncoderSpec):
    min_box, exact_box = 4, True

    def build(self) -> Any:
        return self


class Stepwise(EncoderSpec):
    min_box = 8

    def box_step(self) -> int:
        return 8

    def build(self) -> Any:
        return self


EXPECTED = {
    "turns": ("1 | 4 | 8 | 24", 1, "", EncoderSpec.model_fields["turns"].description),
    "integer": ("int", 3, ">= 1, <= 9, multiple of 3", "an integer"),
    "real": ("float | none", None, "> 0, < 1", ""),
    "flag": ("bool", True, "", ""),
    "choice": ("a | 2", "a", "", ""),
    "path": ("path", None, "", ""),
    "many": ("tuple[int, ...]", (1, 2), "", ""),
    "pair": ("tuple[int, float]", (1, 2.0), "", "annotated"),
    "inner": ("int | none", None, ">= 7", ""),
    "old_style": ("str | none", "", "", ""),
    "made": ("list[str]", ["x"], "length >= 1, length <= 2", ""),
    "anything": ("dict[str, any]", {}, "", ""),
}


def test_parameters() -> None:
    described = {p.name: (p.type, p.default, p.limits, p.help) for p in Described.parameters()}
    assert list(described) == list(EXPECTED)
    assert {name: set(map(str, d[2].split(", "))) for name, d in described.items()} == {
        name: set(d[2].split(", ")) for name, d in EXPECTED.items()
    }
    assert {n: (t, d, h) for n, (t, d, _, h) in described.items()} == {
        n: (t, d, h) for n, (t, d, _, h) in EXPECTED.items()
    }
    assert [p.name for p in Described.parameters() if p.required] == ["path"]


@pytest.mark.parametrize("value", [0, 10, 4])
def test_described_limits_are_those_that_are_enforced(value: int) -> None:
    with pytest.raises(ValidationError):
        Described(path="p", integer=value)


def test_values_are_frozen_and_unknown_fields_are_refused() -> None:
    spec = Described(path="p")
    with pytest.raises(ValidationError, match="frozen"):
        spec.integer = 6
    with pytest.raises(ValidationError, match="intgeer"):
        Described(path="p", intgeer=6)


def test_docstring_is_split_into_summary_and_source() -> None:
    assert Described.summary() == "First line: with `code`."
    assert Described.source() == "Second paragraph,\nin two lines."


def test_a_spec_without_docstring_describes_itself_as_empty() -> None:
    class Bare(EncoderSpec):
        def build(self) -> Any:
            return None

    assert (Bare.summary(), Bare.source(), [p.name for p in Bare.parameters()]) == ("", "", ["turns"])


@pytest.mark.parametrize("box", [(4, 4, 4), (4, 99, 5)])
def test_a_large_enough_box_passes(box: tuple[int, int, int]) -> None:
    Described(path="p").check_box(box)


def test_a_small_box_is_one_clear_line() -> None:
    with pytest.raises(DataError, match=r"at least 4 voxels, but the subtomograms are 8×3×8") as caught:
        Described(path="p").check_box((8, 3, 8))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "limit"), [(Exact, "exactly 4 voxels along each axis"), (Stepwise, "multiples of 8 voxels")]
)
def test_a_box_of_another_size_is_one_clear_line(spec: type[EncoderSpec], limit: str) -> None:
    spec().check_box((spec.min_box,) * 3)
    with pytest.raises(DataError, match=f"{limit}.* are 8×8×12;") as caught:
        spec().check_box((8, 8, 12))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_specs_work_without_docstrings() -> None:
    """``python -OO`` strips them."""
    code = "from cryoreg.methods.specs import MoCoSpec as S; S.parameters(); print(repr(S.summary()), S().queue_size)"
    result = subprocess.run([sys.executable, "-OO", "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stdout == "'' 128\n", result.stderr
