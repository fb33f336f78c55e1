"""From one command to as many processes as the columns need: through torch's own elastic launcher."""

import logging
import os
import traceback
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, record
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from alexnet_zoo.data.dataset import open_prepared
from alexnet_zoo.errors import UserError
from alexnet_zoo.train.columns import Layout, create_model, divide, join
from alexnet_zoo.train.loop import Interrupted, train
from alexnet_zoo.train.recipe import Recipe


def columns_of(recipe: Recipe) -> int:
    """The columns of the recipe's network."""
    with torch.device("meta"):
        return getattr(create_model(recipe), "columns", 1)


def describe(recipe: Recipe, gpus: int) -> str:
    """One line: which processes there will be, and on what."""
    replicas, columns = divide(gpus, columns_of(recipe))
    cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    what = "the two columns" if columns == 2 else "the whole network"
    if replicas > 1:
        what = f"{replicas} replicas of {what}"
    where = "CUDA device" if cuda >= gpus else "CPU process"
    plural = {"CUDA device": "CUDA devices", "CPU process": "CPU processes"}
    text = f"{what} in {gpus} {plural[where] if gpus > 1 else where}"
    return (
        text
        if cuda >= gpus
        else f"{text}, for want of {gpus} CUDA devices"
        if gpus > 1
        else f"{text}, for want of a CUDA device"
    )


def run_training(recipe: Recipe, data: Path, run: Path, gpus: int, resume: bool) -> None:
    """Trains in this process, or in `gpus` new ones; returns when run/model.safetensors is written."""
    divide(gpus, columns_of(recipe))
    if gpus == 1:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return train(recipe, open_prepared(data), run, Layout(device=device), resume)
    launch(gpus, work, recipe, data, run, resume)


def launch(gpus: int, function, *args) -> None:
    """function(*args) in `gpus` processes of this machine; where one fails the rest are stopped, UserError says why."""
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
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
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // gpus)))
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
def work(recipe: Recipe, data: Path, run: Path, resume: bool) -> None:
    """One of the processes, whoever started them: finds its place and trains."""
    layout = join(columns_of(recipe))
    try:
        train(recipe, open_prepared(data), run, layout, resume)
        dist.barrier()
    except UserError:
        raise
    except Exception:
        traceback.print_exc()
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
