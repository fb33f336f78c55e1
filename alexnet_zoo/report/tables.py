"""The paper's tables, with the measured figure beside the published one.

A row of an ImageNet table fills only from a measurement whose data was verified to be that split, complete; the
demonstration's errors stay in the table of runs.
"""

from alexnet_zoo.report.formats import Cell, Code, Column, Figure, Table
from alexnet_zoo.report.intervals import wilson
from alexnet_zoo.report.measured import Result, Results
from alexnet_zoo.report.paper import MeasuredBy, Paper, PublishedRow

FULL_PRECISION = ("fp32", "float32")  # quantised networks are in the table of runs

AS_RUN = (
    "The authors' own runs differ from the paper's text (LRN scale, order of layers 1 and 2, initialisation, colour "
    "noise, rates of conv1): the recipes as-run-* follow the runs, the others the text."
)
INTERVALS = "In brackets: the 95% interval (Wilson) from the number of images."
PRETRAINED = "*: pre-trained on the whole Fall 2011 ImageNet, then fine-tuned."


def error_figure(error: float, images: int) -> Figure:
    """A measured error rate in percent with its interval."""
    low, high = wilson(error, images)
    return Figure(error, decimals=2, low=low, high=high)


def measurements(results: list[Result], measured_by: MeasuredBy) -> list[Result]:
    """The measurements that may stand in a row of the paper, one for each network (on the first provider given)."""
    networks: dict = {}
    for result in results:
        if (
            result.verified == measured_by.identity
            and not result.changed
            and result.split == measured_by.split
            and result.views == measured_by.views
            and result.recipe in measured_by.recipes
            and result.precision in FULL_PRECISION
        ):
            networks.setdefault(result.onnx_sha256 or result, result)
    return list(networks.values())


def _published(row: PublishedRow, metric: str) -> Figure | None:
    error = getattr(row.published, metric)
    return None if error is None else Figure(error)


def _error(result: Result | None, metric: str) -> Figure | None:
    return error_figure(getattr(result, f"{metric}_err"), result.images) if result else None


def _test_error(result: Result | None) -> Figure | None:
    """What the test server gave; it tells the error alone, so there is no interval."""
    return None if result is None or result.top5_test_err is None else Figure(result.top5_test_err, 1)


def _how(row: PublishedRow, result: Result | None) -> Cell:
    if result:
        return result.how
    return Code(row.command) if row.command else "other authors' method"


def _fill(row: PublishedRow, results: list[Result], split: str = "") -> list[list[Cell]]:
    """One line for each network measured; one with dashes where there is none."""
    found = measurements(results, row.measured_by) if row.measured_by else []
    return [
        [
            row.row,
            _published(row, "top1"), _error(result, "top1"),
            _published(row, "top5"), _error(result, "top5"),
            *([_published(row, "top5_test"), _test_error(result)] if split else []),
            _how(row, result),
        ]
        for result in found or [None]
    ]  # fmt: skip


def _columns(split: str = "") -> list[Column]:
    name = f" ({split})" if split else ""
    columns = [Column("model", "Model")]
    for metric, title in (("top1", "Top-1"), ("top5", "Top-5")):
        columns.append(Column(f"{metric}_published", f"{title}{name} published", numeric=True))
        columns.append(Column(f"{metric}_measured", f"{title}{name} measured", numeric=True, interval=True))
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
    return [*notes, AS_RUN]


def table1(paper: Paper, results: list[Result]) -> Table:
    """Table 1: ILSVRC-2010 test, error rates in percent."""
    rows = paper.rows("Table 1")
    return Table(
        "table1",
        "Table 1. ILSVRC-2010 test set, error rates in percent",
        _columns(),
        [line for row in rows for line in _fill(row, results)],
        [INTERVALS, *_authors_notes(paper, rows)],
    )


def table2(paper: Paper, results: list[Result]) -> Table:
    """Table 2: ILSVRC-2012 validation and test, error rates in percent."""
    rows = paper.rows("Table 2")
    server = (
        "The test labels are kept back: alexzoo evaluate --split test --submission FILE writes what the challenge's "
        "server scores. The score goes into the network's line of results.csv: top5_test_err, and who gave it "
        "and when, top5_test_source."
    )
    return Table(
        "table2",
        "Table 2. ILSVRC-2012 validation and test sets, error rates in percent",
        _columns("val"),
        [line for row in rows for line in _fill(row, results, "val")],
        [PRETRAINED, INTERVALS, server, *_authors_notes(paper, rows)],
    )


def text_table(paper: Paper, results: list[Result]) -> Table:
    """The error rates that stand in the paper's text: Fall 2009 and CIFAR-10."""
    return Table(
        "text",
        "Error rates in the paper's text, in percent",
        _columns(),
        [line for row in paper.rows("text") for line in _fill(row, results)],
        [INTERVALS],
    )


def runs_table(results: Results) -> Table:
    """Everything measured, a line for each line of the results files."""
    columns = [
        Column("recipe", "Recipe"),
        Column("model", "Model"),
        Column("dataset", "Data set"),
        Column("split", "Split"),
        Column("images", "Images", numeric=True),
        Column("views", "Views", numeric=True),
        Column("top1_err", "Top-1 error", numeric=True, interval=True),
        Column("top5_err", "Top-5 error", numeric=True, interval=True),
        Column("provider", "Provider", aside=True),
        Column("precision", "Precision", aside=True),
        Column("changed", "Changed in the recipe", aside=True),
        Column("verified", "Verified as"),
    ]
    rows: list[list[Cell]] = [
        [
            r.recipe, r.model, r.dataset, r.split, Figure(r.images, 0), Figure(r.views, 0),
            error_figure(r.top1_err, r.images), error_figure(r.top5_err, r.images),
            r.provider, r.precision, r.changed or None, r.verified or None,
        ]
        for r in results.results
    ]  # fmt: skip
    note = "A run fills a row of the paper's tables only if its data is verified as that split, its recipe unchanged."
    return Table("runs", "Runs: everything measured, error rates in percent", columns, rows, [INTERVALS, note])
