"""Draws an ONNX file's graph as a picture: a box for each node, the nodes of each column below each other."""

import re
from pathlib import Path

import onnx
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from alexnet_zoo.report.figures import BLACK, COLUMN_WIDTH, FACES, new_figure, styled

ROW, BOX = 0.24, (1.45, 0.17)  # inches: from node to node, and a box
PLACES = {"column1": 0.24 * COLUMN_WIDTH, "column2": 0.76 * COLUMN_WIDTH}  # all other nodes stand between these
FILLS = {"Conv": FACES[0], "Gemm": FACES[0], "Concat": FACES[1]}


@styled
def draw_graph(path: Path) -> Figure:
    """Draws the graph of an ONNX file from its input, at the top, to its output; what is constant is left out."""
    graph = onnx.load(path).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    places = {value.name: (0.5 * COLUMN_WIDTH, 0.0) for value in graph.input}  # of each tensor: where its node stands
    nodes = []
    for node in graph.node:
        read = [name for name in node.input if name in places]
        if read:
            across = PLACES.get(node.name.split(".")[0], 0.5 * COLUMN_WIDTH)
            down = min(places[name][1] for name in read) - ROW
            places |= dict.fromkeys(node.output, (across, down))
            nodes.append((node, across, down, read))
    lowest = min(down for _, _, down, _ in nodes) - ROW
    figure = new_figure(height=2 * ROW - lowest)
    axes = figure.add_subplot()
    axes.set(xlim=(0, COLUMN_WIDTH), ylim=(lowest - ROW / 2, ROW), aspect="equal")
    axes.set_axis_off()
    _box(axes, 0.5 * COLUMN_WIDTH, 0, graph.input[0].name, FACES[2])
    for node, across, down, read in nodes:
        for name in read:
            (x, y), half = places[name], BOX[1] / 2
            axes.plot([x, across], [y - half, down + half], color=BLACK, lw=0.6, zorder=1)
        _box(axes, across, down, _words(node, shapes), FILLS.get(node.op_type, FACES[2]))
    return figure


def _box(axes: Axes, across: float, down: float, words: str, fill: str) -> None:
    width, height = BOX
    corner = (across - width / 2, down - height / 2)
    look = dict(boxstyle="round,pad=0,rounding_size=0.04", fc=fill, ec=BLACK, lw=0.5)
    axes.add_patch(FancyBboxPatch(corner, width, height, **look))
    axes.text(across, down, words, ha="center", va="center", fontsize=5.8)


def _words(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> str:
    """Says what a node does: "conv1: Conv, 48 of 11×11×3"."""
    weight = next((shapes[name] for name in node.input if len(shapes.get(name, [])) > 1), [])
    size = ""
    if node.op_type == "Conv":
        size = f", {weight[0]} of {'×'.join(map(str, [*weight[2:], weight[1]]))}"
    elif node.op_type == "Gemm":
        size = f", {weight[0]:,} of {weight[1]:,}"
    elif node.op_type == "MaxPool":
        window = {attribute.name: attribute.ints for attribute in node.attribute}
        size = f" {window['kernel_shape'][0]}/{window['strides'][0]}"
    return f"{re.sub(r'^column[0-9]+[.]', '', node.name)}: {node.op_type}{size}"
