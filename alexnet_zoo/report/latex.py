"""Writes a table for LaTeX, as wide as the page of an article, and over several of its pages where it is long."""

import math
import re

from alexnet_zoo.report.formats import DASH, MINUS, Cell, Code, Column, Figure, Table, stacked

# Points of \footnotesize in an article of 10 points, the narrowest there is: a character, between columns, the line.
CHARACTER, SPACE, WIDTH = 4.2, 7.0, 345.0
LINES = 44  # of a page, with room for what the table's own lines take
NUMBER = 16  # characters; a longer cell of a numeric column is wrapped as text is

_LATEX = {c: "\\" + c for c in "&%$#{}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "×": r"$\times$", MINUS: "$-$", DASH: "--", "’": "'",
    "_": r"\_\allowbreak{}", "=": r"=\allowbreak{}", "/": r"/\allowbreak{}",
}  # fmt: skip
_BREAKS = re.compile(r"(?<=[-_=/])|\s+")  # where a line may end


def to_latex(table: Table) -> str:
    """Writes a table. The document needs \\usepackage{booktabs} and \\usepackage{longtable}.

    One that is longer than a page is a longtable, which gets pages of one column in an article of two. Columns marked
    aside have no room: their commands become comments, their other cells notes.
    """
    table, same = table.lifted()
    commands, asides = _asides(table)
    stacks = [[n for n in stack if not table.columns[n].aside] for stack in table.stacks()]
    stacks = [stack for stack in stacks if stack]
    columns = [table.columns[stack[0]] for stack in stacks]
    cells = [[_lines_of(stacked(row, stack)) for stack in stacks] for row in table.rows]
    widths = _widths(columns, cells)
    numeric = [column.numeric for column in columns]
    heads = [[c.title] if width else c.title.split() for c, width in zip(columns, widths)]
    notes = dict.fromkeys([*([same] if same else []), *table.notes, *asides])
    said = [r"\par\smallskip\noindent " + _text(note) for note in notes]
    title = re.sub(r"^Table [0-9]\. ", "", table.title)  # LaTeX numbers its tables itself
    caption = rf"\caption{{{_text(title)}}}\label{{tab:{table.name}}}"
    shape = "@{}" + "".join(f"p{{{width:.3f}\\linewidth}}" if width else "r" for width in widths) + "@{}"
    body = [" & ".join(map(_cell, row, widths, numeric)) + r" \tabularnewline[1pt]" for row in cells]
    head = [r"\toprule", " & ".join(map(_cell, heads, widths, numeric)) + r" \tabularnewline", r"\midrule"]
    lines = sum(max(map(_lines, row, widths)) for row in cells) + sum(math.ceil(len(note) / 80) for note in notes)
    made = _long if lines > LINES else _float
    packages = r"% needs \usepackage{booktabs} and \usepackage{longtable}"
    return "\n".join([packages, *commands, *made(caption, shape, head, body, said)]) + "\n"


def _float(caption: str, shape: str, head: list[str], body: list[str], notes: list[str]) -> list[str]:
    return [
        r"\begin{table*}", r"\centering\footnotesize\setlength{\tabcolsep}{3.5pt}", caption,
        rf"\begin{{tabular}}{{{shape}}}", *head, *body, r"\bottomrule", r"\end{tabular}",
        r"\par\raggedright", *notes, r"\end{table*}",
    ]  # fmt: skip


def _long(caption: str, shape: str, head: list[str], body: list[str], notes: list[str]) -> list[str]:
    return [
        r"\makeatletter\let\backtocolumns\relax",
        r"\if@twocolumn\onecolumn\let\backtocolumns\twocolumn\fi\makeatother",
        r"\begingroup\footnotesize\setlength{\tabcolsep}{3.5pt}\setlength{\LTcapwidth}{\linewidth}",
        rf"\begin{{longtable}}{{{shape}}}", caption + r" \\", *head, r"\endfirsthead", *head, r"\endhead",
        r"\bottomrule", r"\endfoot", *body, r"\end{longtable}", r"\raggedright", *notes, r"\par\endgroup",
        r"\backtocolumns",
    ]  # fmt: skip


def _asides(table: Table) -> tuple[list[str], list[str]]:
    """What stands in columns marked aside: commands as comments, the rest as notes."""
    commands, notes = [], []
    for row in table.rows:
        asides = [cell for cell, column in zip(row, table.columns, strict=True) if column.aside and cell is not None]
        commands += [f"% {row[0]}: {cell}" for cell in asides if isinstance(cell, Code)]
        said = [str(cell) for cell in asides if not isinstance(cell, Code)]
        notes += [f"{row[0]}: {', '.join(said)}."] if said else []
    return list(dict.fromkeys(commands)), notes


def _widths(columns: list[Column], cells: list[list[list[str]]]) -> list[float]:
    """The part of the line that each column gets; 0 for numbers, which take what they need.

    A column of text gets its longest word, and of the rest the more the longer its texts are.
    """
    own = [[column.title, *(line for row in cells for line in row[n])] for n, column in enumerate(columns)]
    words = [max(len(word) for text in texts for word in _BREAKS.split(text)) for texts in own]
    longest = [max(map(len, texts)) for texts in own]
    numbers = [c.numeric and max(map(len, texts[1:]), default=0) <= NUMBER for c, texts in zip(columns, own)]
    taken = [
        max([word, *map(len, texts[1:])]) if number else word for number, word, texts in zip(numbers, words, own)
    ]
    spare = max(WIDTH - SPACE * (len(columns) - 1) - CHARACTER * sum(taken), 0)
    wishes = [0 if number else long - word for number, long, word in zip(numbers, longest, words)]
    total = sum(math.sqrt(wish) for wish in wishes) or 1
    wide = [CHARACTER * (w + min(wish, spare / CHARACTER * math.sqrt(wish) / total)) for w, wish in zip(taken, wishes)]
    return [0 if number else width / WIDTH for number, width in zip(numbers, wide)]


def _lines(cell: list[str], width: float) -> int:
    """How many lines a cell takes."""
    return sum(math.ceil(max(len(line), 1) * CHARACTER / (width * WIDTH)) if width else 1 for line in cell)


def _lines_of(cells: list[Cell]) -> list[str]:
    """A stack of cells in lines: the first, below it its interval, then the others in one."""
    first, *others = (DASH if cell is None else str(cell) for cell in cells)
    number, bracket, interval = first.partition(" [") if isinstance(cells[0], Figure) else (first, "", "")
    return [number, *([f"[{interval}"] if bracket else []), *([", ".join(others)] if others else [])]


def _text(text: str) -> str:
    parts = ("".join(_LATEX.get(character, character) for character in part) for part in text.split("--"))
    return "-{}-".join(parts)  # the two dashes of an option, not one long dash


def _cell(lines: list[str], width: float, numeric: bool) -> str:
    if width:
        return (r"\raggedleft " if numeric else r"\raggedright ") + r"\newline ".join(map(_text, lines))
    if len(lines) == 1:
        return _text(lines[0])
    stack = r"\\{}".join(map(_text, lines))  # {}: else the bracket of an interval would be read as a length
    return rf"\begin{{tabular}}[t]{{@{{}}r@{{}}}}{stack}\end{{tabular}}"
