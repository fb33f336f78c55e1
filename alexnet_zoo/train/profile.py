"""Where a step's time and a device's memory go, for each process: RUN/devices.json, and the table of --profile."""

import resource
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import nn

from alexnet_zoo.train.columns import Layout
from alexnet_zoo.train.exchange import Meeting


class StepTimes:
    """Seconds by activity, summed over the steps.

    On CUDA an activity's time is that of launching it, but for "step", whose end waits for the device.
    """

    def __init__(self, layout: Layout):
        self.layout = layout
        self.seconds: dict[str, float] = defaultdict(float)
        self.steps = 0

    @contextmanager
    def measured(self, activity: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[activity] += time.perf_counter() - began
        self.steps += activity == "step"


def gather_records(model: nn.Module, times: StepTimes, kept_bytes: int, layout: Layout) -> list[dict]:
    """What each process measured, on every process: one record for each, in the order of the ranks."""
    own = record_of(model, times, kept_bytes, layout)
    if not dist.is_initialized():
        return [own]
    records = [None] * dist.get_world_size()
    dist.all_gather_object(records, own, group=layout.patient_group)
    return records


def record_of(model: nn.Module, times: StepTimes, kept_bytes: int, layout: Layout) -> dict:
    """This process: milliseconds and bytes sent a step, bytes of memory.

    counted_bytes is what training needs on a device of its own: weights, gradients, velocities, and kept_bytes, what
    the forward pass keeps for the backward pass. peak_bytes is what was in use, on a CPU by all of the process.
    """
    steps = max(times.steps, 1)
    exchanges = {f"exchange_{name}": layer for name, layer in model.named_children() if isinstance(layer, Meeting)}
    exchange = sum(layer.seconds for layer in exchanges.values())
    named = {name: times.seconds[name] for name in ("optimiser", "replicas", "data wait")}
    compute = times.seconds["step"] - exchange - named["optimiser"] - named["replicas"]
    seconds = {"compute": compute, "exchange": exchange, **named}
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    return {
        "replica": layout.replica,
        "column": layout.column,
        "device": str(layout.device),
        "steps": times.steps,
        "ms_a_step": {name: round(1000 * total / steps, 3) for name, total in seconds.items()},
        "bytes_sent_a_step": {name: layer.sent_bytes // steps for name, layer in exchanges.items()},
        "parameter_bytes": weights,
        "gradient_bytes": weights,
        "velocity_bytes": weights,
        "kept_bytes": kept_bytes,
        "counted_bytes": 3 * weights + kept_bytes,
        "peak_bytes": peak_bytes(layout.device),
    }


def peak_bytes(device: torch.device) -> int:
    """Most memory that was in use: of the CUDA device by tensors, or of the whole process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def profile_table(records: list[dict]) -> str:
    """A line for each process: milliseconds a step by activity, megabytes sent a step, memory."""
    activities = list(records[0]["ms_a_step"])
    lines = [
        "replica column "
        + " ".join(f"{name:>10}" for name in activities)
        + "  ms a step |  MB sent | counted MiB | peak MiB"
    ]
    for record in records:
        times = " ".join(f"{record['ms_a_step'][name]:10.2f}" for name in activities)
        sent = sum(record["bytes_sent_a_step"].values()) / 1e6
        counted, peak = record["counted_bytes"] / 2**20, record["peak_bytes"] / 2**20
        lines.append(
            f"{record['replica']:7} {record['column']:6} {times} {'':10} | {sent:8.3f} | {counted:11.0f} | {peak:8.0f}"
        )
    return "\n".join(lines)
