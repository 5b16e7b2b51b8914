"""Montages of slices: where a voxel goes, on which side the border is, and what is no montage."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.refusing import check_dataset, refused

from cryoreg.datasets.specs import PngMontageSpec
from cryoreg.errors import ConfigError


def cube(edge: int = 28, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(20, 250, (edge,) * 3).astype("u1")


def montage(volume: np.ndarray, columns: int = 6, border: int = 1, before: bool = False, grey: int = 0) -> np.ndarray:
    """Lay out slices one by one, in a plain loop."""
    edge = len(volume)
    patch = edge + border
    rows = -(-edge // columns)
    picture = np.full((rows * patch, columns * patch), grey, volume.dtype)
    for z in range(edge):
        top, left = z // columns * patch + before * border, z % columns * patch + before * border
        picture[top : top + edge, left : left + edge] = volume[z]
    return picture


def save(path: Path, picture: np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, format="PNG", **options)
    return path


def test_the_layout_of_the_noble_set(tmp_path):
    volumes = [cube(seed=seed) for seed in range(3)]
    for name, volume in zip(["apoferritin/1", "apoferritin/2", "rubisco/1"], volumes, strict=True):
        assert Image.open(save(tmp_path / f"{name}.png", montage(volume))).size == (174, 145)
    dataset = PngMontageSpec(root=tmp_path, voxel_size=9.2).build()
    check_dataset(dataset, volumes, tmp_path)
    assert dataset.ids == ["apoferritin/1", "apoferritin/2", "rubisco/1"]
    assert (list(dataset.classes), list(dataset.labels)) == (["apoferritin", "rubisco"], [0, 0, 1])
    assert (dataset.box, dataset.voxel_size) == ((28, 28, 28), 9.2)
    assert not dataset.notes


@pytest.mark.parametrize(("edge", "columns"), [(28, 6), (9, 3), (8, 3), (8, 4)])
def test_a_pixel_goes_to_its_slice_row_and_column(tmp_path, edge, columns):
    """Slice z = 7, row 2, column 5: in a grid of 6 columns of 29 pixels, (1·29 + 2, 1·29 + 5)."""
    picture = montage(np.zeros((edge,) * 3, "u1"), columns)
    picture[7 // columns * (edge + 1) + 2, 7 % columns * (edge + 1) + 5] = 255
    dataset = PngMontageSpec(root=save(tmp_path / "a.png", picture), patch=edge + 1, box=edge).open()
    assert np.argwhere(dataset[0].volume[0].numpy()).tolist() == [[7, 2, 5]]


@pytest.mark.parametrize("border", [1, 2])
@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("grey", [0, 128, 255])
def test_the_border_is_found_on_either_side(tmp_path, border, before, grey):
    path = save(tmp_path / "a.png", montage(cube(), border=border, before=before, grey=grey))
    check_dataset(PngMontageSpec(root=path, patch=28 + border).open(), [cube()], tmp_path)


def test_slices_without_a_border(tmp_path):
    path = save(tmp_path / "a.png", montage(cube(), border=0))
    check_dataset(PngMontageSpec(root=path, patch=28).open(), [cube()], tmp_path)


@pytest.mark.parametrize("rim", ["empty", "full"])
def test_a_border_that_cannot_be_seen_is_taken_to_be_last(tmp_path, rim):
    """Either everything around the slices is black, or the 'border' holds grey values as well."""
    volume = np.pad(cube(26), 1) if rim == "empty" else cube()
    picture = montage(volume)
    if rim == "full":
        picture[28::29] = cube(174)[0, : len(picture[28::29])]
    dataset = PngMontageSpec(root=save(tmp_path / "a.png", picture)).open()
    check_dataset(dataset, [volume], tmp_path)
    assert "no border of one grey" in dataset.notes[0]


def test_one_file_with_a_clear_border_speaks_for_all(tmp_path):
    save(tmp_path / "a.png", montage(np.pad(cube(26), 1), before=True))
    save(tmp_path / "b.png", montage(cube(), before=True))
    check_dataset(PngMontageSpec(root=tmp_path).open(), [np.pad(cube(26), 1), cube()], tmp_path)


def test_a_square_montage_with_empty_rows(tmp_path):
    picture = np.vstack([montage(cube()), np.zeros((29, 174), "u1")])
    check_dataset(PngMontageSpec(root=save(tmp_path / "a.png", picture)).open(), [cube()], tmp_path)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "I;16"])
def test_grey_pictures_in_any_mode(tmp_path, mode):
    picture = montage(cube())
    image = Image.fromarray(picture.astype("u2") * 257) if mode == "I;16" else Image.fromarray(picture).convert(mode)
    image.save(tmp_path / "a.png")
    expected = cube().astype("u2") * 257 if mode == "I;16" else cube()
    check_dataset(PngMontageSpec(root=tmp_path).open(), [expected], tmp_path)


# ---- what is refused


def colourful() -> Image.Image:
    picture = np.repeat(montage(cube())[..., None], 3, axis=2)
    picture[3, 4, 1] += 1
    return Image.fromarray(picture)


def transparent(mode: str) -> Image.Image:
    image = Image.fromarray(montage(cube())).convert(mode)
    image.putalpha(7)
    return image


def empty_last() -> np.ndarray:
    picture = montage(cube())
    picture[-20, -20] = 9
    return picture


PICTURES = {
    "size": (Image.new("L", (174, 144)), "174×144 pixels, no grid of 29×29 patches for 28 slices"),
    "too few patches": (Image.new("L", (29 * 5, 29 * 5)), "145×145 pixels, no grid"),
    "too many patches": (Image.new("L", (29 * 60, 29 * 60)), "1740×1740 pixels, no grid"),
    "tiny": (Image.new("L", (1, 1)), "1×1 pixels, no grid"),
    "colour": (colourful(), "colour image"),
    "transparent": (transparent("RGBA"), "partly transparent"),
    "transparent grey": (transparent("LA"), "partly transparent"),
    "constant": (Image.new("L", (174, 145), 7), "constant (every voxel is 7)"),
    "more slices": (Image.fromarray(empty_last()), "slices beyond the first 28"),
}


def read(path: Path) -> None:
    list(PngMontageSpec(root=path).open())


@pytest.mark.parametrize(("image", "phrase"), PICTURES.values(), ids=PICTURES)
def test_pictures_that_are_no_montage(tmp_path, image, phrase):
    image.save(tmp_path / "a.png")
    refused(lambda: read(tmp_path / "a.png"), phrase, root=tmp_path / "a.png")


def bomb(path: Path) -> None:
    """A header that claims ten billion pixels."""
    fields = struct.pack(">2I5B", 100_000, 100_000, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + fields
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))


DAMAGED = {
    "truncated": (lambda path: os.truncate(path, path.stat().st_size // 2), "cannot be read"),
    "truncated header": (lambda path: os.truncate(path, 20), "a.png: "),
    "empty": (lambda path: os.truncate(path, 0), "not a PNG image"),
    "text": (lambda path: path.write_text("no picture"), "not a PNG image"),
    "jpeg": (lambda path: Image.new("L", (174, 145)).save(path, format="JPEG"), "not a PNG image"),
    "bomb": (bomb, "a.png: "),
    "flipped bits": (flip, "a.png: "),
    "folder": (lambda path: (path.unlink(), path.mkdir()), "holds no PNG files"),
    "missing": (lambda path: path.unlink(), "does not exist"),
}


@pytest.mark.parametrize(("damage", "phrase"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_pictures(tmp_path, damage, phrase):
    path = save(tmp_path / "a.png", montage(cube()))
    damage(path)
    refused(lambda: read(path), phrase, root=path)


def test_borders_on_both_sides_are_not_mixed(tmp_path):
    save(tmp_path / "a.png", montage(cube()))
    save(tmp_path / "b.png", montage(cube(), before=True))
    refused(lambda: PngMontageSpec(root=tmp_path).open(), "b.png has a border before", "a.png after", root=tmp_path)


def test_a_patch_holds_a_slice(tmp_path):
    with pytest.raises(ConfigError, match=r"patch = 27 is smaller than dataset\.box = 28"):
        PngMontageSpec(root=tmp_path, patch=27).open()
