"""Draws the report's line and bar charts, at the width of one printed column, readable without colour."""

import io
import math
import statistics
from collections.abc import Sequence
from textwrap import fill

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from alexnet_zoo.intervals import wilson
from alexnet_zoo.report.measured import Result, RunRecord
from alexnet_zoo.report.paper import Paper
from alexnet_zoo.report.tables import measurements

COLUMN_WIDTH = 3.3  # inches
STYLE = {
    "font.size": 8,
    "axes.titlesize": 8,
    "legend.fontsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.3,
    "savefig.dpi": 200,
    "svg.hashsalt": "alexnet_zoo",  # the same figure is the same file
}
# Okabe and Ito's colours differ in lightness too, and dashes and markers say the same without any colour.
BLACK, BLUE, ORANGE, GREY = "#000000", "#0072B2", "#E69F00", "#888888"
SERIES = (BLACK, BLUE, ORANGE, "#009E73", "#CC79A7", "#56B4E9", "#D55E00")


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
    """Writes a figure as a file of a kind, "png" or "svg", without the date."""
    out = io.BytesIO()
    figure.savefig(out, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return out.getvalue()


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
    for number, label in enumerate(labels):
        look = dict(ls=["-", "--", "-.", ":"][number % 4], color=(BLACK, BLUE, ORANGE, GREY)[number % 4])
        for run in [run for own, run in runs if own == label]:
            error = run.errors("train")
            axes.plot(range(1, len(error) + 1), error, label=label, lw=1.0, **look)
            label = "_"  # matplotlib's for no entry in the legend
            reached = run.epochs_to_train_error(25.0)
            if reached:
                axes.plot([reached], [error[reached - 1]], "o", ms=3, color=look["color"])
    axes.axhline(25, color=GREY, lw=0.7, ls=":")
    axes.set(xlabel="epochs", ylabel="training error, %", ylim=(0, None), title=_ratio(labels, runs, published))
    axes.legend(frameon=False)
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
    """Draws how watched runs start: loss by step, each layer's gradient norm and share of silent units.

    Divides the loss by the loss of guessing, ln(classes), so that runs on different data can be compared.
    """
    figure = new_figure(2.4 + 1.3 * len(runs), 2 * COLUMN_WIDTH)
    grid = figure.add_gridspec(len(runs) + 1, 2, height_ratios=[2.2] + [1.3] * len(runs))
    loss = figure.add_subplot(grid[0, :])
    for number, run in enumerate(runs):
        guessing = math.log(len(run.data["classes"]))
        steps = [(row["step"], row["loss"] / guessing) for row in run.lines("metrics")]
        look = dict(color=SERIES[number % len(SERIES)], ls=["-", "--", "-.", ":"][number % 4])
        loss.plot(*zip(*steps), label=run.name, lw=1.0, **look)
    loss.axhline(1, color=GREY, lw=0.7, ls=":")
    loss.set(xlabel="step", ylabel="training loss / ln(classes)", ylim=(0, None))
    loss.legend(frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1))
    gradients = None  # of all runs, on one scale
    for number, run in enumerate(runs, start=1):
        rows = [row for row in run.lines("layers") if row["column"] == 0]
        gradients = figure.add_subplot(grid[number, 0], sharey=gradients)
        silent = figure.add_subplot(grid[number, 1])
        for axes, what in ((gradients, "gradient_norm"), (silent, "silent")):
            for index, layer in enumerate(rows[0][what]):
                values = [row[what][layer] * (100 if what == "silent" else 1) for row in rows]
                look = dict(color=SERIES[index % len(SERIES)], ls=["-", "--"][index // len(SERIES)])
                axes.plot([row["step"] for row in rows], values, label=layer, lw=0.9, **look)
        gradients.set(yscale="log", title=f"{run.name}: gradient norm")
        silent.set(ylim=(-2, 102), title=f"{run.name}: silent units, %")
        for axes in (gradients, silent):
            if number == 1:
                axes.legend(frameon=False, fontsize=5.5, loc="upper left", bbox_to_anchor=(1, 1.1), handlelength=1.2)
            if number == len(runs):
                axes.set_xlabel("step")
    return figure
