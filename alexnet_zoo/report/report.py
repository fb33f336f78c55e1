"""Writes the report: tables in every format, figures, one HTML page, a model card for each run; and checks one."""

import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from alexnet_zoo.declared import list_declared
from alexnet_zoo.errors import UserError
from alexnet_zoo.report.claims import Judged, claims_table, elsewhere_table
from alexnet_zoo.report.counts import counts_table
from alexnet_zoo.report.figures import data_of, to_bytes
from alexnet_zoo.report.formats import Table, to_csv, to_markdown
from alexnet_zoo.report.latex import to_latex
from alexnet_zoo.report.measured import Results, read_sources
from alexnet_zoo.report.networks import networks_table
from alexnet_zoo.report.opening import claims_tried
from alexnet_zoo.report.page import html_page, model_card
from alexnet_zoo.report.paper import load_paper
from alexnet_zoo.report.pictures import Picture, draw
from alexnet_zoo.report.studies import HOW, comparisons_table, forest
from alexnet_zoo.report.tables import refused_table, runs_table, table1, table2, text_table
from alexnet_zoo.study.runner import Jobs
from alexnet_zoo.study.study import FOLDER, load_study
from alexnet_zoo.study.summary import RULES, summarise


def make_tables(results: Results, studies: Sequence[Judged] = ()) -> list[Table]:
    """The claims, and what studies found of them; all that was measured; the paper's tables; counts; the refused."""
    paper = load_paper()
    tables = [claims_table(paper, results, studies), elsewhere_table(paper, results)]
    asking = [judged for judged in studies if judged[1]]
    for number, (plan, found) in enumerate(asking):
        table = comparisons_table(plan, found)
        notes = [note for note in table.notes if number == 0 or note not in (HOW, RULES)]  # the same for all
        name = f"study-{table.name}"  # the study claims is not the table claims
        tables.append(replace(table, name=name, notes=notes))
    tables += [runs_table(results), *(make(paper, results.results) for make in (table1, table2, text_table))]
    more = [table for table in (networks_table(results), refused_table(paper, results.results)) if table.rows]
    return [*tables, counts_table(paper), *more]


def find_studies(sources: Sequence[Path]) -> list[Judged]:
    """The studies of which a run ended, those that ask most first.

    They lie in folders of their names: a source itself, or one in its folder studies.
    """
    names = {path.stem for path in list_declared(FOLDER)}
    inside = [folder for source in sources if source.is_dir() for folder in (source, *source.glob("studies/*"))]
    studies = [Jobs(load_study(folder.name), folder) for folder in sorted(inside) if folder.name in names]
    judged = [(jobs.plan, summarise(jobs)) for jobs in studies if any(job.ended for job in jobs.all)]
    return sorted(judged, key=lambda one: -len(one[1]))


def forest_plots(studies: Sequence[Judged]) -> list[Picture]:
    pictures = []
    for plan, found in studies:
        figure = forest(found)
        if figure:
            title = f"What the study {plan.name} found"
            caption = f"On {plan.data}. Effects with 95% intervals over seeds and test images; the table has all."
            alt = "; ".join(f"{each.comparison.name}: {each.verdict}" for each in found)
            files = (to_bytes(figure, "png"), to_bytes(figure, "svg"))
            pictures.append(Picture(f"forest-{plan.name}", title, caption, alt, *files, data=data_of(figure)))
    return pictures


def write_report(sources: Sequence[Path], out: Path, predictions: bool = False) -> list[Path]:
    """Reads run folders, studies or results.csv files and writes the report into the folder `out`.

    Args: predictions, whether to draw Figure 4 too, for which each run's network looks at some 2,000 images.
    What had to be left out is named on stderr and at the end of the page.
    Returns: the files written, report.md first. Raises: UserError as `read_sources` does.
    """
    paper, results, studies = load_paper(), read_sources(sources), find_studies(sources)
    tables = make_tables(results, studies)
    pictures = [*forest_plots(studies), *draw(paper, results, predictions)]
    studied = [each.comparison.claim for _, found in studies for each in found if not math.isnan(each.effect)]
    tried = claims_tried(paper, tables, studied)
    for problem in results.problems:
        print(f"alexzoo: {problem}", file=sys.stderr)
    files: dict[str, str | bytes] = {
        "report.md": markdown_page(tables, pictures, results.problems, tried),
        "report.html": html_page(tables, pictures, results, tried),
        **table_files(tables),
    }
    for picture in pictures:
        files |= {f"figures/{picture.name}.png": picture.png, f"figures/{picture.name}.svg": picture.svg}
    files |= {f"cards/{run.name}.md": model_card(run) for run in results.runs if run.results and run.recipe}
    for name, content in files.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return [out / name for name in files]


def table_files(tables: Sequence[Table]) -> dict[str, str]:
    """Each table as NAME.csv and NAME.tex."""
    files: dict[str, str] = {}
    for table in tables:
        files |= {f"{table.name}.csv": to_csv(table), f"{table.name}.tex": to_latex(table)}
    return files


def markdown_page(
    tables: Sequence[Table], pictures: Sequence[Picture], problems: Sequence[str], tried: str
) -> str:
    paper = load_paper().paper
    parts = [f"# {paper.title}: published and measured", "", f"{paper.authors}, {paper.venue} {paper.year}.", ""]
    parts += [f"{tried}.", ""]
    parts += [to_markdown(table) for table in tables]
    parts += ["## Figures", ""]
    for picture in pictures:
        parts += [f"![{picture.title}](figures/{picture.name}.png)", "", f"{picture.title}. {picture.caption}", ""]
    if problems:
        parts += ["## Left out", "", *(f"- `{problem}`" for problem in problems), ""]
    return "\n".join(parts)


def check(published: Path) -> list[Path]:
    """Holds the committed report in `published` against the run folders inside it, from which it was made.

    Made with `alexzoo report PUBLISHED --out PUBLISHED`. Returns the files that were compared.
    Raises: UserError that names every table that is missing or differs from what its results.csv gives.
    """
    results = read_sources([published])
    if results.problems:
        raise UserError("; ".join(results.problems))
    tables = make_tables(results, find_studies([published]))
    wrong = []
    for name, text in table_files(tables).items():
        path = published / name
        if not path.is_file():
            wrong.append(f"{path} is missing")
        elif path.read_text(encoding="utf-8") != text:
            wrong.append(f"{path} differs")
    page = published / "report.md"
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    wrong += [f"{page} differs in {table.name}" for table in tables if to_markdown(table) not in text]
    if wrong:
        made = f"alexzoo report {published} --out {published}"
        raise UserError(f"not what the results.csv files give: {'; '.join(wrong)}; make them again with: {made}")
    return [page, *(published / name for name in table_files(tables))]
