"""A step's memory: what it keeps for its backward pass, and on a CPU, how the next step gets the same memory again."""

import ctypes
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # glibc's numbers for mallopt
LARGEST, A_GIB = 2**31 - 1, 2**30


def keep_memory() -> None:
    """Tells glibc's malloc to keep what is freed; nothing to do where the C library is another.

    Maps of a batch are larger than what malloc keeps by itself: without this each step fetches its gigabyte from the
    system, which clears it page by page. For alexnet_krizhevsky, batch 64 on two cores, a step took 1.3 times as long.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(MMAP_THRESHOLD, A_GIB)
    mallopt(TRIM_THRESHOLD, LARGEST)


@contextmanager
def kept_for_backward(model: nn.Module) -> Iterator[Callable[[], int]]:
    """Counts the bytes that the forward pass within saves for the backward pass, parameters not counted."""
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield lambda: sum(kept.values())
