"""A study as tables and figures: what each comparison found, the forest plot, learning curves with their spread."""

import dataclasses
import json
import math
import re
import statistics
import textwrap
from pathlib import Path

import numpy as np
import torch

from alexnet_zoo.errors import UserError
from alexnet_zoo.files import written_whole
from alexnet_zoo.report.figures import BLACK, COLUMN_WIDTH, GREY, SERIES, new_figure, styled, to_bytes
from alexnet_zoo.report.formats import MINUS, Cell, Column, Figure, Table, to_csv, to_markdown
from alexnet_zoo.report.kernels import load_kernels, selectivity
from alexnet_zoo.report.latex import to_latex
from alexnet_zoo.report.page import html_table
from alexnet_zoo.study.measures import hours, predictions_of, read_curve
from alexnet_zoo.study.runner import STUDIES, Jobs
from alexnet_zoo.study.study import RATIOS, Comparison, Study, find_claim, load_study
from alexnet_zoo.study.summary import RULES, Found, arm_figures, finished_runs, summarise
from alexnet_zoo.train.network import create_model

PUBLISHED = (
    "recipe.toml",
    "environment.json",
    "data.json",
    "devices.json",
    "summary.csv",
    "metrics.jsonl",
    "colour.json",
    "diverged.json",
    "results.csv",
    "train.csv",
)
HOW = (
    "Intervals: 95%, over seeds, and test images where their errors are compared; of rates Newcombe's. p: permutations "
    "of the runs (Welch's t), or sign flips where the same networks are compared."
)
ABSOLUTE = re.compile(r"(?<![\w.:/])/(?:[\w.+@-]+/)+([\w.+@-]*)")  # a path from the root, and its last name
QUANTITIES = {
    "test_error": "test error, points",
    "train_error": "training error of the trained network, centre crop, points",
    "overfitting": "test less training error of the trained network, centre crop, points",
    "epochs_to_25": "epochs to 25% training error, ratio",
    "epochs_to_error": "epochs to a validation error, ratio",
    "epochs_to_best": "epochs to the best error, ratio",
    "time": "time an image, ratio",
    "colour_apart": "colour index, column less column, beyond chance",
    "left_guessing": "runs that leave guessing, points",
}


def report_study(name: str | None, out: Path | None, publish: Path | None = None) -> str:
    """Writes what the study's finished runs say beside them, or into `publish` with those runs.

    Returns its tables, for the screen. Raises: UserError where no run is finished.
    """
    if name is None:
        raise UserError("name the study; alexzoo study lists them", exit_code=2)
    plan = load_study(name)
    jobs = Jobs(plan, out or STUDIES / plan.name)
    if not any(job.ended for job in jobs.all):
        raise UserError(f"{jobs.out}: no finished run of {plan.name}; train it with: alexzoo study {name}")
    note_colours(jobs)
    if publish:
        jobs = published(jobs, publish)
    page, *rest = write_study(jobs)
    return "\n".join([page.read_text(encoding="utf-8"), *map(str, (page, *rest))])


def write_study(jobs: Jobs) -> list[Path]:
    """Writes tables in four formats and figures into the study's folder; returns the files, the Markdown page first."""
    found = summarise(jobs)
    files: dict[str, str | bytes] = {**study_tables(jobs, found)}
    for name, figure in (("forest", forest(found)), ("curves", curves(jobs))):
        if figure:
            files |= {f"{jobs.plan.name}-{name}.{kind}": to_bytes(figure, kind) for kind in ("png", "svg")}
    for name, content in files.items():
        with written_whole(jobs.out / name) as partial:
            partial.write_bytes(content.encode() if isinstance(content, str) else content)
    return [jobs.out / name for name in files]


