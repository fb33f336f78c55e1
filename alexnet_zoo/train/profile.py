"""Says where a step's time and a device's memory go in each process: RUN/devices.json, and the table of --profile."""

from typing import Any

import torch
import torch.distributed as dist

from alexnet_zoo.cores import peak_memory
from alexnet_zoo.train.columns import Layout
from alexnet_zoo.train.exchange import Meeting
from alexnet_zoo.train.step import TrainStep


def gather_records(own: dict, layout: Layout) -> list[dict]:
    """Gives every process the records of all, in the order of the ranks."""
    if not dist.is_initialized():
        return [own]
    records: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(records, own, group=layout.patient_group)
    return records


def record_of(train_step: TrainStep) -> dict:
    """Records what a step took in this process: milliseconds, bytes sent by each layer, bytes of memory.

    counted_bytes is what training needs on a device of its own: weights, gradients, the optimiser's state, and
    kept_bytes, what the forward pass keeps for the backward pass. peak_bytes was in use at most (`peak_bytes`).
    """
    watches, layout = train_step.watches, train_step.layout
    done = watches["step"].count
    steps = max(done, 1)
    meetings = {name: layer for name, layer in train_step.model.named_children() if isinstance(layer, Meeting)}
    exchange = sum(layer.watch.seconds for layer in meetings.values())
    named = {name: watches[name].seconds for name in ("optimiser", "replicas", "data wait")}
    compute = watches["step"].seconds - exchange - named["optimiser"] - named["replicas"]
    seconds = {"compute": compute, "exchange": exchange, **named}
    weights = train_step.weight_bytes
    return {
        "replica": layout.replica,
        "column": layout.column,
        "device": str(layout.device),
        "steps": done,
        "ms_a_step": {name: round(1000 * total / steps, 3) for name, total in seconds.items()},
        "bytes_sent_a_step": {name: layer.sent_bytes // steps for name, layer in meetings.items()},
        "parameter_bytes": weights,
        "gradient_bytes": weights,
        "optimizer_bytes": train_step.state_bytes,
        "kept_bytes": train_step.kept_bytes,
        "counted_bytes": 2 * weights + train_step.state_bytes + train_step.kept_bytes,
        "peak_bytes": peak_bytes(layout.device),
    }


def peak_bytes(device: torch.device) -> int:
    """Says how much memory was in use at most: by tensors on the CUDA device, or by the whole process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_memory()


def profile_table(records: list[dict]) -> str:
    """Writes a line for each process: milliseconds a step by activity, megabytes sent a step, memory."""
    activities = list(records[0]["ms_a_step"])
    heads = " ".join(f"{name:>10}" for name in activities)
    lines = [f"replica column {heads}  ms a step |  MB sent | counted MiB | peak MiB"]
    for record in records:
        times = " ".join(f"{record['ms_a_step'][name]:10.2f}" for name in activities)
        sent = sum(record["bytes_sent_a_step"].values()) / 1e6
        counted, peak = record["counted_bytes"] / 2**20, record["peak_bytes"] / 2**20
        memory = f"{counted:11.0f} | {peak:8.0f}"
        lines.append(f"{record['replica']:7} {record['column']:6} {times} {'':10} | {sent:8.3f} | {memory}")
    return "\n".join(lines)
