"""Compares runs: what their recipes differ in, their curves over each other, the differences of their errors."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure as Drawing

from alexnet_zoo.errors import UserError
from alexnet_zoo.files import written_whole
from alexnet_zoo.intervals import difference, wilson
from alexnet_zoo.report.figures import COLUMN_WIDTH, SERIES, new_figure, styled, to_bytes
from alexnet_zoo.report.formats import Cell, Column, Figure, Table, to_markdown
from alexnet_zoo.report.measured import Result, RunRecord, read_sources
from alexnet_zoo.report.recipes import flat, toml_value
from alexnet_zoo.report.report import table_files
from alexnet_zoo.study.measures import predictions_of_all
from alexnet_zoo.study.statistics import one_pair
from alexnet_zoo.train.recipe import load_recipe

METHODS = (
    "Differences are against the first run, in points, with 95% intervals. Paired: of the same images, whose "
    "predictions are at hand (Agresti and Min 2005). Newcombe: of independent samples (Newcombe 1998, method 10), "
    "on the wide side for the same images. Either counts test images alone: another seed would differ too."
)


def compare_runs(folders: Sequence[Path], out: Path | None = None) -> str:
    """Compares runs with the first of them; returns the tables in Markdown.

    Writes them, and the curves as PNG and SVG, into the folder `out`, where one is named. Raises UserError where fewer
    than two folders are runs.
    """
    for folder in folders:
        if folder.is_file():
            raise UserError(f"{folder}: is a file; name the folder of its run", 2)
    runs = read_sources(folders).runs
    if len(runs) < 2:
        raise UserError(f"{' '.join(map(str, folders))}: nothing to compare; name two runs' folders or more", 2)
    tables = [table for table in (recipes_table(runs), errors_table(runs)) if table.rows]
    same = [] if any(table.name == "recipes" for table in tables) else ["Their recipes are the same."]
    page = "\n".join([*map(to_markdown, tables), *same])
    if out:
        drawing = curves(runs)
        files: dict[str, str | bytes] = {"comparison.md": page, **table_files(tables)}
        files |= {f"curves.{kind}": to_bytes(drawing, kind) for kind in ("png", "svg") if drawing}
        for name, content in files.items():
            with written_whole(out / name) as partial:
                partial.write_bytes(content.encode() if isinstance(content, str) else content)
    return page


def recipes_table(runs: Sequence[RunRecord]) -> Table:
    """Lists the fields in which any of the recipes differ, a column for each run; no row where none does."""
    recipes = [_whole_recipe(run) for run in runs]
    fields = dict.fromkeys(field for recipe in recipes for field in recipe)
    varying = [field for field in fields if len({str(recipe.get(field)) for recipe in recipes}) > 1]
    columns = [Column("field", "Field"), *(Column(run.name, run.name) for run in runs)]
    rows = [[field, *(toml_value(recipe.get(field)) or None for recipe in recipes)] for field in varying]
    return Table("recipes", "What the recipes differ in", columns, rows)


def _whole_recipe(run: RunRecord) -> dict:
    """Reads a run's recipe with the defaults of fields younger than it; as it stands where it is no whole recipe."""
    try:
        return flat(load_recipe(run.folder / "recipe.toml").model_dump())
    except UserError:
        return flat(run.recipe)


def errors_table(runs: Sequence[RunRecord]) -> Table:
    """Sets the runs' errors side by side, a row for each run and number of views, with the difference to the first."""
    columns = [
        Column("run", "Run"),
        Column("views", "Views", numeric=True),
        Column("images", "Images", numeric=True),
        Column("top1_err", "Top-1 error, %", numeric=True, interval=True),
        Column("difference", "Difference", numeric=True, interval=True),
        Column("interval", "Its interval"),
    ]
    rows: list[list[Cell]] = []
    for views in (10, 1):
        found = [(run, next((result for result in run.results if result.views == views), None)) for run in runs]
        first = found[0]
        for run, result in found:
            if result:
                error = Figure(result.top1_err, 2, *wilson(result.top1_err, result.images))
                compared = [None, "the first run"] if run is first[0] else _difference((run, result), first, views)
                rows.append([run.name, Figure(views, 0), Figure(result.images, 0), error, *compared])
    return Table("errors", "Errors on the test images", columns, rows, [METHODS])


def _difference(own: tuple[RunRecord, Result], first: tuple[RunRecord, Result | None], views: int) -> list[Cell]:
    """Subtracts the first run's top-1 error; returns the difference with its interval, and whose interval that is."""
    (run, result), (other, reference) = own, first
    if reference is None:
        return [None, "the first run was not measured so"]
    effect = result.top1_err - reference.top1_err
    same = (result.dataset, result.split, result.data_sha256) == (
        reference.dataset, reference.split, reference.data_sha256)  # fmt: skip
    try:
        pair = [found.wrong for found in predictions_of_all([run.folder, other.folder], views)] if same else None
    except UserError:  # one of them has no predictions
        pair = None
    if pair is None:
        low, high = difference(result.top1_err, result.images, reference.top1_err, reference.images)
        method = "Newcombe; no predictions of both" if same else "Newcombe; other images"
    else:
        low, high = (100 * float(bound) for bound in one_pair(*pair).interval())
        method = f"paired; {int((pair[0] != pair[1]).sum()):,} images told apart"
    return [Figure(effect, 2, low, high, signed=True), method]


@styled
def curves(runs: Sequence[RunRecord]) -> Drawing | None:
    """Draws training error and held-out error by epoch, all runs over each other; None without any."""
    figure = new_figure(2.6, 2 * COLUMN_WIDTH)
    for axes, split, title in zip(figure.subplots(1, 2, sharey=True), ("train", "eval"), ("training", "held out")):
        for number, run in enumerate(runs):
            look = dict(color=SERIES[number % len(SERIES)], ls=["-", "--", "-.", ":"][number // len(SERIES) % 4])
            errors = run.errors(split)
            axes.plot(run.column("epoch")[: len(errors)], errors, label=run.name, marker=".", ms=4, **look)
        axes.set(xlabel="epoch", title=f"top-1 error, {title}, %")
    if not any(len(line.get_xdata()) for axes in figure.axes for line in axes.lines):
        return None
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure
