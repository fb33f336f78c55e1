"""Measures how fast networks train, and how fast local response normalisation is, which makes AlexNet slow."""

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alexnet_zoo.benchmark.measure import Options, Step, begin, facts_of, rows_of, side_of, timings
from alexnet_zoo.models.lrn import LocalResponseNorm
from alexnet_zoo.onnx.lrn_forms import with_lrn
from alexnet_zoo.train.columns import Layout
from alexnet_zoo.train.recipe import Recipe
from alexnet_zoo.train.step import TrainStep

LRN_INPUTS = {"norm1": (96, 55, 55), "norm2": (256, 27, 27)}  # the paper's two layers (sections 3.3 and 3.5)


class TorchLocalResponseNorm(nn.Module):
    """Computes what our LRN does with torch's function, column by column; torch divides alpha by size, we do not."""

    def __init__(self, lrn: LocalResponseNorm):
        super().__init__()
        self.size, self.columns = lrn.size, lrn.columns
        self.alpha, self.beta, self.k = lrn.alpha * lrn.size, lrn.beta, lrn.k

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        by_column = x.reshape(n * self.columns, c // self.columns, h, w)
        return F.local_response_norm(by_column, self.size, self.alpha, self.beta, self.k).reshape(x.shape)


def training(options: Options = Options(), **model_args) -> list[dict]:  # noqa: B008 (it is frozen)
    """Measures training images/s of a network as it is, with torch's LRN in place of ours, and without LRN.

    A step is one of train/step.py, on one batch that is already on the device.
    """
    watch, device, batch_size = begin(options), options.device, options.batch_size or 64
    ours = timm.create_model(options.model, **model_args)
    peers = {
        "ours": ours,
        "torch LRN": with_lrn(ours, TorchLocalResponseNorm),
        "no LRN": with_lrn(ours, lambda lrn: nn.Identity()),
    }
    side = side_of(ours, model_args)
    images = torch.randn(batch_size, 3, side, side, device=device).mul_(60.0)
    labels = torch.randint(ours.num_classes, (batch_size,), device=device)
    steps = {peer: training_step(network, images, labels) for peer, network in peers.items()}
    facts = facts_of("training", options.model, ours, batch_size, side)
    return rows_of(facts, timings(steps, options.repetitions, device, options.clock), batch_size, device, watch)


def lrn(options: Options = Options(), columns: int = 2) -> list[dict]:  # noqa: B008 (it is frozen)
    """Measures images/s through LRN alone, forward and backward, at both of the paper's layers: ours, torch's."""
    watch, device, batch_size = begin(options), options.device, options.batch_size or 64
    rows = []
    for layer, shape in LRN_INPUTS.items():
        ours = LocalResponseNorm(columns=columns)
        x = torch.randn(batch_size, *shape, device=device).relu_().mul_(60.0).requires_grad_()
        steps = {"ours": lrn_step(ours, x), "torch LRN": lrn_step(TorchLocalResponseNorm(ours), x)}
        facts = facts_of("lrn", layer, ours, batch_size, shape[-1])
        rows += rows_of(facts, timings(steps, options.repetitions, device, options.clock), batch_size, device, watch)
    return rows


def training_step(model: nn.Module, images: Tensor, labels: Tensor) -> Step:
    """Makes a step that trains on one batch; its rate is small, so that no number grows to infinity."""
    recipe = Recipe(name="benchmark", lr=1e-5, batch_size=len(images))
    step = TrainStep(model.train(), recipe, Layout(device=images.device))
    return lambda: step(images, labels)


def lrn_step(module: nn.Module, x: Tensor) -> Step:
    """Makes a step that goes forward, and backward to the input."""
    grad = torch.randn_like(x)
    return lambda: torch.autograd.grad(module(x), x, grad)
