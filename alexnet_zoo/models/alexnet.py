"""AlexNet: Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural Networks" (2012).

Read PAPER below, then AlexNet.__init__, which is section 3.5 from top to bottom: a network is the sequence of its
layers, under the paper's names (conv1, relu1, norm1, pool1, ... fc8). Every variant is an argument of the one class;
variants.py names them. Columns meet at the layers called exchange_*.
"""

from typing import NamedTuple, Optional, Union

import torch
import torch.nn.functional as F
from timm.layers import get_act_layer, to_2tuple
from torch import Tensor, nn

from alexnet_zoo.models.lrn import LocalResponseNorm, MapNorm
from alexnet_zoo.models.timm_model import TimmModel


class Conv(NamedTuple):
    """One convolutional layer: its kernels, and what follows them in order."""

    maps: int
    kernel: int
    stride: int
    padding: int
    then: str
    reads_both: bool = False  # reads the maps of both columns: here the columns meet


PAPER = (  # section 3.5
    Conv(96, kernel=11, stride=4, padding=0, then="relu norm pool"),
    Conv(256, kernel=5, stride=1, padding=2, then="relu norm pool"),
    Conv(384, kernel=3, stride=1, padding=1, then="relu", reads_both=True),
    Conv(384, kernel=3, stride=1, padding=1, then="relu"),
    Conv(256, kernel=3, stride=1, padding=1, then="relu pool"),
)
PAPER_PADDING = (0, 3, 0, 3)  # 224 pixels give 55 maps only if the last window overhangs the right and bottom edge by 3
ONES = ("conv2", "conv4", "conv5", "fc6", "fc7")  # biases that start at 1, so that their ReLUs start alive (section 5)
CONV6 = Conv(256, kernel=3, stride=1, padding=1, then="relu", reads_both=True)  # over pool5, in the nets marked *


class Dropout(nn.Module):
    """Section 4.2: a unit is silent with probability p in training; at test time all speak, times 1 - p."""

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
    """Maps (N, C, H, W) of another size than fc6 was made for, averaged to side x side; nothing to do for the rest."""
    if x.shape[2] == side and x.shape[3] == side:
        return x
    return F.adaptive_avg_pool2d(x, side)


class Flatten(nn.Module):
    """Maps (N, C, H, W) to the vector that fc6 reads (N, C * side * side)."""

    def __init__(self, side: int):
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        return average_to(x, self.side).flatten(1)


