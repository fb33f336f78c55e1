import csv
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from alexnet_zoo.report.formats import Code, Column, Figure, Table, stacked, to_csv, to_markdown
from alexnet_zoo.report.latex import to_latex
from alexnet_zoo.report.measured import Results, read_sources
from alexnet_zoo.report.page import html_page
from alexnet_zoo.report.report import make_tables

PUBLISHED = Path(__file__).parents[2] / "reports" / "published"
TABLE = Table(
    "demo",
    "Errors & <effects>, 100%",
    [
        Column("name", "Name"),
        Column("error", "Error", numeric=True, interval=True),
        Column("how", "How", aside=True),
    ],
    [
        ["1 CNN*", Figure(40.66, 2, 40.2, 41.1), Code("alexzoo report a_b --out c|d")],
        ["[x] <b>_y_</b> | z", None, "50% & more #1 × 2"],
        ["effect", Figure(-1.0, 1, signed=True, words="over -1"), "–"],
    ],
    ["* a note"],
)


def test_csv_holds_plain_figures():
    rows = list(csv.reader(io.StringIO(to_csv(TABLE))))
    assert rows[0] == ["name", "error", "error_low", "error_high", "how"]
    assert rows[1] == ["1 CNN*", "40.66", "40.20", "41.10", "alexzoo report a_b --out c|d"]
    assert rows[2][1:4] == ["", "", ""]
    assert float(rows[3][1]) == -1.0


def test_markdown_has_as_many_cells_as_columns():
    lines = to_markdown(TABLE).splitlines()
    body = [line for line in lines if line.startswith("|")]
    assert len(body) == 2 + 3
    for line in body:
        assert line.replace("\\|", "").count("|") == 4, line
    assert "40.66 [40.20, 41.10]" in body[2] and "1 CNN\\*" in body[2] and "`alexzoo report" in body[2]
    assert "over −1" in body[4]


class Cells(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = [], ""

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def test_html_is_escaped_and_has_headers():
    cells = Cells()
    cells.feed(html_page([TABLE], [], Results([], [], [])))
    tags = [tag for tag, _ in cells.tags]
    assert tags.count("td") == 6 and tags.count("th") == 3 + 3 and tags.count("caption") == 1
    assert "b" not in tags and "[x] <b>_y_</b> | z" in cells.text
    assert [a["scope"] for tag, a in cells.tags if tag == "th"] == ["col"] * 3 + ["row"] * 3
    (cell,) = [attributes for _, attributes in cells.tags if attributes.get("data-sort") == "40.66"]
    assert cell == {"data-title": "Error", "class": "number figure interval", "data-sort": "40.66"}


@pytest.mark.parametrize("columns", ["onecolumn", "twocolumn"])
def test_latex_fits_its_page(tmp_path, columns):
    """Whatever is too wide, overprints its neighbour in an article of two columns."""
    if not shutil.which("pdflatex"):
        pytest.skip("no pdflatex on this machine (Debian: texlive-latex-base, texlive-latex-recommended)")
    head = f"\\documentclass[{columns}]{{article}}\n\\usepackage{{booktabs,longtable}}\n\\begin{{document}}\n"
    tables = [TABLE, *make_tables(read_sources([PUBLISHED]))]
    document = head + "Words of the article.\n\n".join(map(to_latex, tables)) + "\\end{document}\n"
    (tmp_path / "demo.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "demo.tex"]
    for _ in range(2):  # longtable finds its widths in the first run
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout[-2000:]
    assert [width for width in re.findall(r"Overfull \\hbox \(([\d.]+)pt", ran.stdout) if float(width) > 2] == []
    captions = re.findall(r"\\caption\{(.*)", document)
    assert len(captions) == len(tables) and not any(caption.startswith("Table") for caption in captions)
    assert document.count("longtable}{") >= 2  # the claims and the runs are longer than a page


def test_latex_escapes():
    text = to_latex(TABLE)
    assert r"\textless{}b\textgreater{}\_\allowbreak{}y\_" in text and r"50\% \& more \#1 $\times$ 2" in text
    assert r"\toprule" in text and r"\bottomrule" in text and text.count(r" \tabularnewline") == 4
    assert "\n% 1 CNN*: alexzoo report a_b --out c|d\n" in text


def test_what_nobody_measured_stands_apart_and_what_does_not_vary_above():
    columns = [Column("a", "A"), Column("b", "B", under="a"), Column("c", "C", numeric=True), Column("d", "D (Holm)")]
    rows = [["x", "one", Figure(1), "same"], ["y", "y", None, "same"], ["z", None, Figure(3), "same"]]
    table = Table("demo", "Demo", columns, rows, tried=["c"], lifts=True)
    assert [row[0] for row in table.measured().rows] == ["x", "z"]
    rest = table.unmeasured()
    assert [column.key for column in rest.columns] == ["a", "b", "d"] and rest.rows == [["y", "y", "same"]]
    kept, said = table.lifted()
    assert [column.key for column in kept.columns] == ["a", "b", "c"] and said == "The same in all rows: d (Holm) same."
    assert table.stacks() == [[0, 1], [2], [3]]
    assert [stacked(row, [0, 1]) for row in rows] == [["x", "one"], ["y"], ["z"]]  # nothing twice
    assert to_csv(table).splitlines()[1] == "x,one,1.0,same"  # a file for machines keeps every column
    assert "The same in all rows: d (Holm) same." in to_markdown(table) and "| x | one | 1.0 |" in to_markdown(table)
    one = Table("one", "One", columns, rows[:1], lifts=True)
    assert one.lifted()[1] == "The same in all rows: b one; c 1.0; d (Holm) same."
