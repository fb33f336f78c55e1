"""Renders the report as one self-contained HTML page, and each run's model card, from reports/templates."""

import base64
import dataclasses
from collections.abc import Sequence
from functools import cache

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import alexnet_zoo
from alexnet_zoo.declared import folder_of
from alexnet_zoo.report.formats import Code, Figure, Table, to_markdown
from alexnet_zoo.report.measured import Results, RunRecord
from alexnet_zoo.report.paper import load_paper
from alexnet_zoo.report.pictures import Picture
from alexnet_zoo.report.recipes import PAPERS_OWN, changed, command, differences
from alexnet_zoo.report.tables import runs_table


def shown(run: RunRecord) -> dict:
    """Describes a run as the page and the card show it.

    `overridden` names what differs from the recipe of that name; `from_paper`, by field, the paper's and this value.
    """
    flat: dict[str, object] = {}
    for name, value in run.environment.items():  # versions are a table of their own: one line each
        flat |= value if isinstance(value, dict) else {name: value}
    again = command(run.recipe, run.environment, run.dataset) if run.recipe else ""
    of_recipe = dict(overridden=changed(run.recipe), from_paper=differences(run.recipe, PAPERS_OWN))
    return dict(name=run.name, recipe_name=run.recipe_name, command=again, environment=flat, **of_recipe)


@cache
def _environment(autoescape: bool) -> Environment:
    loader = FileSystemLoader(folder_of("reports") / "templates")
    # The trims and the kept newline make the output look as the template does.
    made = Environment(
        loader=loader, autoescape=autoescape, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    made.filters |= {
        "data_uri": data_uri,
        "pformat": repr,
        "cell": lambda value: "–" if value is None else str(value).replace("|", "\\|"),
    }
    made.globals |= {"paper": load_paper().paper, "version": alexnet_zoo.__version__}
    made.tests |= {"figure": lambda cell: isinstance(cell, Figure), "code": lambda cell: isinstance(cell, Code)}
    return made


def data_uri(picture: Picture) -> str:
    """Makes an address that holds the picture itself: photographs as PNG, drawings as SVG."""
    kind, content = ("png", picture.png) if picture.photographic else ("svg+xml", picture.svg)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def html_page(tables: Sequence[Table], pictures: Sequence[Picture], results: Results) -> str:
    """Renders the whole report as a page that opens from disk and asks the network for nothing."""
    page, runs = _environment(autoescape=True).get_template("report.html.j2"), [shown(run) for run in results.runs]
    return page.render(tables=tables, pictures=pictures, runs=runs, problems=results.problems, paper_recipe=PAPERS_OWN)


def html_table(table: Table) -> str:
    """Renders one table as HTML, for a page of the reader's own."""
    return _environment(autoescape=True).get_template("table.html.j2").render(table=table)


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
