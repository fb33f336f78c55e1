"""Defines the layers of section 3.5 that torch.nn lacks, but for local response normalisation (lrn.py)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Dropout(nn.Module):
    """Sets a unit to 0 with probability p in training; at test time multiplies all by 1 - p (section 4.2)."""

    def __init__(self, p: float = 0.5):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        # F.dropout scales what it keeps by 1 / (1 - p); the paper scales at test time instead.
        return F.dropout(x, self.p, self.training) * (1.0 - self.p) if self.p > 0.0 else x

    def extra_repr(self) -> str:
        return f"p={self.p}"


@torch.fx.wrap  # a leaf to torch.fx, which cannot trace through an if
def average_to(x: Tensor, side: int) -> Tensor:
    """Averages maps (N, C, H, W) of another size than fc6 was made for to side x side; leaves the rest as they are."""
    if x.shape[2] == side and x.shape[3] == side:
        return x
    return F.adaptive_avg_pool2d(x, side)


class Flatten(nn.Module):
    """Turns maps (N, C, H, W) into the vector that fc6 reads (N, C * side * side)."""

    def __init__(self, side: int):
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        return average_to(x, self.side).flatten(1)


class ColumnLinear(nn.Linear):
    """Connects the units of each column fully, and those only: (N, reads) to (N, units).

    The weight (units, reads / columns) has the layout of a grouped convolution's.
    """

    def __init__(self, reads: int, units: int, columns: int, device=None, dtype=None):
        super().__init__(reads // columns, units, device=device, dtype=dtype)
        self.columns = columns

    def forward(self, x: Tensor) -> Tensor:
        own, kernels = x.unflatten(1, (self.columns, -1)), self.weight.unflatten(0, (self.columns, -1))
        out = torch.bmm(own.transpose(0, 1), kernels.transpose(1, 2))  # (columns, N, units / columns)
        return out.transpose(0, 1).flatten(1) + self.bias.to(out.dtype)