def study_tables(jobs: Jobs, found: list[Found]) -> dict[str, str]:
    """The study's page in Markdown, and each of its tables as .csv, .tex and .html, by the names of their files."""
    tables = [*([comparisons_table(jobs.plan, found)] if found else []), arms_table(jobs)]
    files = {f"{jobs.plan.name}.md": "\n".join([opening(jobs, found), *map(to_markdown, tables)])}
    for table in tables:
        files |= {f"{table.name}.csv": to_csv(table), f"{table.name}.tex": to_latex(table)}
        files[f"{table.name}.html"] = html_table(table)
    return files


def opening(jobs: Jobs, found: list[Found]) -> str:
    """What was asked, at which scale and cost, and what came out: each comparison under its verdict."""
    plan, finished = jobs.plan, [job.folder for job in jobs.all if job.finished]
    diverged = [job.folder.name for job in jobs.all if job.diverged]
    cost = f"{len(finished)} of {len(jobs.all)} runs, {sum(map(hours, finished)):.1f} hours of training together."
    cost += f" Diverged: {', '.join(diverged)}." if diverged else ""
    lines = [f"# Study {plan.name}", "", f"On {plan.data}; {plan.scale}.", "", cost, ""]
    lines += [plan.rule, ""] if plan.rule else []
    if in_forest(found):
        lines += [f"![Effects with their intervals]({plan.name}-forest.png)", ""]
    lines += [f"![Training error by epoch]({plan.name}-curves.png)", ""]
    by_verdict: dict[str, list[str]] = {}
    for each in found:
        figure = "" if math.isnan(each.effect) else f" ({effect_of(each)})"
        by_verdict.setdefault(each.verdict, []).append(f"{claim_of(each)}{figure}")
    lines += [f"- **{verdict}**: {'; '.join(claims)}." for verdict, claims in sorted(by_verdict.items())]
    return "\n".join(lines) + "\n"


def published(jobs: Jobs, folder: Path) -> Jobs:
    """Copies what a study's tables are made from into `folder`: of each run that ended all but weights and images.

    Of predictions the guesses are kept, and every class's probability where a comparison averages it. Paths of this
    machine become names.
    """
    averaged = {(each.arms[0], each.views[0]) for each in jobs.plan.compare if each.average[0] > 1}
    there = Jobs(jobs.plan.model_copy(update={"uses": []}), folder)
    for key, job in jobs.runs.items():
        if job.ended:
            to = there.runs[key].folder
            to.mkdir(parents=True, exist_ok=True)
            for name in PUBLISHED:
                if not (job.folder / name).exists():
                    (to / name).unlink(missing_ok=True)  # of an earlier time
                else:
                    text = (job.folder / name).read_text(encoding="utf-8")
                    (to / name).write_text(ABSOLUTE.sub(r"\1", text), encoding="utf-8")
            for views in (10, 1):
                if any(job.folder.glob(f"predictions-{views}.*")):
                    kept = predictions_of(job.folder, views)
                    kept = kept if (key[0], views) in averaged else kept.without_parts()
                    kept.save(to / f"predictions-{views}.npz")
    return there


def note_colours(jobs: Jobs) -> None:
    """Writes colour.json, the colour index of conv1's columns (6.1), into each run that has weights and two columns."""
    for job in jobs.all:
        weights, noted = job.folder / "model.safetensors", job.folder / "colour.json"
        if job.finished and weights.exists() and not noted.exists():
            classes = len(json.loads((job.folder / "data.json").read_text())["classes"])
            with torch.device("meta"):
                columns = getattr(create_model(job.recipe, num_classes=classes), "columns", 1)
            if columns > 1:
                with written_whole(noted) as partial:
                    partial.write_text(json.dumps(dataclasses.asdict(selectivity(load_kernels(weights), columns))))


