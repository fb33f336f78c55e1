"""From one command to as many processes as the columns need: through torch's own elastic launcher."""

import logging
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, record
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from alexnet_zoo.data.prepared.dataset import open_prepared
from alexnet_zoo.errors import UserError
from alexnet_zoo.train.columns import Layout, create_model, divide, join
from alexnet_zoo.train.loop import Interrupted, train
from alexnet_zoo.train.recipe import Recipe
from alexnet_zoo.train.run import Run


def columns_of(recipe: Recipe) -> int:
    """The columns of the recipe's network."""
    with torch.device("meta"):
        return getattr(create_model(recipe), "columns", 1)


def under_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def describe(recipe: Recipe, gpus: int, columns: int | None = None) -> str:
    """One line: which processes there will be, on what, and what each gets of a batch."""
    replicas, columns = divide(gpus, columns_of(recipe), columns)
    cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    what = "the two columns" if columns == 2 else "the whole network"
    if replicas > 1:
        what = f"{replicas} replicas of {what}"
    one, many = ("CUDA device", "CUDA devices") if cuda >= gpus else ("CPU process", "CPU processes")
    text = f"{what} in {gpus} {many if gpus > 1 else one}"
    if cuda < gpus:
        text += ", for want of a CUDA device" if gpus == 1 else f", for want of {gpus} CUDA devices"
    share = f", {recipe.batch_size // replicas} to each replica" if replicas > 1 else ""
    return f"{text}; batches of {recipe.batch_size}{share}"


def run_training(
    recipe: Recipe, data: Path, run: Path, gpus: int, resume: bool, columns: int | None = None, profile: bool = False
) -> None:
    """Trains in this process, or in `gpus` new ones; returns when run/model.safetensors is written."""
    divide(gpus, columns_of(recipe), columns)
    if gpus == 1:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return train(Run(run, recipe, open_prepared(data), Layout(device=device)), resume, profile)
    launch(gpus, work, recipe, data, run, resume, columns, profile)


def launch(gpus: int, function, *args) -> None:
    """function(*args) in `gpus` processes of this machine; where one fails the rest are stopped, UserError says why."""
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
        elastic_launch(config, function)(*args)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        raise UserError(f"process {rank} of {gpus} failed: {_reason(failure)}") from error
    except SignalException as error:
        raise Interrupted(
            f"stopped by {error.sigval.name} after the step under way", 128 + error.sigval.value
        ) from error


def _reason(failure) -> str:
    """What a failed process said last, or the signal that ended it."""
    message = failure.message if isinstance(failure.message, str) else failure.message.get("message", "")
    return message.removeprefix("UserError: ").removeprefix("Interrupted: ")


@record
def work(recipe: Recipe, data: Path, run: Path, resume: bool, columns: int | None, profile: bool) -> None:
    """One of the processes that `launch` started."""
    with joined(recipe, columns) as layout:
        train(Run(run, recipe, open_prepared(data), layout), resume, profile)


@contextmanager
def joined(recipe: Recipe, columns: int | None) -> Iterator[Layout]:
    """This process's place among the others, until all are done; shows the traceback of what was not foreseen."""
    try:
        layout = join(columns_of(recipe), columns)
        yield layout
        layout.wait_for_all()
    except UserError:
        raise
    except Exception:
        traceback.print_exc()
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
