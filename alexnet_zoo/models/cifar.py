"""Builds the four-layer networks for CIFAR-10 of sections 3.1 and 3.3, which the paper does not spell out.

They are the nets of the authors' code of that time, named there by the error that they reach: 18% (three convolutional
layers, here without the normalisation within each map that stood after its first two poolings), 13% (two convolutional
layers and two locally connected ones) and 11% (with LRN, and a wider third layer). The pair of section 3.3 is one
network: the 13% net without LRN and with it.
"""

from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import get_act_layer
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from alexnet_zoo.models.lrn import LocalResponseNorm
from alexnet_zoo.models.timm_model import ToldItsInput


class LocallyConnected(nn.Module):
    """Convolves with a kernel of its own at every place of the side x side maps.

    Input (N, in_channels, side, side), output (N, out_channels, side, side); kernel 3, padding 1.
    """

    def __init__(self, in_channels: int, out_channels: int, side: int, kernel: int = 3, device=None, dtype=None):
        super().__init__()
        self.kernel = kernel
        places, reads = side * side, in_channels * kernel * kernel
        self.weight = nn.Parameter(torch.empty(places, reads, out_channels, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(out_channels, places, device=device, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        windows = F.unfold(x, self.kernel, padding=self.kernel // 2)  # (N, reads, places)
        maps = torch.bmm(windows.permute(2, 0, 1), self.weight).permute(1, 2, 0)  # (N, out_channels, places)
        return (maps + self.bias).unflatten(2, x.shape[2:])


class CifarNet(ToldItsInput):
    """Builds one of the three. Input (N, in_chans, img_size, img_size), raw RGB less the mean; output logits.

    Args: act_layer, timm's name of the activation; local, the maps of the two locally connected layers, none for the
    18% net; lrn, whether to normalise before and after conv2; stds, each layer's deviation of the initial weights.
    """

    columns = 1

    def __init__(
        self,
        num_classes: int = 10,
        in_chans: int = 3,
        img_size: int = 32,
        act_layer: str = "relu",
        local: tuple[int, ...] = (),
        lrn: bool = False,
        stds: tuple[float, ...] = (1e-4, 0.01, 0.01, 0.1),
        **dd,  # device and dtype
    ):
        super().__init__()
        self.num_classes, self.in_chans, self.stds = num_classes, in_chans, stds
        self.act = get_act_layer(act_layer)
        width = 64 if local else 32
        side = -(-img_size // 2)
        self._add("conv1", nn.Conv2d(in_chans, width, 5, padding=2, **dd))
        self.add_module("pool1", nn.MaxPool2d(3, stride=2, ceil_mode=True))
        if lrn:
            self.add_module("norm1", LocalResponseNorm(size=9, alpha=0.001 / 9, k=1.0))
        self._add("conv2", nn.Conv2d(width, width, 5, padding=2, **dd))
        if lrn:
            self.add_module("norm2", LocalResponseNorm(size=9, alpha=0.001 / 9, k=1.0))
        pool = nn.MaxPool2d if local else nn.AvgPool2d
        self.add_module("pool2", pool(3, stride=2, ceil_mode=True))
        side, maps = -(-side // 2), width
        for number, wide in enumerate(local, start=3):
            self._add(f"local{number}", LocallyConnected(maps, wide, side, **dd))
            maps = wide
        if not local:
            self._add("conv3", nn.Conv2d(width, 64, 5, padding=2, **dd))
            self.add_module("pool3", nn.AvgPool2d(3, stride=2, ceil_mode=True))
            side, maps = -(-side // 2), 64
        self.add_module("flatten", nn.Flatten())
        self.num_features = self.head_hidden_size = maps * side * side
        self.add_module("fc10", nn.Linear(self.num_features, num_classes, **dd))
        self.init_weights()

    def _add(self, name: str, layer: nn.Module) -> None:
        """Adds a layer with weights and its activation."""
        self.add_module(name, layer)
        self.add_module(f"act{name[-1]}", self.act())

    def init_weights(self) -> None:
        layers = [layer for layer in self.children() if hasattr(layer, "weight")]
        for layer, std in zip(layers, self.stds, strict=True):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)


def _cfg() -> dict:
    # The data set's mean; raw pixels, as alexnet.py takes them.
    pixels = dict(mean=(0.4914, 0.4822, 0.4465), std=(1 / 255, 1 / 255, 1 / 255))
    return dict(num_classes=10, input_size=(3, 32, 32), crop_pct=1.0, **pixels, first_conv="conv1", classifier="fc10")


default_cfgs = generate_default_cfgs({f"cifar10_krizhevsky_{pct}pct.untrained": _cfg() for pct in (18, 13, 11)})


@register_model
def cifar10_krizhevsky_18pct(pretrained: bool = False, **kwargs) -> CifarNet:
    """Four layers for CIFAR-10, of Figure 1, without normalisation: conv 32, conv 32, conv 64, fc 10."""
    return build_model_with_cfg(CifarNet, "cifar10_krizhevsky_18pct", pretrained, **kwargs)


@register_model
def cifar10_krizhevsky_13pct(pretrained: bool = False, **kwargs) -> CifarNet:
    """Four layers for CIFAR-10, of section 3.3: conv 64, conv 64, local 32, local 32, fc 10; lrn=True adds LRN."""
    args: dict[str, Any] = dict(local=(32, 32), stds=(1e-4, 0.01, 0.04, 0.04, 0.01))
    return build_model_with_cfg(CifarNet, "cifar10_krizhevsky_13pct", pretrained, **(args | kwargs))


@register_model
def cifar10_krizhevsky_11pct(pretrained: bool = False, **kwargs) -> CifarNet:
    """The authors' own net with LRN, wider than that of section 3.3: conv 64, conv 64, local 64, local 32, fc 10."""
    args: dict[str, Any] = dict(local=(64, 32), lrn=True, stds=(1e-4, 0.01, 0.04, 0.04, 0.01))
    return build_model_with_cfg(CifarNet, "cifar10_krizhevsky_11pct", pretrained, **(args | kwargs))
