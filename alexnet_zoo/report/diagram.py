"""Draws Figure 2, the network, from a model itself: layers, shapes, columns, and where the columns meet."""

import math
from dataclasses import dataclass, field

import timm
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import nn

from alexnet_zoo.errors import UserError
from alexnet_zoo.models.alexnet import AlexNet
from alexnet_zoo.models.count import walk
from alexnet_zoo.models.lrn import LocalResponseNorm, MapNorm
from alexnet_zoo.models.modules import Dropout, Flatten
from alexnet_zoo.report.figures import BLACK, GREY, new_figure, styled
from alexnet_zoo.report.measured import RunRecord


def network_of(run: RunRecord | None = None) -> nn.Module | None:
    """Builds the network of a run (None: the paper's) on the meta device, where it has no weights.

    Returns None where the run does not say how many classes it has. Raises UserError where timm cannot build it, or
    where results.csv says another number of parameters.
    """
    if run is None:
        return timm.create_model("alexnet_krizhevsky", device="meta")
    if run.classes is None:
        return None
    args = run.recipe.get("model_args", {}) | {"num_classes": run.classes}
    try:
        model = timm.create_model(run.recipe.get("model", "alexnet_krizhevsky"), device="meta", **args)
    except (RuntimeError, TypeError, ValueError) as error:  # unknown to timm, or of an impossible size
        raise UserError(f"{run.folder}: its network cannot be built: {error}") from error
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    for result in run.results:
        if "+" not in result.onnx_sha256 and abs(result.param_count - millions) > 0.006:  # written to two digits
            said = f"results.csv says {result.param_count} million parameters"
            raise UserError(f"{run.folder}: {said}, its recipe's network has {millions:.2f}; it is not drawn")
    return model


@dataclass
class DrawnLayer:
    """Describes a layer with weights, as one column has it, and the layers without weights that follow it."""

    name: str
    what: str
    shape: tuple[int, ...]  # maps, side, side; or units
    columns: int
    reads_both: bool
    follows: list[str] = field(default_factory=list)
    parameters: int = 0

    @property
    def size(self) -> str:
        maps, *sides = self.shape
        return f"{maps:,} units" if not sides else f"{sides[0]}×{sides[1]}×{maps}"

    @property
    def neurons(self) -> int:
        """Counts the layer's outputs in all columns."""
        return self.columns * math.prod(self.shape)


@torch.no_grad()
def layers_of(model: AlexNet, img_size: int = 224) -> list[DrawnLayer]:
    """Lists the layers with weights of a model on the meta device, in the order in which they run.

    Their shapes are those for one image of img_size pixels.
    """
    layers: list[DrawnLayer] = []
    for name, layer, _, out in walk(model, torch.empty(1, model.in_chans, img_size, img_size, device="meta")):
        maps, *sides = out.shape[1:]
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            held = 1 if name in model.held_whole else model.columns
            parameters = sum(parameter.numel() for parameter in layer.parameters())
            shape, both = (maps // held, *sides), name in model.meetings
            layers.append(DrawnLayer(name, _what(layer), shape, held, both, [], parameters))
        elif layers:
            layers[-1].follows += _follows(layer, sides)
    return layers


def _follows(layer: nn.Module, sides: list[int]) -> list[str]:
    """Finds the word for a layer without weights; some have none."""
    if isinstance(layer, nn.MaxPool2d):
        return [f"max-pool {layer.kernel_size}/{layer.stride} to {sides[0]}×{sides[1]}"]
    words = {LocalResponseNorm: "LRN", MapNorm: "normalised in each map", nn.BatchNorm2d: "batch norm"}
    words |= {Dropout: "dropout", nn.Dropout: "dropout", Flatten: "", nn.ZeroPad2d: ""}
    word = words.get(type(layer), type(layer).__name__)  # an activation has its own: ReLU
    return [word] if word else []


def _what(module: nn.Module) -> str:
    if isinstance(module, nn.Linear):
        return "fully connected"
    kernel, stride = module.kernel_size[0], module.stride[0]
    return f"{kernel}×{kernel}" + (f", stride {stride}" if stride > 1 else "")


# ---- drawing: from the image at the top to the classes at the bottom, one box for each layer and column

PITCH, HEIGHT = 1.0, 0.68


@styled
def figure2(model: nn.Module, img_size: int = 224) -> Figure:
    """Draws a model as a diagram; arrows cross where the columns meet."""
    layers = layers_of(model, img_size)
    columns = layers[0].columns
    figure = new_figure(height=0.58 * (len(layers) + 1.6))
    axes = figure.add_subplot()
    axes.set(xlim=(0, 1), ylim=(-(len(layers) + 0.75) * PITCH, HEIGHT / 2 + 0.05))
    axes.set_axis_off()
    centres = _box(axes, 0, 1, [f"image  {img_size}×{img_size}×3"], columns)
    for number, layer in enumerate(layers, start=1):
        above = centres
        centres = _box(axes, number, layer.columns, _lines(layer, layer.columns), columns)
        _arrows(axes, above, centres, number - 1, crossing=layer.reads_both or len(above) != len(centres))
    total = sum(parameter.numel() for parameter in model.parameters())
    axes.text(0.5, -(len(layers) + 0.6) * PITCH, f"{total:,} parameters", ha="center", va="center")
    return figure


def _lines(layer: DrawnLayer, held: int) -> list[str]:
    head = f"{layer.name}  {layer.what}" if layer.what != "fully connected" else layer.name
    lines = [f"{head}:  {layer.size}"] if held == 1 else [head, layer.size]
    return lines + ([", ".join(layer.follows)] if layer.follows else [])


def _box(axes: Axes, row: int, held: int, lines: list[str], columns: int) -> list[float]:
    """Draws one box, or one for each column; returns their centres."""
    width = 0.97 / columns - 0.03 if held > 1 else 0.62
    centres = [(column + 0.5) / held for column in range(held)]
    sizes = [7, 7, 5.8] if len(lines) == 3 else [7, 5.8]
    for column, centre in enumerate(centres):
        left, bottom = centre - width / 2, -row * PITCH - HEIGHT / 2
        face = "white" if held == 1 else ("#F2F2F2", "#DDE8F0")[column % 2]
        axes.add_patch(Rectangle((left, bottom), width, HEIGHT, fc=face, ec=BLACK, lw=0.8))
        for number, (line, size) in enumerate(zip(lines, sizes, strict=False)):
            y = -row * PITCH + 0.195 * ((len(lines) - 1) / 2 - number)
            axes.text(centre, y, line, ha="center", va="center", fontsize=size)
    return centres


def _arrows(axes: Axes, above: list[float], below: list[float], row: int, crossing: bool) -> None:
    top, bottom = -row * PITCH - HEIGHT / 2, -(row + 1) * PITCH + HEIGHT / 2
    for i, start in enumerate(above):
        for j, end in enumerate(below):
            if crossing or i == j:
                own = i == j or len(above) != len(below)
                colour = BLACK if own else GREY
                look = dict(arrowstyle="-|>", lw=0.9, shrinkA=0, shrinkB=0, mutation_scale=6, color=colour)
                axes.annotate("", (end, bottom), (start, top), arrowprops=look)
