"""A table, and how it is written as CSV and Markdown; latex.py and reports/templates/table.html.j2 write it too."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

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

    @property
    def number(self) -> str:
        return self.words.replace("-", MINUS) if self.words else self._text(self.value)

    @property
    def between(self) -> str:
        """The interval; "" without one."""
        return "" if self.low is None else f"[{self._text(self.low)}, {self._text(self.high)}]"

    def __str__(self) -> str:
        return f"{self.number} {self.between}".rstrip()


class Code(str):
    """Holds a command, which is set in a typewriter face."""


Cell = str | Figure | None  # None: a dash


@dataclass(frozen=True)
class Column:
    """Describes a column: key, its CSV header; title, for readers."""

    key: str
    title: str
    numeric: bool = False
    interval: bool = False  # the CSV has KEY_low and KEY_high too
    aside: bool = False  # no column in LaTeX
    under: str = ""  # the key of a column below whose cells these stand, where there is little room: HTML and LaTeX

    @property
    def inner(self) -> str:
        """The title inside a sentence or below another: "p of a larger effect (Holm)"."""
        return self.title[:1].lower() + self.title[1:]


@dataclass(frozen=True)
class Table:
    """Holds a table: name, its file's stem; rows, one cell a column; notes, its footnotes in plain text."""

    name: str
    title: str
    columns: list[Column]
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)
    tried: Sequence[str] = ()  # the columns that are empty where nobody measured a row; none: all rows are measured
    lifts: bool = False  # readers see columns that do not vary as a line above the table

    def index(self, key: str) -> int:
        return next(number for number, column in enumerate(self.columns) if column.key == key)

    def measured(self) -> "Table":
        """The part that somebody measured, without other columns that are empty there."""
        return self._part(True)

    def unmeasured(self) -> "Table":
        """The rest, without columns that are empty there."""
        return self._part(False)

    def _part(self, measured: bool) -> "Table":
        if not self.tried:
            return self if measured else replace(self, rows=[])
        places = [self.index(key) for key in self.tried]
        rows = [row for row in self.rows if any(row[n] is not None for n in places) == measured]
        always = places if measured else []
        kept = [n for n in range(len(self.columns)) if n in always or any(row[n] is not None for row in rows)]
        return replace(self, columns=[self.columns[n] for n in kept], rows=[[row[n] for n in kept] for row in rows])

    def lifted(self) -> tuple["Table", str]:
        """The table without the columns that do not vary, and these in a line; the first column stays."""
        may = range(1, len(self.columns)) if self.lifts and self.rows else []
        same = [n for n in may if len({row[n] for row in self.rows}) == 1 and not self.columns[n].interval]
        said = [f"{self.columns[n].inner} {self.rows[0][n]}" for n in same if self.rows[0][n] is not None]
        kept = [n for n in range(len(self.columns)) if n not in same]
        columns, rows = [self.columns[n] for n in kept], [[row[n] for n in kept] for row in self.rows]
        return replace(self, columns=columns, rows=rows), f"The same in all rows: {'; '.join(said)}." if said else ""

    def stacks(self) -> list[list[int]]:
        """The numbers of the columns that stand one below the other, a list for each column that readers see."""
        keys = {column.key for column in self.columns}
        tops = [n for n, column in enumerate(self.columns) if column.under not in keys]
        return [
            [top, *(n for n, column in enumerate(self.columns) if column.under == self.columns[top].key)]
            for top in tops
        ]  # fmt: skip


def stacked(row: Sequence[Cell], stack: Sequence[int]) -> list[Cell]:
    """The cells of a stack, the first one and those below that say something else."""
    first, *rest = (row[number] for number in stack)
    return [first, *(cell for cell in dict.fromkeys(rest) if cell is not None and cell != first)]


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
    table, same = table.lifted()
    lines = [f"## {table.title}", "", *([_markdown_text(same), ""] if same else [])]
    lines.append("| " + " | ".join(column.title for column in table.columns) + " |")
    lines.append("|" + "|".join("---:" if column.numeric else "---" for column in table.columns) + "|")
    lines += ["| " + " | ".join(map(_markdown_cell, row)) + " |" for row in table.rows]
    if not table.rows:
        lines += ["", "Nothing was measured."]
    for note in table.notes:
        lines += ["", _markdown_text(note)]
    return "\n".join(lines) + "\n"
