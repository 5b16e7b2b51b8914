"""Folders of subtomograms: what else lies in them is no subtomogram, and nothing is dropped without a word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.mrc_writing import write_mrc

from cryoreg.datasets.readers.mrc_folder import MrcFolder
from cryoreg.errors import DataError

FOLDERS = {
    # situation: (files, right: the ids, or what the one line says)
    "flat": (["1.mrc", "2.mrc"], ["1", "2"]),
    "upper case": (["1.mrc", "2.MRC", "3.Mrc"], ["1", "2", "3"]),
    "of macOS": (["1.mrc", "2.mrc", "._1.mrc", ".hidden.mrc"], ["1", "2"]),
    "CTF volumes of Warp": (["T_01_10.00A.mrc", "T_01_ctf_10.00A.mrc"], ["T_01_10.00A"]),
    "halves and mask": (["1.mrc", "1_half1.mrc", "1_half2.mrc", "1_mask.mrc", "2.mrc"], ["1", "2"]),
    "even and odd": (["1.mrc", "1_even.mrc", "1_ODD.mrc"], ["1"]),
    "halves alone": (["1_half1.mrc", "2_half1.mrc"], ["1_half1", "2_half1"]),
    "a class named ctf": (["ctf/1.mrc", "other/1.mrc"], ["ctf/1", "other/1"]),
    "CTF volumes in classes": (["a/1.mrc", "a/1_ctf.mrc", "b/1.mrc"], ["a/1", "b/1"]),
    "weights of RELION 4": (["1_data.mrc", "1_weights.mrc", "2_data.mrc", "2_weights.mrc"], ["1_data", "2_data"]),
    "all that RELION 4 can write": (
        [f"1_{what}.mrc" for what in ("data", "weights", "CTF2", "div", "multi", "data_nrm", "CTF2_nrm")],
        ["1_data"],
    ),
    "weights alone": (["1_weights.mrc", "2_weights.mrc"], ["1_weights", "2_weights"]),
    "loose beside classes": (["a/1.mrc", "2.mrc"], "beside folders of MRC files"),
    "deeper than classes": (
        ["a/1.mrc", "b/1.mrc", "b/more/2.mrc"],
        "more: holds MRC files below the folder of a class",
    ),
    "deeper than flat": (["a/b/1.mrc"], "b: holds MRC files below the folder of a class"),
    "a class without files": (["a/1.mrc", "b/1.em"], "b: this class holds no MRC files"),
    "two of one name": (["1.mrc", "1.rec"], "1"),
}


@pytest.mark.parametrize("situation", FOLDERS)
def test_every_subtomogram_and_nothing_else(situation: str, tmp_path: Path) -> None:
    files, right = FOLDERS[situation]
    for number, file in enumerate(files):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        write_mrc(tmp_path / file, np.random.default_rng(number).normal(size=(4, 4, 4)).astype(np.float32), 10.0)
    if isinstance(right, str):
        with pytest.raises(DataError, match=right):
            MrcFolder(tmp_path)
        return
    dataset = MrcFolder(tmp_path)
    assert list(dataset.ids) == right
    hidden = sum(Path(file).name.startswith(".") for file in files)
    left_out = len(files) - hidden - len(right)
    assert [note.split()[0] for note in dataset.notes] == ([str(left_out)] if left_out else [])


def test_weights_of_relion_have_other_boxes(tmp_path: Path) -> None:
    """Half of Fourier space, CTF² and multiplicity one upon the other: https://github.com/3dem/relion/issues/873."""
    for name, shape in {"1_data": (8, 8, 8), "1_weights": (16, 8, 5)}.items():
        write_mrc(tmp_path / f"{name}.mrc", np.random.default_rng(0).normal(size=shape).astype(np.float32), 10.0)
    assert list(MrcFolder(tmp_path).ids) == ["1_data"]
