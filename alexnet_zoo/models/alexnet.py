"""AlexNet: Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural Networks" (2012).

Read PAPER below, then AlexNet.__init__, which is section 3.5 from top to bottom: a network is the sequence of its
layers, under the paper's names (conv1, relu1, norm1, pool1, ... fc8). Every variant is an argument of the one class.
"""

from typing import NamedTuple, Optional, Union

import torch
import torch.nn.functional as F
from timm.data import IMAGENET_DEFAULT_MEAN
from timm.layers import get_act_layer, get_device_dtype
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from alexnet_zoo.models.lrn import LocalResponseNorm

__all__ = ["AlexNet"]


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


def with_maps(convs: tuple[Conv, ...], *maps: int) -> tuple[Conv, ...]:
    return tuple(conv._replace(maps=m) for conv, m in zip(convs, maps, strict=True))


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


class AlexNet(nn.Sequential):
    """The network of section 3.5 and, by its arguments, every variant that the paper mentions.

    Input (N, in_chans, img_size, img_size): raw RGB, 0 to 255, less the training set's mean. Output (N, num_classes)
    logits.

    Args:
        num_classes: outputs of fc8; 0 leaves fc8 out.
        in_chans: channels of the image.
        img_size: side of the image that fc6 is sized for, in pixels; others are accepted, pool5 is then averaged.
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
        lrn: whether "norm" layers are there at all (section 3.3).
        conv3_reads_both: False keeps the columns apart until fc6.
        without: convolutional layers to leave out, such as ("conv4",) (section 7); pooling stays.
        init_std: of all weights; or for each layer by name, {"conv3": 0.03}, 0.01 where not named; or "he".
        init_bias: what the biases of ONES start at.
    """

    num_feature_layers: torch.jit.Final[int]
    num_layers: torch.jit.Final[int]

    def __init__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        img_size: int = 224,
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
        lrn: bool = True,
        conv3_reads_both: bool = True,
        without: tuple[str, ...] = (),
        init_std: Union[float, dict[str, float], str] = 0.01,
        init_bias: float = 1.0,
        device=None,
        dtype=None,
    ):
        super().__init__()
        dd = {"device": device, "dtype": dtype}
        self.columns, self.local_columns = columns, local_columns or columns
        self.width_mult, self.pool_size = width_mult, pool_size
        self.act, self.lrn = get_act_layer(act_layer), lrn
        self.init_std, self.init_bias = init_std, init_bias
        self.num_classes, self.in_chans, self.drop_rate, self.global_pool = (
            num_classes,
            in_chans,
            drop_rate,
            global_pool,
        )
        self.feature_info = []

        # The convolutional layers. `maps` counts those of all columns; `side` is theirs, in pixels.
        self.add_module("pad", nn.ZeroPad2d(padding) if any(padding) else nn.Identity())
        maps, side, stride = in_chans, img_size + padding[0] + padding[1], 1
        for number, conv in enumerate(convs, start=1):
            if number == 3 and not conv3_reads_both:
                conv = conv._replace(reads_both=False)
            if f"conv{number}" in without:
                conv = conv._replace(maps=0, then="pool" if "pool" in conv.then else "")
            maps, side, stride = self._add_conv(number, conv, maps, side, stride, dd)
        if side < 1:
            raise ValueError(f"img_size {img_size} is too small: nothing is left of it after the last layer")
        self.num_features = maps
        self.num_feature_layers = len(self)

        # The fully connected layers, which read both columns.
        width = self._width(fc_width)
        self._add_exchange("fc6")
        self.add_module("flatten", Flatten(side))
        self.add_module("fc6", nn.Linear(maps * side * side, width * self.local_columns, **dd))
        self.add_module("relu6", self.act())
        self.add_module("drop6", Dropout(drop_rate))
        self._add_exchange("fc7")
        self.add_module("fc7", nn.Linear(width * columns, width * self.local_columns, **dd))
        self.add_module("relu7", self.act())
        self.add_module("drop7", Dropout(drop_rate))
        self._add_exchange("fc8")
        self.head_hidden_size = width * columns
        self.add_module("fc8", self._classifier(num_classes, **dd))
        self.num_layers = len(self)
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
        for name in conv.then.split():
            if name == "relu":
                self.add_module(f"relu{number}", self.act())
                self.feature_info.append(dict(num_chs=maps, reduction=stride, module=f"relu{number}"))
            elif name == "norm" and self.lrn:
                self.add_module(f"norm{number}", LocalResponseNorm(columns=self.local_columns))
            elif name == "pool":
                self.add_module(f"pool{number}", nn.MaxPool2d(self.pool_size, stride=2))
                side, stride = (side - self.pool_size) // 2 + 1, stride * 2
        return maps, side, stride

    def _classifier(self, num_classes: int, **dd) -> nn.Module:
        return nn.Linear(self.head_hidden_size, num_classes, **dd) if num_classes else nn.Identity()

    @torch.no_grad()
    def init_weights(self) -> None:
        """Section 5: weights N(0, 0.01), biases 1 in ONES and 0 elsewhere; or as init_std and init_bias say."""
        for name, layer in self.named_children():
            if not isinstance(layer, (nn.Conv2d, nn.Linear)):
                continue
            if self.init_std == "he":
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            else:
                stds = self.init_std if isinstance(self.init_std, dict) else {name: self.init_std}
                nn.init.normal_(layer.weight, std=stds.get(name, 0.01))
            nn.init.constant_(layer.bias, self.init_bias if name in ONES else 0.0)

    def forward_features(self, x: Tensor) -> Tensor:
        """Image (N, 3, H, W) to the maps of pool5 (N, 256, 6, 6)."""
        for i, layer in enumerate(self):
            if i < self.num_feature_layers:
                x = layer(x)
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Maps of pool5 to logits (N, num_classes), or to what fc8 reads (N, 4096)."""
        if self.global_pool == "":
            return x
        for i, layer in enumerate(self):
            if i >= self.num_feature_layers and not (pre_logits and i == self.num_layers - 1):
                x = layer(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    # What timm asks of a model.

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict:
        return dict(stem=r"^conv1\.", blocks=r"^(?:conv|fc)(\d+)\.")

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        if enable:
            raise ValueError("gradient checkpointing is not supported")

    @torch.jit.ignore
    def get_classifier(self) -> nn.Module:
        return self.fc8

    def reset_classifier(self, num_classes: int, global_pool: Optional[str] = None) -> None:
        """A new fc8 for num_classes, with the paper's initialisation; none for 0."""
        self.num_classes = num_classes
        self.global_pool = self.global_pool if global_pool is None else global_pool
        trainable = all(p.requires_grad for p in self.fc8.parameters())
        self.fc8 = (
            self._classifier(num_classes, **get_device_dtype(self)).train(self.training).requires_grad_(trainable)
        )
        for name, parameter in self.fc8.named_parameters():
            nn.init.normal_(parameter, std=0.01) if name == "weight" else nn.init.zeros_(parameter)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: Optional[Union[int, list[int]]] = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Union[list[Tensor], tuple[Tensor, list[Tensor]]]:
        """The activations of the convolutional layers, and pool5, that indices name (timm's idiom)."""
        assert output_fmt == "NCHW", "Output shape must be NCHW."
        taps = [info["module"] for info in self.feature_info] + [self._last_feature_layer()]
        taken, last = feature_take_indices(len(taps), indices)
        wanted = [taps[i] for i in taken]
        intermediates = []
        for i, (name, layer) in enumerate(self.named_children()):
            if i < self.num_feature_layers:
                x = layer(x)
                if name in wanted:
                    intermediates.append(x)
                if stop_early and name == taps[last]:
                    break
        return intermediates if intermediates_only else (x, intermediates)

    def _last_feature_layer(self) -> str:
        return list(self._modules)[self.num_feature_layers - 1]

    def prune_intermediate_layers(
        self, indices: Union[int, list[int]] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop the layers after the last one that indices name; returns the indices."""
        taps = [info["module"] for info in self.feature_info] + [self._last_feature_layer()]
        taken, last = feature_take_indices(len(taps), indices)
        names = list(self._modules)
        keep = names.index(taps[last]) + 1
        if prune_head or keep < self.num_feature_layers:
            self.num_features = ([info["num_chs"] for info in self.feature_info] + [self.num_features])[last]
            self.num_classes, self.global_pool, self.head_hidden_size = 0, "", self.num_features
            for name in names[keep:]:
                delattr(self, name)
            self.fc8 = nn.Identity()
            self.num_feature_layers, self.num_layers = keep, len(self)
        return taken


def _create_alexnet(variant: str, pretrained: bool = False, **kwargs) -> AlexNet:
    return build_model_with_cfg(AlexNet, variant, pretrained, feature_cfg=dict(out_indices=(0, 1, 2, 3, 4)), **kwargs)


def _cfg(url: str = "", **kwargs) -> dict:
    return {
        "url": url,
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "pool_size": (6, 6),
        "crop_pct": 0.875,  # 224 of 256
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": (
            1 / 255,
            1 / 255,
            1 / 255,
        ),  # so that timm's transforms give what the paper's do: 0 to 255, less the mean
        "first_conv": "conv1",
        "classifier": "fc8",
        "license": "apache-2.0",
        "paper_ids": "neurips:4824",
        "paper_name": "ImageNet Classification with Deep Convolutional Neural Networks",
        **kwargs,
    }


default_cfgs = generate_default_cfgs(
    {
        "alexnet_krizhevsky.untrained": _cfg(),
        "alexnet_krizhevsky_1gpu.untrained": _cfg(),
        "alexnet_krizhevsky_ungrouped.untrained": _cfg(),
    }
)


@register_model
def alexnet_krizhevsky(pretrained: bool = False, **kwargs) -> AlexNet:
    """Two columns, as published: 60,965,224 parameters."""
    return _create_alexnet("alexnet_krizhevsky", pretrained, **kwargs)


@register_model
def alexnet_krizhevsky_1gpu(pretrained: bool = False, **kwargs) -> AlexNet:
    """The net of one column that section 3.2 compares with: half the kernels in conv1-4, all in conv5 and after."""
    args = dict(columns=1, convs=with_maps(PAPER, 48, 128, 192, 192, 256))
    return _create_alexnet("alexnet_krizhevsky_1gpu", pretrained, **dict(args, **kwargs))


@register_model
def alexnet_krizhevsky_ungrouped(pretrained: bool = False, **kwargs) -> AlexNet:
    """One tower of full width in which every layer reads all maps: the AlexNet of many blogs."""
    return _create_alexnet("alexnet_krizhevsky_ungrouped", pretrained, **dict(dict(columns=1), **kwargs))
