"""Writes a table as Markdown, CSV and LaTeX (booktabs); reports/templates/table.html.j2 writes it as HTML."""

import csv
import io
import re
from dataclasses import dataclass, field

DASH = "–"  # not measured
MINUS = "−"


@dataclass(frozen=True)
class Figure:
    """Holds a number as the paper prints it, or a measured one with its 95% interval."""

    value: float
    decimals: int = 1
    low: float | None = None
    high: float | None = None
    signed: bool = False  # an effect: +2.0
    words: str | None = None  # what the paper says in place of the bare number: "over -1"

    def _text(self, value: float) -> str:
        return f"{value:{'+' if self.signed else ''},.{self.decimals}f}".replace("-", MINUS)

    def __str__(self) -> str:
        text = self.words.replace("-", MINUS) if self.words else self._text(self.value)
        return text if self.low is None else f"{text} [{self._text(self.low)}, {self._text(self.high)}]"


class Code(str):
    """Holds a command, which is set in a typewriter face."""


Cell = str | Figure | None  # None: a dash


@dataclass(frozen=True)
class Column:
    key: str  # the CSV header
    title: str
    numeric: bool = False
    interval: bool = False  # the CSV has KEY_low and KEY_high too
    width: float = 0.0  # in LaTeX, wraps at this part of the line; not for the last column
    aside: bool = False  # no column in LaTeX


@dataclass(frozen=True)
class Table:
    """Holds a table: name, its file's stem; rows, one cell a column; notes, its footnotes in plain text."""

    name: str
    title: str
    columns: list[Column]
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)


def to_csv(table: Table) -> str:
    """Writes bare numbers, dashes as empty fields, an interval as two more columns."""
    header = []
    for column in table.columns:
        header += [column.key, f"{column.key}_low", f"{column.key}_high"] if column.interval else [column.key]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    for row in table.rows:
        fields = []
        for column, cell in zip(table.columns, row, strict=True):
            if isinstance(cell, Figure):
                numbers = (cell.value, cell.low, cell.high)
                texts = ["" if number is None else f"{number:.{cell.decimals}f}" for number in numbers]
            else:
                texts = [cell or "", "", ""]
            fields += texts if column.interval else texts[:1]
        writer.writerow(fields)
    return out.getvalue()


def _markdown_text(text: str) -> str:
    for character in "\\`*_[]<>|#":
        text = text.replace(character, "\\" + character)
    return text


def _markdown_cell(cell: Cell) -> str:
    if isinstance(cell, Code):
        return "`" + cell.replace("|", "\\|") + "`"  # GitHub's tables need the bar escaped in code too
    return DASH if cell is None else str(cell) if isinstance(cell, Figure) else _markdown_text(cell)


def to_markdown(table: Table) -> str:
    """Writes a GitHub table under a heading, its notes below."""
    lines = [f"## {table.title}", ""]
    lines.append("| " + " | ".join(column.title for column in table.columns) + " |")
    lines.append("|" + "|".join("---:" if column.numeric else "---" for column in table.columns) + "|")
    lines += ["| " + " | ".join(map(_markdown_cell, row)) + " |" for row in table.rows]
    if not table.rows:
        lines += ["", "Nothing was measured."]
    for note in table.notes:
        lines += ["", _markdown_text(note)]
    return "\n".join(lines) + "\n"


_LATEX = {c: "\\" + c for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "×": r"$\times$", MINUS: "$-$", DASH: "--", "’": "'",
}  # fmt: skip


def _latex_text(text: str) -> str:
    parts = ("".join(_LATEX.get(character, character) for character in part) for part in text.split("--"))
    return "-{}-".join(parts)  # the two dashes of an option, not one long dash


def _latex_cell(cell: Cell, column: Column) -> str:
    if column.width:
        return r"\raggedright " + _latex_text(DASH if cell is None else str(cell))
    if isinstance(cell, Figure) and cell.low is not None:  # the interval below the figure, for width
        figure, interval = str(cell).split(" [")
        return _latex_stack("r", _latex_text(figure), "{}[" + _latex_text(interval))
    text = "--" if cell is None else _latex_text(str(cell))
    return "{}" + text if text.startswith("[") else text  # right after \\, a bracket would be read as a length


def _latex_head(column: Column) -> str:
    """Writes a column's title with its last word on a line of its own."""
    first, _, last = column.title.rpartition(" ")
    side = "r" if column.numeric else "l"
    return _latex_stack(side, _latex_text(first), _latex_text(last)) if first else _latex_text(last)


def _latex_stack(side: str, upper: str, lower: str) -> str:
    """Stacks two lines in one cell, the upper one level with the row."""
    return rf"\begin{{tabular}}[t]{{@{{}}{side}@{{}}}}{upper}\\{lower}\end{{tabular}}"


def to_latex(table: Table) -> str:
    """Writes a table float, as wide as a page. The document needs \\usepackage{booktabs}.

    Columns marked aside have no room there: their commands become comments, their other cells notes.
    """
    shown = [number for number, column in enumerate(table.columns) if not column.aside]
    commands, notes = [], list(table.notes)
    for row in table.rows:
        asides = [cell for cell, column in zip(row, table.columns, strict=True) if column.aside and cell is not None]
        commands += [f"% {row[0]}: {cell}" for cell in asides if isinstance(cell, Code)]
        said = [str(cell) for cell in asides if not isinstance(cell, Code)]
        notes += [f"{row[0]}: {', '.join(said)}."] if said else []
    columns = [table.columns[number] for number in shown]
    rows = [[_latex_cell(row[number], table.columns[number]) for number in shown] for row in table.rows]
    kinds = "".join(f"p{{{c.width}\\linewidth}}" if c.width else "r" if c.numeric else "l" for c in columns)
    # LaTeX numbers its tables itself.
    caption = re.sub(r"^Table (\d)\. ", r"Table \1 of the paper: ", table.title)
    lines = [
        r"% needs \usepackage{booktabs}",
        *dict.fromkeys(commands),
        r"\begin{table}",
        r"\centering\footnotesize\setlength{\tabcolsep}{3.5pt}",
        rf"\caption{{{_latex_text(caption)}}}",
        rf"\begin{{tabular}}{{{kinds}}}",
        r"\toprule",
        " & ".join(map(_latex_head, columns)) + r" \\",
        r"\midrule",
        *(" & ".join(cells) + r" \\" for cells in rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\par\raggedright",
        *(r"\smallskip " + _latex_text(note) + r"\par" for note in dict.fromkeys(notes)),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"
