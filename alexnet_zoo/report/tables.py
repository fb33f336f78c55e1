"""The paper's tables, with the measured figure beside the published one; admission.py says which may stand there."""

from collections.abc import Sequence

from alexnet_zoo.intervals import wilson
from alexnet_zoo.report.admission import is_candidate, refusal
from alexnet_zoo.report.formats import Cell, Code, Column, Figure, Table
from alexnet_zoo.report.measured import Result, Results, RunRecord
from alexnet_zoo.report.paper import MeasuredBy, Paper, PublishedRow

AS_RUN = (
    "The authors' own runs differ from the paper's text (LRN scale, order of layers 1 and 2, initialisation, colour "
    "noise, rates of conv1): the recipes as-run-* follow the runs, the others the text."
)
INTERVALS = "In brackets: the 95% interval (Wilson) from the number of images."
PRETRAINED = "*: pre-trained on the whole Fall 2011 ImageNet (here all but some 50,000 images), then fine-tuned."
TEST_SERVER = (
    "The test labels are kept back: alexzoo evaluate --split test --submission FILE writes what the challenge's server "
    "scores. The score goes into the network's line of results.csv: top5_test_err, and who gave it and when, "
    "top5_test_source."
)


def error_figure(error: float, images: int) -> Figure:
    """A measured error rate in percent with its interval."""
    low, high = wilson(error, images)
    return Figure(error, decimals=2, low=low, high=high)


def measurements(results: list[Result], measured_by: MeasuredBy) -> list[Result]:
    """The measurements that may stand in a row of the paper, one for each network (on the first provider given)."""
    networks: dict = {}
    for result in results:
        if refusal(measured_by, result) is None:
            networks.setdefault(result.onnx_sha256, result)
    return list(networks.values())


def _line(row: PublishedRow, result: Result | None, tested: bool) -> list[Cell]:
    cells: list[Cell] = [row.row]
    for metric in ("top1", "top5"):
        measured = error_figure(getattr(result, f"{metric}_err"), result.images) if result else None
        cells += [_figure(getattr(row.published, metric)), measured]
    if tested:  # the server tells the error alone, so it has no interval
        cells += [_figure(row.published.top5_test), _figure(result.top5_test_err if result else None)]
    unmeasured = Code(row.command) if row.command else "other authors' method"
    return [*cells, result.how if result else unmeasured]


def _figure(error: float | None) -> Figure | None:
    return None if error is None else Figure(error)


def _columns(split: str) -> list[Column]:
    columns = [Column("model", "Model")]
    for metric, title in (("top1", f"Top-1{split}"), ("top5", f"Top-5{split}")):
        columns.append(Column(f"{metric}_published", f"{title} published", numeric=True))
        columns.append(Column(f"{metric}_measured", f"{title} measured", numeric=True, interval=True))
    if split:
        columns.append(Column("top5_test_published", "Top-5 (test) published", numeric=True))
        columns.append(Column("top5_test_measured", "Top-5 (test) measured", numeric=True))
    return [*columns, Column("measured_on", "Measured on, or the command that measures it", aside=True)]


def _authors_notes(paper: Paper, rows: list[PublishedRow]) -> list[str]:
    """The authors' own runs of these rows, as footnotes: they do not correct the paper."""
    notes = []
    for name in dict.fromkeys(row.net for row in rows if row.net):
        net = paper.find_net(name)
        errors = f"{net.ten_crop.top1:.2f} / {net.ten_crop.top5:.2f}"
        text = f"The authors' own run {net.name} ({net.what}, {net.data}): {errors}"
        if net.centre:
            text += f"; centre crop {net.centre.top1:.2f} / {net.centre.top5:.2f}"
        notes.append(text + ".")
    return [*notes, AS_RUN] if notes else []


