"""Numbers on their way from the device: the host reads them later, and need not wait for them meanwhile."""

import torch
from torch import Tensor


class Readout:
    """Copies a tensor of float64 to the host. On CUDA it begins to, behind what the device was told to do before."""

    def __init__(self, numbers: Tensor):
        self.event = None
        self.host = numbers
        if numbers.is_cuda:
            self.host = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
            self.host.copy_(numbers, non_blocking=True)
            self.event = torch.cuda.Event()
            self.event.record()

    def read(self) -> list[float]:
        """Returns the numbers; waits until they have arrived."""
        if self.event:
            self.event.synchronize()
        return self.host.tolist()
