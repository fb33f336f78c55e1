"""Figure 2: the network, drawn from a model itself: layers, shapes, columns, and where the columns meet."""

import math
from dataclasses import dataclass, field

import timm
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import nn

import alexnet_zoo  # noqa: F401  (gives timm the networks)
from alexnet_zoo.errors import UserError
from alexnet_zoo.report.figures import BLACK, GREY, new_figure, styled
from alexnet_zoo.report.results import Run

FOLLOWS = {"relu": "ReLU", "norm": "LRN", "pool": "max-pool", "drop": "dropout"}  # by the paper's name of the layer


def network_of(run: Run | None = None) -> nn.Module | None:
    """The network of a run (the paper's for None) without its weights: on the meta device it takes no memory.

    None where the run does not say how many classes it has. Raises: UserError where timm cannot build it, or where it
    has other parameters than results.csv says.
    """
    if run is None:
        return timm.create_model("alexnet_krizhevsky", device="meta")
    classes = run.classes
    if classes is None:
        return None
    recipe = run.recipe
    args = {**recipe.get("model_args", {}), "num_classes": classes}
    try:
        model = timm.create_model(recipe.get("model", "alexnet_krizhevsky"), device="meta", **args)
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
    """A layer with weights, for one column: what it is, what follows it, its output's shape, whom it reads."""

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
        """In all columns."""
        return self.columns * math.prod(self.shape)


def layers_of(model: nn.Module, img_size: int = 224) -> list[DrawnLayer]:
    """The layers with weights of an AlexNet, in the order in which they run, with the shapes that one image gets.

    Args: model, whose children carry the paper's names (conv1, relu1, norm1, ..., fc8); img_size in pixels.
    """
    shapes: list[tuple[str, nn.Module, tuple[int, ...]]] = []

    def note(name: str, module: nn.Module):
        return module.register_forward_hook(lambda _, __, out: shapes.append((name, module, tuple(out.shape[1:]))))

    hooks = [note(name, module) for name, module in model.named_children()]
    device = next(model.parameters()).device
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, 3, img_size, img_size, device=device))
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return _group(shapes, getattr(model, "columns", 1))


def _group(shapes: list[tuple[str, nn.Module, tuple[int, ...]]], columns: int) -> list[DrawnLayer]:
    layers: list[DrawnLayer] = []
    for name, module, shape in shapes:
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            held = 1 if name.startswith("fc8") else columns  # fc8 lives on one GPU
            both = isinstance(module, nn.Linear) or (module.groups == 1 and name != "conv1")
            per_column = (shape[0] // held, *shape[1:])
            parameters = sum(parameter.numel() for parameter in module.parameters())
            layers.append(DrawnLayer(name, _what(module), per_column, held, both and columns > 1, [], parameters))
        elif layers:
            word = next((word for start, word in FOLLOWS.items() if name.startswith(start)), None)
            if word == "ReLU":
                word = type(module).__name__  # the activation that is there, tanh perhaps
            if word == "max-pool":
                word += f" {_side(module.kernel_size)}/{_side(module.stride)} to {shape[1]}×{shape[2]}"
            if word:
                layers[-1].follows.append(word)
    return layers


def _what(module: nn.Module) -> str:
    if isinstance(module, nn.Linear):
        return "fully connected"
    side, stride = _side(module.kernel_size), _side(module.stride)
    return f"{side}×{side}" + (f", stride {stride}" if stride > 1 else "")


def _side(size: int | tuple[int, ...]) -> int:
    return size if isinstance(size, int) else size[0]


# ---- drawing: from the image at the top to the classes at the bottom, one box for each layer and column

PITCH, HEIGHT = 1.0, 0.68


@styled
def figure2(model: nn.Module, img_size: int = 224) -> Figure:
    """The network of `model` as a diagram; arrows cross where the columns meet."""
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
    if layer.follows:
        lines.append(", ".join(layer.follows))
    return lines


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
