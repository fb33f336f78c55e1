"""Measures how fast networks train, and how fast local response normalisation is, which makes AlexNet slow."""

from collections import Counter
from functools import partial
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from alexnet_zoo.benchmark.measure import Options, Step, begin, facts_of, rows_of, side_of, those_that_run, timings
from alexnet_zoo.models.lrn import LocalResponseNorm, local_response_norm_banded, local_response_norm_slices
from alexnet_zoo.onnx.lrn_forms import with_lrn
from alexnet_zoo.train.columns import Layout
from alexnet_zoo.train.recipe import Recipe
from alexnet_zoo.train.step import TrainStep

LRN_INPUTS = {"norm1": (96, 55, 55), "norm2": (256, 27, 27)}  # the paper's two layers (sections 3.3 and 3.5)
LRN_PASSES = 5  # over memory, at least: forward reads and writes, backward reads input and gradient and writes
MODES: dict[str, dict[str, Any]] = {  # of a step: fields of its recipe
    "eager": {},
    "channels_last": {"channels_last": True},
    "compiled": {"channels_last": True, "compile": True},
    "compiled, CUDA graphs": {"channels_last": True, "compile": "reduce-overhead"},
}
WARM_UPS = 4  # of a compiled step, which is counted, compiled, and recorded
AT_ONCE = 20  # steps on CUDA before anyone waits, as in training
LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch")  # how the profiler's names of launches begin
WAITS = ("cudaStreamSynchronize", "cudaEventSynchronize", "cudaMemcpy")  # not cudaDeviceSynchronize: its own


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
    watch, batch_size = begin(options), options.batch_size or 64
    ours = timm.create_model(options.model, **model_args)
    peers = {
        "ours": ours,
        "torch LRN": with_lrn(ours, TorchLocalResponseNorm),
        "no LRN": with_lrn(ours, lambda lrn: nn.Identity()),
    }
    batch = random_batch(options, batch_size, ours, side_of(ours, model_args))
    steps = {peer: training_step(network, batch) for peer, network in peers.items()}
    facts = facts_of("training", options.model, ours, batch_size, batch[0].shape[-1])
    return rows_of(facts, timings(steps, options), batch_size, options, watch)


def modes(options: Options, **model_args) -> list[dict]:
    """Measures training images/s of a step in each of MODES: on CUDA in bfloat16, with its launches and its waits."""
    watch, batch_size, on_cuda = begin(options), options.batch_size or 64, options.device == "cuda"
    batch = model = None
    steps: dict[str, Step] = {}
    for mode, fields in MODES.items():
        if on_cuda or fields.get("compile") != "reduce-overhead":
            model = timm.create_model(options.model, **model_args)
            batch = batch or random_batch(options, batch_size, model, side_of(model, model_args))
            steps[mode] = training_step(model, batch, precision="bfloat16" if on_cuda else "float32", **fields)
    steps = those_that_run(steps, WARM_UPS)
    seconds = timings(steps, options, at_once=AT_ONCE if on_cuda else 1)
    facts = facts_of("modes", options.model, model, batch_size, batch[0].shape[-1])
    rows = rows_of(facts, seconds, batch_size, options, watch)
    for row in rows if on_cuda else ():
        row |= calls_of(steps[row["peer"]])
    return rows


def calls_of(step: Step) -> dict[str, int]:
    """Counts what a step asks of a card: launches, of kernels and of graphs, and waits for it."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as record:
        step()
        torch.cuda.synchronize()
    calls = Counter(event.name for event in record.events())
    launches = sum(count for name, count in calls.items() if name.startswith(LAUNCHES))
    return {"launches": launches, "waits": sum(calls[name] for name in WAITS)}


def lrn(options: Options = Options(), columns: int = 2) -> list[dict]:  # noqa: B008 (it is frozen)
    """Measures LRN alone, forward and backward, at both of the paper's layers: ours, torch's, and other forms of ours.

    In bfloat16 on CUDA. gb_per_s counts what any form reads and writes at least, so that the copy of `peaks` bounds it.
    """
    watch, device, batch_size = begin(options), options.device, options.batch_size or 64
    rows = []
    for layer, shape in LRN_INPUTS.items():
        ours = LocalResponseNorm(columns=columns)
        given: dict[str, Any] = dict(size=ours.size, alpha=ours.alpha, beta=ours.beta, k=ours.k, columns=columns)
        forms = {
            "ours": ours,
            "torch LRN": TorchLocalResponseNorm(ours),
            "slices, compiled": torch.compile(partial(local_response_norm_slices, **given)),
            "banded": partial(local_response_norm_banded, **given),
        }
        x = torch.randn(batch_size, *shape, device=device).relu_().mul_(60.0)
        x = x.to(torch.bfloat16 if device == "cuda" else torch.float32).requires_grad_()
        steps = those_that_run({peer: lrn_step(form, x) for peer, form in forms.items()})
        facts = facts_of("lrn", layer, ours, batch_size, shape[-1])
        rows += rows_of(facts, timings(steps, options), batch_size, options, watch)
        for row in rows[-len(steps) :]:
            row["gb_per_s"] = round(LRN_PASSES * x.nbytes / 1e6 / row["step_time"], 2)
    return rows


def random_batch(options: Options, batch_size: int, model: nn.Module, side: int) -> tuple[Tensor, Tensor]:
    """Makes images and labels on the device."""
    images = torch.randn(batch_size, 3, side, side, device=options.device).mul_(60.0)
    return images, torch.randint(model.num_classes, (batch_size,), device=options.device)


def training_step(model: nn.Module, batch: tuple[Tensor, Tensor], **fields) -> Step:
    """Makes a step that trains on one batch; its rate is small, so that no number grows to infinity.

    Args: fields, of its recipe.
    """
    recipe = Recipe(name="benchmark", lr=1e-5, batch_size=len(batch[0]), **fields)
    step = TrainStep(model.train(), recipe, Layout(device=batch[0].device))
    images, labels = batch[0].to(**step.form), batch[1]  # as the loader gives them
    return lambda: step(images, labels)


def lrn_step(form, x: Tensor) -> Step:
    """Makes a step that goes forward, and backward to the input."""
    grad = torch.randn_like(x)
    return lambda: torch.autograd.grad(form(x), x, grad)
