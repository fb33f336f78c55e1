"""results.csv: lines are added under one header; an older file gains the columns that it lacks."""

import csv

import pytest

from alexnet_zoo.errors import UserError
from alexnet_zoo.report.measured import read_results
from alexnet_zoo.results import COLUMNS, DEFAULTS, append_results

FIGURES = {"top1": "75.000", "top1_err": "25.000", "top5": "97.000", "top5_err": "3.000", "param_count": "60.97"}
LINE = {"model": "alexnet", "img_size": 224, **FIGURES, "crop_pct": "0.875", "interpolation": "bicubic"}
LINE |= {"recipe": "mine", "dataset": "digits", "split": "test", "images": 364, "views": 10, "provider": "CPU"}
LINE |= {"precision": "fp32", "onnx_sha256": "aa", "data_sha256": "dd", "identity": ""}
LINE |= {"top5_test_err": "", "top5_test_source": "", "target": "", "pedigree": ""}


def lines_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_results_are_appended_under_one_header(tmp_path):
    path = tmp_path / "results.csv"
    append_results(path, [LINE])
    append_results(path, [LINE | {"recipe": 'a, "quoted" one'}, LINE])
    rows = lines_of(path)
    assert list(rows[0]) == COLUMNS and len(rows) == 3
    assert rows[1]["recipe"] == 'a, "quoted" one'
    assert rows[2] == {column: str(value) for column, value in LINE.items()}
    assert [file.name for file in tmp_path.iterdir()] == ["results.csv"]

    path.write_text("name,top1\nmine,1\n")
    with pytest.raises(UserError, match="not a results.csv"):
        append_results(path, [LINE])
    assert path.read_text() == "name,top1\nmine,1\n"


def test_a_file_without_a_younger_column_is_read_and_appended_to(tmp_path):
    path = tmp_path / "results.csv"
    older = [column for column in COLUMNS if column not in ("identity", "data_sha256")]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, older)
        writer.writeheader()
        writer.writerow({column: LINE[column] for column in older})
    problems = []
    (result,) = read_results(path, problems)
    assert not problems and (result.identity, result.data_sha256) == (DEFAULTS["identity"], DEFAULTS["data_sha256"])
    assert (result.top1_err, result.images) == (25.0, 364)
    append_results(path, [LINE])
    first, second = lines_of(path)
    assert list(first) == COLUMNS and (first["data_sha256"], second["data_sha256"]) == ("", "dd")
