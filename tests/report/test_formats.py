import csv
import io
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from alexnet_zoo.report.formats import Code, Column, Figure, Table, to_csv, to_latex, to_markdown
from alexnet_zoo.report.measured import Results
from alexnet_zoo.report.page import html_page
from alexnet_zoo.report.report import make_tables

TABLE = Table(
    "demo",
    "Errors & <effects>, 100%",
    [
        Column("name", "Name", width=0.3),
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
    assert {"class": "number", "data-sort": "40.66"} in [a for tag, a in cells.tags if tag == "td"]


def test_latex_compiles(tmp_path):
    if not shutil.which("pdflatex"):
        pytest.skip("no pdflatex on this machine (Debian: texlive-latex-base, texlive-latex-recommended)")
    head = "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n"
    tables = [TABLE, *make_tables(Results([], [], []))]
    document = head + "\n".join(map(to_latex, tables)) + "\\end{document}\n"
    (tmp_path / "demo.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "demo.tex"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-2000:]


def test_latex_escapes():
    text = to_latex(TABLE)
    assert r"\textless{}b\textgreater{}\_y\_" in text and r"50\% \& more \#1 $\times$ 2" in text
    assert r"\toprule" in text and r"\bottomrule" in text and text.count(" \\\\\n") == 4
    assert "\n% 1 CNN*: alexzoo report a_b --out c|d\n" in text
