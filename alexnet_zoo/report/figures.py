"""Draws the report's line and bar charts, at the width of one printed column, readable without colour."""

import csv
import io
import math
import statistics
from collections.abc import Callable, Sequence
from textwrap import fill
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import BarContainer
from matplotlib.figure import Figure

from alexnet_zoo.intervals import wilson
from alexnet_zoo.report.measured import Result, RunRecord
from alexnet_zoo.report.paper import Paper
from alexnet_zoo.report.tables import measurements

COLUMN_WIDTH = 3.3  # inches
STYLE: dict[str, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "legend.fontsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.3,
    "savefig.dpi": 200,
    "svg.hashsalt": "alexnet_zoo",  # the same figure is the same file
    "svg.fonttype": "none",  # text that can be searched and read aloud; Verdana is as wide
    "font.sans-serif": ["DejaVu Sans", "Verdana"],
}
# Okabe and Ito's colours differ in lightness too, and dashes and markers say the same without any colour.
BLACK, BLUE, ORANGE, GREY = "#000000", "#0072B2", "#E69F00", "#888888"
SERIES = (BLACK, BLUE, ORANGE, "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
DASHES = ("-", "--", ":", "-.")
# What an SVG file's colours become where the reader's screen is dark.
DARK = {BLACK: "#e8e8e8", "#ffffff": "#16181c", BLUE: "#4aa3df", "#c8c8c8": "#50555d", "#444444": "#b8b8b8"}
FACES = ("#8ab6d6", "#f0cf8a", "#cccccc")  # of boxes with words in them: column 1, column 2, what both see
DARK |= dict(zip(FACES, ("#24587c", "#6f5116", "#454a52")))

styled = mpl.rc_context(STYLE)  # decorates every function that draws: matplotlib reads the style piece by piece


def new_figure(height: float, width: float = COLUMN_WIDTH) -> Figure:
    """Makes an empty figure of a size in inches, without a window."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def new_axes(height: float) -> tuple[Figure, Axes]:
    figure = new_figure(height)
    return figure, figure.add_subplot()


@styled
def to_bytes(figure: Figure, kind: str) -> bytes:
    """Writes a figure as a file of a kind, "png" or "svg", without the date; an SVG file has light and dark colours."""
    out = io.BytesIO()
    figure.savefig(out, format=kind, metadata={"Date": None} if kind == "svg" else None)
    if kind == "png":
        return out.getvalue()
    rules = [f"svg{{fill:{DARK[BLACK]}}}"] + [
        f'[style*="{what}: {light.lower()}"]{{{what}:{dark}!important}}'
        for light, dark in DARK.items()
        for what in ("fill", "stroke")
    ]
    style = f"<style>@media screen and (prefers-color-scheme:dark){{{''.join(rules)}}}</style>"
    return out.getvalue().replace(b"<defs>", f"{style}\n <defs>".encode(), 1)


def data_of(figure: Figure) -> str:
    """Writes what a figure's lines and bars show as CSV; "" for one without any."""
    rows = []
    for axes in figure.axes:
        panel = ", ".join(filter(None, (axes.get_title().replace("\n", "; "), axes.get_ylabel())))
        for line in axes.lines:
            if line.get_transform() == axes.transData and not line.get_label().startswith("_"):
                rows += [(panel, line.get_label(), f"{x:g}", f"{y:.6g}") for x, y in line.get_xydata()]
        for bar in (bar for bars in axes.containers if isinstance(bars, BarContainer) for bar in bars):
            rows.append((panel, "bar", f"{bar.get_x() + bar.get_width() / 2:g}", f"{bar.get_height():g}"))
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([("panel", "series", "x", "y"), *rows])
    return out.getvalue() if rows else ""


@styled
def learning_curves(run: RunRecord) -> Figure | None:
    """Draws errors in percent by epoch, and marks each drop of the rate; None where summary.csv holds no errors.

    A last epoch that was not whole stands where it ended.
    """
    end = run.recipe.get("epochs", math.inf)
    epochs = [min(epoch, end) for epoch in run.column("epoch")]
    series = [(run.errors("train"), "training", BLACK, "-"), (run.errors("eval"), f"{run.held_out}, top-1", BLUE, "--"),
              (run.errors("eval", "top5"), f"{run.held_out}, top-5", ORANGE, "-.")]  # fmt: skip
    figure, axes = new_axes(2.4)
    for errors, label, colour, dash in series:
        known = [(epoch, error) for epoch, error in zip(epochs, errors) if not math.isnan(error)]
        if known:
            marker = "o" if len(known) < 3 else None  # a line of one point would not be seen
            axes.plot(*zip(*known), dash, color=colour, label=label, marker=marker, ms=3)
    if not axes.lines:
        return None
    rates = run.column("lr")
    for epoch, before, after in zip(epochs, rates, rates[1:], strict=False):
        if after < before:
            axes.axvline(epoch + 0.5, color=GREY, lw=0.8, ls=":")
            axes.annotate(f"rate\n{after:.3g}", (epoch + 0.5, 1), xycoords=("data", "axes fraction"), xytext=(2, 0),
                          textcoords="offset points", va="top", fontsize=6, color="#444444")  # fmt: skip
    top = max(max(line.get_ydata()) for line in axes.lines[:3])
    axes.set(xlabel="epoch", ylabel="error, %", xlim=(0, None))
    axes.set_ylim(-0.03 * top, 1.08 * top)  # no line lies on the frame
    axes.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, handlelength=1.8, columnspacing=1.2)
    return figure


