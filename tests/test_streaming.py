"""Training on a set larger than its budget: the same losses, in memory that does not grow with the set."""

from __future__ import annotations

import csv
import os
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from support.storing import layout, write_store

import cryoreg
from cryoreg.datasets.specs import StoreSpec
from cryoreg.datasets.store.writer import StoreWriter
from cryoreg.training.loading import BatchOrder, VolumeLoader

CPU = torch.device("cpu")
BOX = (16, 16, 16)


@pytest.fixture
def store(tmp_path):
    return write_store(tmp_path / "s.h5", layout(40, box=BOX))


def losses(run: Path) -> list[float]:
    with open(run / "metrics.csv", newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.mark.slow
def test_training_streams_under_a_budget_with_the_losses_of_memory(store, tmp_path, monkeypatch):
    held = []
    serve = VolumeLoader._serve

    def watched(self, batches):
        held.append(self._volumes is not None)
        return serve(self, batches)

    monkeypatch.setattr(VolumeLoader, "_serve", watched)
    runs = {}
    for name, budget in (("memory", 1.0), ("streamed", 0.0005)):
        held.clear()
        cryoreg.pretrain(
            tmp_path / name,
            encoder="rb3d",
            dataset={"name": "store", "root": str(store)},
            epochs=2,
            batch_size=8,
            memory_gb=budget,
            workers=0,
            device="cpu",
            precision="fp32",
            probe_every_epochs=1,
        )
        assert set(held) == {name == "memory"}
        runs[name] = losses(tmp_path / name)
    assert len(runs["memory"]) >= 2
    np.testing.assert_allclose(runs["streamed"], runs["memory"], rtol=1e-4)


@pytest.mark.slow
def test_a_run_may_go_on_with_another_budget(store, tmp_path):
    made = {"dataset": {"name": "store", "root": str(store)}, "batch_size": 8, "device": "cpu", "workers": 0}
    cryoreg.pretrain(tmp_path / "run", epochs=1, memory_gb=1.0, **made)
    cryoreg.pretrain(tmp_path / "run", resume=True, memory_gb=0.0)


def private_bytes() -> int:
    """Memory that this process shares with no other; pages of files that the system caches do not count."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def growth(path: Path) -> tuple[int, int]:
    """Return by how many bytes this process grows over an epoch that is streamed, and then by holding the volumes."""
    dataset = StoreSpec(root=path).build()
    order = BatchOrder(torch.arange(len(dataset)), 16, seed=0)
    loader = VolumeLoader(dataset, order, CPU, resident=False, workers=0)
    for _ in islice(loader.epoch(), 5):  # buffers for a batch, the allocator's own
        pass
    before = private_bytes()
    streamed = max(private_bytes() - before for _ in loader.epoch())
    held = VolumeLoader(dataset, order, CPU, resident=True)
    return streamed, (private_bytes() - before) * (len(held) == len(loader))


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="needs Linux's account of memory")
def test_memory_stays_flat_over_a_set_that_is_streamed(tmp_path):
    """An epoch over 300 MB grows a process by less than a tenth of that; holding them grows it by all.

    A process of its own: one that has run other tests has freed memory to spare, and need not grow.
    """
    path, count, box = tmp_path / "s.h5", 2400, (32, 32, 32)
    noise = np.random.default_rng(0).standard_normal(box, dtype=np.float32)
    with StoreWriter(path, layout(count, box=box)) as writer:
        for row in range(count):
            writer.put(row, noise + row)
        writer.finish()
    size = count * noise.nbytes
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        streamed, held = pool.submit(growth, path).result()
    assert streamed < size / 10
    assert held > 0.6 * size
