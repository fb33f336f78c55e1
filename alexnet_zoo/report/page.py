"""The report as one self-contained HTML page, and each run's model card, from the templates in reports/templates."""

import base64
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import alexnet_zoo
from alexnet_zoo.declared import folder_of
from alexnet_zoo.report.formats import Table, to_html, to_markdown
from alexnet_zoo.report.measured import Results, RunRecord
from alexnet_zoo.report.paper import load_paper
from alexnet_zoo.report.pictures import Picture
from alexnet_zoo.report.recipes import PAPERS_OWN, changed, command, differences
from alexnet_zoo.report.tables import runs_table


@dataclass(frozen=True)
class Shown:
    """A run as the page and the card show it."""

    name: str
    recipe_name: str
    overridden: str  # against the recipe of that name
    from_paper: dict[str, tuple]  # field: (the paper's, this run's)
    command: str
    environment: dict


def shown(run: RunRecord) -> Shown:
    flat = {}
    for name, value in run.environment.items():  # versions are a table of their own: one line each
        flat |= value if isinstance(value, dict) else {name: value}
    dataset = next((result.dataset for result in run.results), "")
    again = command(run.recipe, run.environment, dataset) if run.recipe else ""
    overridden, from_paper = changed(run.recipe), differences(run.recipe, PAPERS_OWN)
    return Shown(run.name, run.recipe_name, overridden, from_paper, again, flat)


@cache
def _environment(autoescape: bool) -> Environment:
    loader = FileSystemLoader(folder_of("reports") / "templates")
    # keep_trailing_newline and the two trims: what a template's author sees is what comes out
    made = Environment(
        loader=loader, autoescape=autoescape, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    made.filters |= {
        "table_html": to_html,
        "data_uri": data_uri,
        "pformat": repr,
        "cell": lambda value: "–" if value is None else str(value).replace("|", "\\|"),
    }
    return made


def data_uri(picture: Picture) -> str:
    """The picture inside its address: photographs as PNG, drawings as SVG."""
    kind, content = ("png", picture.png) if picture.photographic else ("svg+xml", picture.svg)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def html_page(tables: Sequence[Table], pictures: Sequence[Picture], results: Results) -> str:
    """The whole report; opens from disk, without any request to the network."""
    return _environment(autoescape=True).get_template("report.html.j2").render(
        paper=load_paper().paper,
        version=alexnet_zoo.__version__,
        tables=tables,
        pictures=pictures,
        runs=[shown(run) for run in results.runs],
        problems=results.problems,
        paper_recipe=PAPERS_OWN,
    )  # fmt: skip


def model_card(run: RunRecord) -> str:
    """The run's README.md for a model hub, in Hugging Face's format."""
    recipe = run.recipe
    errors = runs_table(Results(run.results, [run], []))
    markdown = to_markdown(dataclasses.replace(errors, notes=errors.notes[:1])).split("\n", 2)[2]  # without its heading
    return _environment(autoescape=False).get_template("model-card.md.j2").render(
        run=shown(run),
        results=run.results,
        errors=markdown,
        model=recipe.get("model", ""),
        arguments={"num_classes": run.classes} | recipe.get("model_args", {}),
        classes=run.classes,
        dataset=next((result.dataset for result in run.results), recipe.get("data", "")),
        verified=", ".join(sorted(run.verified)),
        crop_size=recipe.get("crop_size", 224),
        image_size=recipe.get("image_size", 256),
        input_scale=recipe.get("input_scale", 1.0),
        paper=load_paper().paper,
        version=alexnet_zoo.__version__,
        views=lambda result: "centre crop" if result.views == 1 else f"{result.views} crops averaged",
    )  # fmt: skip
