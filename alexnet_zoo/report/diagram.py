"""Draws Figure 2, the network, as the paper does: volumes in a row for each column, dashed where the columns meet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from alexnet_zoo.models.alexnet import AlexNet
from alexnet_zoo.report.figures import BLACK, COLUMN_WIDTH, FACES, new_figure, styled
from alexnet_zoo.report.networks import DrawnLayer, layers_of

# In inches: a slot for the image and for each layer, from left to right; a row for each column.
WIDTH, ROW, LINE = 2 * COLUMN_WIDTH, 0.95, 0.105
INTO = (0.42, 0.30)  # where the third dimension points, and how much it is foreshortened
SHARED = FACES[-1]
SMALL = dict(fontsize=5.2, zorder=5)


@dataclass(frozen=True)
class Volume:
    """Places the maps of a layer in one column: map after map to the right, their rows up, the rest into the page."""

    left: float
    bottom: float
    length: float
    side: float
    depth: float

    def point(self, along: float, up: float, into: float) -> tuple[float, float]:
        """Finds a point of the volume; each argument is 0 to 1."""
        right, back = along * self.length, into * self.depth
        return self.left + right + INTO[0] * back, self.bottom + up * self.side + INTO[1] * back

    def square(self, share: float, middle: float) -> list[tuple[float, float]]:
        """Finds the corners of a kernel on the last map; share, its side as part of the map's; middle, how far up."""
        ups, intos = [(centre - share / 2, centre + share / 2) for centre in (middle, 0.5)]
        return [self.point(1, ups[up], intos[into]) for up, into in ((0, 0), (0, 1), (1, 1), (1, 0))]


@styled
def figure2(model: AlexNet, img_size: int = 224, published: Mapping[str, float] = MappingProxyType({})) -> Figure:
    """Draws a model as the paper does: a row for each column; dashed where a column reads the other's maps.

    Args: published, the neurons of each layer that the paper's figure prints; those that differ get a note.
    """
    layers = layers_of(model, img_size)
    columns, slot = layers[0].columns, WIDTH / (len(layers) + 1)
    legend, notes = _legend(layers, published), _notes(layers, published)
    lines = max(map(len, legend))
    below, above = LINE * (lines + len(notes) + 1.5), ROW * columns + 0.12
    figure = new_figure(height=below + above, width=WIDTH)
    axes = figure.add_subplot()
    axes.set(xlim=(0, WIDTH), ylim=(-below, above), aspect="equal")
    axes.set_axis_off()
    before = [_volume(axes, (model.in_chans, img_size, img_size), 0.25 * slot, ROW * columns / 2, SHARED)]
    for number, layer in enumerate(layers, start=1):
        held = [(column + 0.5) * columns / layer.columns for column in reversed(range(layer.columns))]
        faces = FACES if layer.columns > 1 else [SHARED]
        volumes = [_volume(axes, layer.shape, number * slot, ROW * row, face) for row, face in zip(held, faces)]
        _connect(axes, before, volumes, layer)
        before = volumes
    for number, said in enumerate(legend):
        for line, text in enumerate(said):
            look = dict(fontsize=5.8, va="center", weight="normal" if line else "bold")
            axes.text(number * slot, -LINE * (line + 1), text, **look)
    for column in range(columns if columns > 1 else 0):
        axes.text(0, 0.05 if column else ROW * columns - 0.1, f"column {column + 1} (GPU {column + 1})", fontsize=5.8)
    for line, note in enumerate(notes):
        axes.text(0, -LINE * (lines + line + 2), note, fontsize=6.2, va="center")
    return figure


def _legend(layers: Sequence[DrawnLayer], published: Mapping[str, float]) -> list[list[str]]:
    """Writes what stands below each slot: first the names of the lines, then the layers."""
    stars = {layer.name: "*" * (published.get(layer.name, layer.neurons) != layer.neurons) for layer in layers}
    heads = [["", "neurons", "parameters", "layer"]]
    return heads + [
        [layer.name, f"{layer.neurons:,}{stars[layer.name]}", f"{layer.parameters:,}", *layer.what] for layer in layers
    ]


def _notes(layers: Sequence[DrawnLayer], published: Mapping[str, float]) -> list[str]:
    """Writes the network's totals, and where the paper's figure prints another number."""
    parameters, neurons = sum(layer.parameters for layer in layers), sum(layer.neurons for layer in layers)
    dashed = " Dashed: reads the maps of the other column." if any(layer.reads_both for layer in layers) else ""
    notes = [f"{parameters:,} parameters, {neurons:,} neurons.{dashed}"]
    for layer in layers:
        if published.get(layer.name, layer.neurons) != layer.neurons:
            product = "×".join(map(str, [*layer.shape[1:], layer.width]))
            notes.append(f"* The paper's figure prints {published[layer.name]:,.0f}; {product} is {layer.neurons:,}.")
    return notes


def _volume(axes: Axes, shape: tuple[int, ...], left: float, centre: float, face: str) -> Volume:
    """Draws maps or units, (maps, side, side) or (units,), as a box with its numbers; sizes are not to scale."""
    maps, *sides = shape
    side = 0.85 * (sides[0] / 224) ** 0.36 if sides else 0.62  # to scale, 13 pixels would be a dot beside 224
    depth = side if sides else 0.2
    length = min(0.3 * (maps / 192) ** 0.5, 0.5) if sides else 0.07
    volume = Volume(left, centre - (side + INTO[1] * depth) / 2, length, side, depth)
    for corners in ("000 100 110 010", "010 110 111 011", "100 101 111 110"):  # front, top, right
        points = [volume.point(*map(int, corner)) for corner in corners.split()]
        axes.add_patch(Polygon(points, fc=face, ec=BLACK, lw=0.5, zorder=3))
    axes.text(*volume.point(0.5, -0.02, 0), f"{maps:,}", ha="center", va="top", **SMALL)
    if sides:
        axes.text(left - 0.02, volume.point(0, 0.8, 0)[1], sides[0], ha="right", va="center", **SMALL)
        axes.text(*volume.point(0, 1, 0.6), f"{sides[1]} ", ha="right", va="bottom", **SMALL)
    return volume


def _connect(axes: Axes, before: Sequence[Volume], volumes: Sequence[Volume], layer: DrawnLayer) -> None:
    """Joins each column of a layer with what it reads; dashed where that is the other column's."""
    for column, volume in enumerate(volumes):
        for other, source in enumerate(before):
            own = column == other or len(before) != len(volumes)
            if own or layer.reads_both:
                ends = [(source.point(1, up, 0.5), volume.point(0, up, 0)) for up in (0, 1)]
                if layer.kernel:
                    middle = 0.5 if len(before) == len(volumes) else (0.7, 0.3)[column]
                    square = source.square(max(layer.kernel / layer.side_read, 0.16), middle)
                    if own:
                        axes.add_patch(Polygon(square, fc="none", ec=BLACK, lw=0.7, zorder=4))
                        axes.text(*square[3], f"{layer.kernel} ", ha="right", va="bottom", **SMALL)
                    ends = [(corner, volume.point(0, 0.5, 0)) for corner in square]
                for start, end in ends:
                    dashes = "-" if own else (0, (4, 3))
                    axes.plot(*zip(start, end), color=BLACK, lw=0.45, ls=dashes, zorder=4)
