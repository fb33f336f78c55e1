"""Changes a network as keywords of timm.create_model ask, by small functions from one list to another."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Union

from timm.layers import to_2tuple

from alexnet_zoo.models import layers
from alexnet_zoo.models.layers import BOTH, OWN, Layer, Norm, SecondNorm, Weighted
from alexnet_zoo.models.net import Net


def without(net: Net, names: list[str]) -> Net:
    """Leaves out convolutional layers and what follows them, except pooling (section 7)."""
    convs = net.names(layers.Convolution)
    if unknown := set(names) - set(convs[1:]):
        raise ValueError(f"without {', '.join(sorted(unknown))}: layers conv2 to {convs[-1]} can be left out")
    left_out = False

    def change(layer: Layer) -> list[Layer]:
        nonlocal left_out
        if isinstance(layer, (Weighted, layers.Flat)):
            left_out = layer.name in names
        return [layer] if not left_out or isinstance(layer, layers.Pool) else []

    return net.with_layers(change)


def lrn(net: Net, constants: Union[bool, dict]) -> Net:
    """Gives local response normalisation other constants than the paper's, {"alpha": 2e-5}; False leaves it out."""
    if constants is False:
        return net.with_layers(lambda layer: [] if isinstance(layer, (Norm, SecondNorm)) else [layer])
    return _in_place_of_norms(net, Norm(**({} if constants is True else constants)))


def norm(net: Net, kind: str) -> Net:
    """Puts batch normalisation in place of LRN for norm="batch"; leaves the list as it is for norm="lrn"."""
    if kind not in ("batch", "lrn"):
        raise ValueError(f'norm {kind}: there are "lrn" and "batch"; lrn=False leaves normalisation out')
    if kind == "batch":
        net = net.with_layers(lambda layer: [] if isinstance(layer, SecondNorm) else [layer])
        net = _in_place_of_norms(net, layers.BatchNorm())
    return net


def _in_place_of_norms(net: Net, new: Layer) -> Net:
    return net.with_layers(lambda layer: [replace(new, name=layer.name) if isinstance(layer, Norm) else layer])


def drop_before(net: Net, before: bool) -> Net:
    """Moves dropout before fc6 and fc7, or after their ReLUs."""
    place = "fc" if before else "relu"
    drops = {layer.name.replace("drop", place): layer for layer in net.layers if isinstance(layer, layers.Drop)}

    def change(layer: Layer) -> list[Layer]:
        if isinstance(layer, layers.Drop):
            return []
        drop = [drops[layer.name]] if layer.name in drops else []
        return [*drop, layer] if before else [layer, *drop]

    return net.with_layers(change)


def init_std(net: Net, std: Union[float, str, dict[str, float]]) -> Net:
    """Sets how the weights start: one deviation for all, or by layer and 0.01 for the rest; or "he"; or "torch"."""
    for name in net.names(Weighted):
        net = net.with_fields(name, std=std.get(name, 0.01) if isinstance(std, dict) else std)
    return net


def init_bias(net: Net, bias: float) -> Net:
    """Sets where the biases start that do not start at 0."""
    biased = [layer.name for layer in net.layers if isinstance(layer, Weighted) and layer.bias]
    for name in biased:
        net = net.with_fields(name, bias=bias)
    return net


def fc_width(net: Net, width: int) -> Net:
    """Sets the number of units of fc6 and fc7."""
    return net.with_fields("fc6", width=width).with_fields("fc7", width=width)


def width_mult(net: Net, factor: float) -> Net:
    """Scales the maps of all layers and the units of fc6 and fc7."""
    return net.with_widths(*(int(layer.width * factor) for layer in net.layers if isinstance(layer, Weighted)))


KEYWORDS: dict[str, Callable[[Net, Any], Net]] = {  # in the order in which they are applied
    "columns": lambda net, columns: replace(net, columns=columns),
    "img_size": lambda net, size: replace(net, image=to_2tuple(size)[0]),
    "padding": lambda net, padding: replace(net, padding=tuple(padding)),
    "pool_size": lambda net, window: net.with_fields(layers.Pool, window=window),
    "act_layer": lambda net, act: net.with_fields(layers.Activation, act=act),
    "conv3_reads_both": lambda net, both: net.with_fields("conv3", reads=BOTH if both else OWN),
    "lrn": lrn,
    "norm": norm,
    "without": without,
    "drop_rate": lambda net, p: net.with_fields(layers.Drop, p=p),
    "inverted_dropout": lambda net, inverted: net.with_fields(layers.Drop, inverted=inverted),
    "drop_before": drop_before,
    "fc_width": fc_width,
    "width_mult": width_mult,
    "init_std": init_std,
    "init_bias": init_bias,
}


def changed(net: Net, keywords: dict) -> tuple[Net, dict]:
    """Applies the keywords that KEYWORDS knows; returns the changed list, and the keywords that are left."""
    for keyword, change in KEYWORDS.items():
        if keyword in keywords:
            net = change(net, keywords[keyword])
    return net, {keyword: value for keyword, value in keywords.items() if keyword not in KEYWORDS}
