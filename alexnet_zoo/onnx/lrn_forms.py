"""Writes local response normalisation (section 3.3) into a graph in one of three forms.

    b = a / d^(3/4),   d = k + alpha * (sum of a^2 over the adjacent maps)

- banded: the model's own operations (models/lrn.py): Mul, Conv with a banded matrix, Sqrt, Sqrt, Mul, Div;
- native: one LRN operator over each column on its own; slow in onnxruntime, known to every other tool;
- rooted: between a ReLU and a max-pooling no number is negative, so a^4 / d^3 takes the place of b, and the fourth
  root follows the pooling: it is monotone, so the result is the same. Over all maps this leaves one division of the
  two square roots and a division; the roots see a quarter of the numbers.
"""

import copy
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alexnet_zoo.models.lrn import LocalResponseNorm


def with_lrn(model: nn.Module, make: Callable[[LocalResponseNorm], nn.Module]) -> nn.Module:
    """Copies the model, with make(lrn) in place of each LRN module."""
    copied = copy.deepcopy(model)
    for name, module in list(copied.named_modules()):
        if isinstance(module, LocalResponseNorm):
            copied.set_submodule(name, make(module))
    return copied


def with_lrn_written_as(form: str, model: nn.Module) -> nn.Module:
    """Copies the model, with its normalisation in a form: "banded", "native" or "rooted"."""
    if form == "native":
        return with_lrn(model, NativeLocalResponseNorm)
    copied = copy.deepcopy(model)
    if form == "rooted":
        for parent in list(copied.modules()):
            _root(parent)
    return copied


def _root(parent: nn.Module) -> None:
    """Replaces each normalisation in parent that stands between a ReLU and a max-pooling, and that pooling."""
    children = list(parent.named_children())
    for (_, before), (name, norm), (pool_name, pool) in zip(children, children[1:], children[2:]):
        fits = isinstance(before, nn.ReLU) and isinstance(norm, LocalResponseNorm) and isinstance(pool, nn.MaxPool2d)
        if fits and norm.beta == 0.75:
            setattr(parent, name, FourthPower(norm))
            setattr(parent, pool_name, PoolThenRoot(pool))


class NativeLocalResponseNorm(nn.Module):
    """Calls ONNX's LRN operator, with each column as an image; it divides alpha by size, the paper does not."""

    def __init__(self, lrn: LocalResponseNorm):
        super().__init__()
        self.columns = lrn.columns
        self.attributes = {"size": lrn.size, "alpha": lrn.alpha * lrn.size, "beta": lrn.beta, "bias": float(lrn.k)}

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        by_column = x.reshape(-1, c // self.columns, h, w) if self.columns > 1 else x
        what = dict(attrs=self.attributes, dtype=x.dtype, shape=by_column.shape, version=13)
        lrn = torch.onnx.ops.symbolic("LRN", (by_column,), **what)
        return lrn.reshape(-1, c, h, w) if self.columns > 1 else lrn


class FourthPower(nn.Module):
    """Computes the fourth power of LRN, a^4 / d^3, for a >= 0; finite up to a = 1e8."""

    def __init__(self, lrn: LocalResponseNorm):
        super().__init__()
        self.size, self.alpha, self.k, self.columns = lrn.size, lrn.alpha, lrn.k, lrn.columns

    def near(self, maps: int) -> np.ndarray:
        """Says which maps each one is summed with, as models/lrn.py's band, but as a constant of the graph.

        torch's exporter computes small constants itself, and leaves the operators that make large ones in the graph.
        """
        own_column = np.arange(maps // self.columns)
        apart = np.abs(np.arange(maps)[:, None] % len(own_column) - own_column)
        return (apart <= self.size // 2)[:, :, None, None]

    def forward(self, a: Tensor) -> Tensor:
        square = a * a
        weight = torch.tensor((self.alpha * self.near(a.shape[1])).tolist())
        d = F.conv2d(square, weight, torch.full([a.shape[1]], self.k), groups=self.columns)
        return square * square / d.pow(3)  # onnxruntime cubes by multiplying


class PoolThenRoot(nn.Module):
    """Pools fourth powers, then takes the fourth root, which gives what pooling LRN gives."""

    def __init__(self, pool: nn.MaxPool2d):
        super().__init__()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        # One map an image: onnxruntime would reorder several into blocks first, which takes as long as the pooling.
        pooled = self.pool(x.reshape(-1, 1, *x.shape[2:]))
        return pooled.reshape(-1, x.shape[1], *pooled.shape[2:]).sqrt().sqrt()
