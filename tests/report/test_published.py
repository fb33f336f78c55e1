"""What is committed is what its results give."""

from pathlib import Path

import pytest

from alexnet_zoo.errors import UserError
from alexnet_zoo.report import check
from alexnet_zoo.report.studies import study_tables
from alexnet_zoo.study.runner import Jobs
from alexnet_zoo.study.study import load_study
from alexnet_zoo.study.summary import summarise

PUBLISHED = Path(__file__).parents[2] / "reports" / "published"


@pytest.mark.parametrize("folder", sorted(path.parent for path in PUBLISHED.rglob("report.md")), ids=lambda p: p.name)
def test_every_published_table_is_what_its_results_give(folder):
    assert check(folder)


def test_a_changed_figure_is_found(tmp_path):
    for path in PUBLISHED.rglob("*"):
        if path.is_file():
            copy = tmp_path / path.relative_to(PUBLISHED)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    runs = tmp_path / "runs.csv"
    runs.write_text(runs.read_text().replace("3.85", "2.85"))
    with pytest.raises(UserError, match="runs.csv"):
        check(tmp_path)


@pytest.mark.parametrize("folder", sorted((PUBLISHED / "studies").glob("*/")), ids=lambda path: path.name)
def test_tables_of_every_published_study_are_what_its_runs_give(folder):
    jobs = Jobs(load_study(folder.name), folder)
    for name, text in study_tables(jobs, summarise(jobs)).items():
        assert (folder / name).read_text(encoding="utf-8") == text, name
