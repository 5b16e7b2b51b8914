"""Damage valid files at random, from a seed, and open them in a process that may neither hang nor fill the memory."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cryoreg.errors import CryoregError

_GIGABYTE = 2**30
_LONGEST = 10
"""Seconds that one file may take, on a busy machine."""
_WORDS = (
    *(b"nan", b"inf", b"-1", b"0", b"1e999", b"9" * 400, b"", b"\t", b"\n", b",", b'"', b"'", b"#", b"{", b"[" * 50),
    *(b"loop_", b"null", b"\xff\xfe", b"\xef\xbb\xbf", b"\0", b"_rlnCoordinateX", b"data_", b"x" * 3000, b"../.."),
)  # fmt: skip
_NUMBERS = (0, 1, -1, 2**31 - 1, -(2**31), 2**16, 255, 3, 2**30)


class Format(NamedTuple):
    """A kind of file."""

    make: Callable[[Path], Path]
    """Writes valid files into a folder, and returns what is opened."""
    use: Callable[[Path], Any]
    """Opens it and reads all of it."""


class Outcome(NamedTuple):
    """What came of a format."""

    cases: int
    read: int
    """Damaged files that were read all the same."""
    faults: list[str]


def mutate(raw: bytes, rng: np.random.Generator) -> bytes:
    """Return ``raw`` with one to three kinds of damage."""
    for _ in range(rng.integers(1, 4)):
        raw = _DAMAGES[rng.integers(len(_DAMAGES))](raw, rng) if raw else raw
    return raw


def _place(raw: bytes, rng: np.random.Generator) -> int:
    """Return an offset, half of the time near the beginning, where headers are."""
    return int(rng.integers(min(len(raw), 1100) if rng.random() < 0.5 else len(raw)))


def _flip(raw: bytes, rng: np.random.Generator) -> bytes:
    at = _place(raw, rng)
    return raw[:at] + bytes([int(rng.integers(256))]) + raw[at + 1 :]


def _cut(raw: bytes, rng: np.random.Generator) -> bytes:
    return raw[: _place(raw, rng)]


def _overwrite(raw: bytes, rng: np.random.Generator) -> bytes:
    at, count = _place(raw, rng), int(rng.integers(1, 40))
    return raw[:at] + bytes([rng.choice([0, 255, 32, 1])]) * count + raw[at + count :]


def _number(raw: bytes, rng: np.random.Generator) -> bytes:
    at = _place(raw, rng) // 4 * 4
    value = int(rng.choice(_NUMBERS)).to_bytes(4, str(rng.choice(["little", "big"])), signed=True)  # type: ignore[arg-type]
    return raw[:at] + value + raw[at + 4 :]


def _word(raw: bytes, rng: np.random.Generator) -> bytes:
    """Replace what lies between two blanks, or commas, by another word."""
    at, word = _place(raw, rng), _WORDS[rng.integers(len(_WORDS))]
    ends = [end for mark in b" ,\n\t" if (end := raw.find(bytes([mark]), at)) >= 0]
    return raw[:at] + word + raw[min(ends, default=at) :]


def _double(raw: bytes, rng: np.random.Generator) -> bytes:
    a, b = sorted((_place(raw, rng), _place(raw, rng)))
    return raw[:b] + raw[a:b][:5000] + raw[b:]


def _lose(raw: bytes, rng: np.random.Generator) -> bytes:
    at = _place(raw, rng)
    return raw[:at] + raw[at + int(rng.integers(1, 60)) :]


_DAMAGES = (_flip, _flip, _cut, _overwrite, _number, _number, _word, _word, _double, _lose)


def fuzz(kind: Format, folder: Path, seed: int, seconds: float, most: int) -> Outcome:
    """Open up to ``most`` damaged files in a process of its own, for ``seconds``."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            _limit_memory()
            _run(kind, folder, seed, seconds, most, writing)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    return _watch(child, reading, seconds + 3 * _LONGEST)


def _watch(child: int, reading: int, seconds: float) -> Outcome:
    lines = b"".join(_received(reading, time.monotonic() + seconds)).decode().splitlines()
    os.close(reading)
    told = [json.loads(line) for line in lines]
    faults = [entry["fault"] for entry in told if "fault" in entry]
    if not any("end" in entry for entry in told):
        os.kill(child, signal.SIGKILL)
        last = told[-1].get("case", "an early one") if told else "the first"
        faults.append(f"case {last}: hung, or ended its process ({os.waitpid(child, 0)[1]})")
    else:
        os.waitpid(child, 0)
    cases = [entry for entry in told if "case" in entry]
    return Outcome(len(cases), sum(entry.get("read", 0) for entry in told), faults)


def _received(reading: int, until: float) -> Iterator[bytes]:
    while (left := until - time.monotonic()) > 0 and select.select([reading], [], [], left)[0]:
        part = os.read(reading, 1 << 16)
        if not part:
            return
        yield part


def _limit_memory() -> None:
    """Let no file take the machine's memory; libraries reserve a few gigabytes that they never touch."""
    used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (used + 6 * _GIGABYTE, used + 6 * _GIGABYTE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _peak() -> int:
    """Return the most memory, in bytes, that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class _Slow(BaseException):
    pass


def _stop(*_: Any) -> None:
    raise _Slow


def _run(kind: Format, folder: Path, seed: int, seconds: float, most: int, writing: int) -> None:
    def tell(**entry: Any) -> None:
        os.write(writing, (json.dumps(entry) + "\n").encode())

    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, _stop)
    path = kind.make(folder)
    first = _opened(kind, path, "before any damage")
    if "read" not in first:
        return tell(fault=str(first), end=True)
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    sound = {file: file.read_bytes() for file in files}
    weights = np.array([1.0 + 9.0 * (file == path) for file in files])
    until = time.monotonic() + seconds
    for case in range(most):
        if time.monotonic() > until:
            break
        rng = np.random.default_rng([seed, case])
        victim = files[rng.choice(len(files), p=weights / weights.sum())]
        tell(case=case)
        victim.write_bytes(mutate(sound[victim], rng))
        before = _peak()
        tell(**_opened(kind, path, f"case {case} ({victim.name})"))
        if _peak() > before + _GIGABYTE:
            tell(fault=f"case {case} ({victim.name}): took {(_peak() - before) / _GIGABYTE:.1f} GB")
        victim.write_bytes(sound[victim])
    tell(end=True)


def _opened(kind: Format, path: Path, where: str) -> dict[str, Any]:
    """Open a damaged file; return whether it was read, or the fault."""
    signal.alarm(_LONGEST)
    try:
        kind.use(path)
    except CryoregError as error:
        fine = str(error).strip() and len(str(error).splitlines()) == 1 and len(str(error)) < 5000
        return {"refused": str(error)} if fine else {"fault": f"{where}: no single line: {str(error)[:300]!r}"}
    except _Slow:
        return {"fault": f"{where}: takes longer than {_LONGEST} s"}
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if "/cryoreg" in frame.filename and "site-packages" not in frame.filename]
        at = own[-1] if own else frames[-1]
        return {"fault": f"{where}: {type(error).__name__}: {str(error)[:200]} at {at.filename}:{at.lineno}"}
    finally:
        signal.alarm(0)
    return {"read": 1}
