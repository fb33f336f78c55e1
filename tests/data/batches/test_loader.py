"""Batches in the order of the plan, errors where they are asked for, and an honest count of the waiting."""

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from alexnet_zoo.data.batches.augment import draw_crops
from alexnet_zoo.data.batches.cutters import Cutters
from alexnet_zoo.data.batches.loader import Prefetch, generator
from alexnet_zoo.data.prepared.prepare import prepare
from alexnet_zoo.errors import UserError

STEPS, BATCH, GATHER = 6, 10, 0.05


class Slow:
    """A split whose crops take GATHER seconds a batch to gather."""

    def __init__(self, dataset):
        self.dataset, self.labels = dataset, dataset.labels

    def gather(self, *arguments, **options):
        time.sleep(GATHER)
        return self.dataset.gather(*arguments, **options)


def plan(dataset):
    for step in range(STEPS):
        crops = draw_crops(generator(0, step), BATCH, 32, 24, colour="none")
        yield np.random.default_rng(step).integers(0, len(dataset), BATCH), crops


def test_batches_follow_the_plan(small_prepared):
    train = small_prepared.split("train")
    batches = list(Prefetch(train, 24, plan(train)))
    assert len(batches) == STEPS
    for batch, (indices, crops) in zip(batches, plan(train), strict=True):
        assert (batch.labels.numpy() == train.labels[indices]).all() and torch.equal(batch.crops.tops, crops.tops)
        assert torch.equal(batch.pixels, train.gather(indices, crops.tops, crops.lefts, 24))


def test_waiting_for_a_slow_disk_is_counted(small_prepared):
    train = small_prepared.split("train")
    loader, began = Prefetch(Slow(train), 24, plan(train)), time.perf_counter()
    assert len(list(loader)) == STEPS
    elapsed = time.perf_counter() - began
    assert 0.9 * STEPS * GATHER < loader.waited <= elapsed  # a consumer that does nothing only waits


def test_what_is_gathered_during_a_step_is_not_waited_for(small_prepared):
    train = small_prepared.split("train")
    loader, began = Prefetch(Slow(train), 24, plan(train)), time.perf_counter()
    for _ in loader:
        time.sleep(4 * GATHER)
    elapsed = time.perf_counter() - began
    assert GATHER / 2 < loader.waited < 0.25 * elapsed  # the first batch, for which nobody could work ahead


def test_a_fault_is_raised_where_the_batch_is_asked_for(small_prepared):
    train = small_prepared.split("train")
    crops = draw_crops(generator(0), 1, 32, 24, colour="none")
    with pytest.raises(IndexError):
        list(Prefetch(train, 24, iter([(np.array([len(train)]), crops)])))


@pytest.fixture(params=["npy", "jpeg"])
def dataset(request, small_tree, tmp_path):
    return prepare(small_tree, tmp_path / "out", 32, workers=2, shard_images=16, encoding=request.param).split("train")


def test_processes_gather_the_same_batches(dataset):
    """However many there are: here batches of two parts, and the memory goes round twice."""
    expected = [batch.pixels for batch in Prefetch(dataset, 24, long_plan(dataset))]
    for processes in (1, 3):
        cutters = Cutters([dataset], 24, 100, processes, pinned=False)
        for _ in range(2):  # epochs
            found = [batch.pixels.clone() for batch in Prefetch(dataset, 24, long_plan(dataset), cutters)]
            assert len(found) == len(expected) and all(map(torch.equal, found, expected))
        next(iter(Prefetch(dataset, 24, long_plan(dataset), cutters)))  # an epoch that is left leaves nothing behind
        assert torch.equal(next(iter(Prefetch(dataset, 24, long_plan(dataset), cutters))).pixels, expected[0])
        cutters.close()
        assert all(process.returncode == 0 for process in cutters.processes)


def long_plan(dataset):
    for step in range(8):
        crops = draw_crops(generator(0, step), 100 - step, 32, 24, colour="none")
        yield np.random.default_rng(step).integers(0, len(dataset), 100 - step), crops


def test_a_killed_process_is_told_and_nothing_stays(small_prepared):
    train = small_prepared.split("train")
    cutters = Cutters([small_prepared.split("val"), train], 24, 100, 2, pinned=False)
    with pytest.raises(UserError, match="a process that gathers images has ended .killed by signal 9"):
        for number, _ in enumerate(Prefetch(train, 24, long_plan(train), cutters)):
            if number == 1:
                cutters.processes[0].kill()
    with pytest.raises(IndexError):
        list(Prefetch(train, 24, iter([(np.array([50]), next(long_plan(train))[1][:1])]), cutters))
    processes = cutters.processes
    del cutters
    gc.collect()
    assert [process.poll() for process in processes] == [-9, 0]


def test_processes_end_with_the_one_that_started_them(small_prepared):
    """Killed, it can tell them nothing; Ctrl-C is its own."""
    program = [sys.executable, "-c", LOADING, str(small_prepared.folder)]
    loading = subprocess.Popen(program, stdout=subprocess.PIPE, text=True, start_new_session=True)
    pids = [int(pid) for pid in loading.stdout.readline().split()]
    os.killpg(loading.pid, signal.SIGINT)
    assert loading.stdout.readline() == "went on\n"
    loading.kill()
    loading.wait()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() and "Z" not in state(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


LOADING = """
import signal, sys, time
import numpy as np
from alexnet_zoo.data.batches.augment import centre_crop
from alexnet_zoo.data.batches.cutters import Cutters
from alexnet_zoo.data.prepared.dataset import open_prepared
train = open_prepared(sys.argv[1]).split("train")
cutters = Cutters([train], 24, 10, 2, pinned=False)
seen = []
signal.signal(signal.SIGINT, lambda *_: seen.append(1))
print(*[process.pid for process in cutters.processes], flush=True)
while not seen:
    time.sleep(0.01)
cutters.begin(train, np.arange(10), centre_crop(10, 32, 24)).result()
print("went on", flush=True)
time.sleep(60)
"""
