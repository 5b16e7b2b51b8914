"""Pickles that would run code, lie about sizes or nest without end: refused in one line, and nothing happens."""

from __future__ import annotations

import collections
import os
import pickle
import resource
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.refusing import refused

from cryoreg.datasets.io.restricted_pickle import Span, StoredArray, plain, read_pickle

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


class Calls:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def write(path: Path, content: object, protocol: int = 4) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    return path


def loaded(value: object, path: Path) -> object:
    """Return plain Python and NumPy values."""
    if isinstance(value, StoredArray):
        return value.load(str(path))
    if isinstance(value, dict):
        return {plain(key): loaded(each, path) for key, each in value.items()}
    return [loaded(each, path) for each in value] if isinstance(value, (list, tuple)) else plain(value)


# ---- what is read


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("edge", [3, 16])
@pytest.mark.parametrize("dtype", ["u1", "<i2", ">f4"])
@pytest.mark.parametrize("order", "CF")
def test_arrays_are_those_that_numpy_pickled(tmp_path, protocol, edge, dtype, order):
    array = np.asarray(np.arange(edge**3).reshape((edge,) * 3) % 5, dtype=dtype, order=order)
    path = write(tmp_path / "a.pkl", [array, {"x": array[1]}], protocol)
    first, second = loaded(read_pickle(path), path)
    np.testing.assert_array_equal(first, array)
    np.testing.assert_array_equal(second["x"], array[1])
    assert first.dtype == array.dtype


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_values(tmp_path, protocol):
    content = {"a": [1, 2.5, None, True, -(10**30)], 7: ("ä", b"b"), "n": {"o": {}}, "e": b"", "i": np.int64(3)}
    content["d"] = collections.OrderedDict([("k", 1), ("l", [])])
    path = write(tmp_path / "a.pkl", content, protocol)
    expected = {**content, 7: ["ä", "b"], "e": "", "i": 3, "d": dict(content["d"])}
    assert loaded(read_pickle(path), path) == expected


def test_long_data_stay_in_the_file(tmp_path):
    arrays = np.arange(2 * 16**3, dtype="f4").reshape(2, 16, 16, 16)
    path = write(tmp_path / "a.pkl", arrays)
    stored = read_pickle(path)
    assert isinstance(stored.data, Span)
    np.testing.assert_array_equal(stored.load(str(path), 1), arrays[1])


@pytest.mark.parametrize("home", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_pickles_of_python_2_and_of_both_numpys(tmp_path, home):
    """As Python 2 writes ``[{'v': array, 'id': 'ribosome'}]`` with protocol 2: text and data are 8-bit strings."""
    data = np.arange(24, dtype="<f4").reshape(2, 3, 4)
    raw = data.tobytes()

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    array = b"c" + home.encode() + b"\n_reconstruct\ncnumpy\nndarray\nK\0\x85" + text(b"b") + b"\x87R"
    array += b"(K\1K\2K\3K\4\x87cnumpy\ndtype\n" + text(b"f4") + b"K\0K\1\x87R"
    array += (
        b"(K\3" + text(b"<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89T" + struct.pack("<i", len(raw)) + raw
    )
    array += b"tb"
    content = b"\x80\2]}(" + text(b"v") + array + text(b"id") + text(b"ribosome") + b"ua."
    assert pickle.loads(content, encoding="latin1")[0]["id"] == "ribosome"
    path = write(tmp_path / "a.pkl", content)
    record = loaded(read_pickle(path), path)[0]
    np.testing.assert_array_equal(record["v"], data)
    assert record["id"] == "ribosome"


def test_opening_does_not_depend_on_the_size_of_the_data(tmp_path):
    """A sparse pickle of 3 GB, opened with 1 GB of memory to spare."""
    head = pickle.dumps(np.zeros(1, "u1"), 4)
    count = 3 * 1024**3
    path = tmp_path / "a.pkl"
    body = head[11:]  # without the protocol and the frame
    at = body.index(b"C\1\0")
    shape = body.index(b"K\1\x85")
    with open(path, "wb") as file:
        file.write(b"\x80\4" + body[:shape] + b"\x8a\5" + count.to_bytes(5, "little") + body[shape + 2 : at])
        file.write(b"\x8e" + struct.pack("<Q", count))
        file.seek(count, os.SEEK_CUR)
        file.write(body[at + 3 :])
    stored = _with_memory(1024**3, lambda: read_pickle(path))
    assert stored.shape == (count,)
    assert stored.data.length == count


def _with_memory(spare: int, call):
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + spare, before[1]))
    try:
        return call()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


