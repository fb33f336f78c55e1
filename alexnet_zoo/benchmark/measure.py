"""Times candidates by turns in one run; makes rows of medians, percentiles, ratios, and the machine."""

import math
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import timm
import torch
from torch import nn

from alexnet_zoo.cores import cores, cpu_name
from alexnet_zoo.devices import cuda_devices
from alexnet_zoo.errors import UserError
from alexnet_zoo.progress import Progress, say

# A machine is idle with at most this load average before the run, and this many cores used by others during it.
BUSY_LOAD, BUSY_CORES = 0.5, 0.1
SETTLE = 0.05  # seconds of rest before each turn: the last one's threads spin on for some milliseconds and take a core
TURN = 0.1  # seconds that a turn lasts at least: a step of milliseconds is run several times, one right after another
PERCENTILES = (50, 90, 99)
LEFT_OUT = ": left out: "  # said of a candidate that fails

Step = Callable[[], object]
Clock = Callable[[], float]


@dataclass(frozen=True)
class Options:
    """Holds what `alexzoo benchmark` is asked for.

    batch_size None leaves the choice to the benchmark; threads None means one for each core. Candidates take turns for
    `seconds` each, on average, and at least `repetitions` times.
    """

    model: str = "alexnet_krizhevsky"
    batch_size: int | None = None
    repetitions: int = 5
    seconds: float = 0.0
    device: str = "cpu"
    threads: int | None = None
    against: tuple[Path, ...] = ()
    photographs: Path | None = None  # for the benchmarks of reading them
    run: Path | None = None  # whose trained network inference measures, on its own images
    cpu_time: bool = False  # count this process's CPU time, which others on a busy machine disturb less

    @property
    def clock(self) -> Clock:
        return time.process_time if self.cpu_time else time.perf_counter

    def __post_init__(self):
        for name in ("batch_size", "repetitions", "threads"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"--{name.replace('_', '-')} {value}: must be 1 or more", exit_code=2)
        for path in self.against:
            if not path.is_file():
                raise UserError(f"--against {path}: no such file; name an ONNX file", exit_code=2)
        cuda_devices(self.device)
        if self.device == "auto":
            raise UserError("--device auto: name one, cpu or cuda, so that it is clear what was measured", exit_code=2)
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


def those_that_run(steps: dict[str, Step], times: int = 1) -> dict[str, Step]:
    """Takes each step a few times; leaves out those that fail, and says why: what a compiler or a card lacks."""
    able = {}
    for name, step in steps.items():
        try:
            for _ in range(times):
                step()
        except Exception as error:  # torch.compile has many, most often that there is no C++ compiler
            leave_out(name, error)
        else:
            able[name] = step
    return able


def leave_out(name: str, error: Exception) -> None:
    """Says in a line why a candidate is not measured; the others are."""
    kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
    say(f"{name}{LEFT_OUT}{kind}{(str(error).strip() or '?').splitlines()[0]}")


def timings(steps: dict[str, Step], options: Options, warm_ups: int = 1, at_once: int = 1) -> dict[str, list]:
    """Measures the seconds of each step by turns, so that what disturbs the machine disturbs all steps alike.

    Args: warm_ups, of each step: memory is fetched, kernels are chosen; at_once, how often a step is taken before the
    device is waited for, as training does.

    Returns for each step a list of turns, each of them a list of the seconds of its runs, one right after another.
    """

    def turn(step: Step, runs: int) -> list[float]:
        time.sleep(SETTLE)
        return [seconds_of(step, options, at_once) for _ in range(runs)]

    with Progress(len(steps) * warm_ups, "warming up", unit="steps") as progress:
        first = {}
        for name, step in steps.items():
            first[name] = statistics.median(turn(step, warm_ups)) * at_once
            progress.update(warm_ups, last=f"{name} {first[name]:.3f} s")
    runs = {name: max(round(TURN / seconds), 1) for name, seconds in first.items()}
    of_all = sum(runs[name] * first[name] for name in steps)  # seconds of one turn of each
    turns = max(options.repetitions, math.ceil(options.seconds * len(steps) / of_all))
    seconds: dict[str, list[list[float]]] = {name: [] for name in steps}
    with Progress(turns * len(steps), "benchmark", unit="turns") as progress:
        for _ in range(turns):
            for name, step in steps.items():
                seconds[name].append(turn(step, runs[name]))
                progress.update(1, last=f"{name} {seconds[name][-1][-1]:.3f} s")
    return seconds


def seconds_of(step: Step, options: Options, at_once: int = 1) -> float:
    """Measures one step, the mean of several that are taken at once; waits for the device at their end."""
    started = options.clock()
    for _ in range(at_once):
        step()
    if options.device == "cuda":
        torch.cuda.synchronize()
    return (options.clock() - started) / at_once


def rows_of(facts: dict, seconds: dict[str, list], batch_size: int, options: Options, watch: "Watch") -> list[dict]:
    """Makes a row for each peer; `ratio` says how many times as fast as this peer the first one was, turn by turn.

    Smallest and largest values are those of whole turns. p50, p90 and p99 are milliseconds of single runs, all of which
    are in step_times.
    """
    medians = {peer: [statistics.median(turn) for turn in turns] for peer, turns in seconds.items()}
    first, disturbance = next(iter(medians.values())), watch.disturbance()
    rows = []
    for peer, own in medians.items():
        times = [round(1000 * run, 4) for turn in seconds[peer] for run in turn]
        row = facts | {"peer": peer} | spread("samples_per_sec", [batch_size / s for s in own], 2)
        row |= {"step_time": round(1000 * statistics.median(own), 3)}  # ms, as timm has it
        row |= {f"p{p}": round(float(np.percentile(times, p)), 3) for p in PERCENTILES}
        row |= spread("ratio", [theirs / ours for ours, theirs in zip(first, own, strict=True)], 3)
        row |= {"repetitions": len(own), "runs": len(times)} | machine(options) | disturbance
        rows.append(row | {"step_times": times})
    return rows


def spread(name: str, values: list[float], digits: int) -> dict[str, float]:
    """Gives the median, the smallest and the largest value a column each."""
    middle, low, high = (round(value, digits) for value in (statistics.median(values), min(values), max(values)))
    return {name: middle, f"{name}_min": low, f"{name}_max": high}


class Watch:
    """Tells whether other processes kept the machine busy since the watch was made."""

    def __init__(self):
        self.load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
        self.started, self.others = time.perf_counter(), cpu_seconds_of_others()

    def disturbance(self) -> dict[str, object]:
        """Gives the load average at the start, the cores that others have used since, and whether that is idle."""
        return self.judged((cpu_seconds_of_others() - self.others) / max(time.perf_counter() - self.started, 1e-3))

    def judged(self, others: float) -> dict[str, object]:
        """Says the same where others have used so many cores."""
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


def machine(options: Options) -> dict[str, object]:
    """Describes the device and the software in the last columns of a row."""
    name = torch.cuda.get_device_name() if options.device == "cuda" else cpu_name()
    versions = dict(torch=torch.__version__, onnxruntime=onnxruntime.__version__)
    return dict(device=name, cores=cores(), threads=torch.get_num_threads(), cpu_time=options.cpu_time, **versions)
