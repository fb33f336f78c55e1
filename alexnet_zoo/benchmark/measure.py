"""Times candidates by turns in one run; reports medians with their spread, ratios, and the machine."""

import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnxruntime
import pandas as pd
import timm
import torch
from torch import nn

from alexnet_zoo.cores import cores, cpu_name
from alexnet_zoo.devices import cuda_devices
from alexnet_zoo.errors import UserError
from alexnet_zoo.progress import Progress

# A machine is idle with at most this load average before the run, and this many cores used by others during it.
BUSY_LOAD, BUSY_CORES = 0.5, 0.1
SETTLE = 0.05  # seconds of rest before each step: the last one's threads spin on for some milliseconds and take a core

Step = Callable[[], object]
Clock = Callable[[], float]


@dataclass(frozen=True)
class Options:
    """Holds what `alexzoo benchmark` is asked for.

    batch_size None leaves the choice to the benchmark; threads None means one for each core.
    """

    model: str = "alexnet_krizhevsky"
    batch_size: int | None = None
    repetitions: int = 5
    device: str = "cpu"
    threads: int | None = None
    against: tuple[Path, ...] = ()
    photographs: Path | None = None  # for the benchmarks of reading them
    cpu_time: bool = False  # count this process's CPU time, which others on a busy machine disturb less

    @property
    def clock(self) -> Clock:
        return time.process_time if self.cpu_time else time.perf_counter

    def __post_init__(self):
        for name in ("batch_size", "repetitions", "threads"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"--{name.replace('_', '-')} {value}: must be 1 or more", exit_code=2)
        cuda_devices(self.device)
        if self.cpu_time and (self.device != "cpu" or self.threads != 1):
            raise UserError("--cpu-time: counts all threads together; only with --threads 1 and --device cpu", 2)
        if not timm.is_model(self.model):
            raise UserError(f"--model {self.model}: timm has no such model; see `alexzoo models`", exit_code=2)


def begin(options: Options) -> "Watch":
    """Sets the number of threads, and starts to watch what else the machine is doing."""
    torch.set_num_threads(options.threads or cores())
    return Watch()


def side_of(model: nn.Module, model_args: dict) -> int:
    return model_args.get("img_size", model.pretrained_cfg["input_size"][-1])


def facts_of(what: str, name: str, model: nn.Module | None, batch_size: int, side: int) -> dict[str, object]:
    """Describes a network in the first columns of a row, under timm's names."""
    millions = round(sum(p.numel() for p in model.parameters()) / 1e6, 2) if model else 0.0
    return dict(benchmark=what, model=name, batch_size=batch_size, img_size=side, param_count=millions)


def timings(steps: dict[str, Step], repetitions: int, device: str, clock: Clock = time.perf_counter) -> dict:
    """Measures the seconds of each step by turns, so that what disturbs the machine disturbs all steps alike."""
    seconds = {name: [] for name in steps}
    with Progress((repetitions + 1) * len(steps), "benchmark", unit="steps") as progress:
        for repetition in range(repetitions + 1):
            for name, step in steps.items():
                time.sleep(SETTLE)
                elapsed = seconds_of(step, device, clock)
                if repetition > 0:  # the first is warm-up: memory is fetched, kernels are chosen
                    seconds[name].append(elapsed)
                progress.update(1, last=f"{name} {elapsed:.3f} s")
    return seconds


def seconds_of(step: Step, device: str, clock: Clock = time.perf_counter) -> float:
    started = clock()
    step()
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - started


def rows_of(facts: dict, seconds: dict[str, list[float]], batch_size: int, device: str, watch: "Watch") -> list[dict]:
    """Makes a row for each peer; `ratio` says how many times as fast as this peer the first one was, turn by turn."""
    first, disturbance = next(iter(seconds.values())), watch.disturbance()
    rows = []
    for peer, own in seconds.items():
        ratios = [theirs / ours for ours, theirs in zip(first, own, strict=True)]
        row = facts | {"peer": peer} | spread("samples_per_sec", [batch_size / s for s in own], 2)
        row |= {"step_time": round(1000 * statistics.median(own), 3)}  # ms, as timm has it
        rows.append(row | spread("ratio", ratios, 3) | {"repetitions": len(own)} | machine(device) | disturbance)
    return rows


