"""What scenes have in common, and the named sets of such settings. Imports neither numpy nor torch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from cryoreg.config.layers import parse_toml
from cryoreg.errors import ConfigError
from cryoreg.specs import Settings


def _as_range(value: object) -> object:
    """Take a single number as a range of no width."""
    return (value, value) if isinstance(value, int | float) else value


def _as_tilts(value: object) -> object:
    """Take a single number as a range symmetric about zero."""
    return (-abs(value), abs(value)) if isinstance(value, int | float) else value


Range = Annotated[tuple[float, float], BeforeValidator(_as_range)]
Tilts = Annotated[tuple[float, float], BeforeValidator(_as_tilts)]


class SceneSettings(Settings):
    """How scenes are composed and imaged. Lengths in Å unless stated; ranges are drawn from uniformly by each scene.

    The defaults are those of the embedded data set `demo`.
    """

    model_config = ConfigDict(allow_inf_nan=True)

    box: int = Field(24, ge=4, le=512, description="edge of the volumes, voxels")
    voxel_size: float = Field(12.0, gt=0, allow_inf_nan=False, description="Å")
    pad: int = Field(
        8, ge=8, le=256, description="voxels simulated around the box and cut off: the CTF spreads them into it"
    )
    snr: float = Field(
        6.0, gt=0, description="variance of signal over variance of noise in `snr_region`; inf: no noise"
    )
    snr_region: Literal["crop", "box"] = Field(
        "crop",
        description="crop: the target's own signal over the noise, in the volume's voxels; "
        "box: everything in an otherwise empty cube of `snr_box` voxels",
    )
    snr_box: int = Field(300, ge=16, description="edge of the cube that region `box` means, voxels")
    noise_before: float = Field(
        0.0, ge=0, le=1, description="share of the noise's variance that CTF and envelope have passed, as solvent has"
    )
    neighbours: int = Field(3, ge=0, le=64, description="random structures around the target")
    packing: Literal["gradient", "sequential"] = Field(
        "sequential", description="gradient: pulled together as in Liu et al. 2020; sequential: placed one by one"
    )
    clearance: float = Field(
        40.0, ge=0, description="largest gap between target and neighbour, for sequential packing, Å"
    )
    max_shift: float = Field(2.0, ge=0, description="largest shift of the target along each axis, voxels")
    resolution: Range = Field((22.0, 28.0), description="exp(−(k·resolution)²) on the structures, Å; 0 for none")
    low_pass: float = Field(
        math.inf, gt=0, description="sharp cut-off of the structures' frequencies, fraction of Nyquist; inf: none"
    )
    defocus: Range = Field((3.5, 4.5), description="µm, underfocus positive")
    cs: float = Field(2.7, ge=0, allow_inf_nan=False, description="spherical aberration, mm")
    voltage: float = Field(300.0, ge=40, le=1000, description="kV")
    amplitude_contrast: float = Field(0.07, ge=0, le=1, description="fraction")
    phase_flip: bool = Field(False, description="take the modulus of the CTF, as after correction by phase flipping")
    b_factor: float = Field(0.0, ge=0, allow_inf_nan=False, description="envelope exp(−B·k²/4), Å²")
    mtf_nyquist: float = Field(
        1.0, gt=0, le=1, description="the detector's MTF at its Nyquist frequency; it falls as a Gaussian; 1: perfect"
    )
    mtf_star: Path | None = Field(None, description="the detector's MTF as a STAR file of RELION, instead")
    pixel_size: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="the detector's pixel, Å, for the MTF [voxel_size]"
    )
    tilt: Tilts = Field((-60.0, 60.0), description="range of the tilt series about y, degrees")
    tilt_step: float = Field(3.0, gt=0, le=90, description="between images, degrees; for tilt series only")
    mode: Literal["fast", "tilt-series"] = Field(
        "fast", description="fast: one filter in 3D; tilt-series: project, blur, add noise, back-project"
    )
    precision: Literal["single", "double"] = Field("double", description="of the arithmetic; single is twice as fast")

    @property
    def point_spacing(self) -> float:
        """How far apart a structure's points may be, Å.

        One voxel where only half of the frequencies pass, else half a voxel: coarser clouds would show their lattice.
        """
        return self.voxel_size * (1.0 if self.low_pass <= 0.5 else 0.5)

    @field_validator("resolution", "defocus", "tilt")
    @classmethod
    def _is_a_range(cls, value: tuple[float, float], info: ValidationInfo) -> tuple[float, float]:
        if not (all(map(math.isfinite, value)) and value[0] <= value[1]):
            raise ValueError("give two numbers, the smaller first")
        if info.field_name == "resolution" and value[0] < 0:
            raise ValueError("a resolution is not negative")
        if info.field_name == "tilt" and not -90 <= value[0] <= value[1] <= 90:
            raise ValueError("tilts lie between −90 and 90 degrees")
        return value


_LIU2020 = SceneSettings(
    box=32,
    voxel_size=10.0,
    snr=0.05,
    snr_region="box",
    neighbours=4,
    packing="gradient",
    max_shift=8,
    noise_before=0.5,
    resolution=(50.0, 50.0),
    low_pass=0.5,
    defocus=(5.0, 5.0),
    cs=2.0,
    amplitude_contrast=0.0,
    precision="single",
)
PRESETS: dict[str, SceneSettings] = {
    "liu2020": _LIU2020,
    "clean": _LIU2020.model_copy(update={"snr": math.inf}),
    "hard": _LIU2020.model_copy(update={"snr": 0.5, "snr_region": "crop"}),
    "extreme": _LIU2020.model_copy(update={"snr": 0.05, "snr_region": "crop"}),
}
"""The recipe of the simulated data of Gupta et al. 2022 (Liu et al. 2020), and the same at other noise.

What their papers leave open is as in the lab's published program (aitom): pure phase contrast, an envelope that falls
to 1/e at 0.4 of Nyquist (here `resolution`, 50 Å), half of the noise before the CTF and half after it. `liu2020` counts
its SNR of 0.05 over a mostly empty box of 300³ voxels; `hard` and `extreme` count it in the volume.
"""


def make_settings(preset: str, assignments: Iterable[str] = (), **given: object) -> SceneSettings:
    """Return a preset with ``key=value`` assignments (TOML values) over it, and ``given`` (None: not given) over those.

    Raises `ConfigError` for an unknown preset or key, or a value outside its limits.
    """
    if preset not in PRESETS:
        raise ConfigError(f"unknown preset '{preset}'; choose from {', '.join(PRESETS)}")
    values = PRESETS[preset].model_dump() | dict(map(_parse, assignments))
    values |= {key: value for key, value in given.items() if value is not None}
    try:
        return SceneSettings.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_first_line(error)) from error


def _parse(assignment: str) -> tuple[str, object]:
    key, equals, text = assignment.partition("=")
    key = key.strip()
    if not equals or key not in SceneSettings.model_fields:
        raise ConfigError(
            f"--set {assignment}: expected key=value, with one of {', '.join(SceneSettings.model_fields)}"
        )
    try:
        return key, parse_toml(f"x = {text}")["x"]
    except ValueError:
        return key, text.strip()


def _first_line(error: ValidationError) -> str:
    first = error.errors()[0]
    key = str(first["loc"][0]) if first["loc"] else "settings"
    return f"{key}={first['input']!r}: {first['msg'].removeprefix('Value error, ').lower()}"
