"""Presets, their overrides, and what is refused."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest

from cryoreg.errors import ConfigError, DataError
from cryoreg.simulation.detector import read_mtf
from cryoreg.simulation.settings import PRESETS, SceneSettings, make_settings
from cryoreg_cli.commands import simulate


def test_liu2020_is_the_papers_recipe() -> None:
    s = PRESETS["liu2020"]
    assert (s.box, s.voxel_size, s.neighbours, s.packing, s.max_shift) == (32, 10, 4, "gradient", 8)
    assert (s.low_pass, s.defocus, s.voltage, s.cs, s.tilt) == (0.5, (5, 5), 300, 2.0, (-60, 60))
    assert (s.snr, s.snr_region, s.snr_box) == (0.05, "box", 300)


def test_the_other_presets_differ_in_noise_alone() -> None:
    liu = PRESETS["liu2020"].model_dump()
    for name, snr, region in [("clean", math.inf, "box"), ("hard", 0.5, "crop"), ("extreme", 0.05, "crop")]:
        assert PRESETS[name].model_dump() == liu | {"snr": snr, "snr_region": region}


def test_the_command_offers_every_preset() -> None:
    assert tuple(PRESETS) == simulate.PRESETS


def test_presets_are_valid_and_every_field_has_help() -> None:
    for name in PRESETS:
        assert make_settings(name) == PRESETS[name]
    assert all(field.description for field in SceneSettings.model_fields.values())


def test_assignments_and_what_is_given_overrule() -> None:
    settings = make_settings("hard", ["defocus=[2, 4]", "tilt=50", "phase_flip=true", "packing=sequential"], snr=2.0)
    assert (settings.defocus, settings.tilt, settings.phase_flip) == ((2, 4), (-50, 50), True)
    assert (settings.packing, settings.snr, settings.box) == ("sequential", 2.0, 32)
    assert make_settings("hard", ["defocus=3", "snr=inf"]).defocus == (3, 3)
    assert make_settings("hard", ["snr=inf"]).snr == math.inf
    assert make_settings("hard", snr=None).snr == 0.5


@pytest.mark.parametrize(
    ("assignment", "complaint"),
    [
        ("pad=4", "pad=4: .*greater than or equal to 8"),
        ("snr=0", "snr=0: .*greater than 0"),
        ("snr=nan", "snr=nan"),
        ("defocus=[4, 2]", "defocus=.*the smaller first"),
        ("defocus=[1, 2, 3]", "defocus="),
        ("resolution=-3", "resolution=.*not negative"),
        ("tilt=95", "tilt=.*between −90 and 90"),
        ("voxel_size=inf", "voxel_size="),
        ("noise_before=1.5", "noise_before=1.5: .*less than or equal to 1"),
        ("packing=magic", "packing='magic'"),
        ("boxes=3", "boxes=3: expected key=value, with one of box, "),
        ("box", "box: expected key=value"),
    ],
)
def test_what_is_refused_in_one_line(assignment: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        make_settings("liu2020", [assignment])
    assert "\n" not in str(caught.value)


def test_unknown_preset() -> None:
    with pytest.raises(ConfigError, match="unknown preset 'liu'; choose from liu2020, clean"):
        make_settings("liu")


def test_settings_import_nothing_heavy() -> None:
    code = "import sys, cryoreg.simulation.settings; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert "cryoreg.simulation.settings" in loaded
    assert not {"numpy", "torch", "scipy"} & loaded


def mtf_file(path: Path, frequencies: object, values: object) -> Path:
    rows = "\n".join(f"{f} {v}" for f, v in zip(frequencies, values, strict=True))
    path.write_text(f"\ndata_\n\nloop_\n_rlnResolutionInversePixel #1\n_rlnMtfValue #2\n{rows}\n\n")
    return path


def test_mtf_file(tmp_path: Path) -> None:
    frequencies, values = read_mtf(mtf_file(tmp_path / "mtf.star", [0, 0.25, 0.5], [1, 0.8, 0.4]))
    assert (frequencies.tolist(), values.tolist()) == ([0, 0.25, 0.5], [1, 0.8, 0.4])


def broken_mtf(kind: str, path: Path) -> Path:
    if kind == "falling":
        return mtf_file(path, [0, 0.3, 0.2], [1, 0.9, 0.8])
    if kind == "negative":
        return mtf_file(path, [0, 0.3], [1, -0.9])
    if kind == "text":
        return mtf_file(path, [0, 0.3], [1, "x"])
    if kind == "other columns":
        path.write_text("\ndata_\n\nloop_\n_rlnA #1\n_rlnB #2\n1 2\n3 4\n\n")
    if kind == "binary":
        path.write_bytes(bytes(range(256)))
    return path


@pytest.mark.parametrize("kind", ["missing", "falling", "negative", "text", "other columns", "binary"])
def test_broken_mtf_files(tmp_path: Path, kind: str) -> None:
    path = broken_mtf(kind, tmp_path / "mtf.star")
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(DataError, match=r"mtf\.star") as caught:
        read_mtf(path)
    assert "\n" not in str(caught.value)
    assert (path.read_bytes() if path.exists() else None) == before
