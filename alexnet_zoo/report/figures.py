"""The report's line and bar charts, at the width of one printed column, readable without colour."""

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from alexnet_zoo.report.intervals import wilson
from alexnet_zoo.report.paper import Paper
from alexnet_zoo.report.results import Result, Run

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
# Okabe and Ito's colours, which differ in lightness too; dashes and markers say the same without any colour.
BLACK, BLUE, ORANGE, GREY = "#000000", "#0072B2", "#E69F00", "#888888"


styled = mpl.rc_context(STYLE)  # decorates whatever draws: matplotlib reads its style as it makes each piece of text


def new_figure(height: float, width: float = COLUMN_WIDTH) -> Figure:
    """An empty figure of a size in inches, that no window system knows of."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def new_axes(height: float) -> tuple[Figure, Axes]:
    figure = new_figure(height)
    return figure, figure.add_subplot()


@styled
def to_bytes(figure: Figure, kind: str) -> bytes:
    """The figure as a file of this kind, "png" or "svg", without the date."""
    out = io.BytesIO()
    figure.savefig(out, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return out.getvalue()


def save(figure: Figure, stem: Path) -> list[Path]:
    """Writes STEM.png and STEM.svg."""
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "svg")]
    for path in paths:
        path.write_bytes(to_bytes(figure, path.suffix[1:]))
    return paths


@styled
def learning_curves(run: Run) -> Figure | None:
    """Errors in percent by epoch, each drop of the rate marked; None where summary.csv holds no errors."""
    epochs = run.column("epoch")
    series = [("train_top1", "training", BLACK, "-"), ("eval_top1", "validation, top-1", BLUE, "--"),
              ("eval_top5", "validation, top-5", ORANGE, "-.")]  # fmt: skip
    known = [(run.column(name), *look) for name, *look in series if run.column(name)]
    if not known:
        return None
    figure, axes = new_axes(2.4)
    marker = "o" if len(epochs) < 3 else None
    for correct, label, colour, dash in known:
        axes.plot(epochs, [100 - value for value in correct], dash, color=colour, label=label, marker=marker, ms=3)
    rates = run.column("lr")
    for epoch, before, after in zip(epochs[1:], rates, rates[1:], strict=False):
        if after < before:
            axes.axvline(epoch - 0.5, color=GREY, lw=0.8, ls=":")
            axes.annotate(f"rate\n{after:.3g}", (epoch - 0.5, 1), xycoords=("data", "axes fraction"), xytext=(2, 0),
                          textcoords="offset points", va="top", fontsize=6, color="#444444")  # fmt: skip
    axes.set(xlabel="epoch", ylabel="error, %", ylim=(0, None))
    axes.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, handlelength=1.8, columnspacing=1.2)
    return figure


@styled
def challenge_chart(paper: Paper, measured: Sequence[Result] = ()) -> Figure:
    """The challenge's best top-5 test error, 2010 to 2015, and what was measured here on the 2012 validation set."""
    figure, axes = new_axes(2.3)
    years = paper.best_top5()
    shades = [BLUE if row.row == "table2-seven-cnns" else "#C8C8C8" for row in paper.challenge]
    bars = axes.bar([y for y, _, _ in years], [e for _, _, e in years], 0.7, color=shades, edgecolor=BLACK, lw=0.6)
    over = dict(padding=2, fontsize=7, bbox=dict(fc="white", ec="none", pad=0.5))
    axes.bar_label(bars, [f"{error:g}" for _, _, error in years], **over)
    axes.axhline(paper.human.top5, color=BLACK, lw=0.8, ls=":", zorder=0)
    axes.text(2015.55, paper.human.top5, f"{paper.human.what.replace(' ', chr(10))}\n{paper.human.top5:g}",
              va="center", fontsize=6.5, bbox=dict(fc="white", ec="none", pad=1))  # fmt: skip
    ours = [result for result in measured if result.verified == "ILSVRC-2012 val"]
    if ours:
        best = min(ours, key=lambda result: result.top5_err)
        low, high = wilson(best.top5_err, best.images)
        spread = [[best.top5_err - low], [high - best.top5_err]]
        label = f"measured, validation set: {best.top5_err:.1f}\n({best.recipe})"
        look = dict(fmt="D", ms=4, color=ORANGE, mec=BLACK, ecolor=BLACK, label=label)
        axes.errorbar([2012.45], [best.top5_err], spread, **look)
        axes.legend(frameon=False, loc="upper right")
    names = [f"{year}\n{entry.replace(' ', chr(10))}" for year, entry, _ in years]
    axes.set_xticks([year for year, _, _ in years], names)
    axes.tick_params("x", labelsize=6, length=0)
    axes.set(ylabel="best top-5 error, %", ylim=(0, 32), xlim=(2009.4, 2016.3))
    return figure


@styled
def figure1(runs: Sequence[tuple[str, Run]]) -> Figure | None:
    """Figure 1: training error by epoch of networks that differ in their activation, until 25% and beyond.

    Args: runs, (label, run), the fastest first; None where any of them has no training errors.
    """
    if not runs or not all(run.column("train_top1") for _, run in runs):
        return None
    figure, axes = new_axes(2.2)
    dashes = ["-", "--", "-.", ":"]
    for number, (label, run) in enumerate(runs):
        error = [100 - correct for correct in run.column("train_top1")]
        colour = (BLACK, BLUE, ORANGE, GREY)[number % 4]
        axes.plot(range(1, len(error) + 1), error, dashes[number % 4], color=colour, label=label)
        reached = run.epochs_to_train_error(25.0)
        if reached:
            axes.plot([reached], [error[reached - 1]], "o", ms=4, color=colour)
    axes.axhline(25, color=GREY, lw=0.7, ls=":")
    axes.set(xlabel="epochs", ylabel="training error, %", ylim=(0, None), title=_ratio(runs))
    axes.legend(frameon=False)
    return figure


def _ratio(runs: Sequence[tuple[str, Run]]) -> str:
    """What the first and the last run say about the time to 25%."""
    (fast, first), (slow, last) = runs[0], runs[-1]
    a, b = first.epochs_to_train_error(25.0), last.epochs_to_train_error(25.0)
    if a and b:
        return f"to 25%: {fast} {a}, {slow} {b} epochs (×{b / a:.1f})"
    if a:
        return f"to 25%: {fast} {a} epochs, {slow} over {len(last.curve)} (over ×{len(last.curve) / a:.1f})"
    return "25% not reached"
