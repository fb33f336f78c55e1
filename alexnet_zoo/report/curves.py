"""The errors of all runs by epoch, as lines of one plot that the page draws."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from alexnet_zoo.report.measured import RunRecord

WIDTH, HEIGHT = 640, 320  # of the plot within its axes
COLOURS = 7  # page.css has so many


@dataclass(frozen=True)
class Curve:
    """Holds one line: points, (epoch, error in percent); places, the same within the plot."""

    label: str
    points: list[tuple[float, float]]
    places: list[tuple[float, float]]


@dataclass(frozen=True)
class RunCurves:
    """Holds the lines of a run, and whether it is shown before the reader chooses."""

    run: str
    number: int
    lines: list[Curve]
    shown: bool

    @property
    def colour(self) -> int:
        return self.number % COLOURS


@dataclass(frozen=True)
class Plot:
    """Holds all lines, and the marks of both axes: (text, place)."""

    runs: list[RunCurves]
    across: list[tuple[str, float]]
    up: list[tuple[str, float]]
    per_epoch: float  # epochs and points of error that a unit of the plot is
    per_error: float

    @property
    def data(self) -> str:
        """All points, as CSV."""
        rows = [(run.run, line.label, *point) for run in self.runs for line in run.lines for point in line.points]
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([("run", "series", "epoch", "error"), *rows])
        return out.getvalue()


def error_plot(runs: Sequence[RunRecord], shown: set[str]) -> Plot | None:
    """Places the training and held-out top-1 errors of runs; None where no run recorded any.

    Args: shown, names of the runs that are shown at first.
    """
    found = [(run.name, lines) for run in runs if (lines := _lines(run))]
    if not found:
        return None
    points = [point for _, lines in found for _, own in lines for point in own]
    epochs, errors = _marks(max(epoch for epoch, _ in points)), _marks(max(error for _, error in points))

    def place(epoch: float, error: float) -> tuple[float, float]:
        return round(WIDTH * epoch / epochs[-1], 1), round(HEIGHT * (1 - error / errors[-1]), 1)

    some = shown & {name for name, _ in found} or {name for name, _ in found[:COLOURS]}
    curves = [
        RunCurves(name, n, [Curve(label, own, [place(*p) for p in own]) for label, own in lines], name in some)
        for n, (name, lines) in enumerate(sorted(found, key=lambda one: one[0] not in some))
    ]
    across = [(f"{epoch:g}", place(epoch, 0)[0]) for epoch in epochs]
    up = [(f"{error:g}", place(0, error)[1]) for error in errors]
    return Plot(curves, across, up, epochs[-1] / WIDTH, errors[-1] / HEIGHT)


def _lines(run: RunRecord) -> list[tuple[str, list[tuple[float, float]]]]:
    """A last epoch that was not whole stands where it ended."""
    end = run.recipe.get("epochs", math.inf)
    epochs = [min(epoch, end) for epoch in run.column("epoch")]
    lines = []
    for split, label in (("train", "training"), ("eval", run.held_out)):
        known = [(n, round(error, 2)) for n, error in zip(epochs, run.errors(split)) if not math.isnan(error)]
        lines += [(label, known)] if known else []
    return lines


def _marks(highest: float) -> list[float]:
    """Round numbers from 0 to over `highest`, six at most."""
    step = next(step for power in range(6) for step in (10**power, 2 * 10**power, 5 * 10**power) if highest <= 5 * step)
    return [step * n for n in range(max(math.ceil(highest / step), 1) + 1)]
