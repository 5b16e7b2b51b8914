"""Pickles of others, read without running any code.

Only containers, plain values and NumPy arrays are understood; every other name in a pickle ends the reading. Nothing of
NumPy is called: arrays become `StoredArray`, which remembers where in the file the numbers lie. So a pickle of any size
is opened with little memory, and a claim of a huge size is met by the size of the file.
"""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple, NoReturn

import numpy as np

from cryoreg.datasets.io.volume_files import one_line, refuse
from cryoreg.errors import DataError

_LAZY_FROM = 4096
"""Bytes: shorter strings are read at once."""
_NUMPY = re.compile(r"numpy\.(core|_core)\.(multiarray|numeric|_multiarray_umath)")
_TYPE = re.compile(r"[<>=|]?([biuf][1-9]\d?|[SU]\d{1,4})")
_ORDERS = {"<", ">", "=", "|"}


class Span(NamedTuple):
    """A run of bytes in the file."""

    offset: int
    length: int


class Refused(Exception):
    """What a pickle asks for is not allowed; the message says what, as the end of a sentence."""


class StoredType:
    """Stands for a `numpy.dtype` while a pickle is read."""

    __slots__ = ("dtype",)

    def __init__(self, code: object, *_: object) -> None:
        text = plain(code)
        if text in ("O", "O8", "O4"):
            raise Refused("holds arrays of Python objects; save arrays of plain numbers")
        if not isinstance(text, str) or not _TYPE.fullmatch(text):
            raise Refused(f"holds an array of type {str(text)[:40]!r}; save arrays of plain numbers")
        self.dtype = np.dtype(text)

    def set_state(self, state: Any) -> None:
        """Take the byte order."""
        order = plain(state[1])
        if order not in _ORDERS:
            raise Refused("holds a damaged array type; export it again")
        if order in ("<", ">"):
            self.dtype = np.dtype(order + self.dtype.str[1:])


class StoredArray:
    """An array whose numbers lie in the file, or in memory where the pickle does not hold them as they are."""

    __slots__ = ("data", "dtype", "fortran", "shape")

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self.dtype = np.dtype("f4")
        self.fortran = False
        self.data: bytes | Span = b""

    def set_state(self, state: Any) -> None:
        """Take what `numpy.ndarray.__reduce__` gives: (version,) shape, type, order, data."""
        shape, stored_type, fortran, data = state[-4:]
        self.fill(shape, stored_type, bool(fortran), data)

    def fill(self, shape: object, stored_type: object, fortran: bool, data: object) -> None:
        """Take shape, type, order and data, which must agree."""
        if not isinstance(stored_type, StoredType) or not isinstance(data, (bytes, Span)):
            raise Refused("holds a damaged array; export it again")
        if not isinstance(shape, tuple) or not all(type(edge) is int and edge >= 0 for edge in shape) or len(shape) > 8:
            raise Refused("holds an array of a damaged shape; export it again")
        self.shape, self.dtype, self.fortran, self.data = shape, stored_type.dtype, fortran, data
        length = data.length if isinstance(data, Span) else len(data)
        if int(np.prod([1, *shape], dtype=object)) * self.dtype.itemsize != length:
            raise Refused("holds an array whose size is not that of its data; export it again")

    def load(self, file: str, slot: int | None = None) -> np.ndarray:
        """Return the array, or with ``slot`` one element along its first axis, reading nothing else of the file."""
        shape, skipped = self.shape, 0
        if slot is not None and not self.fortran:
            shape = self.shape[1:]
            skipped = slot * int(np.prod(shape)) * self.dtype.itemsize
        count = int(np.prod(shape))
        if isinstance(self.data, Span):
            flat = np.fromfile(file, self.dtype, count, offset=self.data.offset + skipped)
        else:
            flat = np.frombuffer(self.data, self.dtype, count, skipped)
        array = flat.reshape(shape, order="F" if self.fortran else "C")
        return array[slot] if slot is not None and self.fortran else array

    def item(self) -> object:
        """Return the single value of a small array in memory."""
        if self.shape or not isinstance(self.data, bytes):
            raise Refused("has an array where a class is expected; export it again")
        return np.frombuffer(self.data, self.dtype)[0].item()


def plain(value: object) -> object:
    """Return text for bytes, as Python 2 wrote them, and the value of a NumPy scalar; others as they are."""
    if isinstance(value, StoredArray):
        value = value.item()
    return value.decode("latin1") if isinstance(value, bytes) else value


def read_pickle(path: str | Path) -> object:
    """Return what a pickle holds, with arrays as `StoredArray`; Python 2's strings are bytes (see `plain`).

    Raises `DataError`, one line, for a damaged pickle and for one that asks for anything but containers, numbers, text
    and arrays: its code never runs.
    """
    with one_line(path, "a pickle"):
        try:
            with open(path, "rb") as stream:
                return _Unpickler(stream).load()
        except Refused as error:
            refuse(path, str(error))
        except (OSError, DataError):
            raise
        except (EOFError, pickle.UnpicklingError) as error:
            refuse(path, f"is no pickle, or a truncated one ({' '.join(str(error).split())}); copy or export it again")
        except Exception as error:  # whatever a damaged stream makes Python's own unpickler stumble over
            refuse(path, f"is a damaged pickle ({type(error).__name__}); copy or export it again")


def _reconstruct(*_: object) -> StoredArray:
    """Stand in for NumPy's function of that name: the array's state follows."""
    return StoredArray()


def _frombuffer(data: object, stored_type: object, shape: object, order: object) -> StoredArray:
    """Stand in for NumPy's function of that name, which protocol 5 calls."""
    array = StoredArray()
    array.fill(shape, stored_type, plain(order) == "F", data)
    return array


