"""Renders the report as one self-contained HTML page, and each run's model card, from reports/templates."""

import base64
import dataclasses
from collections.abc import Sequence
from functools import cache

import tomli_w
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

import alexnet_zoo
from alexnet_zoo.declared import folder_of
from alexnet_zoo.report.admission import FULL_PRECISION
from alexnet_zoo.report.curves import error_plot
from alexnet_zoo.report.figures import COLUMN_WIDTH, STYLE
from alexnet_zoo.report.formats import Code, Figure, Table, stacked, to_csv, to_markdown
from alexnet_zoo.report.latex import to_latex
from alexnet_zoo.report.measured import Result, Results, RunRecord
from alexnet_zoo.report.opening import cards
from alexnet_zoo.report.paper import load_paper
from alexnet_zoo.report.pictures import Picture
from alexnet_zoo.report.recipes import PAPERS_OWN, changed, command, differences
from alexnet_zoo.report.tables import error_figure, runs_table

FIRST = ("wrong-", "errors-", "latency-")  # figures of runs that stand with the cards: a card's own, if it has any


def shown(run: RunRecord) -> dict:
    """Describes a run as the page and the card show it.

    `overridden` names what differs from the recipe of that name; `from_paper`, by field, the paper's and this value.
    """
    flat: dict[str, object] = {}
    for name, value in run.environment.items():  # versions are a table of their own: one line each
        flat |= value if isinstance(value, dict) else {name: value}
    flat.pop("command", None)
    again = command(run.recipe, run.environment, run.dataset) if run.recipe else ""
    of_recipe = dict(overridden=changed(run.recipe), from_paper=differences(run.recipe, PAPERS_OWN))
    of_recipe["toml"] = tomli_w.dumps(run.recipe) if run.recipe else ""
    errors = "; ".join(map(_errors, run.results))
    return dict(
        name=run.name, recipe_name=run.recipe_name, command=again, environment=flat, errors=errors, **of_recipe
    )


def _errors(result: Result) -> str:
    top1, top5 = error_figure(result.top1_err, result.images), error_figure(result.top5_err, result.images)
    data = result.verified or f"{result.dataset} {result.split}"
    written = "".join(f", {one}" for one in (result.target, result.precision) if one not in ("", *FULL_PRECISION))
    return f"{data}, {crops(result.views)}{written}: top-1 error {top1}%, top-5 {top5}%"


def crops(views: int) -> str:
    return {1: "centre crop", 10: "ten crops"}.get(views, f"{views} views")


