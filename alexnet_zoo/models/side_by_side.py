"""Lays the lists of two networks side by side: what two AlexNets differ in."""

from dataclasses import dataclass
from difflib import SequenceMatcher
from textwrap import wrap
from typing import Optional

import timm
import torch

from alexnet_zoo.models import layers
from alexnet_zoo.models.alexnet import AlexNet
from alexnet_zoo.models.count import check_name, layer_shapes
from alexnet_zoo.models.layers import BOTH, OWN

CELL = 33  # characters: two cells, a name and a mark fit into 80
SAME, ONLY_FIRST, ONLY_SECOND, DIFFERENT = " ", "<", ">", "|"


@dataclass
class Pair:
    """Holds what two networks say of one layer; one that lacks it says nothing."""

    name: str
    first: Optional[str]
    second: Optional[str]

    @property
    def mark(self) -> str:
        if self.first is None:
            return ONLY_SECOND
        if self.second is None:
            return ONLY_FIRST
        return SAME if self.first == self.second else DIFFERENT


def table_of_differences(first: str, second: str) -> str:
    """Writes two networks side by side, a line for each layer, marked where they differ.

    Raises UserError where there is no such network.
    """
    lines = _lines("", "", first, second)
    for row in compare_networks(first, second):
        lines += _lines(row.mark, row.name, row.first or "", "the same" if row.mark == SAME else row.second or "")
    return "\n".join([*lines, "", "< only in the first, > only in the second, | different"])


def compare_networks(first: str, second: str) -> list[Pair]:
    """Compares two networks by name: input and layers in order, and where layers that both have start differently.

    A layer that stands at another place is listed once for each network.
    """
    texts, starts = zip(*(_described(name) for name in (first, second)))
    names = [list(own) for own in texts]
    rows = []
    for kind, i, i_end, j, j_end in SequenceMatcher(a=names[0], b=names[1], autojunk=False).get_opcodes():
        if kind != "equal":
            rows += [Pair(name, texts[0][name], None) for name in names[0][i:i_end]]
            rows += [Pair(name, None, texts[1][name]) for name in names[1][j:j_end]]
            continue
        for name in names[0][i:i_end]:
            rows.append(Pair(name, texts[0][name], texts[1][name]))
            if starts[0].get(name) != starts[1].get(name):
                rows.append(Pair("  starts", starts[0][name], starts[1][name]))
    return rows


def _described(name: str) -> tuple[dict[str, str], dict[str, str]]:
    """Describes the input and each layer of a network in words; and how the layers with weights start."""
    check_name(name)
    with torch.device("meta"):
        model = timm.create_model(name)
    shapes = layer_shapes(model)
    zeros = [f"{n} {side}" for n, side in zip(model.net.padding, ("left", "right", "above", "below")) if n]
    texts = {"input": _input(model), "columns": str(model.columns)}
    texts["image"] = f"{model.net.image} pixels{', zeros: ' if zeros else ''}{', '.join(zeros)}"
    texts |= {layer.name: _words(layer, shapes[layer.name], model.columns) for layer in model.net.layers}
    weighted = [layer for layer in model.net.layers if isinstance(layer, layers.Weighted)]
    return texts, {layer.name: _start(layer) for layer in weighted}


def _input(model: AlexNet) -> str:
    """Says what timm's transforms make of pixels from 0 to 255."""
    mean, std = (" ".join(f"{255 * value:.1f}" for value in model.pretrained_cfg[key]) for key in ("mean", "std"))
    return f"RGB less {mean}" + (f", divided by {std}" if std != "1.0 1.0 1.0" else "")


def _start(layer: layers.Weighted) -> str:
    """Says which weights and biases a layer starts from."""
    if layer.std == "torch":
        return "as torch.nn draws them"
    return f"{'He' if layer.std == 'he' else f'std {layer.std:g}'}, bias {layer.bias:g}"


def _words(layer: layers.Layer, shape: tuple[int, ...], columns: int) -> str:
    """Describes a layer that gives maps or units of a shape."""
    to = f"to {shape[1]}x{shape[2]}" if len(shape) == 3 else ""
    match layer:
        case layers.Convolution():
            parts = [f"{shape[0]} of {layer.kernel}x{layer.kernel}"]
            parts += [f"stride {layer.stride}"] if layer.stride > 1 else []
            parts += [f"padding {layer.padding}"] if layer.padding else []
            return ", ".join([*parts, *_reads(layer, columns)]) + f", {to}"
        case layers.Weighted():
            return ", ".join([f"{shape[0]} units", *_reads(layer, columns)])
        case layers.Norm():
            where = "" if columns == 1 else ", across columns" if layer.columns == 1 else ", in each column"
            return f"LRN over {layer.size}, k {layer.k:g}, alpha {layer.alpha:g}, beta {layer.beta:g}{where}"
        case layers.SecondNorm():
            return "normalised again, within each map"
        case layers.Pool():
            return f"maxima of {layer.window}x{layer.window}, {'rounds up, ' if layer.rounds_up else ''}{to}"
        case layers.Drop():
            return f"p {layer.p:g}, scaled {'in training' if layer.inverted else 'at test time'}"
        case layers.Flat():
            return f"{shape[0]:,} units"
        case layers.Activation():
            return str(layer.act)
    raise TypeError(f"{layer.name}: no words for a {type(layer).__name__}")


def _reads(layer: layers.Weighted, columns: int) -> list[str]:
    """Says what a layer of several columns reads; a layer that reads its own is known as grouped."""
    return {OWN: [f"groups {columns}"], BOTH: ["reads both columns"]}.get(layer.reads, []) if columns > 1 else []


def _lines(mark: str, name: str, first: str, second: str) -> list[str]:
    """Lays out a row, in as many lines as its longer cell takes."""
    cells = [wrap(text, CELL) for text in (first, second)]
    height = max(map(len, cells))
    cells = [[*cell, *[""] * (height - len(cell))] for cell in cells]
    heads = [f"{mark:2}{name:11}", *[f"{mark:13}"] * (height - 1)]
    return [f"{head}{left:{CELL + 1}}{right}".rstrip() for head, left, right in zip(heads, *cells)]
