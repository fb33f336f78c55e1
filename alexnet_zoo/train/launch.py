"""The processes of a run: this one, those that torchrun started, or new ones through torch's own elastic launcher.

All of them run one function. What only one of them should do, the first does while the others wait.
"""

import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, get_error_handler, record
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from alexnet_zoo.cores import cores
from alexnet_zoo.data.prepared.dataset import open_prepared
from alexnet_zoo.errors import UserError
from alexnet_zoo.train.columns import Layout, divide, join, planned
from alexnet_zoo.train.loop import Interrupted, train
from alexnet_zoo.train.network import create_model
from alexnet_zoo.train.recipe import Recipe
from alexnet_zoo.train.run import Run


def columns_of(recipe: Recipe) -> int:
    """Counts the columns of the recipe's network."""
    with torch.device("meta"):
        return getattr(create_model(recipe), "columns", 1)


def under_torchrun() -> bool:
    """Tells whether torchrun, or `launch`, which does the same, started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def describe(recipe: Recipe, layout: Layout) -> str:
    """Says in a line which processes there are, on what, and what each gets of a batch."""
    replicas = layout.replicas
    what = "the two columns" if layout.columns == 2 else "the whole network"
    if replicas > 1:
        what = f"{replicas} replicas of {what}"
    one, many = ("CPU process", "CPU processes") if layout.device.type == "cpu" else ("CUDA device", "CUDA devices")
    on = "processes that share too few CUDA devices" if layout.shared else many if layout.processes > 1 else one
    share = f", {recipe.batch_size // replicas} to each replica" if replicas > 1 else ""
    return f"{what} in {layout.processes} {on}; batches of {recipe.batch_size}{share}"


def in_processes(gpus: int, function, *args):
    """Runs function(*args) in `gpus` processes; returns what it returns in the first of them.

    Starts none where this one is enough, or where torchrun has started the others.
    """
    if gpus == 1 or under_torchrun():
        return function(*args)
    return launch(gpus, function, *args)


def launch(gpus: int, function, *args):
    """Runs function(*args) in new processes of this machine; where one fails, stops the rest; UserError says why."""
    for name in ("torch.distributed", "torch.distributed.elastic", "torch.multiprocessing"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters of it is in the line that UserError says
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=gpus,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id="alexzoo",
        max_restarts=0,
        monitor_interval=0.2,
        start_method="spawn",
    )
    try:
        return elastic_launch(config, _in_new_process)(function, *args)[0]
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        raise _as_user_error(rank, gpus, failure) from error
    except SignalException as error:
        raise Interrupted(
            f"stopped by {error.sigval.name} after the step under way", 128 + error.sigval.value
        ) from error


@record
def _in_new_process(function, *args):
    try:
        return function(*args)
    except UserError as error:
        get_error_handler().record_exception(error)
        sys.exit(error.exit_code)


def _as_user_error(rank: int, gpus: int, failure) -> UserError:
    """Tells what a failed process said last, or the signal that ended it."""
    message = failure.message if isinstance(failure.message, str) else failure.message.get("message", "")
    kind, _, text = message.partition(": ")
    if kind in ("UserError", "Interrupted"):
        return UserError(text, failure.exitcode)
    return UserError(f"process {rank} of {gpus} failed: {message}")


@contextmanager
def joined(recipe: Recipe, columns: int | None = None, device: str = "auto") -> Iterator[Layout]:
    """Joins the other processes until all are done; shows the traceback of what was not foreseen.

    A member of an ensemble joins within its ensemble: the same processes, in the order that its own network needs.
    """
    outermost = not dist.is_initialized()
    try:
        if under_torchrun():
            layout = join(columns_of(recipe), columns, device)
        else:
            layout = planned(1, 1, None, device)
        yield layout
        layout.wait_for_all()
    except UserError:
        raise
    except Exception:
        if outermost and under_torchrun():
            traceback.print_exc()
        raise
    finally:
        if outermost and dist.is_initialized():
            dist.destroy_process_group()


def by_first(layout: Layout, function, *args):
    """Runs function(*args) in the first process, on all cores, while the others wait; returns its result in each.

    A UserError there is raised in each.
    """
    outcome: list = [None]
    if layout.first:
        threads = torch.get_num_threads()
        torch.set_num_threads(threads if layout.processes == 1 else cores())
        try:
            outcome = [function(*args)]
        except UserError as error:
            outcome = [error]
        torch.set_num_threads(threads)
    if layout.patient_group is not None:
        dist.broadcast_object_list(outcome, src=0, group=layout.patient_group)
    if isinstance(outcome[0], UserError):
        raise outcome[0]
    return outcome[0]


def run_training(recipe: Recipe, data: Path, folder: Path, gpus: int, resume: bool) -> None:
    """Trains alone, without what comes before and after it, on a prepared folder; ends with model.safetensors."""
    divide(gpus, columns_of(recipe))
    in_processes(gpus, _train, recipe, data, folder, resume)


def _train(recipe: Recipe, data: Path, folder: Path, resume: bool) -> None:
    with joined(recipe) as layout:
        train(Run(folder, recipe, open_prepared(data), layout), resume)