def comparisons_table(plan: Study, found: list[Found]) -> Table:
    columns = [
        Column("claim", "Claim"),
        Column("section", "Section", under="claim"),
        Column("quantity", "Quantity", under="claim"),
        Column("arms", "First, second"),
        Column("runs", "Runs", under="arms"),
        Column("effect", "Effect", numeric=True, interval=True),
        Column("published", "Published, at its scale", numeric=True),
        Column("p", "p (Holm)", numeric=True),
        Column("equivalence_p", "p of a larger effect (Holm)", numeric=True, under="p"),
        Column("verdict", "Verdict"),
    ]
    notes = [f"On {plan.data}; {plan.scale}.", HOW, RULES]
    title = f"Study {plan.name}: what it found"
    return Table(plan.name, title, columns, [_line(each) for each in found], notes, ["effect"])


def _line(found: Found) -> list[Cell]:
    comparison, measured = found.comparison, not math.isnan(found.effect)
    claim = find_claim(comparison.claim) if comparison.claim else {}
    least = f", {found.least_p:.2g} at least" if found.least_p > 0.05 else ""
    return [
        claim_of(found),
        claim.get("section"),
        QUANTITIES[comparison.measure],
        ", ".join(_side(comparison, side) for side in (0, 1)),
        f"{len(found.first)}, {len(found.second)}",
        effect_of(found) if measured else None,
        published_of(found),
        None if math.isnan(found.p) else f"{found.p_holm:.3f}{least}",
        None if math.isnan(found.p) else f"{found.equivalence_p_holm:.3f}",
        found.verdict,
    ]


def published_of(found: Found) -> Cell:
    """The paper's figure, or its words where it gives no figure."""
    if not found.comparison.claim:
        return None
    words = find_claim(found.comparison.claim).get("published", {}).get("words")
    if found.published is None:
        return words
    return Figure(found.published, 1, signed=found.comparison.measure not in RATIOS, words=words)


def claim_of(found: Found) -> str:
    return found.comparison.says or find_claim(found.comparison.claim)["claim"]


def effect_of(found: Found) -> Figure:
    decimals = 3 if found.comparison.measure == "colour_apart" else 2  # an index from 0 to 1
    return Figure(found.effect, decimals, found.low, found.high, signed=found.comparison.measure not in RATIOS)


def _side(comparison: Comparison, side: int) -> str:
    """An arm, and what else its side of the comparison is."""
    average, views = comparison.average[side], comparison.views
    text = f"{average} of {comparison.arms[side]}" if average > 1 else comparison.arms[side]
    return f"{text} ({'ten crops' if views[side] == 10 else 'centre crop'})" if views[0] != views[1] else text


def arms_table(jobs: Jobs) -> Table:
    columns = [Column("arm", "Arm"), Column("measure", "Measure"), Column("runs", "Runs", numeric=True),
               Column("mean", "Mean", numeric=True), Column("sd", "Spread (sd)", numeric=True),
               Column("lowest", "Lowest", numeric=True), Column("highest", "Highest", numeric=True)]  # fmt: skip
    rows: list[list[Cell]] = []
    for arm, what, values in arm_figures(jobs):
        known = [value for value in values if not math.isnan(value)]
        if values:
            figures = [Figure(summary(known), 2) if known else None for summary in (statistics.mean, min, max)]
            spread = Figure(statistics.stdev(known), 2) if len(known) > 1 else None
            rows.append([arm, what, f"{len(known)} of {len(values)}", figures[0], spread, *figures[1:]])
    return Table(f"{jobs.plan.name}-arms", f"Study {jobs.plan.name}: its arms", columns, rows)


def in_forest(found: list[Found]) -> list[Found]:
    """Those whose effects are points of error, and known."""
    others = (*RATIOS, "colour_apart", "left_guessing")
    return [each for each in found if not math.isnan(each.effect) and each.comparison.measure not in others]


