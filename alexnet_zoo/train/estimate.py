"""Estimates what a recipe will cost on this machine from a short timing: `alexzoo reproduce RECIPE --dry-run`."""

import statistics

import torch

from alexnet_zoo.devices import out_of_memory_told
from alexnet_zoo.models.count import layers_of, total
from alexnet_zoo.train.columns import Layout
from alexnet_zoo.train.recipe import Recipe
from alexnet_zoo.train.step import make_step

WARM, WARM_COMPILED, TIMED_STEPS = 1, 4, 3  # steps


def estimate(recipe: Recipe, images: int, num_classes: int, layout: Layout) -> dict[str, float]:
    """Estimates steps, seconds and bytes of a run in this layout; trains on noise, in one process, to find out.

    memory_bytes is what one device needs: weights, gradients, the optimiser's state, and what a forward pass keeps for
    the backward pass. It is measured, or counted (models/count.py) where a device holds one of several columns.
    """
    device, replicas = layout.device, layout.replicas
    step = make_step(recipe.model_copy(update={"start_from": ""}), num_classes, Layout(device=device))
    pixels = torch.randn(recipe.batch_size, 3, recipe.crop_size, recipe.crop_size, device=device) * 60
    labels = torch.randint(num_classes, (recipe.batch_size,), device=device)
    with out_of_memory_told(recipe.batch_size):
        warm = WARM_COMPILED if recipe.compile else WARM
        seconds = [step.seconds(pixels, labels) for _ in range(warm + TIMED_STEPS)][warm:]
    weights, kept = step.weight_bytes, step.kept_bytes // replicas
    copies = 2 + step.state_bytes / weights  # weights, gradients, and the optimiser's state
    if layout.columns > 1:
        args = {"num_classes": num_classes, **recipe.model_args}
        cost = total(layers_of(recipe.model, recipe.batch_size // replicas, per_device=True, **args))
        weights, kept = 4 * cost.parameters, cost.kept
    steps, step_seconds = round(recipe.epochs * (images // recipe.batch_size)), statistics.median(seconds)
    return {
        "steps": steps,
        "step_seconds": step_seconds,
        "hours": steps * step_seconds / 3600,
        "memory_bytes": copies * weights + kept,
        "checkpoint_bytes": step.weight_bytes + step.state_bytes,
    }
