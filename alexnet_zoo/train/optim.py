"""The paper's optimiser and its learning rate (section 5)."""

from collections import defaultdict

import torch
from torch import nn
from torch.optim import Optimizer

from alexnet_zoo.errors import UserError
from alexnet_zoo.train.recipe import Change, Recipe


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
    def step(self) -> None:
        """Updates all weights of one rate and decay together: each number is read once and written once.

        torch's fused operation takes 1 + rate, which rounds a rate to a multiple of 2e-16.
        """
        kinds: dict[tuple[float, float, float], list] = defaultdict(list)
        for group in self.param_groups:
            kind = group["lr"], group["momentum"], group["weight_decay"]
            kinds[kind] += [w for w in group["params"] if w.grad is not None]
        for (lr, momentum, weight_decay), weights in kinds.items():
            # torch's: v <- momentum * v + (1 - dampening) * (gradient + weight_decay * w);  w <- w - lr * v
            torch._fused_sgd_(
                weights,
                [w.grad for w in weights],
                [self.state[w]["velocity"] for w in weights] if momentum else [],
                weight_decay=weight_decay,
                momentum=momentum,
                lr=-1.0 if momentum else lr,
                dampening=1 + lr if momentum else 0.0,
                nesterov=False,
                maximize=False,
                is_first_step=False,
            )


OPTIMIZERS = {"paper": PaperSGD, "sgd": torch.optim.SGD}


def make_optimizer(model: nn.Module, recipe: Recipe) -> Optimizer:
    """Makes the recipe's optimiser. A group holds the weights, or the biases, of all layers that keep one rate.

    Each group says its `layer` ("": every layer that the recipe does not name) and whether it is of biases;
    Schedule.apply sets its rate. Raises UserError where the recipe names a layer that the network lacks.
    """
    changed = (layer for change in recipe.changes for layer in change.layers)
    named = {*recipe.lr_layers, *recipe.weight_decay_layers, *recipe.frozen, *changed}
    groups: dict[tuple[str, bool], dict] = {}
    layers = []
    for name, parameter in model.named_parameters():
        layer, bias = name.partition(".")[0], name.endswith(".bias")
        layers.append(layer)
        if not parameter.requires_grad:  # frozen
            continue
        decay = recipe.weight_decay_layers.get(layer, recipe.weight_decay)
        decay = decay if recipe.decay_biases or not bias else 0.0
        group = {"params": [], "layer": layer if layer in named else "", "bias": bias, "weight_decay": decay}
        groups.setdefault((group["layer"], bias), group)["params"].append(parameter)
    if unknown := named.difference(layers):
        raise UserError(
            f"recipe {recipe.name}: lr_layers, weight_decay_layers, frozen or changes name "
            f"{', '.join(sorted(unknown))}; "
            f"{recipe.model} has {', '.join(dict.fromkeys(layers))}",
            exit_code=2,
        )
    return OPTIMIZERS[recipe.optimizer](groups.values(), lr=recipe.lr, momentum=recipe.momentum)


class Schedule:
    """The learning rates, and the colour noise, at any time of a run.

    plateau: rates are divided when the validation error has not fallen for `patience` epochs, `lr_drops` times at most
    (section 5). fixed: after each of `drop_epochs`. Either way `changes` come on top. Only the plateau has a state.

    Args: steps, of an epoch.
    """

    def __init__(self, recipe: Recipe, steps: int):
        self.recipe, self.steps = recipe, steps
        self.plateaus: list[float] = []  # epochs after which the validation error had stopped falling
        self.best_err = float("inf")
        self.epochs_since_best = 0

    def _events(self, epochs: float) -> list[Change | None]:
        """Lists the changes up to a time, in epochs, in their order; None is a drop of all rates."""
        drops = self.recipe.drop_epochs if self.recipe.schedule == "fixed" else self.plateaus
        timed: list[tuple[float, Change | None]] = [(drop, None) for drop in drops]
        for change in self.recipe.changes:
            when = change.after_batches / self.steps if change.after_epochs is None else change.after_epochs
            timed.append((when, change))
        timed.sort(key=lambda event: event[0])
        return [event for when, event in timed if when <= epochs]

    def rates(self, epochs: float, layers: list[str]) -> dict[str, float]:
        """Says the rate of each layer's weights after `epochs`."""
        rates = {layer: self.recipe.lr_layers.get(layer, self.recipe.lr) for layer in layers}
        for event in self._events(epochs):
            if event is None:
                rates = {layer: rate * self.recipe.lr_factor for layer, rate in rates.items()}
            elif event.lr is not None:
                named = event.layers or [layer for layer, rate in rates.items() if rate > 0]
                rates.update(dict.fromkeys(named, event.lr))
        return rates

    def bias_rates(self, epochs: float, layers: list[str]) -> dict[str, float]:
        """Says the rate of each layer's biases: its weights', or their own, which ends only where the weights' is 0."""
        own = dict.fromkeys(layers, self.recipe.bias_lr)
        for event in self._events(epochs):
            if event is not None and event.bias_lr is not None:
                own.update(dict.fromkeys(event.layers or layers, event.bias_lr))
        rates = self.rates(epochs, layers)
        return {layer: rate if own[layer] is None or rate == 0 else own[layer] for layer, rate in rates.items()}

    def colour(self, epochs: float) -> str:
        """Says the kind of colour noise after `epochs`."""
        switched = [event.colour for event in self._events(epochs) if event is not None and event.colour]
        return switched[-1] if switched else self.recipe.colour

    def apply(self, optimizer: Optimizer, epochs: float) -> float:
        """Sets the rates of make_optimizer's groups; returns the highest one of weights."""
        layers = list(dict.fromkeys(group["layer"] for group in optimizer.param_groups))
        rates, bias_rates = self.rates(epochs, layers), self.bias_rates(epochs, layers)
        for group in optimizer.param_groups:
            group["lr"] = (bias_rates if group["bias"] else rates)[group["layer"]]
        return max(rates.values())

    def end_epoch(self, epochs: float, validation_err: float) -> None:
        """Takes the validation error, in percent, after `epochs`."""
        if validation_err < self.best_err:
            self.best_err, self.epochs_since_best = validation_err, 0
            return
        self.epochs_since_best += 1
        if self.epochs_since_best >= self.recipe.patience and len(self.plateaus) < self.recipe.lr_drops:
            self.plateaus, self.epochs_since_best = [*self.plateaus, epochs], 0

    def state_dict(self) -> dict:
        return {key: getattr(self, key) for key in ("plateaus", "best_err", "epochs_since_best")}

    def load_state_dict(self, state: dict) -> None:
        self.plateaus, self.best_err = list(state["plateaus"]), float(state["best_err"])
        self.epochs_since_best = int(state["epochs_since_best"])
