"""What a recipe will cost on this machine, from a short timing: `alexzoo reproduce RECIPE --dry-run`."""

import statistics
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alexnet_zoo.models.count import layers_of, total
from alexnet_zoo.train import columns
from alexnet_zoo.train.columns import Layout
from alexnet_zoo.train.memory import keep_memory, kept_for_backward
from alexnet_zoo.train.optim import PaperSGD, parameter_groups
from alexnet_zoo.train.recipe import Recipe

TIMED_STEPS = 3  # after one that warms up


def estimate(
    recipe: Recipe, images: int, num_classes: int, replicas: int = 1, columns_apart: int = 1
) -> dict[str, float]:
    """Steps, seconds and bytes of a run; trains a few steps on noise, in one process, to find out.

    memory_bytes is that of a device: weights, gradients, velocities, and what a forward pass keeps for the backward
    pass; measured, or counted (models/count.py) where a device holds one of several columns.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        keep_memory()
    model = columns.build(recipe.model_copy(update={"start_from": ""}), num_classes, Layout(device=device))
    optimizer = PaperSGD(parameter_groups(model, recipe), recipe.lr, recipe.momentum)
    pixels = torch.randn(recipe.batch_size, 3, recipe.crop_size, recipe.crop_size, device=device) * 60
    labels = torch.randint(num_classes, (recipe.batch_size,), device=device)
    with kept_for_backward(model) as kept_bytes:
        loss = F.cross_entropy(model(pixels), labels)
    kept = kept_bytes()
    del loss
    seconds = [timed_step(model, optimizer, pixels, labels) for _ in range(1 + TIMED_STEPS)]
    weights = whole = sum(p.numel() * p.element_size() for p in model.parameters())
    if columns_apart > 1:
        share = {"num_classes": num_classes, **recipe.model_args}
        cost = total(layers_of(recipe.model, recipe.batch_size // replicas, per_device=True, **share))
        weights, kept = 4 * cost.parameters, cost.kept
    else:
        kept //= replicas
    steps = round(recipe.epochs * (images // recipe.batch_size))
    step_seconds = statistics.median(seconds[1:])
    return {
        "steps": steps,
        "step_seconds": step_seconds,
        "hours": steps * step_seconds / 3600,
        "memory_bytes": 3 * weights + kept,
        "checkpoint_bytes": 2 * whole,
    }


def timed_step(model: nn.Module, optimizer: PaperSGD, pixels: Tensor, labels: Tensor) -> float:
    began = time.perf_counter()
    F.cross_entropy(model(pixels), labels).backward()
    optimizer.step()
    optimizer.zero_grad()
    if pixels.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - began
