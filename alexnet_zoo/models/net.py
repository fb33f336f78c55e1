"""Holds a network as a value: the list of its layers, and the ways to replace parts of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Union

from alexnet_zoo.models.layers import BOTH, Classes, Flat, FullyConnected, Layer, Weighted


@dataclass(frozen=True)
class Net:
    """Lists a network's layers in order. Each `with_` method returns another list and leaves this one as it is.

    Args: columns, how many there are, whose maps see each other at the meeting points only; image, the side of the
    image that fc6 is sized for; padding, zeros around the image: left, right, top, bottom.
    """

    layers: tuple[Layer, ...]
    columns: int = 2
    image: int = 224
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    def __post_init__(self):
        object.__setattr__(self, "layers", named(self.layers))

    def names(self, kind: type[Layer]) -> list[str]:
        """Returns the names of the layers of a kind."""
        return [layer.name for layer in self.layers if isinstance(layer, kind)]

    @property
    def meetings(self) -> tuple[str, ...]:
        """Names the layers that read both columns: where the columns meet."""
        both = (layer.name for layer in self.layers if isinstance(layer, Weighted) and layer.reads == BOTH)
        return tuple(both) if self.columns > 1 else ()

    @property
    def held_whole(self) -> tuple[str, ...]:
        """Names the layers that each column holds whole."""
        return tuple(self.names(Classes))

    def check_columns(self) -> None:
        """Raises ValueError where the columns cannot share a layer."""
        for layer in self.layers:
            if isinstance(layer, Weighted) and layer.name not in self.held_whole and layer.width % self.columns:
                raise ValueError(f"{layer.name}: {self.columns} columns cannot share its width of {layer.width}")

    def with_layers(self, change: Callable[[Layer], Iterable[Layer]]) -> "Net":
        """Puts change(layer), none or several layers, in place of each layer."""
        return replace(self, layers=tuple(new for layer in self.layers for new in change(layer)))

    def with_fields(self, which: Union[str, type[Layer]], **fields) -> "Net":
        """Sets fields in the layer of a name, or in all layers of a kind."""

        def change(layer: Layer) -> list[Layer]:
            asked = layer.name == which if isinstance(which, str) else isinstance(layer, which)
            return [replace(layer, **fields) if asked else layer]

        return self.with_layers(change)

    def with_widths(self, *widths: int) -> "Net":
        """Sets the numbers of maps and units, from conv1 on."""
        net = self
        for name, width in zip(self.names(Weighted), widths):
            net = net.with_fields(name, width=width)
        return net

    def with_before(self, name: str, *new: Layer) -> "Net":
        """Inserts layers before the one of a name."""
        return self.with_layers(lambda layer: [*new, layer] if layer.name == name else [layer])

    def with_after(self, name: str, *new: Layer) -> "Net":
        """Replaces the layers between the one of a name and the next one that has weights."""
        after = self.names(Layer).index(name) + 1
        rest = self.layers[after:]
        skipped = next(i for i, layer in enumerate(rest) if isinstance(layer, (Weighted, Flat)))
        return replace(self, layers=(*self.layers[:after], *new, *rest[skipped:]))


def named(layers: Iterable[Layer]) -> tuple[Layer, ...]:
    """Gives the layers the paper's names, conv1, relu1, ... fc8; one that has a name keeps it."""
    out: list[Layer] = []
    place = ""
    for layer in layers:
        if isinstance(layer, Weighted):
            first = 6 if isinstance(layer, FullyConnected) else 1
            number = first + sum(other.name.startswith(layer.word) for other in out)
            place = f"_conv{number}" if first == 1 and number > 5 else str(number)  # relu6 is fc6's, not conv6's
        name = f"{layer.word}{number if isinstance(layer, Weighted) else place}"
        out.append(replace(layer, name=layer.name or name))
    return tuple(out)
