"""Does training from a store keep up with training from memory, in flat memory? And what does one read cost?

    OMP_NUM_THREADS=1 python benchmarks/data.py [--rounds 8] [--steps 24] [--count 5000] [--out FILE.json]

Three parts, all at 32³ and float32, in a temporary folder of about a GB:

* reads: µs per volume in random order, from our store (with its checksum), from HDF5 by h5py (contiguous, and in chunks
  of one volume), from Zarr 3 (uncompressed, a chunk of one volume), and from MRC files. The page cache is warm.
* rates: pretraining steps of RB3D + MoCo with gupta2022 at batch 16, from memory and streamed. Contenders take turns in
  one process; ratios are those of one round, and their median is given. "cold" has its pages dropped from the cache.
  On a busy machine these scatter; so those that need no workers also take turns step by step.
* memory: a whole epoch over a set five times its memory budget; proportional memory (PSS) of the process and its
  readers, which shares out among them what they have in common. The network's activations come and go with the
  allocator's moods; so the same number of steps on a few volumes, held, stands beside it.

Only ratios within a run mean anything: absolute rates depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import torch
import zarr
from engine import BATCH, BOX, InMemory, job_of, raw_stepper

import cryoreg
from cryoreg.contracts import SubtomogramDataset
from cryoreg.datasets.conversion.mrc_folders import MrcFolderWriter
from cryoreg.datasets.specs import MrcFolderSpec, StoreSpec
from cryoreg.datasets.store.format import StoreLayout
from cryoreg.datasets.store.writer import StoreWriter
from cryoreg.training.loading import Batch, BatchOrder, VolumeLoader, residency

CPU = torch.device("cpu")
FEW_HELD = 64
WARM_UP = 0.2
"""The fraction of an epoch after which memory is first noted."""


def write(folder: Path, count: int, few: int) -> tuple[Path, Path]:
    """Write ``count`` volumes of noise as a store, and the first ``few`` of them as MRC files."""
    rng = np.random.default_rng(0)
    layouts = [
        StoreLayout([f"{i:06d}" for i in range(n)], [None] * n, [None] * n, [], (BOX,) * 3, 10.0) for n in (count, few)
    ]
    store, mrc = folder / "store.h5", folder / "mrc"
    with StoreWriter(store, layouts[0]) as to_store, MrcFolderWriter(mrc, layouts[1]) as to_mrc:
        for row in range(count):
            volume = rng.standard_normal((BOX,) * 3, dtype=np.float32)
            to_store.put(row, volume)
            if row < few:
                to_mrc.put(row, volume)
        to_store.finish()
        to_mrc.finish()
    return store, mrc


# ---- reads


def readers(folder: Path, store: Path, mrc: Path, few: int) -> dict[str, Callable[[int], object]]:
    source = StoreSpec(root=store).build()
    files = MrcFolderSpec(root=mrc).build()
    contiguous = h5py.File(store, "r", locking=False)["volumes"]
    shape, chunk = (few, BOX, BOX, BOX), (1, BOX, BOX, BOX)
    chunked = h5py.File(folder / "chunked.h5", "w", libver="latest").create_dataset(
        "volumes", shape, "f4", chunks=chunk
    )
    zarray = zarr.create_array(folder / "volumes.zarr", shape=shape, chunks=chunk, dtype="f4", compressors=None)
    for row in range(few):
        chunked[row] = zarray[row] = contiguous[row]
    return {
        "store": lambda row: source[row],
        "h5py, contiguous": lambda row: contiguous[row],
        "h5py, chunked": lambda row: chunked[row],
        "zarr 3": lambda row: zarray[row],
        "mrc_folder": lambda row: files[row],
    }


def read_times(contenders: dict[str, Callable[[int], object]], few: int, rounds: int) -> dict[str, float]:
    """Return the median over rounds of the µs per volume."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for seed in range(rounds):
        order = np.random.default_rng(seed).permutation(few).tolist()
        for name, read in contenders.items():
            started = time.perf_counter()
            for row in order:
                read(row)
            times[name].append((time.perf_counter() - started) / few * 1e6)
    return {name: round(statistics.median(values), 1) for name, values in times.items()}


# ---- rates


