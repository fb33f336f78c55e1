"""Runs processes that gather crops (prepared/cut.py) into memory that they share with this one."""

import json
import mmap
import os
import subprocess
import sys
import tempfile
import weakref
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alexnet_zoo.data.batches.augment import Crops
from alexnet_zoo.data.prepared import cut
from alexnet_zoo.data.prepared.dataset import Dataset
from alexnet_zoo.data.prepared.decoders import ending
from alexnet_zoo.errors import UserError

PART = 64  # crops that a process is asked for at a time: about a millisecond of work


class Cutters:
    """Starts processes that gather batches of `datasets`; they end when this object does, or this process.

    Threads would not do: Python's lock would go to and fro with every crop between them and the one that launches.
    The memory holds `ahead` + 2 batches and is used in turn, never before the `copied` of what lies there was reached.
    pinned: a GPU fetches the batches by itself.
    """

    def __init__(self, datasets: list[Dataset], crop_size: int, batch_size: int, processes: int, pinned: bool):
        self.ahead = max(2, -(-processes * PART // batch_size))  # batches to begin before they are needed
        self.batch_size, self.turn = batch_size, 0
        slots = self.ahead + 2
        shape = (slots * batch_size, crop_size, crop_size, 3)
        file = shared_file(int(np.prod(shape)))
        self.memory = torch.frombuffer(mmap.mmap(file, 0), dtype=torch.uint8).view(shape)
        self.copied = [torch.cuda.Event() if pinned else None for _ in range(slots)]
        self.shards: dict[int, int] = {}
        shards: list[tuple[str, int, str]] = []
        for dataset in datasets:
            self.shards[id(dataset)] = len(shards)
            shards += [(str(path), len(shard), dataset.encoding) for path, shard in zip(dataset.paths, dataset.shards)]
        program = [sys.executable, "-P", cut.__file__]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "pass_fds": [file]}
        # in groups of their own: Ctrl-C is this process's, which ends them by closing stdin
        self.processes = [subprocess.Popen(program, process_group=0, **pipes) for _ in range(processes)]
        told = json.dumps({"file": file, "crop_size": crop_size, "shards": shards}).encode()
        for process in self.processes:
            process.stdin.write(told + b"\n")
        os.close(file)  # the memory lasts as long as it is mapped
        if pinned:
            pin(self.memory)
        self.close = weakref.finalize(self, end, self.processes, self.memory, pinned)

    def begin(self, dataset: Dataset, indices: np.ndarray, crops: Crops) -> "Cutting":
        """Ask for a batch; raise IndexError where `dataset` has no such image."""
        slot, self.turn = self.turn % len(self.copied), self.turn + 1
        if self.copied[slot]:
            self.copied[slot].synchronize()
        shards, rows = dataset.places(indices)
        tasks = np.stack([shards + self.shards[id(dataset)], rows, crops.tops.numpy(), crops.lefts.numpy()], axis=1)
        first, asked = slot * self.batch_size, []
        for number, start in enumerate(range(0, len(tasks), PART)):
            task = tasks[start : start + PART].astype(np.int64)
            process = self.processes[(self.turn + number) % len(self.processes)]
            with suppress(BrokenPipeError):  # who asks for the result is told
                process.stdin.write(np.array([first + start, len(task)], np.int64).tobytes() + task.tobytes())
                process.stdin.flush()
            asked.append(process)
        return Cutting(self.memory[first : first + len(tasks)], asked, self.copied[slot])


@dataclass
class Cutting:
    """A batch that processes are at work on."""

    pixels: Tensor
    asked: list[subprocess.Popen]
    copied: torch.cuda.Event | None  # to be recorded once the pixels have been copied

    def result(self) -> Tensor:
        """Wait for the batch; raise UserError where a process has died or could not read an image."""
        problems = []
        while self.asked:
            process = self.asked.pop(0)
            if not (answer := process.stdout.readline()):
                problems.append(f"a process that gathers images has ended ({ending(process)}); --resume continues")
            elif answer != b"\n":
                problems.append(answer.decode().strip())
        if problems:
            raise UserError(f"training images: {problems[0]}")
        return self.pixels


def shared_file(size: int) -> int:
    """Make a file without a name, in memory where the system can: it goes when the last process that has it goes."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("crops")
    else:
        with tempfile.TemporaryFile() as temporary:
            file = os.dup(temporary.fileno())
    os.ftruncate(file, size)
    return file


def pin(memory: Tensor) -> None:
    """Keep memory where it is, so that a GPU can fetch it by itself."""
    cudart = torch.cuda.cudart()
    torch.cuda.check_error(cudart.cudaHostRegister(memory.data_ptr(), memory.nbytes, 0))


def end(processes: list[subprocess.Popen], memory: Tensor, pinned: bool) -> None:
    """End the processes and let the memory go."""
    for process in processes:
        with suppress(BrokenPipeError):
            process.stdin.close()
    for process in processes:
        process.wait()
        process.stdout.close()
    if pinned:
        torch.cuda.cudart().cudaHostUnregister(memory.data_ptr())