# ---- what is refused

TOUCH = "open('evil', 'w').close()"
EVIL = {
    "os.system": lambda: Calls(os.system, "touch evil"),
    "eval": lambda: Calls(eval, TOUCH),
    "exec": lambda: Calls(exec, TOUCH),
    "subprocess": lambda: Calls(subprocess.Popen, ["touch", "evil"]),
    "open": lambda: Calls(open, "evil", "w"),
    "getattr": lambda: Calls(getattr, "x", "join"),
    "numpy.load": lambda: Calls(np.load, "evil.npy"),
    "numpy.fromfile": lambda: Calls(np.fromfile, "/etc/passwd"),
    "numpy.save": lambda: Calls(np.save, "evil", 3),
    "numpy memmap": lambda: Calls(np.memmap, "evil", "u1", "w+", 0, (3,)),
    "pickle.loads": lambda: Calls(pickle.loads, pickle.dumps(Calls(os.system, "touch evil"))),
    "bytes of any size": lambda: Calls(bytearray, 10**13),
    "range": lambda: Calls(list, range(10**10)),
    "set": lambda: {1, 2},
    "class": lambda: Path,
    "instance": lambda: Calls(Path, "/"),
}


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("name", EVIL)
def test_nothing_runs(tmp_path, monkeypatch, name, protocol):
    monkeypatch.chdir(tmp_path)
    for content in (EVIL[name](), [{"v": [EVIL[name]()], "id": "x"}]):
        path = write(tmp_path / "a.pkl", content, protocol)
        refused(lambda path=path: read_pickle(path), root=path)
        assert os.listdir(tmp_path) == ["a.pkl"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_message_names_what_would_run(tmp_path, protocol):
    path = write(tmp_path / "a.pkl", Calls(os.system, "true"), protocol)
    refused(lambda: read_pickle(path), f"would run code ('{os.name}.system')", root=path)


GLOBALS = [
    *("numpy.f2py.crackfortran myeval", "numpy.testing._private.utils runstring", "numpy.core.multiarray _load_from"),
    *("numpy.lib.npyio load", "numpy.distutils.exec_command exec_command", "builtins __import__", "nt system"),
    *("numpy.core._internal eval", "numpy.core.multiarray.os system", "numpy ndarray.tofile", "torch load"),
    *("cryoreg.datasets.io.restricted_pickle read_pickle", "collections namedtuple", "copy_reg _reconstructor"),
]


@pytest.mark.parametrize("name", GLOBALS)
def test_only_a_few_names_are_known(tmp_path, name):
    module, attribute = name.split()
    path = write(tmp_path / "a.pkl", f"c{module}\n{attribute}\n(tR.".encode())
    refused(lambda: read_pickle(path), "would run code", module, root=path)


def array_state(shape: bytes, code: bytes = b"f4", data: bytes = b"C\4\0\0\0\0") -> bytes:
    """Return a pickle of an array with any shape (an opcode), type and data."""
    dtype = b"cnumpy\ndtype\nU" + bytes([len(code)]) + code + b"K\0K\1\x87R"
    head = b"\x80\4cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85C\1b\x87R"
    return head + b"(K\1" + shape + dtype + b"\x89" + data + b"tb."


BUILT = {
    "huge shape": (array_state(b"\x8a\6" + (10**13).to_bytes(6, "little") + b"\x85"), "not that of its data"),
    "negative shape": (array_state(b"J\xff\xff\xff\xff\x85"), "damaged shape"),
    "shape of text": (array_state(b"U\1a\x85"), "damaged shape"),
    "many axes": (array_state(b"(" + b"K\1" * 60 + b"t"), "damaged shape"),
    "objects": (array_state(b"K\1\x85", b"O8", b"]"), "Python objects"),
    "records": (array_state(b"K\1\x85", b"f4,f4"), "of type 'f4,f4'"),
    "void": (array_state(b"K\1\x85", b"V4"), "of type 'V4'"),
    "no type": (array_state(b"K\1\x85", b"f3"), "damaged pickle"),
    "list for data": (array_state(b"K\1\x85", b"f4", b"]"), "damaged array"),
    "claim of 8 TB": (b"\x80\4\x8e" + struct.pack("<Q", 2**43) + b"abc.", "truncated"),
    "claim of 2**63": (b"\x80\4\x8e" + struct.pack("<Q", 2**63) + b"abc.", "truncated"),
    "bytearray of 8 TB": (b"\x80\5\x96" + struct.pack("<Q", 2**43) + b"abc.", "truncated"),
    "text of 8 TB": (b"\x80\4\x8d" + struct.pack("<Q", 2**43) + b"abc.", "truncated"),
    "frame of 8 TB": (b"\x80\4\x95" + struct.pack("<Q", 2**43) + b"N", "truncated"),
    "negative length": (b"T\xff\xff\xff\xff.", "a.pkl: "),
    "huge memo index": (b"Nr\xff\xff\xff\xff0h\0.", "a.pkl: "),
    "memo that is not there": (b"h\7.", "a.pkl: "),
    "nothing on the stack": (b"R.", "a.pkl: "),
    "unknown opcode": (b"\x80\4\xff.", "a.pkl: "),
    "newer protocol": (b"\x80\x63N.", "a.pkl: "),
    "no end": (b"\x80\4NN", "truncated"),
    "empty": (b"", "truncated"),
    "text": (b"this is no pickle", "a.pkl: "),
    "json": (b'[{"v": 3}]', "a.pkl: "),
    "persistent id": (b"Pevil\n.", "objects outside"),
    "persistent object": (b"NQ.", "objects outside"),
    "extension": (b"\x82\1.", "neither containers nor arrays"),
    "instance": (b"(ios\nsystem\n.", "neither containers nor arrays"),
    "new object": (b"cnumpy\ndtype\n)\x81.", "neither containers nor arrays"),
    "out of band": (b"\x80\5\x97.", "neither containers nor arrays"),
    "state of a function": (b"cnumpy\nndarray\n}U\1ak\1sb.", "a.pkl: "),
    "defaults of a function": (
        b"cnumpy.core.multiarray\n_reconstruct\nN}U\x0c__defaults__)s\x86b.",
        "state of an object that is no array",
    ),
    "attribute of a class": (b"cnumpy\ndtype\nN}U\1aNs\x86b.", "state of an object that is no array"),
    "key that cannot be hashed": (b"}(]Nu.", "keys of type list"),
    "nested key": (b"}(" + b")" + b"\x85" * 200_000 + b"Nu.", "keys of type tuple"),
    "nested key, singly": (b"}" + b")" + b"\x85" * 200_000 + b"Ns.", "keys of type tuple"),
    "nested key, old way": (b"((" + b"t" + b"\x85" * 200_000 + b"Nd.", "keys of type tuple"),
    "nested key in pairs": (
        b"ccollections\nOrderedDict\n](" + b")" + b"\x85" * 200_000 + b"N\x86e\x85R.",
        "keys of type tuple",
    ),
    "repeated text": (
        b"c_codecs\nencode\nq\0(X"
        + struct.pack("<I", 50_000)
        + b"a" * 50_000
        + b"X\6\0\0\0latin1tq\1R0"
        + b"h\0h\1R" * 9
        + b".",
        "beyond its own size",
    ),
    "other encoding": (b"c_codecs\nencode\n(X\1\0\0\0aX\3\0\0\0hextR.", "unknown encoding"),
}


@pytest.mark.parametrize(("content", "phrase"), BUILT.values(), ids=BUILT)
def test_pickles_built_by_hand(tmp_path, content, phrase):
    path = write(tmp_path / "a.pkl", content)
    _with_memory(2 * 1024**3, lambda: refused(lambda: read_pickle(path), phrase, root=path))


@pytest.mark.slow
def test_deep_nesting_neither_crashes_nor_matters(tmp_path):
    """In a process of its own, which a deep recursion would end."""
    path = write(tmp_path / "a.pkl", b"]" + b"(" * 300_000 + b"N" + b"l" * 300_000 + b".")
    code = (
        "import sys; from cryoreg.datasets.io.restricted_pickle import read_pickle; "
        "print(len(read_pickle(sys.argv[1])))"
    )
    result = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "1\n"), result.stderr


@pytest.mark.parametrize("kept", [1, 50, 0.5, -1])
def test_truncated_pickles(tmp_path, kept):
    path = write(tmp_path / "a.pkl", [{"v": np.ones((16, 16, 16)), "id": "a"}] * 2)
    size = path.stat().st_size
    os.truncate(path, size + kept if kept < 0 else int(size * kept) if kept < 1 else kept)
    refused(lambda: read_pickle(path), "truncated", root=path)


def test_missing_and_folder(tmp_path):
    refused(lambda: read_pickle(tmp_path / "a.pkl"), "does not exist", root=tmp_path / "a.pkl")
    refused(lambda: read_pickle(tmp_path), "is a folder, not a pickle", root=tmp_path)
