"""Writes the report: tables in every format, figures, one HTML page, a model card for each run; and checks one."""

import sys
from collections.abc import Sequence
from pathlib import Path

from alexnet_zoo.errors import UserError
from alexnet_zoo.report.claims import claims_table, elsewhere_table
from alexnet_zoo.report.counts import counts_table
from alexnet_zoo.report.formats import Table, to_csv, to_latex, to_markdown
from alexnet_zoo.report.measured import Results, read_sources
from alexnet_zoo.report.networks import networks_table
from alexnet_zoo.report.page import html_page, model_card
from alexnet_zoo.report.paper import load_paper
from alexnet_zoo.report.pictures import Picture, draw
from alexnet_zoo.report.tables import refused_table, runs_table, table1, table2, text_table


def make_tables(results: Results) -> list[Table]:
    """Table 1, Table 2, the error rates in the text, the claims, what can be counted; what was measured, or refused."""
    paper = load_paper()
    tables = [make(paper, results.results) for make in (table1, table2, text_table)]
    claims = [claims_table(paper, results), elsewhere_table(paper, results)]
    more = [table for table in (networks_table(results), refused_table(paper, results.results)) if table.rows]
    return [*tables, *claims, counts_table(paper), runs_table(results), *more]


def write_report(sources: Sequence[Path], out: Path, predictions: bool = False) -> list[Path]:
    """Reads run folders or results.csv files and writes the report into the folder `out`.

    Args: predictions, whether to draw Figure 4 too, for which each run's network looks at some 2,000 images.
    What had to be left out is named on stderr and at the end of the page.
    Returns: the files written, report.md first. Raises: UserError as `read_sources` does.
    """
    results = read_sources(sources)
    tables = make_tables(results)
    pictures = draw(load_paper(), results, predictions)
    for problem in results.problems:
        print(f"alexzoo: {problem}", file=sys.stderr)
    files: dict[str, str | bytes] = {
        "report.md": markdown_page(tables, pictures, results.problems),
        "report.html": html_page(tables, pictures, results),
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


def markdown_page(tables: Sequence[Table], pictures: Sequence[Picture], problems: Sequence[str]) -> str:
    paper = load_paper().paper
    parts = [f"# {paper.title}: published and measured", "", f"{paper.authors}, {paper.venue} {paper.year}.", ""]
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
    tables = make_tables(results)
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
