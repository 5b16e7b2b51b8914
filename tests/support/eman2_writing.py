"""EMAN2's files, written from its source (HdfIO2::write_header and write_data, LSXFile.write) with h5py alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np


def write_attribute(group: h5py.Group, name: str, value: Any) -> None:
    """Write what EMAN2 calls ``name``: numbers as arrays of one, text of a fixed length that ends with a zero byte."""
    if isinstance(value, str):
        raw = value.encode() + b"\0"
        kind = h5py.h5t.C_S1.copy()
        kind.set_size(len(raw))
        space = h5py.h5s.create(h5py.h5s.SCALAR)
        attribute = h5py.h5a.create(group.id, f"EMAN.{name}".encode(), kind, space)
        attribute.write(np.frombuffer(raw, f"S{len(raw)}"), mtype=kind)
        return
    values = np.atleast_1d(np.asarray(value))
    group.attrs[f"EMAN.{name}"] = values.astype(np.float32 if values.dtype.kind == "f" else np.int32)


def transform(group: h5py.Group, name: str, matrix: np.ndarray) -> None:
    """Write a Transform: a compound of twelve floats."""
    kind = np.dtype([(f"{row}{column}", "<f4") for row in range(3) for column in range(4)])
    group.attrs[f"EMAN.{name}"] = np.array([tuple(matrix.ravel())], dtype=kind)


def add_image(file: h5py.File, number: int, voxels: np.ndarray, bits: int | None = None, **said: Any) -> None:
    """Add an image (nz, ny, nx), or (ny, nx), in ``bits`` where given: rendered from its minimum to its maximum."""
    images = file.require_group("/MDF/images")
    images.attrs["imageid_max"] = np.array([max(number, int(images.attrs.get("imageid_max", [-1])[0]))], np.int32)
    group = images.create_group(str(number))
    for axis, edge in zip("xyz", (*voxels.shape[::-1], 1), strict=False):
        write_attribute(group, f"n{axis}", edge)
    for name, value in said.items():
        write_attribute(group, name, value)
    transform(group, "xform.align3d", np.eye(3, 4))
    if bits is None:
        group.create_dataset("image", data=voxels)
        return
    low, high, most = float(voxels.min()), float(voxels.max()), 2**bits - 1
    rendered = np.round((voxels - low) * most / (high - low)).astype(np.uint8 if bits <= 8 else np.uint16)
    chunks = (1, *voxels.shape[1:]) if voxels.ndim == 3 else voxels.shape
    group.create_dataset("image", data=rendered, chunks=chunks, compression="gzip", compression_opts=1)
    for name, value in {"min": low, "max": high, "bits": bits}.items():
        write_attribute(group, f"stored_render{name}", value)


def write_stack(
    path: Path,
    volumes: Iterable[np.ndarray],
    apix: float | None = 10.0,
    places: Sequence[Sequence[float]] | None = None,
    bits: int | None = None,
    **said: Any,
) -> Path:
    """Write 3D particles as e2spt_extract does: ``<tomogram>__<label>.hdf``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for number, voxels in enumerate(volumes):
            sizes = {} if apix is None else {f"apix_{axis}": apix for axis in "xyz"}
            place = [float(value) for value in (places[number] if places else (number, 2, -3))]
            of_extraction = {"class_ptcl_src": f"particles/{path.name}", "file_twod": f"particles/{path.name}"}
            header = {**sizes, "ptcl_source_coord": place, "model_id": number, **of_extraction, **said}
            add_image(
                file, number, voxels, bits, **{name: value for name, value in header.items() if value is not None}
            )
    return path


def write_list(path: Path, rows: Iterable[tuple[int, str, Mapping[str, Any] | str | None]]) -> Path:
    """Write a list of images as LSXFile does, with lines of one length."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, file, said in rows:
        text = json.dumps(said, sort_keys=True, separators=(",", ":")) if isinstance(said, Mapping) else said
        lines.append(f"{number}\t{file}" + (f"\t{text}" if text is not None else ""))
    length = max(map(len, lines), default=0) + 1 + 4
    filled = [f"{line:<{length - 1}}\n" for line in lines]
    path.write_text("".join(["#LSX\n# This file is in fast LST format.\n", f"# {length}\n", *filled]))
    return path
