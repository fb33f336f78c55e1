"""The paper's optimiser and its learning rate (section 5)."""

from typing import Callable

import torch
from torch.optim import Optimizer

from alexnet_zoo.train.recipe import Recipe


class PaperSGD(Optimizer):
    """v <- momentum * v - weight_decay * lr * w - lr * gradient;  w <- w + v.

    The rate is inside the velocity. torch.optim.SGD keeps it outside, so that the two differ after every change of
    the rate: there a drop shrinks the velocity at once, here what was gathered at the old rate runs out by itself.
    """

    def __init__(self, params, lr: float = 0.01, momentum: float = 0.9, weight_decay: float = 0.0005):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))
        for group in self.param_groups:
            for w in group["params"]:
                self.state[w]["velocity"] = torch.zeros_like(w)

    @torch.no_grad()
    def step(self, closure: Callable | None = None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [w for w in group["params"] if w.grad is not None]
            gradients = [w.grad for w in weights]
            velocities = [self.state[w]["velocity"] for w in weights]
            torch._foreach_mul_(velocities, group["momentum"])
            torch._foreach_add_(velocities, weights, alpha=-group["weight_decay"] * group["lr"])
            torch._foreach_add_(velocities, gradients, alpha=-group["lr"])
            torch._foreach_add_(weights, velocities)
        return loss


class Schedule:
    """The learning rate: `lr` now, and what an epoch's validation error makes of it.

    plateau: divided when the validation error has not fallen for `patience` epochs, `lr_drops` times (section 5).
    epochs: divided after each of `drop_epochs`. constant: never.
    """

    def __init__(self, recipe: Recipe):
        self.recipe = recipe
        self.drops = 0
        self.best_err = float("inf")
        self.epochs_since_best = 0

    @property
    def lr(self) -> float:
        return self.recipe.lr * self.recipe.lr_factor**self.drops

    def end_epoch(self, epoch: int, validation_err: float) -> None:
        """Takes the error at the end of `epoch`, counted from 1."""
        if self.recipe.schedule == "epochs":
            self.drops = sum(epoch >= drop for drop in self.recipe.drop_epochs)
        elif self.recipe.schedule == "plateau":
            self._plateau(validation_err)

    def _plateau(self, validation_err: float) -> None:
        if validation_err < self.best_err:
            self.best_err, self.epochs_since_best = validation_err, 0
            return
        self.epochs_since_best += 1
        if self.epochs_since_best >= self.recipe.patience and self.drops < self.recipe.lr_drops:
            self.drops, self.epochs_since_best = self.drops + 1, 0

    def state_dict(self) -> dict:
        return {"drops": self.drops, "best_err": self.best_err, "epochs_since_best": self.epochs_since_best}

    def load_state_dict(self, state: dict) -> None:
        self.drops, self.best_err = int(state["drops"]), float(state["best_err"])
        self.epochs_since_best = int(state["epochs_since_best"])