@styled
def challenge_chart(paper: Paper, measured: Sequence[Result] = ()) -> Figure:
    """Draws the challenge's best top-5 test errors, 2010 to 2015, and our best on 2012's validation set."""
    figure, axes = new_axes(2.3)
    years, human = paper.best_top5(), paper.human.top5
    shades = [BLUE if row.row == "table2-seven-cnns" else "#C8C8C8" for row in paper.challenge]
    axes.bar([y for y, _, _ in years], [e for _, _, e in years], 0.7, color=shades, edgecolor=BLACK, lw=0.6)
    for year, _, error in years:
        over = human if human - 2 < error < human else error  # not on the dotted line
        axes.text(year, over + 0.5, f"{error:g}", ha="center", fontsize=7)
    axes.axhline(human, color=BLACK, lw=0.8, ls=":", zorder=0, label=f"{paper.human.what}: {human:g}")
    rows = [row.measured_by for row in paper.rows("Table 2") if row.measured_by]
    ours = [result for row in rows for result in measurements(list(measured), row)]
    if ours:
        best = min(ours, key=lambda result: result.top5_err)
        low, high = wilson(best.top5_err, best.images)
        spread = [[best.top5_err - low], [high - best.top5_err]]
        label = f"measured, validation set: {best.top5_err:.1f}\n({best.recipe})"
        look = dict(fmt="D", ms=4, color=ORANGE, mec=BLACK, ecolor=BLACK, label=label)
        axes.errorbar([2012.45], [best.top5_err], spread, **look)
    axes.legend(frameon=False, loc="upper right")
    names = [f"{y}\n{fill(entry, 7, break_long_words=False)}" for y, entry, _ in years]
    axes.set_xticks([year for year, _, _ in years], names)
    axes.tick_params("x", labelsize=6, length=0)
    axes.set(ylabel="best top-5 error, %", ylim=(0, 32))
    return figure


@styled
def figure1(runs: Sequence[tuple[str, RunRecord]], published: float) -> Figure | None:
    """Draws Figure 1: training error by epoch of networks that differ in their activation.

    Args: runs, (label, run), first the faster label's, each label's in the order of their seeds; published, the
    paper's ratio. Returns None where a run has no training errors.
    """
    if not runs or not all(run.errors("train") for _, run in runs):
        return None
    labels = list(dict.fromkeys(label for label, _ in runs))
    figure, axes = new_axes(2.4)
    handles = []
    for number, label in enumerate(labels):
        look = dict(ls=DASHES[number % 4], color=(BLACK, BLUE, ORANGE, GREY)[number % 4])
        for run in [run for own, run in runs if own == label]:
            error = run.errors("train")
            lines = axes.plot(range(1, len(error) + 1), error, label=run.name, lw=1.0, **look)
            reached = run.epochs_to_train_error(25.0)
            if reached:
                axes.plot([reached], [error[reached - 1]], "o", ms=3, color=look["color"])
        handles += lines
    axes.axhline(25, color=GREY, lw=0.7, ls=":")
    axes.set(xlabel="epochs", ylabel="training error, %", ylim=(0, None), title=_ratio(labels, runs, published))
    axes.legend(handles, labels, frameon=False)
    return figure


