"""AlexNet: Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural Networks" (2012).

PAPER is section 3.5, to be read beside the paper; AlexNet builds it, and any other such list (variants.py). Its layers
carry the paper's names: conv1, relu1, norm1, pool1, ... fc8.
"""

from typing import Optional

import torch
from torch import nn

from alexnet_zoo.models import layers
from alexnet_zoo.models.layers import BOTH, IMAGE, classes, conv, dropout, fc, flatten, norm, pool, relu
from alexnet_zoo.models.net import Net
from alexnet_zoo.models.timm_model import TimmModel

PAPER = Net(
    columns=2,
    image=224,
    padding=(0, 3, 0, 3),  # 224 pixels give 55 maps only if the last window overhangs the right and bottom edge by 3
    # A layer reads its own column where nothing else is said. Biases start at 1 where section 5 says so, so that the
    # ReLUs start alive; all weights start with a standard deviation of 0.01.
    layers=(
        *(conv(96, 11, stride=4, reads=IMAGE), relu, norm, pool),
        *(conv(256, 5, padding=2, bias=1), relu, norm, pool),
        *(conv(384, 3, padding=1, reads=BOTH), relu),
        *(conv(384, 3, padding=1, bias=1), relu),
        *(conv(256, 3, padding=1, bias=1), relu, pool),
        flatten,
        *(fc(4096, reads=BOTH, bias=1), relu, dropout),
        *(fc(4096, reads=BOTH, bias=1), relu, dropout),
        classes(reads=BOTH),
    ),
)


class AlexNet(TimmModel):
    """Builds the network that a list describes, PAPER or another.

    Input (N, in_chans, H, W): raw RGB, 0 to 255, less the training set's mean. Output (N, num_classes): logits.
    Images of another size than the list's are accepted; the last maps are then averaged to the size that fc6 reads.

    Args:
        net: the list.
        num_classes: outputs of fc8; 0 leaves fc8 out.
        in_chans: channels of the image.
        global_pool: 'flatten', or '' to return the last maps (timm's idiom).
        local_columns: how many of the columns this module holds; None is all. With fewer, the layers named in
            `meetings` read maps that other modules hold, and train/columns.py fetches them.

    Raises ValueError where nothing is left of the image, or where the columns cannot share a layer or be apart.
    """

    def __init__(
        self,
        net: Net = PAPER,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "flatten",
        local_columns: Optional[int] = None,
        device=None,
        dtype=None,
    ):
        super().__init__()
        net.check_columns()
        net = net.with_fields(net.layers[-1].name, width=num_classes)
        self.net, self.columns, self.meetings, self.held_whole = net, net.columns, net.meetings, net.held_whole
        self.num_classes, self.in_chans, self.global_pool = num_classes, in_chans, global_pool
        self.feature_info: list[dict] = []
        if any(net.padding):
            self.add_module("pad", nn.ZeroPad2d(net.padding))
        flow = layers.Flow(in_chans, net.image + sum(net.padding[:2]), 1, net.columns, local_columns or net.columns)
        for layer in net.layers:
            if isinstance(layer, layers.Flat):
                self._end_features(flow, net.image)
            self.head_hidden_size = flow.maps
            self.add_module(layer.name, layer.module(flow, device=device, dtype=dtype))
            flow = layer.after(flow)
            if isinstance(layer, layers.Activation):
                self._tap(flow)
        self.num_layers, self.order = len(self), " ".join(self._modules)
        self.init_weights()

    def _tap(self, flow: layers.Flow) -> None:
        """Makes the layer just added one of timm's features."""
        if not hasattr(self, "num_features"):
            last = list(self._modules)[-1]
            self.feature_info.append(dict(num_chs=flow.maps, reduction=flow.stride, module=last))

    def _end_features(self, flow: layers.Flow, image: int) -> None:
        """Ends timm's features at the layer just added; raises ValueError where nothing is left of the image."""
        if flow.side < 1:
            raise ValueError(f"img_size {image} is too small: nothing is left of it after the last layer")
        if list(self._modules)[-1] != self.feature_info[-1]["module"]:
            self._tap(flow)
        self.num_features, self.num_feature_layers = flow.maps, len(self)

    @torch.no_grad()
    def init_weights(self) -> None:
        """Draws the weights and sets the biases as the list says (section 5)."""
        for layer in self.net.layers:
            module = getattr(self, layer.name)
            if isinstance(layer, layers.Weighted) and not isinstance(module, nn.Identity):
                layer.initialise(module)
