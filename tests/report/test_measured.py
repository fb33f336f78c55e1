import pytest

from alexnet_zoo.errors import UserError
from alexnet_zoo.report.measured import read_sources


def test_reads_a_run_folder_a_file_and_a_folder_of_runs(tmp_path, made):
    curve = [dict(epoch=0, train_loss=2.0, eval_loss=1.5, eval_top1=50.0, eval_top5=90.0, lr=0.01)]
    run = made.write_run(tmp_path / "runs" / "a", made.DIGITS, curve=curve)
    file = made.write_results(tmp_path / "results.csv", made.VAL2012)
    results = read_sources([run, file, tmp_path / "runs"])  # the run twice: read once
    assert [result.recipe for result in results.results] == ["digits", "table2-one-cnn"]
    assert len(results.runs) == 1 and results.runs[0].recipe_name == "digits"
    assert results.runs[0].column("eval_top1") == [50.0]
    assert results.runs[0].column("train_top1") == []
    assert results.problems == []


def test_identity_counts_only_when_complete_and_as_large_as_it_says(tmp_path, made):
    lines = [
        made.VAL2012,
        made.VAL2012 | dict(onnx_sha256="b", images=49_999),
        made.VAL2012 | dict(onnx_sha256="c", identity="ILSVRC-2012 val, 50,000 images"),
        made.VAL2012 | dict(onnx_sha256="d", identity=""),
    ]
    results = read_sources([made.write_results(tmp_path / "results.csv", *lines)]).results
    assert [result.verified for result in results] == ["ILSVRC-2012 val", "", "", ""]


@pytest.mark.parametrize(
    "change, says",
    [
        (dict(top1_err=140.0, top1=-40.0), "top1 is -40.0, not between 0 and 100%"),
        (dict(top5_err="nan"), "top5_err is nan"),
        (dict(top1_err="five"), "top1_err is 'five', not a number"),
        (dict(images="3.5"), "images is '3.5', not a whole number"),
        (dict(images=0), "images is 0"),
        (dict(top1_err=6.0), "do not add up"),
        (dict(top5_err=7.0, top5=93.0), "top5_err 7.0 is over top1_err 5.0"),
    ],
)
def test_a_line_that_cannot_be_right_is_named_and_left_out(tmp_path, made, change, says):
    path = made.write_results(tmp_path / "results.csv", made.VAL2012, made.DIGITS | change)
    results = read_sources([path])
    assert [result.recipe for result in results.results] == ["table2-one-cnn"]
    assert len(results.problems) == 1
    assert f"{path}, line 3" in results.problems[0] and says in results.problems[0]


def test_a_line_cut_short(tmp_path, made):
    path = made.write_results(tmp_path / "results.csv", made.VAL2012, made.DIGITS)
    path.write_text(path.read_text()[:-30])
    results = read_sources([path])
    assert len(results.results) == 1 and "not as many fields" in results.problems[0]


def test_missing_columns_are_named(tmp_path, made):
    path = tmp_path / "results.csv"
    path.write_text("model,top1\nalexnet,50\n")
    with pytest.raises(UserError, match="top1_err.*onnx_sha256"):
        read_sources([path])


def test_two_lines_with_one_key(tmp_path, made):
    other = made.DIGITS | made.errors(6.0, 0.5)
    first = made.write_run(tmp_path / "a", made.DIGITS, made.VAL2012)
    second = made.write_run(tmp_path / "b", other)
    results = read_sources([first, second])
    assert [result.recipe for result in results.results] == ["table2-one-cnn"]
    assert "5.0 in" in results.problems[0] and "6.0 in" in results.problems[0]
    assert results.runs[1].results == []


def test_one_line_written_twice_counts_once(tmp_path, made):
    results = read_sources([made.write_results(tmp_path / "results.csv", made.DIGITS, made.DIGITS)])
    assert len(results.results) == 1 and results.problems == []


def test_a_copy_that_the_test_server_scored_takes_the_lines_place(tmp_path, made):
    run = made.write_run(tmp_path / "a", made.VAL2012)
    scored = made.VAL2012 | dict(top5_test_err=18.1, top5_test_source="the test server")
    results = read_sources([run, made.write_results(tmp_path / "scored.csv", scored)])
    assert [result.top5_test_err for result in results.results] == [18.1]
    assert len(results.runs[0].results) == 1 and results.problems == []


def test_a_run_cut_short_keeps_its_curve(tmp_path, made):
    run = made.write_run(tmp_path / "a", curve=[dict(epoch=0, train_loss=2.0), dict(epoch=1, train_loss=1.5)])
    with open(run / "summary.csv", "a") as file:
        file.write("2")
    results = read_sources([run])
    assert results.runs[0].column("train_loss") == [2.0, 1.5]
    assert any("without results.csv" in problem for problem in results.problems)
    assert any("cut short and left out" in problem for problem in results.problems)


def test_two_folders_of_one_name_stay_apart(tmp_path, made):
    runs = [made.write_run(tmp_path / place / "digits", made.DIGITS | dict(onnx_sha256=place)) for place in "ab"]
    assert [run.name for run in read_sources(runs).runs] == ["digits", "digits-2"]


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_sources_that_are_none(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=name):
        read_sources([tmp_path / name])
