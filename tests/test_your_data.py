"""docs/your-data.md, typed from top to bottom."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryoreg.api import create_dataset

PAGE = Path(__file__).parents[1] / "docs" / "your-data.md"


@pytest.mark.slow
def test_the_page_can_be_typed_and_leaves_the_files_as_they_were(tmp_path):
    from console_blocks import run_page

    run_page(PAGE, tmp_path)
    stored, simulated = (create_dataset("store", root=tmp_path / f"{name}.h5") for name in ("particles", "simulated"))
    assert stored.voxel_size == simulated.voxel_size == 12
    assert (stored.tilt_range, stored.tilt_axis, stored.contrast) == ((-60, 60), "y", "bright")
    made, converted = (sorted(float(each[i].volume.sum()) for i in range(120)) for each in (simulated, stored))
    assert converted == pytest.approx(made, abs=1e-2)  # twice inverted
    assert (tmp_path / "preview.png").read_bytes().startswith(b"\x89PNG")
    assert len(list((tmp_path / "from_elsewhere").iterdir())) == 120
