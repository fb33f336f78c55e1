"""Defines the lines of a network's list (alexnet.py): what each one says, and the module that it becomes."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Union

from timm.layers import get_act_layer
from torch import nn

from alexnet_zoo.models.lrn import LocalResponseNorm, MapNorm
from alexnet_zoo.models.modules import ColumnLinear, Dropout, Flatten

IMAGE, OWN, BOTH = "the image", "its own column", "both columns"  # what a layer reads


@dataclass(frozen=True)
class Flow:
    """Describes what a layer reads: the maps of all columns, their side and their stride in pixels of the image."""

    maps: int
    side: int
    stride: int
    columns: int
    local: int  # columns that this module holds

    def share(self, width: int) -> int:
        """Returns the part of a width that the columns in this module hold."""
        return width // self.columns * self.local


@dataclass(frozen=True)
class Layer:
    """States one line of the list. Its name comes from its place in the list (net.py)."""

    word: ClassVar[str]
    name: str = field(default="", kw_only=True)

    def module(self, read: Flow, **dd) -> nn.Module:
        """Makes the layer itself; dd is torch's device and dtype."""
        raise NotImplementedError

    def after(self, read: Flow) -> Flow:
        """Describes what the next layer reads."""
        return read


@dataclass(frozen=True)
class Weighted(Layer):
    """States a layer with weights: its maps or units in all columns, what it reads, and how it starts (section 5).

    std: standard deviation of the weights; or "he"; or "torch", which leaves weights and biases as torch.nn draws them.
    """

    width: int
    reads: str = field(default=OWN, kw_only=True)
    std: Union[float, str] = field(default=0.01, kw_only=True)
    bias: float = field(default=0.0, kw_only=True)

    def initialise(self, module: nn.Module) -> None:
        if self.std == "torch":
            return module.reset_parameters()
        if self.std == "he":
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        else:
            nn.init.normal_(module.weight, std=self.std)
        nn.init.constant_(module.bias, self.bias)


@dataclass(frozen=True)
class Convolution(Weighted):
    word = "conv"
    kernel: int
    stride: int = 1
    padding: int = 0

    def module(self, read: Flow, **dd) -> nn.Module:
        own = self.reads == OWN
        reads, groups = (read.share(read.maps), read.local) if own else (read.maps, 1)
        return nn.Conv2d(reads, read.share(self.width), self.kernel, self.stride, self.padding, groups=groups, **dd)

    def after(self, read: Flow) -> Flow:
        side = (read.side + 2 * self.padding - self.kernel) // self.stride + 1
        return replace(read, maps=self.width, side=side, stride=read.stride * self.stride)


@dataclass(frozen=True)
class FullyConnected(Weighted):
    word = "fc"

    def module(self, read: Flow, **dd) -> nn.Module:
        if self.reads == OWN and read.columns > 1:
            return ColumnLinear(read.share(read.maps), read.share(self.width), read.local, **dd)
        return nn.Linear(read.maps, read.share(self.width), **dd)

    def after(self, read: Flow) -> Flow:
        return replace(read, maps=self.width)


@dataclass(frozen=True)
class Classes(FullyConnected):
    """States the last layer, which each column holds whole; AlexNet sets its width, the number of classes."""

    width: int = 0

    def module(self, read: Flow, **dd) -> nn.Module:
        return nn.Linear(read.maps, self.width, **dd) if self.width else nn.Identity()


@dataclass(frozen=True)
class Activation(Layer):
    word = "relu"
    act: Union[str, type[nn.Module]] = "relu"

    def module(self, read: Flow, **dd) -> nn.Module:
        return get_act_layer(self.act)()


@dataclass(frozen=True)
class Norm(Layer):
    """Normalises across maps (section 3.3); columns=1 lets the window cross the border between columns."""

    word = "norm"
    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 2.0
    columns: int = 0

    def module(self, read: Flow, **dd) -> nn.Module:
        if self.columns and read.local < read.columns:
            raise ValueError("its LRN reads the maps of both columns, so they cannot be apart; train it in one process")
        return LocalResponseNorm(self.size, self.alpha, self.beta, self.k, self.columns or read.local)


@dataclass(frozen=True)
class SecondNorm(Layer):
    """Normalises within each map, as net 145 does a second time."""

    word = "map_norm"

    def module(self, read: Flow, **dd) -> nn.Module:
        return MapNorm()


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Puts batch normalisation (2015) where the paper has its own: an ablation."""

    word = "norm"

    def module(self, read: Flow, **dd) -> nn.Module:
        return nn.BatchNorm2d(read.share(read.maps), **dd)


@dataclass(frozen=True)
class Pool(Layer):
    """Takes maxima at stride 2; windows of 3 overlap (section 3.4). rounds_up: the last window may pass the edge."""

    word = "pool"
    window: int = 3
    rounds_up: bool = False

    def module(self, read: Flow, **dd) -> nn.Module:
        return nn.MaxPool2d(self.window, stride=2, ceil_mode=self.rounds_up)

    def after(self, read: Flow) -> Flow:
        return replace(read, side=(read.side - self.window + self.rounds_up) // 2 + 1, stride=read.stride * 2)


@dataclass(frozen=True)
class Flat(Layer):
    """Turns maps into units; timm's features are the layers before it."""

    word = "flatten"

    def module(self, read: Flow, **dd) -> nn.Module:
        return Flatten(read.side)

    def after(self, read: Flow) -> Flow:
        return replace(read, maps=read.maps * read.side * read.side)


@dataclass(frozen=True)
class Drop(Layer):
    """Drops units (section 4.2). inverted: scales by 1 / (1 - p) in training, not at test time, as Caffe and torch."""

    word = "drop"
    p: float = 0.5
    inverted: bool = False

    def module(self, read: Flow, **dd) -> nn.Module:
        return nn.Dropout(self.p) if self.inverted else Dropout(self.p)


# How a list spells them.
conv, fc, classes = Convolution, FullyConnected, Classes
relu, norm, second_norm, pool, dropout = Activation(), Norm(), SecondNorm(), Pool(), Drop()
flatten = Flat(name="flatten")