def _scalar(stored_type: object, data: object) -> StoredArray:
    return _frombuffer(data, stored_type, (), "C")


def _mapping(*pairs: list[tuple[object, object]]) -> dict[object, object]:
    """Stand in for dictionaries that are made from a list of pairs, which is emptied: it can be used only once."""
    found = {}
    for key, value in pairs[0] if pairs else ():
        _check_key(key)
        found[key] = value
    if pairs:
        pairs[0].clear()
    return found


def _check_key(key: object) -> None:
    """Refuse keys that are no plain values: hashing deeply nested tuples ends the process."""
    if not isinstance(key, (str, bytes, int, float, StoredArray)):
        raise Refused(f"has a dictionary with keys of type {type(key).__name__}; use names or numbers")


def _array_class(*_: object) -> NoReturn:
    raise Refused("makes arrays in an unknown way; export it again")


_ALLOWED: dict[tuple[str, str], Callable[..., object]] = {
    ("numpy", "dtype"): StoredType,
    ("numpy", "ndarray"): _array_class,
    ("numpy", "_reconstruct"): _reconstruct,
    ("numpy", "_frombuffer"): _frombuffer,
    ("numpy", "scalar"): _scalar,
    ("collections", "OrderedDict"): _mapping,
    ("builtins", "dict"): _mapping,
    ("builtins", "bytes"): lambda: b"",
}


class _Bounded:
    """The file, which never gives more than it has, and never tries to."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.size = os.fstat(stream.fileno()).st_size
        self.readline = stream.readline

    def read(self, count: int) -> bytes:
        return self._stream.read(self._within(count))

    def span(self, count: int) -> Span:
        """Skip so many bytes; return where they are."""
        found = Span(self._stream.tell(), self._within(count))
        self._stream.seek(count, os.SEEK_CUR)
        return found

    def _within(self, count: int) -> int:
        if not 0 <= count <= self.size - self._stream.tell():
            raise EOFError("it ends early")
        return count


_InPython: Any = pickle._Unpickler  # type: ignore[attr-defined,unused-ignore]


class _Unpickler(_InPython):
    """Python's own unpickler in Python, which allocates nothing on a claim, with the dangerous steps taken out."""

    dispatch: ClassVar[dict[int, Callable[[_Unpickler], None]]] = {**_InPython.dispatch}

    def __init__(self, stream: BinaryIO) -> None:
        self._bounded = _Bounded(stream)
        self._to_encode = self._bounded.size
        super().__init__(self._bounded, encoding="bytes")

    def find_class(self, module: str, name: str) -> Callable[..., object]:
        """Return the stand-in of an allowed name."""
        home = "numpy" if _NUMPY.fullmatch(module) else {"__builtin__": "builtins"}.get(module, module)
        found = self._encode if (home, name) == ("_codecs", "encode") else _ALLOWED.get((home, name))
        if found is None:
            raise Refused(f"would run code ({f'{module}.{name}'[:80]!r}), so it is not read; export plain arrays")
        return found

    def _encode(self, text: object, encoding: object) -> bytes:
        """Stand in for `codecs.encode`, by which protocols 0 to 2 of Python 3 write bytes; not for more than fit."""
        if plain(encoding) != "latin1" or not isinstance(text, str):
            raise Refused("holds text in an unknown encoding; export it again")
        self._to_encode -= len(text)
        if self._to_encode < 0:
            raise Refused("repeats its data beyond its own size; export plain arrays")
        return text.encode("latin1")

    def persistent_load(self, pid: object) -> NoReturn:
        """Refuse."""
        raise Refused("refers to objects outside of it; export plain arrays")

    def _frame(self) -> None:
        self.read(8)  # frames only help readers that do not seek

    def _bytes(self, width: int, signed: bool = False) -> None:
        length = int.from_bytes(self.read(width), "little", signed=signed)
        self.append(self._bounded.span(length) if length >= _LAZY_FROM else self.read(length))

    def _build(self) -> None:
        """Set the state of an array or its type; of anything else, it could change functions and classes."""
        state = self.stack.pop()
        if not isinstance(self.stack[-1], (StoredArray, StoredType)):
            raise Refused("sets the state of an object that is no array; export plain arrays")
        self.stack[-1].set_state(state)

    def _set_item(self) -> None:
        _check_key(self.stack[-2])
        super().load_setitem()

    def _set_items(self) -> None:
        for key in self.stack[::2]:
            _check_key(key)
        super().load_setitems()

    def _dict(self) -> None:
        for key in self.stack[::2]:
            _check_key(key)
        super().load_dict()

    def _refuse_step(self) -> None:
        raise Refused("holds what is neither containers nor arrays; export plain arrays")

    dispatch[pickle.FRAME[0]] = _frame
    dispatch[pickle.BINBYTES[0]] = lambda self: self._bytes(4)
    dispatch[pickle.BINBYTES8[0]] = lambda self: self._bytes(8)
    dispatch[pickle.BYTEARRAY8[0]] = lambda self: self._bytes(8)
    dispatch[pickle.BINSTRING[0]] = lambda self: self._bytes(4, signed=True)
    dispatch[pickle.BUILD[0]] = _build
    dispatch[pickle.SETITEM[0]] = _set_item
    dispatch[pickle.SETITEMS[0]] = _set_items
    dispatch[pickle.DICT[0]] = _dict
    for _step in (
        *(pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX),
        *(pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER),
    ):
        dispatch[_step[0]] = _refuse_step