def _paper_table(
    paper: Paper, results: list[Result], name: str, title: str, split: str = "", notes: Sequence[str] = ()
) -> Table:
    """A line for each network measured in a row of the paper's table; one with dashes where there is none."""
    rows = paper.rows({"table1": "Table 1", "table2": "Table 2"}.get(name, name))
    found = [(row, measurements(results, row.measured_by) if row.measured_by else []) for row in rows]
    lines = [_line(row, result, bool(split)) for row, measured in found for result in measured or [None]]
    notes = [*notes, INTERVALS, *_authors_notes(paper, rows)]
    return Table(name, title, _columns(split), lines, notes, tried=["top1_measured"])


def table1(paper: Paper, results: list[Result]) -> Table:
    return _paper_table(paper, results, "table1", "Table 1. ILSVRC-2010 test set, error rates in percent")


def table2(paper: Paper, results: list[Result]) -> Table:
    title = "Table 2. ILSVRC-2012 validation and test sets, error rates in percent"
    return _paper_table(paper, results, "table2", title, " (val)", [PRETRAINED, TEST_SERVER])


def text_table(paper: Paper, results: list[Result]) -> Table:
    """The error rates that stand in the paper's text: Fall 2009 and CIFAR-10."""
    return _paper_table(paper, results, "text", "Error rates in the paper's text, in percent")


def runs_table(results: Results) -> Table:
    """Everything measured, a line for each line of the results files."""
    columns = [
        Column("run", "Run"),
        Column("recipe", "Recipe", under="run"),
        Column("changed", "Changed in it", under="run"),
        Column("seed", "Seed", numeric=True),
        Column("model", "Network", under="run"),
        Column("dataset", "Data set"),
        Column("split", "Split", under="dataset"),
        Column("verified", "Verified as", under="dataset"),
        Column("images", "Images", numeric=True),
        Column("views", "Views", numeric=True),
        Column("top1_err", "Top-1 error", numeric=True, interval=True),
        Column("top5_err", "Top-5 error", numeric=True, interval=True),
        Column("minutes", "Minutes", numeric=True),
        Column("provider", "Provider", under="run"),
        Column("target", "Export target", under="run"),
        Column("precision", "Precision", under="views"),
    ]
    runs = {result.key: run for run in reversed(results.runs) for result in run.results}
    rows = [_run_line(result, runs.get(result.key)) for result in results.results]
    notes = [INTERVALS, "Minutes: of the training's steps; evaluations and pauses are left out."]
    return Table("runs", "Runs: everything measured, error rates in percent", columns, rows, notes, lifts=True)


def _run_line(r: Result, run: RunRecord | None) -> list[Cell]:
    name = run.name if run else r.source.parent.name
    seed, minutes = (run.recipe.get("seed"), run.minutes()) if run else (None, None)
    return [
        name, r.recipe, r.changed or None, None if seed is None else Figure(seed, 0), r.model,
        r.dataset, r.split, r.verified or None, Figure(r.images, 0), Figure(r.views, 0),
        error_figure(r.top1_err, r.images), error_figure(r.top5_err, r.images),
        None if minutes is None else Figure(minutes, 1 if minutes < 10 else 0), r.provider,
        r.target or None, r.precision,
    ]  # fmt: skip


def refused_table(paper: Paper, results: list[Result]) -> Table:
    """The figures by a row's or a claim's own recipe that may not stand there, and why."""
    places = [(row.row, row.measured_by) for row in paper.row if row.measured_by]
    places += [(f"claim {claim.id}", arm) for claim in paper.claim for arm in claim.arms()]
    refused: dict[tuple[str, str], tuple[list, list]] = {}
    for place, row in places:
        for result in results:
            if is_candidate(row, result) and (why := refusal(row, result)):
                where, networks = refused.setdefault((result.recipe, why), ([], []))
                where.append(place)
                networks.append(result.onnx_sha256)
    columns = [
        Column("recipe", "Recipe"),
        Column("networks", "Networks", numeric=True),
        Column("place", "Would stand in"),
        Column("why", "Why not"),
    ]
    lines: list[list[Cell]] = [
        [recipe, Figure(len({*networks}), 0), "; ".join(dict.fromkeys(where)), why]
        for (recipe, why), (where, networks) in refused.items()
    ]
    return Table("refused", "Not in a row, and why", columns, lines)