def spread(name: str, values: list[float], digits: int) -> dict[str, float]:
    """Gives the median, the smallest and the largest value a column each."""
    middle, low, high = (round(value, digits) for value in (statistics.median(values), min(values), max(values)))
    return {name: middle, f"{name}_min": low, f"{name}_max": high}


class Watch:
    """Tells whether other processes kept the machine busy since the watch was made."""

    def __init__(self):
        self.load = os.getloadavg()[0]
        self.started, self.others = time.perf_counter(), cpu_seconds_of_others()

    def disturbance(self) -> dict[str, object]:
        """Gives the load average at the start, the cores that others have used since, and whether that is idle."""
        others = (cpu_seconds_of_others() - self.others) / max(time.perf_counter() - self.started, 1e-3)
        idle = self.load <= BUSY_LOAD and others <= BUSY_CORES
        return {"load": round(self.load, 2), "others": max(round(others, 2), 0.0), "idle": idle}


def cpu_seconds_of_others() -> float:
    """Sums the CPU time of all processes but this one and those it waited for; 0 where there is no /proc/stat."""
    try:
        with open("/proc/stat") as file:
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, file.readline().split()[1:9])
    except (OSError, ValueError):
        return 0.0
    every = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return every - sum(os.times()[:4])


def machine(device: str) -> dict[str, object]:
    """Describes the device and the software in the last columns of a row."""
    name = torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else cpu_name()
    versions = dict(torch=torch.__version__, onnxruntime=onnxruntime.__version__)
    return dict(device=name, cores=cores(), threads=torch.get_num_threads(), **versions)


def write(rows: list[dict], folder: Path, name: str) -> list[Path]:
    """Writes the rows as name.csv and name.json; returns both paths."""
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)
    (folder / f"{name}.json").write_text(json.dumps(rows, indent=1) + "\n")
    return [folder / f"{name}.csv", folder / f"{name}.json"]


def table(rows: list[dict]) -> str:
    """Lays out the rows for a reader; `times` says how many times as fast as each peer the first one is."""
    with_peak = "peak_share" in rows[0]
    head = f"{'':42} {'images/s':>10} {'(min to max)':>18} {'times':>7} {'(min to max)':>16}"
    lines = [head + f" {'GMACs':>7} {'of peak':>8}" * with_peak]
    for row in rows:
        speeds = f"({row['samples_per_sec_min']:.1f} to {row['samples_per_sec_max']:.1f})"
        ratios = f"({row['ratio_min']:.2f} to {row['ratio_max']:.2f})"
        line = f"{row['model'].removeprefix('alexnet_'):16} {row['peer']:25} {row['samples_per_sec']:10.1f}"
        line += f" {speeds:>18} {row['ratio']:7.2f} {ratios:>16}"
        if with_peak:
            line += f" {row['gmacs']:7.2f} {100 * row['peak_share']:7.0f}%"
        lines.append(line)
    lines.append(
        f"batch {row['batch_size']}, medians of {row['repetitions']}, interleaved; {row['threads']} threads, "
        f"{row['cores']} cores, {row['device']}, torch {row['torch']}, onnxruntime {row['onnxruntime']}"
    )
    if with_peak:
        lines.append(f"Matrix peak measured here: {row['peak_gflops']:.0f} GFLOP/s, float32, the same threads.")
    if not row["idle"]:
        lines.append(
            f"The machine was not idle (load average {row['load']} before the run, others used {row['others']} cores "
            "during it): take the ratios, and those with care."
        )
    return "\n".join(lines)