def _ratio(labels: list[str], runs: Sequence[tuple[str, RunRecord]], published: float) -> str:
    """Says after how many epochs the first and the last label's runs reach 25%, and the ratio of each pair of runs."""
    fast, slow = ([run for label, run in runs if label == own] for own in (labels[0], labels[-1]))
    reached = [[run.epochs_to_train_error(25.0) for run in own] for own in (fast, slow)]
    if None in reached[0]:
        return "25% not reached"
    counts = [_extent([n or len(run.curve) for n, run in zip(*pair)]) for pair in zip(reached, (fast, slow))]
    over = "over " if None in reached[1] else ""
    ratios = sorted((b or len(run.curve)) / a for a, b, run in zip(*reached, slow, strict=False))
    ratio = f"×{statistics.median(ratios):.1f}"
    spread = f", {ratios[0]:.1f} to {ratios[-1]:.1f} in {len(ratios)} runs" if len(ratios) > 1 else ""
    first = f"to 25%: {labels[0]} {counts[0]}, {labels[-1]} {over}{counts[1]} epochs"
    return f"{first}\n{over}{ratio}{spread}; published ×{published:g}"


def _extent(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low}" if low == high else f"{low} to {high}"


@styled
def starts(runs: Sequence[RunRecord]) -> Figure:
    """Draws how watched runs start, a column of panels for each recipe: loss, gradients and silent units by step.

    Dashes tell the rate, colours the number of classes.
    """
    recipes = list(dict.fromkeys(run.recipe_name for run in runs))
    looks = {kind: number for number, kind in enumerate(sorted({_kind(run) for run in runs}))}
    sizes, rates = sorted({size for size, _ in looks}), sorted({rate for _, rate in looks}, reverse=True)
    panels = _start_panels(runs)
    figure = new_figure(0.6 + 1.2 * len(panels), 2 * COLUMN_WIDTH)
    grid = figure.subplots(len(panels), len(recipes), sharex=True, sharey="row", squeeze=False)
    handles = {}
    for run in runs:
        size, rate = _kind(run)
        look = dict(color=(BLACK, ORANGE, BLUE)[sizes.index(size) % 3], ls=DASHES[rates.index(rate) % 4])
        for axes, (_, values) in zip(grid[:, recipes.index(run.recipe_name)], panels):
            (line,) = axes.plot(*zip(*values(run)), label=run.name, lw=1.0, **look)
            handles[f"rate {rate:g}, {size:,} classes"] = line
    for axes, recipe in zip(grid[0], recipes):
        axes.axhline(1, color=GREY, lw=0.7, ls=":")
        axes.set(title=recipe, ylim=(0, None))
    for (label, _), row in zip(panels, grid):
        row[0].set_ylabel(label)
        for axes in row if label.startswith("gradient") else ():
            axes.set_yscale("log")
    for axes in grid[-1]:
        axes.set_xlabel("step")
    figure.align_ylabels(grid[:, 0])
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=4, frameon=False)
    return figure


def _kind(run: RunRecord) -> tuple[int, float]:
    return run.classes, run.recipe.get("lr", 0.0)


def _start_panels(runs: Sequence[RunRecord]) -> list[tuple[str, Callable]]:
    """Label and values, (step, value), of the loss, of the gradients of the first and the last layer, and of the two
    layers of which most is ever silent.
    """

    def of_layer(what: str, layer: str, scale: float) -> Callable[[RunRecord], list[tuple[int, float]]]:
        return lambda run: [(row["step"], scale * row[what].get(layer, math.nan)) for row in _watched(run)]

    def loss(run: RunRecord) -> list[tuple[int, float]]:
        return [(row["step"], row["loss"] / math.log(run.classes)) for row in run.lines("metrics")]

    rows = [row for run in runs for row in _watched(run)]
    gradients, silent = list(rows[0]["gradient_norm"]), list(rows[0]["silent"])
    most = sorted(silent, key=lambda layer: -max(row["silent"].get(layer, 0) for row in rows))[:2]
    panels: list[tuple[str, Callable[[RunRecord], list[tuple[int, float]]]]] = [("loss / ln(classes)", loss)]
    ends = dict.fromkeys((gradients[0], gradients[-1]))
    panels += [(f"gradient of {layer}", of_layer("gradient_norm", layer, 1)) for layer in ends]
    return panels + [(f"silent in {layer}, %", of_layer("silent", layer, 100)) for layer in sorted(most)]


def _watched(run: RunRecord) -> list[dict]:
    """What was watched in column 0."""
    return [row for row in run.lines("layers") if row["column"] == 0]
