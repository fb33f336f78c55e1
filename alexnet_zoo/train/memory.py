"""Counts what a step keeps for its backward pass; on a CPU, lets the next step use the same memory again."""

import ctypes
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # glibc's numbers for mallopt
LARGEST, A_GIB = 2**31 - 1, 2**30


def keep_memory() -> None:
    """Tells glibc's malloc to keep what is freed; does nothing where the C library is another.

    Maps of a batch are larger than what malloc keeps by itself: without this each step fetches its gigabyte from the
    system, which clears it page by page. For alexnet_krizhevsky, batch 64 on two cores, a step took 1.3 times as long.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(MMAP_THRESHOLD, A_GIB)
        mallopt(TRIM_THRESHOLD, LARGEST)


@contextmanager
def kept_for_backward(model: nn.Module) -> Iterator[Callable[[], int]]:
    """Yields a function that counts the bytes that the forward pass within saves for the backward pass.

    Parameters are not counted.
    """
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield lambda: sum(kept.values())
