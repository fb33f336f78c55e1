"""The processes of a run: this one, those that torchrun started, or new ones through torch's own elastic launcher.

All of them run one function. What only one of them should do, the first does while the others wait.
"""

import logging
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, get_error_handler, record
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from alexnet_zoo.cores import cores
from alexnet_zoo.data.prepared.dataset import open_prepared
from alexnet_zoo.errors import UserError
from alexnet_zoo.progress import stage
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
    options: dict[str, Any] = dict(min_nodes=1, max_nodes=1, nproc_per_node=gpus, max_restarts=0, monitor_interval=0.2)
    options |= dict(rdzv_backend="c10d", rdzv_endpoint="localhost:0", run_id="alexzoo", start_method="spawn")
    begun = get_context("spawn").Event()
    try:
        with own_temporary_folder(), interrupts_kept_from_children(), stage(f"starting {gpus} processes", begun):
            logging.disable(logging.ERROR)  # of torch's launcher; what matters of it is in the line that UserError says
            return elastic_launch(LaunchConfig(**options), _in_new_process)(begun, function, *args)[0]
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        raise _as_user_error(rank, gpus, failure) from error
    except SignalException as error:
        raise Interrupted(f"stopped by {error.sigval.name}", 128 + error.sigval.value) from error
    finally:
        logging.disable(logging.NOTSET)


@contextmanager
def own_temporary_folder() -> Iterator[None]:
    """Makes this process and those that it starts put what is temporary into one folder, which goes away at the end.

    torch leaves a file behind of each process that fails.
    """
    before = os.environ.get("TMPDIR")
    with tempfile.TemporaryDirectory(prefix="alexzoo-", ignore_cleanup_errors=True) as folder:
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = None
            os.environ.pop("TMPDIR")
            os.environ.update({"TMPDIR": before} if before else {})


@contextmanager
def interrupts_kept_from_children() -> Iterator[None]:
    """Lets Ctrl-C, which a terminal sends to all, reach new processes only once they ask for it (_in_new_process).

    Before that they import torch, for seconds, and each would end with a traceback. A new process inherits which
    signals the thread that starts it has blocked; another thread of ours receives them, and Python acts on them in this
    one. torch's launcher sets handlers of its own, and leaves them there.
    """
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.getsignal(number) for number in numbers}
    over = threading.Event()
    receiver = threading.Thread(target=over.wait, daemon=True)
    receiver.start()
    if hasattr(signal, "pthread_sigmask"):  # not on Windows
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        over.set()
        receiver.join()


@record
def _in_new_process(begun, function, *args):
    signal.signal(signal.SIGINT, _stop_silently)
    try:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        begun.set()
        return function(*args)
    except UserError as error:
        get_error_handler().record_exception(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def _stop_silently(number, _) -> None:
    """Stops this process where it stands; what it and others, which miss it, say of that is not heard any more."""
    signal.signal(number, signal.SIG_IGN)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    raise KeyboardInterrupt


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
    outermost, tidy = not dist.is_initialized(), True
    try:
        if under_torchrun():
            layout = join(columns_of(recipe), columns, device)
        else:
            layout = planned(1, 1, None, device)
        # NCCL's groups end together: a process that fails alone would wait there for others, which wait for its step.
        tidy = layout.device.type != "cuda"
        yield layout
        layout.wait_for_all()
        tidy = True
    except Interrupted:
        tidy = True  # all of them have stopped
        raise
    except UserError:
        raise
    except Exception:
        if outermost and under_torchrun():
            traceback.print_exc()
        raise
    finally:
        if outermost and tidy and dist.is_initialized():
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
