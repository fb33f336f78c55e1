"""The paper's two columns on two devices (section 3.2), and replicas of the pair for data parallelism.

The network knows nothing of this. A process builds the same class with one column of it (local_columns=1). Each layer
that the network declares as a meeting point becomes a Meeting, which fetches the other column's maps while it works on
its own. Every other layer, LRN included, computes with its own column alone.

Weights, velocities and checkpoints have one canonical form, as the network in one process has them: a column's share of
a parameter is its slice along the first axis (the kernels that the column owns). Each column holds a whole copy of fc8,
and of what has no axis, such as a batch normalisation's count of steps.
"""

import os
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from alexnet_zoo.cores import cores
from alexnet_zoo.devices import agree, cuda_devices
from alexnet_zoo.errors import UserError
from alexnet_zoo.models.alexnet import PAPER
from alexnet_zoo.models.lrn import fuse_relu
from alexnet_zoo.train.batch_norm import sum_statistics
from alexnet_zoo.train.exchange import Meeting
from alexnet_zoo.train.network import create_model, freeze, start_from
from alexnet_zoo.train.recipe import Recipe


@dataclass
class Layout:
    """Where this process stands: which column of which replica. The default is one process that has it all."""

    columns: int = 1  # processes that share a network, each with a part of its columns
    replicas: int = 1  # of that group of processes, each with a part of the batch
    column: int = 0
    replica: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    column_group: dist.ProcessGroup | None = None
    data_group: dist.ProcessGroup | None = None
    everyone: dist.ProcessGroup | None = None  # of all processes
    patient_group: dist.ProcessGroup | None = None  # likewise, without the time limit of the others
    shared: bool = False  # whether processes share a CUDA device

    @property
    def processes(self) -> int:
        return self.columns * self.replicas

    @property
    def first(self) -> bool:
        return self.column == 0 and self.replica == 0

    def wait_for_all(self) -> None:
        """Waits until every process is here, however long one of them writes a checkpoint or prepares images."""
        if self.patient_group is not None:
            dist.barrier(group=self.patient_group)


def divide(gpus: int, model_columns: int, columns: int | None = None) -> tuple[int, int]:
    """Divides `gpus` processes into (replicas, columns) for a network of model_columns; UserError where it cannot.

    columns=1 keeps all columns of a network in each process: plain data parallelism.
    """
    if columns not in (None, 1, model_columns):
        raise UserError(f"--columns {columns}: the network has {model_columns}; try --columns 1", exit_code=2)
    if gpus >= 1 and (gpus == 1 or model_columns == 1 or columns == 1):
        return gpus, 1
    if gpus < 1 or gpus % model_columns:
        raise UserError(
            f"--gpus {gpus}: the network's {model_columns} columns need a multiple of {model_columns} processes, or 1; "
            f"try --gpus {max(gpus // model_columns, 1) * model_columns}",
            exit_code=2,
        )
    return gpus // model_columns, model_columns


def planned(gpus: int, model_columns: int, columns: int | None = None, device: str = "auto") -> Layout:
    """Tells the place of the first of `gpus` processes on this machine, before there are any; device as in `join`."""
    kind, backend = agree([(cuda_devices(device), gpus)])
    replicas, columns = divide(gpus, model_columns, columns)
    return Layout(columns, replicas, device=torch.device(kind), shared=kind == "cuda" and backend == "gloo")


def hang_seconds() -> float:
    """Tells how long a process waits for another in the middle of a step before it takes it for dead."""
    return float(os.environ.get("ALEXZOO_HANG_SECONDS", "45"))


