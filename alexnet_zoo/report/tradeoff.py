"""Draws accuracy against latency: what each export target of one network costs in time, and in errors."""

import json
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from alexnet_zoo.intervals import wilson
from alexnet_zoo.report.figures import BLACK, GREY, SERIES, new_axes, styled
from alexnet_zoo.report.measured import Result, RunRecord

LATENCIES = "inference.json"  # what `alexzoo benchmark inference --run RUN --out RUN` leaves
TARGETS = {"plain": "plain", "native LRN": "lrn", "fp16": "fp16", "int8": "int8"}  # of the benchmark's peers
WITHOUT = "torchvision alexnet"  # another network, with random weights: it has a latency and no error


def latencies_of(run: RunRecord) -> list[dict]:
    """Reads the rows of the benchmark that lie in a run's folder; none where there are none."""
    file = run.folder / LATENCIES
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []


def errors_of(run: RunRecord) -> dict[str, Result]:
    """Finds for each export target the measured errors with the centre crop."""
    return {result.target or "plain": result for result in run.results if result.views == 1}


def milliseconds(row: Mapping) -> tuple[float, float, float]:
    """Tells how long an image takes: median, shortest, longest."""
    return tuple(1000 / row[f"samples_per_sec{which}"] for which in ("", "_max", "_min"))


@styled
def tradeoff(rows: Sequence[Mapping], errors: Mapping[str, Result]) -> Figure | None:
    """Draws top-1 error over milliseconds an image; None where no target has both.

    Args: rows, the benchmark's; errors, by target.
    """
    figure, axes = new_axes(2.5)
    for number, row in enumerate(row for row in rows if TARGETS.get(row["peer"]) in errors):
        result = errors[TARGETS[row["peer"]]]
        (time, least, most), (low, high) = milliseconds(row), wilson(result.top1_err, result.images)
        spread = dict(xerr=[[time - least], [most - time]], yerr=[[result.top1_err - low], [high - result.top1_err]])
        look = dict(color=SERIES[number + 1], mec=BLACK, mew=0.5, ecolor=GREY, elinewidth=0.8, ms=5)
        axes.errorbar([time], [result.top1_err], fmt="osD^"[number % 4], label=TARGETS[row["peer"]], **spread, **look)
    if not axes.containers:
        return None
    for row in rows:
        if row["peer"] == WITHOUT:
            axes.axvline(milliseconds(row)[0], color=GREY, ls=":", lw=1, label="torchvision's, latency alone")
    axes.set(xlabel="milliseconds an image", ylabel="top-1 error, %", xlim=(0, None))
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def said_of(rows: Sequence[Mapping]) -> str:
    """Says how the latencies were measured, and what torchvision's network has to do in its time."""
    first, busy = rows[0], "" if rows[0].get("idle", True) else "; the machine was busy, so take the ratios"
    clock = "CPU time, " if first.get("cpu_time") else ""
    said = f"Latency: {clock}batches of {first['batch_size']}, {first['device']}, threads: {first['threads']}{busy}."
    for row in rows:
        if row["peer"] == WITHOUT:
            said += f" torchvision's does {row['gmacs']:.2f} billion multiply-adds an image, ours {first['gmacs']:.2f}."
    return said
