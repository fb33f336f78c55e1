"""Batches for training: drawn, gathered in the background while the device computes, the same in every layout.

What is random is drawn from (seed, purpose, epoch, step), never from what came before, so that a run resumed at any
step goes on as if it had not stopped, and one process or many see the same images.
"""

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from alexnet_zoo.data.batches.augment import Crops
from alexnet_zoo.data.batches.cutters import Cutters, Cutting
from alexnet_zoo.data.prepared.dataset import Dataset
from alexnet_zoo.errors import UserError

AHEAD = 2  # batches begun before they are asked for


@dataclass
class Batch:
    pixels: Tensor  # uint8 (B, crop_size, crop_size, 3)
    crops: Crops
    labels: Tensor  # int64 (B,)
    copied: torch.cuda.Event | None = None  # to be recorded once the pixels have been copied to a device


def seed_of(*key: int) -> int:
    """Make a 63-bit seed from any whole numbers >= 0."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator(*key: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed_of(*key))


class Prefetch:
    """Iterates over plan's (indices, crops), each as a Batch; `waited` counts the seconds that the consumer waited.

    cutters: the processes that gather; without, a thread of this process does.
    """

    def __init__(
        self, dataset: Dataset, crop_size: int, plan: Iterator[tuple[np.ndarray, Crops]], cutters: Cutters | None = None
    ):
        self.dataset, self.crop_size, self.plan, self.cutters = dataset, crop_size, plan, cutters
        self.ahead = cutters.ahead if cutters else AHEAD
        self.waited = 0.0

    def __iter__(self) -> Iterator[Batch]:
        thread = ThreadPoolExecutor(1)

        def begin(indices: np.ndarray, crops: Crops) -> Cutting | Future:
            if self.cutters:
                return self.cutters.begin(self.dataset, indices, crops)
            return thread.submit(self.dataset.gather, indices, crops.tops, crops.lefts, self.crop_size)

        under_way: deque[tuple[Cutting | Future, np.ndarray, Crops]] = deque()
        try:
            while True:
                asked = time.perf_counter()
                for indices, crops in islice(self.plan, self.ahead + 1 - len(under_way)):
                    under_way.append((begin(indices, crops), indices, crops))
                if not under_way:
                    return
                gathering, indices, crops = under_way.popleft()
                pixels = gathering.result()
                self.waited += time.perf_counter() - asked
                labels = torch.from_numpy(self.dataset.labels[indices])
                yield Batch(pixels, crops, labels, getattr(gathering, "copied", None))
        finally:
            thread.shutdown(cancel_futures=True)
            for gathering, _, _ in under_way if self.cutters else ():
                with suppress(UserError):  # the processes answer in turn: what nobody asks for any more, too
                    gathering.result()
