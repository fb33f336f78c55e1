"""Batches for training: drawn, gathered in a background thread while the device computes, the same in every layout.

What is random is drawn from (seed, purpose, epoch, step), never from what came before, so that a run resumed at any
step goes on as if it had not stopped, and one process or many see the same images.
"""

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from alexnet_zoo.data.batches.augment import Crops
from alexnet_zoo.data.prepared.dataset import Dataset

AHEAD = 2  # batches gathered before they are asked for


@dataclass
class Batch:
    pixels: Tensor  # uint8 (B, crop_size, crop_size, 3)
    crops: Crops
    labels: Tensor  # int64 (B,)


def seed_of(*key: int) -> int:
    """Make a 63-bit seed from any whole numbers >= 0."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator(*key: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed_of(*key))


class Prefetch:
    """Iterates over plan's (indices, crops), each as a Batch; `waited` counts the seconds that the consumer waited.

    In a process that uses CUDA the batches lie in pinned memory: `.to(device, non_blocking=True)` then returns at once.
    """

    def __init__(self, dataset: Dataset, crop_size: int, plan: Iterator[tuple[np.ndarray, Crops]]):
        self.dataset, self.crop_size, self.plan = dataset, crop_size, plan
        self.waited = 0.0
        self._queue: queue.Queue = queue.Queue(maxsize=AHEAD)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._gather, daemon=True)
        self._thread.start()

    def _gather(self) -> None:
        try:
            pin = torch.cuda.is_initialized()
            for indices, crops in self.plan:
                pixels = self.dataset.gather(indices, crops.tops, crops.lefts, self.crop_size, pin_memory=pin)
                labels = torch.from_numpy(self.dataset.labels[indices])
                if pin:
                    crops, labels = crops.pin_memory(), labels.pin_memory()
                self._put(Batch(pixels, crops, labels))
                if self._stopped.is_set():
                    return
            self._put(None)
        except BaseException as error:  # raised again where the batch is asked for
            self._put(error)

    def _put(self, item) -> None:
        while not self._stopped.is_set():
            try:
                return self._queue.put(item, timeout=0.5)
            except queue.Full:
                continue

    def __iter__(self) -> Iterator[Batch]:
        try:
            while True:
                asked = time.perf_counter()
                item = self._queue.get()
                self.waited += time.perf_counter() - asked
                if item is None:
                    return
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self._stopped.set()
