"""Checkpoints: plain dicts that `torch.load(..., weights_only=True)` reads, with a checksum, written atomically.

The checksum is the zip archive's comment, so the file stays an ordinary torch file.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch

from cryoreg.errors import CheckpointError, message_of
from cryoreg.files import require_file, write_atomically

State = dict[str, Any]
"""What a checkpoint holds: tensors and plain values."""
FORMAT = 2
_MARK = b"cryoreg-sha256:"
_COMMENT_SIZE = len(_MARK) + 64


def save_checkpoint(path: Path, content: State) -> None:
    """Write ``content`` (tensors and plain Python types) to ``path`` and read it back before it counts as written.

    Raises `RunFolderError` where the disk is full or read-only, and `CheckpointError` where ``content`` holds a type
    that could not be loaded safely. The previous file survives both.
    """
    data = _with_checksum(_serialise({"format": FORMAT, **content}))
    write_atomically(path, lambda file: file.write(data), check=load_checkpoint)


def load_checkpoint(path: Path) -> State:
    """Read a checkpoint on the CPU; raise `CheckpointError` where it is missing, damaged, unsafe or not one of ours."""
    require_file(path, CheckpointError)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint {path}") from None
    except OSError as error:
        raise CheckpointError(f"cannot read checkpoint {path}: {error.strerror}") from error
    _verify(data, path)
    content = _deserialise(data, path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a cryoreg checkpoint of format {FORMAT}")
    return content


def read_checkpoint(path: Path) -> tuple[State, str]:
    """Read a checkpoint, as safely as `load_checkpoint`, and what is wrong with it; empty where nothing is.

    Raises `CheckpointError` where it cannot be read at all.
    """
    try:
        return load_checkpoint(path), ""
    except CheckpointError as error:
        content = _salvaged(path)
        if not isinstance(content, dict) or "module" not in content:
            raise
        return content, str(error)


def _salvaged(path: Path) -> object:
    """Return what a file holds whose checksum does not match; None where it cannot be read."""
    try:
        return _deserialise(path.read_bytes(), path)
    except (CheckpointError, OSError):
        return None


def _serialise(content: State) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _deserialise(data: bytes, path: Path) -> Any:
    refuse_packed(io.BytesIO(data), path)
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"checkpoint {path} holds objects other than tensors and plain values, which could run code; refused"
        ) from None
    except Exception as error:
        raise CheckpointError(f"cannot read checkpoint {path}: {message_of(error)}") from error


def refuse_packed(file: BinaryIO, path: Path) -> None:
    """Raise `CheckpointError` where a file of torch would be larger in memory than on disk: torch packs nothing."""
    try:
        entries = zipfile.ZipFile(file).infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        entries = []  # an older format, or none: torch will say so
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if sum(entry.file_size for entry in entries) > size:
        raise CheckpointError(f"checkpoint {path} is packed, so that it could fill the memory; save it by torch again")


def _with_checksum(archive: bytes) -> bytes:
    """Append a comment to a zip archive that has none: its length is the archive's last two bytes."""
    data = archive[:-2] + struct.pack("<H", _COMMENT_SIZE)
    return data + _MARK + hashlib.sha256(data).hexdigest().encode()


def _verify(data: bytes, path: Path) -> None:
    body, comment = data[:-_COMMENT_SIZE], data[-_COMMENT_SIZE:]
    if not comment.startswith(_MARK):
        raise CheckpointError(f"{path} is truncated, or not a cryoreg checkpoint: its checksum is missing")
    if hashlib.sha256(body).hexdigest().encode() != comment.removeprefix(_MARK):
        raise CheckpointError(f"checkpoint {path} is damaged: its checksum does not match; use an older copy")
