"""Describes networks by their layers with weights, from a model itself; tells how the runs' differ from the paper's."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import timm
import torch
from torch import nn

from alexnet_zoo.errors import UserError
from alexnet_zoo.models.alexnet import AlexNet
from alexnet_zoo.models.count import walk
from alexnet_zoo.models.lrn import LocalResponseNorm, MapNorm
from alexnet_zoo.models.modules import Dropout, Flatten
from alexnet_zoo.report.formats import Cell, Column, Figure, Table
from alexnet_zoo.report.measured import Results, RunRecord

PAPERS_OWN = "alexnet_krizhevsky"


def network_of(run: RunRecord | None = None) -> nn.Module | None:
    """Builds the network of a run (None: the paper's) on the meta device, where it has no weights.

    Returns None where the run does not say how many classes it has. Raises UserError where timm cannot build it, or
    where results.csv says another number of parameters.
    """
    if run is None:
        return timm.create_model(PAPERS_OWN, device="meta")
    if run.classes is None:
        return None
    args = run.recipe.get("model_args", {}) | {"num_classes": run.classes}
    try:
        model = timm.create_model(run.recipe.get("model", PAPERS_OWN), device="meta", **args)
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
    shape: tuple[int, ...]  # maps, side, side; or units
    columns: int
    reads_both: bool
    kernel: int = 0  # side, in pixels of what it reads; 0: fully connected
    stride: int = 1
    read: int = 0  # maps that one kernel sees
    side_read: int = 0
    follows: list[str] = field(default_factory=list)
    parameters: int = 0

    @property
    def size(self) -> str:
        maps, *sides = self.shape
        return f"{maps:,} units" if not sides else f"{sides[0]}×{sides[1]}×{maps}"

    @property
    def width(self) -> int:
        """Counts the maps or units in all columns."""
        return self.columns * self.shape[0]

    @property
    def neurons(self) -> int:
        """Counts the layer's outputs in all columns."""
        return self.columns * math.prod(self.shape)

    @property
    def what(self) -> list[str]:
        """Says in lines what it is and what follows: "96 kernels", "11×11×3", "stride 4", "ReLU", ..."""
        kernel = [f"{self.width} kernels", f"{self.kernel}×{self.kernel}×{self.read}"] if self.kernel else []
        return [*kernel, *([f"stride {self.stride}"] if self.stride > 1 else []), *self.follows]


@torch.no_grad()
def layers_of(model: AlexNet, img_size: int = 224) -> list[DrawnLayer]:
    """Lists the layers with weights of a model on the meta device, in the order in which they run.

    Their shapes are those for one image of img_size pixels.
    """
    layers: list[DrawnLayer] = []
    for name, layer, read, out in walk(model, torch.empty(1, model.in_chans, img_size, img_size, device="meta")):
        maps, *sides = out.shape[1:]
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            held = 1 if name in model.held_whole else model.columns
            drawn = DrawnLayer(name, (maps // held, *sides), held, name in model.meetings)
            drawn.parameters = sum(parameter.numel() for parameter in layer.parameters())
            if isinstance(layer, nn.Conv2d):
                drawn.kernel, drawn.stride, drawn.read = layer.kernel_size[0], layer.stride[0], layer.weight.shape[1]
                drawn.side_read = read.shape[-1]
            layers.append(drawn)
        elif layers:
            layers[-1].follows += _follows(layer)
    return layers


def _follows(layer: nn.Module) -> list[str]:
    """Finds the word for a layer without weights; some have none."""
    if isinstance(layer, nn.MaxPool2d):
        return [f"max-pool {layer.kernel_size}/{layer.stride}"]
    words = {LocalResponseNorm: "LRN", MapNorm: "map norm", nn.BatchNorm2d: "batch norm"}
    words |= {Dropout: "dropout", nn.Dropout: "dropout", Flatten: "", nn.ZeroPad2d: ""}
    word = words.get(type(layer), type(layer).__name__)  # an activation has its own: ReLU
    return [word] if word else []


def image_size(run: RunRecord) -> int:
    """Tells the side of the images that a run's network reads."""
    return run.recipe.get("model_args", {}).get("img_size", 224)


def networks_table(results: Results) -> Table:
    """Tells how the runs' networks differ from the paper's Figure 2, a row for each network."""
    paper = {layer.name: layer for layer in layers_of(network_of())}
    rows: dict[str, tuple[list[Cell], list[str]]] = {}
    for run in results.runs:
        try:
            model = network_of(run)
        except UserError:  # pictures.py says so
            continue
        if isinstance(model, AlexNet):
            layers = {layer.name: layer for layer in layers_of(model, image_size(run))}
            counts = [sum(getattr(layer, what) for layer in layers.values()) for what in ("parameters", "neurons")]
            says = "; ".join(_differences(layers, paper)) or None
            cells = [run.recipe.get("model", PAPERS_OWN), Figure(image_size(run), 0), says]
            cells += [Figure(count, 0) for count in counts]
            rows.setdefault(str(cells), (cells, []))[1].append(run.name)
    columns = [
        Column("network", "Network"),
        Column("image", "Image, pixels", numeric=True),
        Column("differs", "What differs from Figure 2"),
        Column("parameters", "Parameters", numeric=True),
        Column("neurons", "Neurons", numeric=True),
        Column("runs", "Runs", aside=True),
    ]
    lines = [[*cells, ", ".join(names)] for cells, names in rows.values()]
    return Table("networks", "Figure 2: how the networks of these runs differ from it", columns, lines)


def _differences(layers: Mapping[str, DrawnLayer], paper: Mapping[str, DrawnLayer]) -> Iterator[str]:
    """Yields in words what differs; sides of maps follow from the image and the kernels, and are not told."""
    for name in layers.keys() | paper.keys():
        if name not in layers or name not in paper:
            yield f"{'no' if name in paper else 'one more:'} {name}"
    pairs = [(layer, paper[name]) for name, layer in layers.items() if name in paper]
    if len({layer.columns for layer in layers.values()}) == 1:
        yield "one column"
    if any(own.width != its.width for own, its in pairs[:-1]):
        yield f"maps and units {', '.join(f'{own.width:,}' for own, _ in pairs[:-1])}"
    if pairs[-1][0].width != pairs[-1][1].width:
        yield f"{pairs[-1][0].width:,} classes"
    for own, its in pairs:
        if own.columns > 1 and own.reads_both != its.reads_both:
            yield f"{own.name} reads {'both columns' if own.reads_both else 'its own column'}"
        if (own.kernel, own.stride) != (its.kernel, its.stride):
            yield f"{own.name} {own.kernel}×{own.kernel}, stride {own.stride}"
        if own.follows != its.follows:
            yield f"after {own.name} {', '.join(own.follows)}"
