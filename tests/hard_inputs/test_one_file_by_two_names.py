"""One file that goes by two names: links, paths and numbers that are spelt in two ways."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.coded import write_coded
from support.mrc_writing import noise, write_mrc

from cryoreg.datasets.readers.star import Star
from cryoreg.datasets.readers.tomogram import TomogramParticles
from cryoreg.errors import DataError


def listed(folder: Path, *tomograms: str) -> Path:
    rows = [f"{10 + 3 * row},11,12,{name}" for row, name in enumerate(tomograms)]
    (folder / "p.csv").write_text("\n".join(["x,y,z,tomogram", *rows]) + "\n")
    return folder / "p.csv"


@pytest.mark.parametrize("names", [("TS_01", "TS_02"), ("TS_01.mrc", "TS_02.mrc"), ("./TS_01.mrc", "TS_02")])
def test_a_link_is_no_second_tomogram(names: tuple[str, str], tmp_path: Path) -> None:
    """Both would be groups of their own, so that one tomogram is in training and test."""
    write_coded(tmp_path / "TS_01.mrc")
    (tmp_path / "TS_02.mrc").symlink_to("TS_01.mrc")
    with pytest.raises(DataError, match=r"p\.csv: names the tomograms '.*TS_01.*' and '.*TS_02.*', which are one file"):
        TomogramParticles(listed(tmp_path, *names), box=4)


@pytest.mark.parametrize("names", [("TS_01", "TS_01.mrc"), ("TS_01.tomostar", "TS_01.mrc"), ("TS_01", "./TS_01.mrc")])
def test_two_spellings_are_one_tomogram(names: tuple[str, str], tmp_path: Path) -> None:
    write_coded(tmp_path / "TS_01.mrc")
    assert len(TomogramParticles(listed(tmp_path, *names), box=4)) == 2


def test_a_spelling_that_may_be_either_of_two_files(tmp_path: Path) -> None:
    for number, name in enumerate(("TS_01.mrc", "TS_01.rec")):
        write_coded(tmp_path / name, number)
    assert len(TomogramParticles(listed(tmp_path, "TS_01.mrc", "TS_01.rec"), box=4)) == 2
    with pytest.raises(DataError, match="names the tomogram 'TS_01'"):
        TomogramParticles(listed(tmp_path, "TS_01.mrc", "TS_01.rec", "TS_01"), box=4)


def test_links_to_two_tomograms_are_two(tmp_path: Path) -> None:
    for number in (1, 2):
        write_coded(tmp_path / "store" / f"{number}.mrc", number)
        (tmp_path / f"TS_0{number}.mrc").symlink_to(tmp_path / "store" / f"{number}.mrc")
    assert len(TomogramParticles(listed(tmp_path, "TS_01", "TS_02"), box=4)) == 2


def images(folder: Path, *names: str) -> Path:
    for name in ("a", "b"):
        write_mrc(folder / "volumes" / f"{name}.mrc", noise((8, 8, 8)))
    (folder / "link.mrc").symlink_to(folder / "volumes" / "a.mrc")
    (folder / "p.star").write_text("data_\nloop_\n_rlnImageName\n" + "".join(f"{name}\n" for name in names))
    return folder / "p.star"


@pytest.mark.parametrize(
    "names",
    [
        ("volumes/a.mrc", "./volumes/a.mrc"),
        ("volumes/a.mrc", "volumes/../volumes/a.mrc"),
        ("link.mrc", "volumes/a.mrc"),
        ("1@volumes/a.mrc", "000001@volumes/a.mrc"),
    ],
)
def test_an_image_that_is_listed_twice(names: tuple[str, str], tmp_path: Path) -> None:
    path = images(tmp_path, "volumes/b.mrc", *names)
    with pytest.raises(
        DataError, match=rf"lists '{names[0]}' twice \(rows 1 and 2, there as '{names[1]}'\); remove one"
    ):
        Star(path)


def test_images_that_are_two(tmp_path: Path) -> None:
    assert len(Star(images(tmp_path, "volumes/a.mrc", "volumes/b.mrc"))) == 2