@cache
def _environment(autoescape: bool) -> Environment:
    loader = FileSystemLoader(folder_of("reports") / "templates")
    # The trims and the kept newline make the output look as the template does.
    made = Environment(
        loader=loader, autoescape=autoescape, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    made.filters |= {
        "data_uri": data_uri, "download": download, "bar": bar, "scale": scale, "breaks": breaks,
        "csv": to_csv, "latex": to_latex, "stacked": stacked, "crops": crops, "pformat": repr,
        "cell": lambda value: "–" if value is None else str(value).replace("|", "\\|"),
    }  # fmt: skip
    made.globals |= {"paper": load_paper().paper, "version": alexnet_zoo.__version__}
    made.tests |= {
        "figure": lambda cell: isinstance(cell, Figure),
        "interval": lambda cell: isinstance(cell, Figure) and cell.low is not None,
        "code": lambda cell: isinstance(cell, Code),
        "wide": is_wide,
    }
    return made


def is_wide(picture: Picture) -> bool:
    """Whether a picture is wider than a printed column: the page gives it the room of two."""
    return int.from_bytes(picture.png[16:20], "big") > 1.3 * COLUMN_WIDTH * STYLE["savefig.dpi"]  # PNG says its width


def data_uri(picture: Picture) -> str:
    """Makes an address that holds the picture itself: photographs as PNG, drawings as SVG."""
    kind, content = ("png", picture.png) if picture.photographic else ("svg+xml", picture.svg)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def download(name: str, content: str, label: str) -> Markup:
    """Makes a link that holds a file of text itself."""
    held = base64.b64encode(content.encode()).decode()
    return Markup('<a download="{}" href="data:text/plain;base64,{}">{}</a>').format(name, held, label)


def breaks(text: str) -> Markup:
    """Lets a line end after each underscore, too, of a name."""
    return escape(text).replace("_", Markup("_<wbr>"))


def scale(table: Table, number: int) -> tuple[float, float]:
    """The range of a column of intervals, with zero."""
    figures = [cell for row in table.rows if isinstance(cell := row[number], Figure)]
    return min([0, *(f.low or 0 for f in figures)]), max([0, *(f.high or 0 for f in figures)])


def bar(figure: Figure, within: tuple[float, float]) -> Markup:
    """Draws an interval, and a tick at its figure, on a line from the least to the highest of a range."""
    low, high = within

    def place(value: float) -> float:
        return round(100 * (value - low) / ((high - low) or 1), 2)

    def box(x: float, width: float, height: int, opacity: float) -> str:
        sides = f'x="{x:g}" y="{3 - height / 2:g}" width="{width:g}" height="{height}"'
        return f'<rect {sides} fill="currentColor" opacity="{opacity}"/>'

    start = place(figure.low)
    shapes = [box(0, 100, 1, 0.3), box(start, max(place(figure.high) - start, 0.8), 6, 0.5)]
    shapes += [box(place(figure.value) - 0.4, 0.8, 6, 1)] + [box(place(0) - 0.2, 0.4, 6, 0.5)] * (low < 0)
    frame = 'viewBox="0 0 100 6" preserveAspectRatio="none" width="100" height="6" aria-hidden="true"'
    return Markup(f'<svg class="bar" {frame}>{"".join(shapes)}</svg>')


def html_page(tables: Sequence[Table], pictures: Sequence[Picture], results: Results, tried: str = "Claims") -> str:
    """Renders the whole report as a page that opens from disk and asks the network for nothing.

    Args: tried, how many claims were tried, in words.
    """
    opening = cards(results)
    about = [table for table in tables if table.name in ("claims", "elsewhere") or table.name.startswith("study-")]
    first = {card.run.name for card in opening if card.run}
    lead = [picture for picture in pictures if picture.name.startswith(("forest", "figure1"))]
    looked_at = [picture for picture in pictures if picture.name.startswith(FIRST)]
    lead += [picture for picture in looked_at if picture.run in first] or looked_at
    return _environment(autoescape=True).get_template("report.html.j2").render(
        cards=opening,
        lead=lead,
        plot=error_plot(results.runs, first),
        tried=tried,
        claims=[table for table in about if table.rows],
        tables=[table for table in tables if table not in about],
        pictures=pictures,
        rest=[picture for picture in pictures if not picture.run and picture not in lead],
        runs=[shown(run) for run in results.runs],
        links={run.name: f"#run-{number}" for number, run in enumerate(results.runs, start=1)},
        results=results.results,
        problems=results.problems,
        paper_recipe=PAPERS_OWN,
    )  # fmt: skip


def html_table(table: Table) -> str:
    """Renders one table as HTML, for a page of the reader's own."""
    return _environment(autoescape=True).get_template("table.html.j2").render(table=table, links={})


def model_card(run: RunRecord, repository: str = "", channel_means: str = "") -> str:
    """Renders the run's README.md for a model hub, in Hugging Face's format.

    Args: repository, owner/name in the Hub, if it is there; channel_means, what timm's transforms cost.
    """
    recipe = run.recipe
    errors = runs_table(Results(run.results, [run], []))
    markdown = to_markdown(dataclasses.replace(errors, notes=errors.notes[:1])).split("\n", 2)[2]  # without its heading
    return _environment(autoescape=False).get_template("model-card.md.j2").render(
        run=shown(run),
        results=run.results,
        errors=markdown,
        repository=repository,
        channel_means=channel_means,
        model=recipe.get("model", ""),
        arguments={"num_classes": run.classes} | recipe.get("model_args", {}),
        classes=run.classes,
        dataset=run.dataset or recipe.get("data", ""),
        verified=", ".join(sorted(run.verified)),
        crop_size=recipe.get("crop_size", 224),
        image_size=recipe.get("image_size", 256),
        input_scale=recipe.get("input_scale", 1.0),
        views=lambda result: "centre crop" if result.views == 1 else f"{result.views} crops averaged",
    )  # fmt: skip
