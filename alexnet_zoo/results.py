"""results.csv: its columns, and appending to it. Evaluation writes it, the report reads it (report/measured.py)."""

import csv
import io
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path

from alexnet_zoo.errors import UserError
from alexnet_zoo.files import check_writable, written_whole


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line: one network (or ensemble), on one split, with so many views. Errors in percent.

    timm's columns come first. A column with a default may be missing from a file, as a younger one is from an older
    file; so a new column needs a default, and nothing else.
    """

    model: str
    img_size: int
    top1: float
    top1_err: float
    top5: float
    top5_err: float
    param_count: float  # in millions, as timm has it
    crop_pct: float
    interpolation: str = ""
    recipe: str = ""
    dataset: str
    split: str
    images: int
    views: int
    provider: str = ""
    precision: str = ""
    onnx_sha256: str
    data_sha256: str = ""
    identity: str = ""
    top5_test_err: float | None = None  # what the challenge's test server gave this network's predictions
    top5_test_source: str = ""  # who says so: the server's page and a date
    target: str = ""  # of export
    pedigree: str = ""  # of each network, in JSON (pedigree.py)


COLUMNS = [column.name for column in fields(Row)]
DEFAULTS = {column.name: column.default for column in fields(Row) if column.default is not MISSING}


def missing_columns(header: Sequence[str]) -> list[str]:
    """Lists the columns that a file with this header lacks, and for which there is no default."""
    return [column for column in COLUMNS if column not in header and column not in DEFAULTS]


def check_can_append(path: Path) -> None:
    """Raises UserError where append_results would fail: before networks are run for hours."""
    check_writable(path)
    rows_before(path)


def append_results(path: Path, rows: list[dict]) -> None:
    """Appends rows to a results.csv, new or not; all of them or, after a fault, none. Missing columns are added.

    Raises UserError where the file is no results.csv, or has columns that this version does not know.
    """
    before = rows_before(path)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(DEFAULTS | row for row in [*before, *rows])
    with written_whole(path) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8")


def centre_error(path: Path) -> float | None:
    """Reads the last top-1 error with the centre crop, in percent; None where the file is missing or has none."""
    if not path.exists():
        return None
    with path.open(newline="", encoding="utf-8") as file:
        errors = [float(row["top1_err"]) for row in csv.DictReader(file) if row["views"] == "1"]
    return errors[-1] if errors else None


def rows_before(path: Path) -> list[dict]:
    """Reads the rows of a results.csv to which others are to be added; none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        before, header = list(reader), list(reader.fieldnames or COLUMNS)
    if missing_columns(header) or set(header) - set(COLUMNS):
        raise UserError(f"{path}: not a results.csv of this version (its columns differ); move it away")
    return before
