"""Counts what a network costs: parameters, multiply-adds, memory, and what its columns send each other.

Nothing is computed: the tensors are on torch's meta device, where they have shapes and no values.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass

import timm
import torch
from torch import Tensor, nn

from alexnet_zoo.errors import UserError, names_there_are
from alexnet_zoo.models.variants import model_names

FLOAT = 4  # bytes of a float32
MB = 1e6
HEAD = f"{'parameters':>12} {'multiply-adds':>14} {'kept, MB':>9} {'received, B':>12}"  # of both tables


@dataclass
class Counts:
    """Holds the costs of a layer or a network: of the one column that a device holds, or of all."""

    parameters: int = 0
    multiply_adds: int = 0  # of one image, in convolutional and fully connected layers
    kept: int = 0  # bytes that training keeps from the forward to the backward pass, of a batch
    received: int = 0  # bytes that a column receives from the others, of one image, in the forward pass

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(own + its for own, its in zip(astuple(self), astuple(other))))


@dataclass
class CountedLayer:
    name: str
    shape: tuple[int, ...]  # of its output, for one image
    cost: Counts


@contextmanager
def kept_for_backward(model: nn.Module) -> Iterator[Callable[[], int]]:
    """Yields a function that counts the bytes that the forward pass within has saved for the backward pass so far.

    Parameters are not counted.
    """
    parameters = {p.untyped_storage()._cdata for p in model.parameters()}  # unlike data_ptr, not 0 on the meta device
    kept = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in parameters:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield lambda: sum(kept.values())


def walk(model: nn.Module, x: Tensor, apart: bool = False) -> Iterator[tuple[str, nn.Module, Tensor, Tensor]]:
    """Runs a model layer by layer; yields each layer's name, the layer, what it read and what it gave.

    apart: the model holds one column; where a layer reads all columns, its own maps stand in for each other column's.
    """
    for name, layer in model.named_children():
        if apart and name in model.meetings:
            x = torch.cat([x] * model.columns, dim=1)
        read, x = x, layer(x)
        yield name, layer, read, x


def check_name(name: str) -> None:
    """Raises UserError (exit code 2) where no network of ours has that name."""
    if name not in model_names():
        raise UserError(f"{name}: no such network; {names_there_are(name, model_names())}", exit_code=2)


def layers_of(name: str, batch_size: int = 128, per_device: bool = False, **model_args) -> list[CountedLayer]:
    """Lists the layers of a network in order with their costs; per_device counts the column that each device holds.

    Raises UserError where there is no such network, ValueError where its columns cannot be apart.
    """
    check_name(name)
    with torch.device("meta"):
        model = timm.create_model(name, local_columns=1 if per_device else None, **model_args)
    side = model_args.get("img_size", model.pretrained_cfg["input_size"][-1])
    x = torch.empty(batch_size, model.in_chans, side, side, device="meta")
    layers, before = [], 0
    with kept_for_backward(model) as kept:
        for layer_name, layer, read, out in walk(model, x, apart=per_device):
            meets = per_device and layer_name in model.meetings
            received = FLOAT * read[0].numel() * (model.columns - 1) // model.columns if meets else 0
            parameters = sum(p.numel() for p in layer.parameters())
            counts = Counts(parameters, multiply_adds(layer, out), kept() - before, received)
            layers.append(CountedLayer(layer_name, tuple(out.shape[1:]), counts))
            before = kept()
    return layers


def multiply_adds(layer: nn.Module, output: Tensor) -> int:
    """Counts the multiply-adds of one image: a layer uses each weight once at each place of its output."""
    return layer.weight.numel() * math.prod(output.shape[2:]) if isinstance(layer, (nn.Conv2d, nn.Linear)) else 0


def total(layers: list[CountedLayer]) -> Counts:
    return sum((layer.cost for layer in layers), Counts())


@torch.no_grad()
def layer_shapes(model: nn.Module, img_size: int | None = None) -> dict[str, tuple[int, ...]]:
    """Names a model's layers with the shapes of their outputs for one image: {"conv1": (96, 55, 55), ...}.

    torchvision's create_feature_extractor takes these names; img_size is the image's side in pixels.
    """
    side = img_size or model.pretrained_cfg["input_size"][-1]
    first = next(model.parameters())
    x = torch.zeros(1, model.in_chans, side, side, device=first.device, dtype=first.dtype)
    return {name: tuple(out.shape[1:]) for name, _, _, out in walk(model, x)}


# Tables for a reader


def apart(name: str, batch_size: int) -> list[CountedLayer]:
    """Lists the layers of one column of a network; none where it has one column, or its columns cannot be apart."""
    with torch.device("meta"):
        columns = timm.create_model(name).columns
    try:
        return layers_of(name, batch_size, per_device=True) if columns > 1 else []
    except ValueError:
        return []


def table_of_models(batch_size: int = 128) -> str:
    """Writes a line for each network, and one for each of two devices that can hold a column each."""
    lines = [f"{'':32} {HEAD}"]
    for name in model_names():
        lines.append(_line(name, total(layers_of(name, batch_size))))
        if column := apart(name, batch_size):
            lines.append(_line("  on each of two devices", total(column)))
    return "\n".join([*lines, "", *_legend(batch_size)])


def table_of_layers(name: str, batch_size: int = 128) -> str:
    """Writes a line for each layer of a network: whole, and where it can be, as each of two devices holds it."""
    parts = [(name, layers_of(name, batch_size)), ("on each of two devices", apart(name, batch_size))]
    lines = []
    for title, layers in parts:
        if layers:
            lines.append(f"{title:32} {HEAD}")
            for layer in layers:
                shape = " x ".join(map(str, layer.shape))
                lines.append(_line(f"  {layer.name:14} {shape}", layer.cost))
            lines += [_line("  all", total(layers)), ""]
    return "\n".join([*lines, *_legend(batch_size)])


def _line(title: str, cost: Counts) -> str:
    kept, received = f"{cost.kept / MB:.1f}", f"{cost.received:,}" if cost.received else ""
    return f"{title:32} {cost.parameters:>12,} {cost.multiply_adds:>14,} {kept:>9} {received:>12}"


def _legend(batch_size: int) -> list[str]:
    return [
        f"multiply-adds: of one image. kept: what training keeps for the backward pass, batch {batch_size}, float32.",
        "received: bytes an image that a device receives from the others in the forward pass, for a layer that reads",
        "all columns. Backward it receives as many, but none for fc8, since each device computes the whole of fc8.",
    ]
