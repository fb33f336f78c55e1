import pytest

from alexnet_zoo.benchmark.measure import Options
from alexnet_zoo.benchmark.two_devices import PEERS, columns, peers_on


def test_one_card_is_not_called_two():
    assert peers_on(shared=False) == PEERS
    first, *rest = peers_on(shared=True)
    assert first == "two columns, two processes on one device" and rest == list(PEERS)[1:]


@pytest.mark.slow
def test_the_pair_against_one_process_and_the_one_gpu_net():
    rows = columns(Options(batch_size=2, repetitions=1))
    assert [row["peer"] for row in rows] == list(PEERS) and rows[0]["ratio"] == 1
    assert all(row["samples_per_sec"] > 0 for row in rows)
