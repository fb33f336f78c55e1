"""Batches in the order of the plan, errors where they are asked for, and an honest count of the waiting."""

import time

import numpy as np
import pytest
import torch

from alexnet_zoo.data.batches.augment import draw_crops
from alexnet_zoo.data.batches.loader import Prefetch, generator

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
