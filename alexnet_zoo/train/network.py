"""The network that a recipe names, and the weights that it starts from."""

from pathlib import Path

import timm
from torch import nn

import alexnet_zoo.models  # noqa: F401  (gives timm the networks)
from alexnet_zoo.errors import UserError
from alexnet_zoo.train.checkpoint import load_tensors
from alexnet_zoo.train.recipe import Recipe


def create_model(recipe: Recipe, **args) -> nn.Module:
    """Makes the recipe's network; UserError where timm has none of that name, or it takes no such arguments."""
    try:
        return timm.create_model(recipe.model, **recipe.model_args, **args)
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"model {recipe.model} with {recipe.model_args}: {error}; see `alexzoo models`", 2) from error


def start_from(model: nn.Module, path: Path, layers: list[str]) -> None:
    """Takes the weights of `layers`, or of all, from a .safetensors file; the others stay as they were drawn."""
    weights = load_tensors(path)
    own = model.state_dict()
    wanted = [name for name in own if not layers or name.partition(".")[0] in layers]
    unknown = set(layers) - {name.partition(".")[0] for name in own}
    wrong = [name for name in wanted if name not in weights or weights[name].shape != own[name].shape]
    if unknown or wrong:
        what = ", ".join([*sorted(unknown), *wrong])
        raise UserError(f"{path}: does not give this network its start in {what}; name other start_layers")
    model.load_state_dict({**own, **{name: weights[name] for name in wanted}})
