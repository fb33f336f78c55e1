"""Records what every layer does while it learns: gradients, weights, silent units. RUN/layers.jsonl."""

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from alexnet_zoo.train.profile import gather_records
from alexnet_zoo.train.step import TrainStep


class LayerWatch:
    """Looks at a network once in `every` steps; each process looks at its own column.

    A unit is a map of a convolutional layer or a unit of a fully connected one. It is silent in a step in which no
    image of the batch brings it above zero; a ReLU that all images leave silent has no gradient (section 3.1).
    """

    def __init__(self, train_step: TrainStep, run: Path, every: int):
        self.model, self.layout, self.run, self.every = train_step.model, train_step.layout, run, every
        self.silent: dict[str, Tensor] = {}
        self.looking = False
        self.step = 0
        for name, layer in self.model.named_children():
            if name.startswith(("relu", "act")):
                layer.register_forward_hook(self._look(name))
        train_step.optimizer.register_step_pre_hook(self._write)

    def _look(self, name: str):
        def hook(_layer: nn.Module, _inputs: tuple[Tensor], maps: Tensor) -> None:
            if self.looking:
                self.silent[name] = (maps.detach().transpose(0, 1).flatten(1).amax(1) <= 0).double().mean()

        return hook

    def begin(self, step: int) -> None:
        """Decides, before a step, whether to look at it; `step` is how many were taken before."""
        self.step, self.looking = step, step % self.every == 0

    def _write(self, *_) -> None:
        """Writes a line of layers.jsonl for each column; the optimiser calls it before its update."""
        if not self.looking:
            return
        rows = gather_records(self.row(), self.layout)
        if self.layout.first:
            with (self.run / "layers.jsonl").open("a") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows if row["replica"] == 0)

    def row(self) -> dict:
        """Computes the norms of each layer's weights and gradients, and the share of its units that were silent."""
        layers = {name: layer.weight for name, layer in self.model.named_children() if hasattr(layer, "weight")}
        gradients = {name: w.grad for name, w in layers.items() if w.grad is not None}  # frozen layers have none
        return {
            "step": self.step + 1,
            "replica": self.layout.replica,
            "column": self.layout.column,
            "weight_norm": {name: float(torch.linalg.vector_norm(w.detach())) for name, w in layers.items()},
            "gradient_norm": {name: float(torch.linalg.vector_norm(grad)) for name, grad in gradients.items()},
            "silent": {name: float(share) for name, share in self.silent.items()},
        }
