"""Cores are counted by affinity, and BLAS does not take all of them for each of our threads."""

import os
import subprocess
import sys

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from alexnet_zoo.cores import cores
from alexnet_zoo.data.prepared.moments import moments

ON_ONE = "import os; os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1]); import alexnet_zoo.cores as c; "


def blas_threads() -> list[int]:
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_cores_follow_affinity():
    printed = subprocess.run([sys.executable, "-c", ON_ONE + "print(c.cores())"], capture_output=True, text=True)
    assert printed.stdout == "1\n", printed.stderr
    assert cores() == len(os.sched_getaffinity(0))


class Shard(np.ndarray):
    """Images that note how many threads BLAS has while they are read."""

    seen: list[list[int]] = []

    def __iter__(self):
        Shard.seen.append(blas_threads())
        return super().__iter__()


def test_mean_and_colour_keep_blas_to_one_thread():
    shards = [np.zeros((2, 8, 8, 3), np.uint8).view(Shard) for _ in range(3)]
    with threadpool_limits(2, user_api="blas"):
        moments(shards, threads=2)
        assert blas_threads() and set(blas_threads()) == {2}  # as before, once it is done
    assert len(Shard.seen) == 3 and all(set(seen) == {1} for seen in Shard.seen)