def drop_pages(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def loaders(store: Path, mrc: Path, few: int) -> dict[str, VolumeLoader]:
    order = BatchOrder(torch.arange(few), BATCH, seed=0)
    from_store, from_mrc = StoreSpec(root=store).build(), MrcFolderSpec(root=mrc).build()
    streamed = {f"store, {w} workers": VolumeLoader(from_store, order, CPU, False, w) for w in (0, 1, 2)}
    return {
        "in memory": VolumeLoader(from_store, order, CPU, True, 0),
        **streamed,
        "store, 0 workers, cold": VolumeLoader(from_store, order, CPU, False, 0),
        **{f"mrc_folder, {w} workers": VolumeLoader(from_mrc, order, CPU, False, w) for w in (0, 2)},
    }


def training_rates(store: Path, mrc: Path, few: int, rounds: int) -> dict[str, list[float]]:
    """Return subtomograms/s of each contender in each round; an epoch each, its readers' start included."""
    job, config, fabric = job_of(InMemory(BATCH), "cpu", "auto")
    step = raw_stepper(job, config, fabric)
    contenders = loaders(store, mrc, few)
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for epoch in range(rounds + 1):
        for name, loader in contenders.items():
            if "cold" in name:
                drop_pages(store)
            started = time.perf_counter()
            for number, batch in enumerate(loader.epoch(epoch)):
                step(batch, number)
            if epoch:  # the first round warms up
                rates[name].append(round(len(loader) * BATCH / (time.perf_counter() - started), 2))
    return rates


def alternating(store: Path, mrc: Path, few: int, rounds: int) -> dict[str, float]:
    """Return the median ms of a step, batch included, where contenders without workers take turns step by step.

    What else the machine does then hits all alike, as it does not where each has an epoch of its own.
    """
    job, config, fabric = job_of(InMemory(BATCH), "cpu", "auto")
    step = raw_stepper(job, config, fabric)
    contenders = {name: loader for name, loader in loaders(store, mrc, few).items() if loader.workers == 0}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for epoch in range(rounds):
        drop_pages(store)
        epochs = {name: loader.epoch(epoch) for name, loader in contenders.items() if "cold" not in name}
        for number in range(few // BATCH):
            for name, batches in epochs.items():
                started = time.perf_counter()
                step(next(batches), number)
                times[name].append(1e3 * (time.perf_counter() - started))
    return {name: round(statistics.median(values), 2) for name, values in times.items() if values}


def ratios(rates: dict[str, list[float]]) -> dict[str, float]:
    """Return the median over rounds of each contender's rate over that from memory."""
    memory = rates["in memory"]
    return {
        name: round(statistics.median(r / m for r, m in zip(values, memory, strict=True)), 3)
        for name, values in rates.items()
    }


# ---- memory


def proportional_mb(process: int) -> float:
    """Return the PSS of a process: what it has alone, and its part of what it shares."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:  # a reader that has just ended
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def children() -> list[int]:
    task = Path(f"/proc/self/task/{os.getpid()}/children")
    return [int(child) for child in task.read_text().split()]


def few_held(dataset: SubtomogramDataset) -> Iterator[Batch]:
    """Yield as many batches as the data set has, of a few volumes that are held: what training alone takes."""
    loader = VolumeLoader(dataset, BatchOrder(torch.arange(FEW_HELD), BATCH, seed=0), CPU, True)
    for epoch in range(len(dataset) // FEW_HELD):
        yield from loader.epoch(epoch)


def epoch_memory(store: Path, budget_gb: float, workers: int | None) -> dict[str, float]:
    """Train for an epoch under a budget (without ``workers``: on a few held volumes); return MB after the warm-up."""
    job, config, fabric = job_of(InMemory(BATCH), "cpu", "auto")
    step = raw_stepper(job, config, fabric)
    dataset: SubtomogramDataset = StoreSpec(root=store).build()
    held = residency(dataset, config.training.model_copy(update={"memory_gb": budget_gb}))
    assert held is False, "the set is to be larger than the budget"
    order = BatchOrder(torch.arange(len(dataset)), BATCH, seed=0)
    batches = few_held(dataset)
    if workers is not None:
        batches = VolumeLoader(dataset, order, CPU, held, workers).epoch()
    seen = []
    for number, batch in enumerate(batches):
        step(batch, number)
        if number >= WARM_UP * order.steps() and number % 5 == 0:
            seen.append(sum(map(proportional_mb, (os.getpid(), *children()))))
    halves = {"first_half": seen[: len(seen) // 2], "second_half": seen[len(seen) // 2 :]}
    medians = {f"median_{name}": round(statistics.median(half)) for name, half in halves.items()}
    return {"least": round(min(seen)), "most": round(max(seen)), **medians}


def memory_apart(store: Path, budget_gb: float, workers: int | None) -> dict[str, float]:
    """Return `epoch_memory` of a fresh process."""
    command = [sys.executable, __file__, "--memory-of", str(store), str(budget_gb), json.dumps(workers)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def machine() -> dict[str, object]:
    return {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "h5py": h5py.__version__,
        "hdf5": h5py.version.hdf5_version,
        "zarr": zarr.__version__,
        "cryoreg": cryoreg.__version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    few = arguments.steps * BATCH
    store, mrc = write(folder, arguments.count, few)
    reads = read_times(readers(folder, store, mrc, few), few, arguments.rounds)
    rates = training_rates(store, mrc, few, arguments.rounds)
    steps = alternating(store, mrc, few, 4)
    set_mb = arguments.count * 4 * BOX**3 / 1e6
    budget_gb = set_mb / 1e3 / 5
    memory = {f"streamed, {workers} workers": memory_apart(store, budget_gb, workers) for workers in (0, 2)}
    memory[f"{FEW_HELD} volumes, held"] = memory_apart(store, budget_gb, None)
    return {
        "machine": machine(),
        "note": "other programs ran meanwhile: compare only within this run",
        "box": BOX,
        "batch": BATCH,
        "steps": arguments.steps,
        "read_us": reads,
        "subtomograms_per_s": rates,
        "of_the_rate_in_memory": ratios(rates),
        "ms_per_step_in_alternation": steps,
        "memory_mb": {"set": round(set_mb), "budget": round(1e3 * budget_gb), **memory},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=24, help="of each contender in each round")
    parser.add_argument("--count", type=int, default=5000, help="volumes of the store")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/data.json"))
    parser.add_argument("--memory-of", nargs=3, metavar=("STORE", "GB", "WORKERS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        store, budget, workers = arguments.memory_of
        print(json.dumps(epoch_memory(Path(store), float(budget), json.loads(workers))))
        return
    with tempfile.TemporaryDirectory() as folder:
        found = measure(arguments, Path(folder))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