def join(model_columns: int, columns: int | None = None, device: str = "auto") -> Layout:
    """Takes this process's place among those that torchrun started, over NCCL or gloo, whichever all can use.

    May be called again, for a network with other columns. Args: device, "auto", "cpu" or "cuda".
    """
    limit = timedelta(seconds=hang_seconds())
    if not dist.is_initialized():
        dist.init_process_group("gloo", timeout=limit)
    local_rank, here = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    devices = cuda_devices(device)
    machines: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(machines, (devices, here))
    kind, backend = agree(machines)
    if kind == "cuda":
        own = torch.device("cuda", local_rank % devices)
        torch.cuda.set_device(own)
    else:
        own = torch.device("cpu")
        torch.set_num_threads(max(1, cores() // here))
    replicas, columns = divide(dist.get_world_size(), model_columns, columns)
    ranks = torch.arange(dist.get_world_size()).view(replicas, columns)
    column_group, _ = dist.new_subgroups_by_enumeration(ranks.tolist(), timeout=limit, backend=backend)
    data_group, _ = dist.new_subgroups_by_enumeration(ranks.T.tolist(), timeout=limit, backend=backend)
    everyone = dist.new_group(timeout=limit, backend=backend)
    patient = dist.new_group(timeout=timedelta(days=7), backend="gloo")
    replica, column = divmod(dist.get_rank(), columns)
    shared = kind == "cuda" and backend == "gloo"
    return Layout(columns, replicas, column, replica, own, column_group, data_group, everyone, patient, shared)


def build(recipe: Recipe, num_classes: int, layout: Layout) -> nn.Module:
    """Builds the part of a recipe's network that lives in this process, on its device.

    The weights are drawn for the whole network first, so that every layout starts from the same ones.
    """
    torch.manual_seed(recipe.seed)
    whole = create_model(recipe, num_classes=num_classes)
    if recipe.start_from:
        start_from(whole, recipe)
    model = whole
    if layout.columns > 1:
        with torch.device("meta"):
            model = create_model(recipe, num_classes=num_classes, local_columns=1)
        model.load_state_dict(split(whole.state_dict(), layout, whole.held_whole), assign=True)
        for name in model.meetings:
            meeting = Meeting(getattr(model, name), layout.column_group, name in model.held_whole, layout.shared)
            setattr(model, name, meeting)
    if layout.replicas > 1:
        sum_statistics(model, layout.data_group)
    freeze(model, recipe.frozen)
    return fuse_relu(model).to(layout.device)


def is_whole(name: str, tensor: Tensor, held_whole: tuple[str, ...]) -> bool:
    """Tells whether each column holds all of a tensor."""
    return name.partition(".")[0] in held_whole or tensor.dim() == 0


def split(
    whole: dict[str, Tensor], layout: Layout, held_whole: tuple[str, ...] = PAPER.held_whole
) -> dict[str, Tensor]:
    """Takes this column's share of canonical tensors, by name; held_whole names the layers that each holds whole."""
    if layout.columns == 1:
        return whole
    return {
        name: tensor if is_whole(name, tensor, held_whole) else tensor.chunk(layout.columns)[layout.column].clone()
        for name, tensor in whole.items()
    }


def merge(
    part: dict[str, Tensor], layout: Layout, held_whole: tuple[str, ...] = PAPER.held_whole
) -> dict[str, Tensor] | None:
    """Gathers the canonical tensors on the CPU of column 0; None in the others. Raises where the columns disagree."""
    if layout.columns == 1:
        return {name: tensor.detach().cpu().contiguous() for name, tensor in part.items()}
    whole = {}
    for name, tensor in part.items():
        tensor = tensor.detach().contiguous()
        tensor = tensor.cpu() if layout.shared else tensor  # gloo gathers there alone
        shares = [torch.empty_like(tensor) for _ in range(layout.columns)] if layout.column == 0 else None
        dist.gather(tensor, shares, group=layout.column_group, group_dst=0)
        if shares is None:
            continue
        if not is_whole(name, tensor, held_whole):
            whole[name] = torch.cat(shares).cpu()
        elif all(torch.equal(share, shares[0]) for share in shares):
            whole[name] = shares[0].cpu()
        else:
            raise RuntimeError(
                f"{name}: the columns hold different values of what they share; this is a bug, report it"
            )
    return whole if layout.column == 0 else None
