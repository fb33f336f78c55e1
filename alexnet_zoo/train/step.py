"""One step of training: the same in training, in the estimate of `--dry-run` and in the benchmarks (section 5)."""

import os
import shutil
import sysconfig
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alexnet_zoo.devices import check_precision
from alexnet_zoo.errors import UserError
from alexnet_zoo.models.count import kept_for_backward
from alexnet_zoo.train import columns
from alexnet_zoo.train.columns import Layout
from alexnet_zoo.train.memory import keep_memory
from alexnet_zoo.train.network import create_model
from alexnet_zoo.train.optim import make_optimizer
from alexnet_zoo.train.recipe import Recipe
from alexnet_zoo.train.replicas import GradientSum
from alexnet_zoo.train.stopwatch import Stopwatch


class TrainStep:
    """Forward, backward, gradients summed over the replicas, update.

    Args: model, the part of the network that this process holds; recipe, which says its optimiser and precision.
    Attributes: optimizer; watches, the seconds of each activity; kept_bytes, from a step's forward to its backward.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, layout: Layout):
        if layout.device.type == "cpu":
            keep_memory()
        self.recipe, self.layout = recipe, layout
        self.dtype = torch.float64 if recipe.precision == "float64" else torch.float32
        self.form = input_form(recipe)
        self.model = model.to(layout.device, self.dtype, memory_format=self.form["memory_format"])
        self.network, mode = self.model, None if recipe.compile is True else recipe.compile
        if recipe.compile:
            self.network = torch.compile(self.model, mode=mode)
        self.gradient_sum = GradientSum(self.model, layout)
        self.optimizer = make_optimizer(self.model, recipe)
        self.watches: dict[str, Stopwatch] = defaultdict(Stopwatch)
        self.kept_bytes = 0

    def logits_of(self, inputs: Tensor) -> Tensor:
        """Computes the network's output (B, classes) for inputs (B, 3, s, s)."""
        # compiled once it is known how much a step keeps, and what only sees the images of every step
        network = self.network if self.kept_bytes and self.model.training else self.model
        inputs = inputs.to(**self.form)
        with torch.autocast(self.layout.device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16"):
            return network(inputs).to(self.dtype)

    def __call__(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Trains on this replica's share of a batch; returns its loss, summed, and how many images it gets wrong."""
        batch_size = self.recipe.batch_size  # over all replicas, whose gradients are summed
        with nullcontext() if self.kept_bytes else kept_for_backward(self.model) as kept:
            logits = self.logits_of(inputs)
            loss = F.cross_entropy(logits, labels, reduction="sum") / batch_size
        self.kept_bytes = self.kept_bytes or kept()
        loss.backward()
        with self.timed("replicas"):
            self.gradient_sum.finish()
        with self.timed("optimiser"):
            self.optimizer.step()
            self.optimizer.zero_grad()
        return loss.detach() * batch_size, (logits.detach().argmax(1) != labels).sum()

    def timed(self, activity: str) -> AbstractContextManager:
        return self.watches[activity].running(self.layout.device)

    @property
    def weight_bytes(self) -> int:
        """Bytes of this process's parameters; their gradients take as many."""
        return bytes_of(self.model.parameters())

    @property
    def state_bytes(self) -> int:
        """Bytes that the optimiser keeps from step to step."""
        return bytes_of(tensor for state in self.optimizer.state.values() for tensor in state.values())

    def seconds(self, inputs: Tensor, labels: Tensor) -> float:
        """Takes a step and returns how long it took."""
        began = time.perf_counter()
        self(inputs, labels)
        if inputs.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - began


def input_form(recipe: Recipe) -> dict:
    """Says which numbers a network reads, and how they lie in memory: arguments of Tensor.to and torch.empty."""
    order = torch.channels_last if recipe.channels_last else torch.contiguous_format
    return {"dtype": getattr(torch, recipe.precision), "memory_format": order}


def bytes_of(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def make_step(recipe: Recipe, num_classes: int, layout: Layout) -> TrainStep:
    """Builds the recipe's network, or the part of it that `layout` gives this process, and its step."""
    check_crop(recipe, num_classes)
    check_compilers(recipe, layout.device)
    check_precision(recipe.precision, layout.device)
    return TrainStep(columns.build(recipe, num_classes, layout), recipe, layout)


def check_compilers(recipe: Recipe, device: torch.device) -> None:
    """Raises UserError where torch.compile lacks a compiler, or Triton, which builds its launcher on CUDA."""
    if recipe.compile and not (shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")):
        raise UserError("compile: torch.compile needs a C++ compiler; install g++, or --set compile=false")
    if device.type != "cuda":
        return
    if find_spec("triton") is None:
        raise UserError("CUDA: training needs Triton, which comes with torch on Linux; train there, or --device cpu")
    if not (shutil.which(os.environ.get("CC", "gcc")) or shutil.which("clang")):
        raise UserError("CUDA: Triton, which comes with torch, needs a C compiler; install gcc, or --device cpu")
    scheme = sysconfig.get_default_scheme().replace("posix_local", "posix_prefix")  # Debian's own, as Triton has it
    headers = Path(sysconfig.get_paths(scheme)["include"])
    if not (headers / "Python.h").exists():
        raise UserError(f"CUDA: Triton needs Python.h in {headers}; install Python's headers, or --device cpu")


def check_crop(recipe: Recipe, num_classes: int) -> None:
    """Raises UserError where the network does not take the recipe's crops; computes nothing to find out."""
    side = recipe.crop_size
    with torch.device("meta"):
        model, crop = create_model(recipe, num_classes=num_classes).eval(), torch.empty(1, 3, side, side)
    try:
        model(crop)
    except RuntimeError as error:
        raise UserError(
            f"recipe {recipe.name}: {recipe.model} does not take crops of {side} pixels ({error}); "
            f"set crop_size, or model_args.img_size={side}"
        ) from error