@styled
def forest(found: list[Found]):
    """Effects in points with their intervals, the published one as a diamond; the table has the others too.

    What reaches far beyond the others is cut at the edge, where an arrow and its figure stand.
    """
    if not (shown := in_forest(found)):
        return None
    figure = new_figure(0.7 + 0.4 * len(shown), 2 * COLUMN_WIDTH)
    axes = figure.add_subplot()
    edge = _edge(shown)
    for row, each in enumerate(shown):
        _draw_effect(axes, row, each, edge)
    axes.axvline(0, color=GREY, lw=0.7)
    asked = [textwrap.fill(claim_of(each), 48, max_lines=2, placeholder=" …") for each in shown]
    sides = [f"{_side(each.comparison, 0)} {MINUS} {_side(each.comparison, 1)}" for each in shown]
    axes.set_yticks(range(len(shown)), [f"{claim}\n{side}" for claim, side in zip(asked, sides)], fontsize=6)
    axes.set(xlim=(-edge, edge), ylim=(len(shown) - 0.5, -0.5))
    axes.set_xlabel("effect, points; grey: under the smallest of interest")
    verdicts = axes.secondary_yaxis("right")
    verdicts.set_yticks(range(len(shown)), [in_short(each.verdict) for each in shown], fontsize=6)
    verdicts.spines["right"].set_visible(False)
    verdicts.tick_params(length=0)
    handles = dict(zip(*reversed(axes.get_legend_handles_labels())))
    figure.legend(handles.values(), handles.keys(), loc="outside upper right", ncols=2, frameon=False)
    return figure


def _edge(shown: list[Found]) -> float:
    """How far the axis goes: as far as the farthest that is no more than four times as far as the middle one."""
    reach = [max(abs(each.low), abs(each.high), abs(each.published or 0), each.comparison.smallest) for each in shown]
    return 1.1 * max(far for far in reach if far <= 4 * statistics.median(reach))


def _draw_effect(axes, row: int, each: Found, edge: float) -> None:
    least = each.comparison.smallest
    axes.barh(row, 2 * least, left=-least, height=0.35, color=GREY, alpha=0.25, zorder=0)
    low, high = np.clip([each.low, each.high], -0.97 * edge, 0.97 * edge)
    axes.plot([low, high], [row, row], color=BLACK)
    if each.low < -edge:
        axes.plot([low], [row], "<", color=BLACK, ms=4)
    if each.high > edge:
        axes.plot([high], [row], ">", color=BLACK, ms=4)
    if abs(each.effect) <= edge:
        axes.plot([each.effect], [row], "o", color=BLACK, ms=4, label="measured")
    else:
        at, side = math.copysign(0.94 * edge, each.effect), "left" if each.effect < 0 else "right"
        axes.text(at, row - 0.12, f"{each.effect:+.1f}".replace("-", MINUS), ha=side, va="bottom", fontsize=6)
    if each.published is not None:
        axes.plot([each.published], [row], "D", mfc="none", mec=SERIES[1], ms=5, label="published")


def in_short(verdict: str) -> str:
    """A verdict without its grounds; of a contradiction they are the verdict."""
    return verdict if verdict.startswith("contradicted") else verdict.partition(",")[0]


@styled
def curves(jobs: Jobs):
    """Training error by epoch: each arm's median over its seeds, and its lowest and highest as a band."""
    figure = new_figure(3.2, 2 * COLUMN_WIDTH)
    axes = figure.add_subplot()
    for number, arm in enumerate(jobs.plan.arms):
        errors = [100 - np.array(read_curve(run)["train_top1"]) for run in finished_runs(jobs, arm)]
        if not errors:
            continue
        length = min(map(len, errors))
        stacked, epochs = np.array([each[:length] for each in errors]), np.arange(1, length + 1)
        look = dict(color=SERIES[number % len(SERIES)], ls=["-", "--", "-.", ":"][number // len(SERIES) % 4])
        axes.plot(epochs, np.median(stacked, axis=0), label=f"{arm} ({len(errors)})", **look)
        axes.fill_between(epochs, stacked.min(axis=0), stacked.max(axis=0), color=look["color"], alpha=0.2, lw=0)
    axes.set(xlabel="epoch", ylabel="training error while it trains, %")
    axes.xaxis.get_major_locator().set_params(integer=True)
    if not axes.lines:
        return None
    figure.legend(loc="outside right upper", frameon=False)
    return figure
