import pytest

from alexnet_zoo.benchmark.measure import Options
from alexnet_zoo.benchmark.two_devices import PEERS, columns


@pytest.mark.slow
def test_the_pair_against_one_process_and_the_one_gpu_net():
    rows = columns(Options(batch_size=2, repetitions=1))
    assert [row["peer"] for row in rows] == list(PEERS) and rows[0]["ratio"] == 1
    assert all(row["samples_per_sec"] > 0 for row in rows)
