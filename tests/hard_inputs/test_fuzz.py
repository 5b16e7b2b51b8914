"""Damaged files of every format: right, or one line; no traceback, no hang, no more than 1 GB of memory.

Seeded, and bounded to a minute in all. ``CRYOREG_FUZZ=<seconds>`` looks so long at each format, and at more cases.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from support import particle_writing
from support.fuzzing import Format, fuzz
from support.hard_volumes import coded, mrc
from support.storing import layout, write_store
from support.synthetic import write_classes
from support.tomograms import write_ome_zarr, write_tomogram

from cryoreg.config import Layer, build_spec, resolve
from cryoreg.config.layers import read_toml
from cryoreg.datasets.io.mrc import read_volume
from cryoreg.datasets.tomograms.files import open_tomogram
from cryoreg.runs.checkpoint import load_checkpoint, save_checkpoint
from cryoreg.runs.records import read_records
from cryoreg.runs.weights import load_weights, save_weights

BOX = (8, 8, 8)
SECONDS = float(os.environ.get("CRYOREG_FUZZ", "1.6"))
CASES = 120 if SECONDS < 2 else 100_000


def noise(seed: int = 0, shape: tuple[int, ...] = BOX) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype("f4")


# ---- what is written


def packed(folder: Path) -> Path:
    plain = mrc(folder / "t.mrc", noise())
    (folder / "c").mkdir()
    (folder / "c" / "a.mrc.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    return folder / "c" / "a.mrc.gz"


def stack(folder: Path) -> Path:
    return mrc(folder / "s.mrcs", noise(0, (24, 8, 8)), group=401, intervals=(8, 8, 8))


def a_tiff(folder: Path, **options: Any) -> Path:
    tifffile.imwrite(folder / "t.tif", (noise() * 1000).astype("i2"), photometric="minisblack", **options)
    return folder / "t.tif"


def lzw(folder: Path) -> Path:
    pages = [Image.fromarray(section) for section in coded("u1", 0)]
    pages[0].save(folder / "t.tif", save_all=True, append_images=pages[1:], compression="tiff_lzw")
    return folder / "t.tif"


def archive(folder: Path) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("dataset_1", data=noise(0, (4, *BOX)), chunks=True, compression="gzip")
        file.create_dataset("target", data=np.array([0, 1, 0, 1]))
    return folder / "a.h5"


def pickled(folder: Path) -> Path:
    (folder / "a.pickle").write_bytes(pickle.dumps([{"v": noise(i), "id": "ab"[i % 2]} for i in range(4)]))
    return folder / "a.pickle"


def arrays(folder: Path) -> Path:
    np.save(folder / "a.npy", noise(0, (3, *BOX)))
    return folder / "a.npy"


def montages(folder: Path) -> Path:
    picture = np.random.default_rng(0).integers(20, 250, (145, 174)).astype("u1")
    picture[116:, 116:] = 0
    Image.fromarray(picture).save(folder / "a.png")
    return folder / "a.png"


def images(folder: Path) -> Path:
    write_classes(folder / "volumes", per_class=2, box=8)
    names = sorted(str(file.relative_to(folder)) for file in (folder / "volumes").rglob("*.mrc"))
    columns = {"rlnImageName": names, "rlnClassNumber": list(range(len(names))), "rlnOpticsGroup": 1}
    optics = {"rlnOpticsGroup": [1], "rlnImagePixelSize": [10.0], "rlnImageSize": [8]}
    return particle_writing.write_star(folder / "list.star", columns, optics)


def a_list(write: Any) -> Any:
    def make(folder: Path) -> Path:
        write_tomogram(folder / "tomograms" / "TS_01.mrc")
        return Path(write(folder))

    return make


def a_csv(folder: Path) -> Path:
    with open(folder / "list.csv", "w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["x", "y", "z", "tomogram", "class"])
        rows.writerows([[*point, "TS_01", "ab"[i % 2]] for i, point in enumerate(particle_writing.POINTS)])
    return folder / "list.csv"


def portal(folder: Path) -> Path:
    lines = [json.dumps({"location": dict(zip("xyz", point, strict=True))}) for point in particle_writing.POINTS]
    (folder / "list.ndjson").write_text("\n".join(lines))
    return folder / "list.ndjson"


def settings(folder: Path) -> Path:
    config = resolve("pretrain", [Layer("test", {"dataset": {"name": "demo"}})])
    (folder / "config.toml").write_text(config.to_toml())
    return folder / "config.toml"


def weights(folder: Path) -> Path:
    config = resolve("pretrain", [Layer("test", {"dataset": {"name": "demo"}})])
    card = {"format": 1, "cryoreg": "0", **{k: v for k, v in config.to_dict().items() if k in ("encoder", "method")}}
    save_weights(folder / "encoder.safetensors", {"a": torch.arange(8.0), "b.c": torch.zeros(2, 3)}, card)
    return folder / "encoder.safetensors"


def checkpoint(folder: Path) -> Path:
    save_checkpoint(folder / "last.ckpt", {"module": {"a": torch.arange(8.0)}, "progress": {"step": 3, "epoch": 1}})
    return folder / "last.ckpt"


# ---- how it is read


def volume(path: Path) -> None:
    check(read_volume(path))


def tomogram(path: Path) -> None:
    opened = open_tomogram(path)
    voxels = check(opened[:])
    assert voxels.shape == opened.shape


def check(voxels: np.ndarray) -> np.ndarray:
    assert voxels.dtype == np.float32
    assert np.isfinite(voxels).all()
    return voxels


def dataset(name: str, **parameters: Any) -> Any:
    def use(path: Path) -> None:
        root = path.parent.parent if path.suffix == ".gz" else path
        told = {key: path.parent / value if key == "tomograms" else value for key, value in parameters.items()}
        opened: Any = build_spec("dataset", name, {"root": root, **told}).spec.build()
        assert len(opened) == len(opened.ids) == len(set(opened.ids)) == len(opened.labels) == len(opened.groups)
        for index in range(len(opened)):
            sample = opened[index]
            assert sample.volume.shape == (1, *opened.box)
            check(sample.volume.numpy())
            assert sample.label is None or 0 <= sample.label < len(opened.classes)

    return use


def in_a_run(path: Path) -> None:
    if path.suffix == ".toml":
        resolve("pretrain", [read_toml(path)])
    read_records(path)


def trained(path: Path) -> None:
    load_weights(path)
    read_records(path)


def resumed(path: Path) -> None:
    load_checkpoint(path)
    read_records(path)


LISTED = dataset("tomogram", tomograms="tomograms", box=8)
FORMATS = {
    "mrc": Format(lambda folder: mrc(folder / "t.mrc", noise()), volume),
    "mrc, integers": Format(lambda folder: mrc(folder / "t.mrc", coded("i2")), volume),
    "mrc, tomogram": Format(lambda folder: mrc(folder / "t.mrc", noise(), extended=b"x" * 80), tomogram),
    "mrc.gz": Format(packed, dataset("mrc_folder")),
    "mrcs": Format(stack, dataset("mrc_stack")),
    "tiff": Format(a_tiff, tomogram),
    "tiff, ImageJ": Format(lambda folder: a_tiff(folder, byteorder=">", bigtiff=True), tomogram),
    "tiff, deflate": Format(lambda folder: a_tiff(folder, compression="zlib"), tomogram),
    "tiff, LZW": Format(lzw, tomogram),
    "zarr 2": Format(lambda folder: write_ome_zarr(folder / "t.zarr", {10.0: noise()}), tomogram),
    "zarr 3": Format(lambda folder: write_ome_zarr(folder / "t.zarr", {10.0: noise()}, zarr_format=3), tomogram),
    "hdf5": Format(archive, dataset("lab")),
    "store": Format(lambda folder: write_store(folder / "a.h5", layout(4)), dataset("store")),
    "pickle": Format(pickled, dataset("lab")),
    "npy": Format(arrays, dataset("npy_folder")),
    "png": Format(montages, dataset("png_montage")),
    "star, images": Format(images, dataset("star", label="rlnClassNumber")),
    "star, RELION 3": Format(a_list(particle_writing.relion3), LISTED),
    "star, RELION 4": Format(a_list(particle_writing.relion4), LISTED),
    "star, RELION 5": Format(a_list(particle_writing.relion5), LISTED),
    "star, Warp": Format(a_list(particle_writing.warp), LISTED),
    "tbl and doc": Format(a_list(particle_writing.dynamo), LISTED),
    "csv": Format(a_list(a_csv), LISTED),
    "ndjson": Format(a_list(portal), LISTED),
    "json": Format(a_list(particle_writing.copick), LISTED),
    "toml": Format(settings, in_a_run),
    "safetensors": Format(weights, trained),
    "ckpt": Format(checkpoint, resumed),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_end_in_one_line(name: str, tmp_path: Path) -> None:
    outcome = fuzz(FORMATS[name], tmp_path, seed=20261128, seconds=SECONDS, most=CASES)
    assert not outcome.faults, "\n".join(outcome.faults[:20])
    assert outcome.cases > 0
    assert outcome.read < outcome.cases or outcome.cases < 5, "no damage was seen"
