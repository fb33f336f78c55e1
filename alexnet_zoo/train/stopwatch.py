"""Time, by the clock of the device that the work is done on."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Adds up the seconds that work takes on a device: on CUDA by its own events.

    There a call returns before its work is done, and waiting for other processes holds up the device, not the caller.
    """

    def __init__(self):
        self.total, self.count = 0.0, 0  # seconds, and how often
        self.pending: deque[tuple[torch.cuda.Event, torch.cuda.Event]] = deque()  # those not yet reached, perhaps

    @contextmanager
    def running(self, device: torch.device) -> Iterator[None]:
        """Times what is done within, without waiting for it."""
        self.count += 1
        if device.type != "cuda":
            since = time.perf_counter()
            yield
            self.total += time.perf_counter() - since
            return
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record()
        yield
        ended.record()
        self.pending.append((began, ended))
        while self.pending and self.pending[0][1].query():
            self._add()

    @property
    def seconds(self) -> float:
        """Adds up all seconds so far; waits for what is under way."""
        while self.pending:
            self.pending[0][1].synchronize()
            self._add()
        return self.total

    def _add(self) -> None:
        began, ended = self.pending.popleft()
        self.total += began.elapsed_time(ended) / 1000
