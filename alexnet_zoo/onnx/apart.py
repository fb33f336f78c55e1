"""Takes a network's columns apart, as Figure 2 draws them: a path of layers for each, joined where they meet."""

import copy

import torch
from torch import Tensor, nn

from alexnet_zoo.errors import UserError
from alexnet_zoo.models.alexnet import AlexNet
from alexnet_zoo.models.lrn import LocalResponseNorm


class Join(nn.Module):
    """Puts the maps or units of all columns beside each other, for a layer that reads both."""

    def forward(self, *columns: Tensor) -> Tensor:
        return torch.cat(columns, dim=1)


class Apart(nn.Module):
    """Computes what an AlexNet computes, each column by modules of its own, and with its own part of the weights.

    They are named column1.conv1, column2.conv1, ...; what a layer reads of both columns is joined in both.conv3, ...;
    a layer that each column holds whole is there once, fc8.

    Raises UserError where the network has one column, or a layer without weights sees both.
    """

    def __init__(self, model: AlexNet):
        super().__init__()
        count = getattr(model, "columns", 1)
        if count < 2:
            raise UserError(f"{type(model).__name__}: has one column; Figure 2 has two, use another target")
        self.pad = getattr(model, "pad", nn.Identity())
        self.order = [name for name, _ in model.named_children() if name != "pad"]
        self.columns = [f"column{number + 1}" for number in range(count)]
        self.both = nn.ModuleDict({name: Join() for name in model.meetings})
        for number, column in enumerate(self.columns):
            own = [name for name in self.order if name not in model.held_whole]
            layers = {name: share_of(getattr(model, name), name, number, count) for name in own}
            self.add_module(column, nn.ModuleDict(layers))
        for name in model.held_whole:
            self.add_module(name, copy.deepcopy(getattr(model, name)))

    def forward(self, x: Tensor) -> Tensor:
        paths = [self.pad(x)] * len(self.columns)
        for name in self.order:
            if name in self.both:
                paths = [self.both[name](*paths)] * len(paths)
            whole = self._modules.get(name)
            if whole is None:
                paths = [self._modules[column][name](path) for column, path in zip(self.columns, paths)]
            else:
                paths = [whole(paths[0])] * len(paths)
        return paths[0]


def share_of(layer: nn.Module, name: str, number: int, count: int) -> nn.Module:
    """Makes the layer as one of so many columns has it; its weights are the column's part of the layer's."""
    if isinstance(layer, LocalResponseNorm):
        if layer.columns != count:
            raise UserError(f"{name}: its window crosses the border between columns, so they cannot be apart")
        return LocalResponseNorm(layer.size, layer.alpha, layer.beta, layer.k)
    if not isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
        return copy.deepcopy(layer)
    part = {key: value.chunk(count)[number] if value.dim() else value for key, value in layer.state_dict().items()}
    width, reads = len(part["bias"]), part["weight"].shape[-3 if isinstance(layer, nn.Conv2d) else -1]
    if isinstance(layer, nn.Conv2d):
        own = nn.Conv2d(reads, width, layer.kernel_size, layer.stride, layer.padding)
    else:
        own = nn.Linear(reads, width) if isinstance(layer, nn.Linear) else nn.BatchNorm2d(width, layer.eps)
    own.load_state_dict(part)
    return own
