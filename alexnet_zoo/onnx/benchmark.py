"""How fast, against what, on which machine: interleaved repetitions in one run, medians with their spread, ratios."""

import copy
import os
import statistics
import time
from collections.abc import Callable

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alexnet_zoo.errors import UserError
from alexnet_zoo.models.lrn import LocalResponseNorm
from alexnet_zoo.progress import Progress
from alexnet_zoo.train.run import cpu_name

BUSY_LOAD, BUSY_CORES = 0.5, 0.1  # load average before the run, cores that others used during it: above is not idle
LRN_INPUTS = {"norm1": (96, 55, 55), "norm2": (256, 27, 27)}  # the paper's two layers (sections 3.3 and 3.5)

Step = Callable[[], object]


class TorchLocalResponseNorm(nn.Module):
    """Our LRN with torch's own function: each column on its own; torch divides alpha by size, the paper does not."""

    def __init__(self, lrn: LocalResponseNorm):
        super().__init__()
        self.size, self.columns = lrn.size, lrn.columns
        self.alpha, self.beta, self.k = lrn.alpha * lrn.size, lrn.beta, lrn.k

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        by_column = x.reshape(n * self.columns, c // self.columns, h, w)
        return F.local_response_norm(by_column, self.size, self.alpha, self.beta, self.k).reshape(x.shape)


def training(
    model_name: str = "alexnet_krizhevsky",
    batch_size: int = 64,
    repetitions: int = 5,
    device: str = "cpu",
    **model_args,
) -> list[dict]:
    """Training images/s of a network as it is, with torch's LRN in place of ours, and without LRN; rows of results.

    A step is forward, loss, backward and torch's SGD, on one batch that is already on the device.
    """
    watch = Watch()
    ours = timm.create_model(model_name, **model_args)
    peers = {
        "ours": ours,
        "torch LRN": with_lrn(ours, TorchLocalResponseNorm),
        "no LRN": with_lrn(ours, lambda lrn: nn.Identity()),
    }
    side = ours.pretrained_cfg["input_size"][-1] if "img_size" not in model_args else model_args["img_size"]
    images = torch.randn(batch_size, 3, side, side, device=device).mul_(60.0)
    labels = torch.randint(ours.num_classes, (batch_size,), device=device)
    steps = {peer: training_step(network.to(device).train(), images, labels) for peer, network in peers.items()}
    facts = {
        "benchmark": "training",
        "model": model_name,
        "batch_size": batch_size,
        "img_size": side,
        "param_count": round(sum(p.numel() for p in ours.parameters()) / 1e6, 2),
    }
    return rows_of(facts, timings(steps, repetitions, device), batch_size, device, watch)


def lrn(batch_size: int = 64, columns: int = 2, repetitions: int = 5, device: str = "cpu") -> list[dict]:
    """Images/s through LRN alone, forward and backward, at both of the paper's layers: ours against torch's."""
    watch = Watch()
    rows = []
    for layer, shape in LRN_INPUTS.items():
        ours = LocalResponseNorm(columns=columns)
        x = torch.randn(batch_size, *shape, device=device).relu_().mul_(60.0).requires_grad_()
        steps = {"ours": lrn_step(ours, x), "torch LRN": lrn_step(TorchLocalResponseNorm(ours), x)}
        facts = {"benchmark": "lrn", "model": layer, "batch_size": batch_size, "img_size": shape[-1]}
        facts["param_count"] = 0.0
        rows += rows_of(facts, timings(steps, repetitions, device), batch_size, device, watch)
    return rows


def with_lrn(model: nn.Module, make: Callable[[LocalResponseNorm], nn.Module]) -> nn.Module:
    """A copy of the model with make(lrn) in place of each LRN module."""
    copied = copy.deepcopy(model)
    for name, module in list(copied.named_modules()):
        if isinstance(module, LocalResponseNorm):
            copied.set_submodule(name, make(module))
    return copied


def training_step(model: nn.Module, images: Tensor, labels: Tensor) -> Step:
    """One step of SGD on one batch; the rate is small so that repeating the batch does not reach infinities."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-5, momentum=0.9, weight_decay=0.0005)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return step


def lrn_step(module: nn.Module, x: Tensor) -> Step:
    """Forward, and backward to the input."""
    grad = torch.randn_like(x)
    return lambda: torch.autograd.grad(module(x), x, grad)


def timings(steps: dict[str, Step], repetitions: int, device: str) -> dict[str, list[float]]:
    """Seconds of each repetition of each step, by turns, so that whatever disturbs the machine disturbs all of them."""
    if repetitions < 1:
        raise UserError(f"--repetitions {repetitions}: must be 1 or more", exit_code=2)
    seconds = {name: [] for name in steps}
    with Progress((repetitions + 1) * len(steps), "benchmark", unit="steps") as progress:
        for repetition in range(repetitions + 1):
            for name, step in steps.items():
                elapsed = seconds_of(step, device)
                if repetition > 0:  # the first is warm-up: memory is fetched, kernels are chosen
                    seconds[name].append(elapsed)
                progress.update(1, last=f"{name} {elapsed:.3f} s")
    return seconds


def seconds_of(step: Step, device: str) -> float:
    started = time.perf_counter()
    step()
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def rows_of(facts: dict, seconds: dict[str, list[float]], batch_size: int, device: str, watch: "Watch") -> list[dict]:
    """One row for each peer; `ratio` is how many times as fast as it the first one is, turn by turn."""
    first, disturbance = next(iter(seconds.values())), watch.disturbance()
    rows = []
    for peer, own in seconds.items():
        ratios = [theirs / ours for ours, theirs in zip(first, own, strict=True)]
        rows.append(
            {
                **facts,
                "peer": peer,
                **spread("samples_per_sec", [batch_size / s for s in own], 2),
                "step_time": round(1000 * statistics.median(own), 3),  # ms, as timm has it
                **spread("ratio", ratios, 3),
                "repetitions": len(own),
                **machine(device),
                **disturbance,
            }
        )
    return rows


def spread(name: str, values: list[float], digits: int) -> dict[str, float]:
    """Median, smallest and largest."""
    return {
        name: round(statistics.median(values), digits),
        f"{name}_min": round(min(values), digits),
        f"{name}_max": round(max(values), digits),
    }


class Watch:
    """Whether the machine was idle but for this process, from the making of the watch on."""

    def __init__(self):
        self.load = os.getloadavg()[0]
        self.started, self.others = time.perf_counter(), cpu_seconds_of_others()

    def disturbance(self) -> dict[str, object]:
        """Load average before, cores that other processes used since, and whether that passes for idle."""
        others = (cpu_seconds_of_others() - self.others) / max(time.perf_counter() - self.started, 1e-3)
        idle = self.load <= BUSY_LOAD and others <= BUSY_CORES
        return {"load": round(self.load, 2), "others": max(round(others, 2), 0.0), "idle": idle}


def cpu_seconds_of_others() -> float:
    """CPU time of all processes but this one and those it waited for; always 0 where there is no /proc/stat."""
    try:
        with open("/proc/stat") as file:
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, file.readline().split()[1:9])
    except (OSError, ValueError):
        return 0.0
    every = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return every - sum(os.times()[:4])


def machine(device: str) -> dict[str, object]:
    on_gpu = torch.device(device).type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def table(rows: list[dict]) -> str:
    """The rows for a reader; `times` is how many times as fast as each peer the first one is."""
    lines = [f"{'':16} {'':10} {'images/s':>10} {'(min to max)':>18} {'times':>7} {'(min to max)':>16}"]
    for row in rows:
        speeds = f"({row['samples_per_sec_min']:.1f} to {row['samples_per_sec_max']:.1f})"
        ratios = f"({row['ratio_min']:.2f} to {row['ratio_max']:.2f})"
        name = row["model"].removeprefix("alexnet_")
        lines.append(
            f"{name:16} {row['peer']:10} {row['samples_per_sec']:10.1f} {speeds:>18} {row['ratio']:7.2f} {ratios:>16}"
        )
    row = rows[0]
    lines.append(
        f"batch {row['batch_size']}, medians of {row['repetitions']}, interleaved; {row['threads']} threads, "
        f"{row['cores']} cores, {row['device']}, torch {row['torch']}"
    )
    if not row["idle"]:
        lines.append(
            f"The machine was not idle (load average {row['load']} before the run, others used {row['others']} cores "
            "during it): take the ratios, and those with care."
        )
    return "\n".join(lines)