class AlexNet(TimmModel):
    """The network of section 3.5 and, by its arguments, every variant that the paper mentions.

    Input (N, in_chans, img_size, img_size): raw RGB, 0 to 255, less the training set's mean. Output (N, num_classes)
    logits.

    Args:
        num_classes: outputs of fc8; 0 leaves fc8 out.
        in_chans: channels of the image.
        img_size: side of the image that fc6 is sized for, in pixels, or twice the same side; others are accepted, pool5
            is then averaged.
        global_pool: 'flatten', or '' to return the last maps (timm's idiom).
        drop_rate: of fc6 and fc7 (section 4.2).
        columns: in how many columns the maps live that do not see each other between the meeting points.
        local_columns: how many of them this module holds; None is all. With fewer, `exchange_*` must be replaced by
            what fetches the other columns' maps.
        convs: the convolutional layers.
        fc_width: units of fc6 and of fc7.
        width_mult: scales the maps of all layers and fc_width.
        padding: zeros around the image: left, right, top, bottom.
        pool_size: window of max-pooling, at stride 2: 3 overlaps (section 3.4), 2 does not.
        act_layer: timm's name of the activation, or its class.
        lrn: whether normalisation layers are there at all (section 3.3), or what differs from the paper's LRN in them:
            {"alpha": 2e-5}; {"columns": 1} lets the window cross the border between columns.
        conv3_reads_both: False keeps the columns apart until fc6.
        without: convolutional layers to leave out, such as ("conv4",) (section 7); pooling stays.
        drop_before: drop what fc6 and fc7 read, rather than what they write.
        inverted_dropout: scale what is kept in training by 1 / (1 - drop_rate), nothing at test time: Caffe, torch.
        init_std: of all weights; or for each layer by name, {"conv3": 0.03}, 0.01 where not named; or "he"; or "torch",
            which leaves weights and biases as torch.nn draws them.
        init_bias: what the biases of ONES start at.

    Raises ValueError where nothing is left of the image, the columns cannot be apart, or `without` names no such layer.
    """

    num_feature_layers: torch.jit.Final[int]
    num_layers: torch.jit.Final[int]
    order: torch.jit.Final[str]  # torch.jit takes networks that differ in nothing else for the same, and runs the first

    def __init__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        img_size: Union[int, tuple[int, int]] = 224,
        global_pool: str = "flatten",
        drop_rate: float = 0.5,
        columns: int = 2,
        local_columns: Optional[int] = None,
        convs: tuple[Conv, ...] = PAPER,
        fc_width: int = 4096,
        width_mult: float = 1.0,
        padding: tuple[int, int, int, int] = PAPER_PADDING,
        pool_size: int = 3,
        act_layer: Union[str, type[nn.Module]] = "relu",
        lrn: Union[bool, dict] = True,
        conv3_reads_both: bool = True,
        without: tuple[str, ...] = (),
        drop_before: bool = False,
        inverted_dropout: bool = False,
        init_std: Union[float, dict[str, float], str] = 0.01,
        init_bias: float = 1.0,
        device=None,
        dtype=None,
    ):
        super().__init__()
        dd = {"device": device, "dtype": dtype}
        self.columns, self.local_columns = columns, local_columns or columns
        self.width_mult, self.pool_size = width_mult, pool_size
        self.act, self.norms = get_act_layer(act_layer), bool(lrn)
        special = lrn if isinstance(lrn, dict) else {}
        self.lrn = {"columns": self.local_columns, **special}
        if self.norms and "columns" in special and self.local_columns < columns:
            raise ValueError("its LRN reads the maps of both columns, so they cannot be apart; train it in one process")
        if unknown := set(without) - {f"conv{number}" for number in range(2, len(convs) + 1)}:
            raise ValueError(f"without {', '.join(sorted(unknown))}: layers conv2 to conv{len(convs)} can be left out")
        self.init_std, self.init_bias = init_std, init_bias
        self.num_classes, self.in_chans = num_classes, in_chans
        self.drop_rate, self.global_pool = drop_rate, global_pool
        self.feature_info = []

        # The convolutional layers. `maps` counts those of all columns; `side` is theirs, in pixels.
        self.add_module("pad", nn.ZeroPad2d(padding) if any(padding) else nn.Identity())
        maps, side, stride = in_chans, to_2tuple(img_size)[0] + padding[0] + padding[1], 1
        for number, conv in enumerate(convs, start=1):
            if number == 3 and not conv3_reads_both:
                conv = conv._replace(reads_both=False)
            if f"conv{number}" in without:
                conv = conv._replace(maps=0, then="pool" if "pool" in conv.then else "")
            maps, side, stride = self._add_conv(number, conv, maps, side, stride, dd)
        if side < 1:
            raise ValueError(f"img_size {img_size} is too small: nothing is left of it after the last layer")
        self.num_features, self.num_feature_layers = maps, len(self)
        last = list(self._modules)[-1]
        if last != self.feature_info[-1]["module"]:
            self.feature_info.append(dict(num_chs=maps, reduction=stride, module=last))

        # The fully connected layers, which read both columns.
        width, reads = self._width(fc_width), maps * side * side
        self.add_module("flatten", Flatten(side))
        for number in (6, 7):
            dropout = nn.Dropout(drop_rate) if inverted_dropout else Dropout(drop_rate)
            self._add_exchange(f"fc{number}")
            if drop_before:
                self.add_module(f"drop{number}", dropout)
            self.add_module(f"fc{number}", nn.Linear(reads, width * self.local_columns, **dd))
            self.add_module(f"relu{number}", self.act())
            if not drop_before:
                self.add_module(f"drop{number}", dropout)
            reads = width * columns
        self._add_exchange("fc8")
        self.head_hidden_size = width * columns
        self.add_module("fc8", self._classifier(num_classes, **dd))
        self.num_layers, self.order = len(self), " ".join(self._modules)
        self.init_weights()

    def _width(self, width: int) -> int:
        """The width of a layer in one column."""
        return int(width * self.width_mult) // self.columns

    def _add_exchange(self, reader: str) -> None:
        """Before a layer that reads both columns: nothing to do in one module, which has both."""
        if self.columns > 1:
            self.add_module(f"exchange_{reader}", nn.Identity())

    def _add_conv(self, number: int, conv: Conv, maps: int, side: int, stride: int, dd: dict) -> tuple[int, int, int]:
        """Adds conv and what follows it; returns the maps, their side and their stride in pixels of the image."""
        if conv.maps:
            if conv.reads_both:
                self._add_exchange(f"conv{number}")
            own = self.columns > 1 and number > 1 and not conv.reads_both  # each column reads its own maps
            reads = maps // self.columns * self.local_columns if own else maps
            writes = self._width(conv.maps) * self.local_columns
            groups = self.local_columns if own else 1
            layer = nn.Conv2d(reads, writes, conv.kernel, conv.stride, conv.padding, groups=groups, **dd)
            self.add_module(f"conv{number}", layer)
            maps = self._width(conv.maps) * self.columns
            side, stride = (side + 2 * conv.padding - conv.kernel) // conv.stride + 1, stride * conv.stride
        suffix = f"{number}" if number < 6 else f"_conv{number}"  # relu6 is that of fc6
        for name in conv.then.split():
            if name == "relu":
                self.add_module(f"relu{suffix}", self.act())
                self.feature_info.append(dict(num_chs=maps, reduction=stride, module=f"relu{suffix}"))
            elif name == "norm" and self.norms:
                self.add_module(f"norm{number}", LocalResponseNorm(**self.lrn))
            elif name == "map_norm" and self.norms:
                self.add_module(f"map_norm{number}", MapNorm())
            elif name == "pool":
                self.add_module(f"pool{number}", nn.MaxPool2d(self.pool_size, stride=2))
                side, stride = (side - self.pool_size) // 2 + 1, stride * 2
        return maps, side, stride

    @torch.no_grad()
    def init_weights(self) -> None:
        """Section 5: weights N(0, 0.01), biases 1 in ONES and 0 elsewhere; or as init_std and init_bias say."""
        for name, layer in self.named_children():
            if not isinstance(layer, (nn.Conv2d, nn.Linear)):
                continue
            if self.init_std == "torch":
                layer.reset_parameters()
                continue
            if self.init_std == "he":
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            else:
                stds = self.init_std if isinstance(self.init_std, dict) else {name: self.init_std}
                nn.init.normal_(layer.weight, std=stds.get(name, 0.01))
            nn.init.constant_(layer.bias, self.init_bias if name in ONES else 0.0)

    def forward_features(self, x: Tensor) -> Tensor:
        """Image (N, 3, H, W) to the last maps: those of pool5 are (N, 256, 6, 6)."""
        for i, layer in enumerate(self):
            if i < self.num_feature_layers:
                x = layer(x)
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The last maps to logits (N, num_classes), or to what fc8 reads (N, 4096)."""
        if self.global_pool == "":
            return x
        for i, layer in enumerate(self):
            if i >= self.num_feature_layers and not (pre_logits and i == self.num_layers - 1):
                x = layer(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))
