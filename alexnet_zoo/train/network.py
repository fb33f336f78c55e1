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


def start_from(model: nn.Module, recipe: Recipe) -> None:
    """Takes the weights of the recipe's start_layers from its .safetensors file; the others stay as they were drawn."""
    weights = load_tensors(Path(recipe.start_from))
    own = model.state_dict()
    named = {*recipe.start_layers, *recipe.new_layers}
    layers = set(recipe.start_layers or map(layer_of, own)) - set(recipe.new_layers)
    wanted = [name for name in own if layer_of(name) in layers]
    unknown = named - set(map(layer_of, own))
    wrong = [name for name in wanted if name not in weights or weights[name].shape != own[name].shape]
    if unknown or wrong:
        what = ", ".join([*sorted(unknown), *wrong])
        advice = "name other start_layers, or new_layers"
        raise UserError(f"{recipe.start_from}: does not give this network its start in {what}; {advice}")
    model.load_state_dict({**own, **{name: weights[name] for name in wanted}})


def freeze(model: nn.Module, layers: list[str]) -> None:
    """Keeps layers as they are; their gradients are not computed."""
    for name, parameter in model.named_parameters():
        if layer_of(name) in layers:
            parameter.requires_grad_(False)


def layer_of(name: str) -> str:
    """Names the layer of a tensor: conv1 of "conv1.weight"."""
    return name.partition(".")[0]
