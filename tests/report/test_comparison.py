import numpy as np
import pytest

from alexnet_zoo import cli
from alexnet_zoo.errors import UserError
from alexnet_zoo.intervals import difference
from alexnet_zoo.report.comparison import compare_runs, curves, errors_table, recipes_table
from alexnet_zoo.report.measured import read_sources
from alexnet_zoo.study.measures import Predictions, predictions_of
from alexnet_zoo.study.statistics import one_pair

CURVE = [dict(epoch=n, train_top1=10.0 * n, eval_top1=11.0 * n) for n in (1, 2, 3)]
RIGHT = np.arange(360) % 10


def predict(folder, wrong: int) -> None:
    """Predictions of 360 images, the first so many of them wrong."""
    first = np.where(np.arange(360) < wrong, (RIGHT + 1) % 10, RIGHT)
    Predictions(RIGHT, first, np.full(360, 10_000), np.zeros((360, 0))).save(folder / "predictions-10.npz")


@pytest.fixture
def two(tmp_path, made):
    folders = []
    for name, wrong in (("one", 36), ("two", 18)):
        line = made.DIGITS | made.errors(wrong / 3.6, 0.5) | dict(onnx_sha256=name)
        folders.append(made.write_run(tmp_path / name, line, curve=CURVE))
        predict(folders[-1], wrong)
    (folders[1] / "recipe.toml").write_text('name = "digits"\nlr = 0.02\n[model_args]\nlrn = false\n')
    return folders


def test_recipes_differ_in(two):
    table = recipes_table(read_sources(two).runs)
    assert table.rows == [["lr", "0.01", "0.02"], ["model_args.lrn", None, "false"]]
    assert recipes_table(read_sources(two[:1]).runs * 2).rows == []


def test_the_difference_of_the_same_images_is_paired(two):
    first, second = errors_table(read_sources(two).runs).rows
    low, high = one_pair(np.arange(360) < 18, np.arange(360) < 36).interval()
    assert first[4:] == [None, "the first run"] and second[5] == "paired; 18 images told apart"
    assert second[4].value == pytest.approx(-5)
    assert (second[4].low, second[4].high) == pytest.approx((100 * low, 100 * high))


def test_without_predictions_or_of_other_images_it_is_newcombes(two, made):
    (two[1] / "predictions-10.npz").unlink()
    second = errors_table(read_sources(two).runs).rows[1]
    assert second[5] == "Newcombe; no predictions of both"
    assert (second[4].low, second[4].high) == pytest.approx(difference(5, 360, 10, 360))
    predict(two[1], 18)
    line = made.DIGITS | made.errors(5.0, 0.5) | dict(onnx_sha256="two", data_sha256="other")
    made.write_results(two[1] / "results.csv", line)
    assert errors_table(read_sources(two).runs).rows[1][5] == "Newcombe; other images"


def test_a_file_that_holds_something_else_is_told(two):
    np.savez(two[1] / "predictions-10.npz", best=RIGHT)
    with pytest.raises(UserError, match="predictions-10.npz: not predictions as a study publishes them"):
        predictions_of(two[1], 10)


def test_curves_lie_over_each_other(two):
    training, held_out = curves(read_sources(two).runs).axes
    assert [list(line.get_ydata()) for line in training.lines] == [[90, 80, 70]] * 2
    assert [line.get_label() for line in held_out.lines] == ["one", "two"]


def test_it_writes_what_it_says(two, tmp_path, capsys):
    cli.compare(two, tmp_path / "out")
    page = capsys.readouterr().out[:-1]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"comparison.md", "errors.csv", "recipes.csv", "curves.png", "curves.svg"} <= names
    assert (tmp_path / "out" / "comparison.md").read_text() == page and "paired" in page
    with pytest.raises(UserError, match="nothing to compare"):
        compare_runs(two[:1])
    with pytest.raises(UserError, match="results.csv: is a file; name the folder"):
        compare_runs([two[0], two[1] / "results.csv"])
