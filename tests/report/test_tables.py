import pytest

from alexnet_zoo.report.claims import claims_table
from alexnet_zoo.report.paper import load_paper
from alexnet_zoo.report.results import Result, read_sources
from alexnet_zoo.report.tables import runs_table, table1, table2


def cells(table, row, key):
    at = [column.key for column in table.columns].index(key)
    return [line[at] for line in table.rows if line[0] == row]


def read(tmp_path, made, *lines):
    return read_sources([made.write_results(tmp_path / "results.csv", *lines)])


def test_a_verified_measurement_fills_its_row_only(tmp_path, made):
    results = read(tmp_path, made, made.VAL2012 | made.errors(40.9, 18.3))
    table = table2(load_paper(), results.results)
    (measured,) = cells(table, "1 CNN", "top1_measured")
    assert measured.value == 40.9 and measured.low < 40.9 < measured.high
    (how,) = cells(table, "1 CNN", "measured_on")
    for part in ("ILSVRC-2012 val", "50,000 images", "10 views", "CPUExecutionProvider", "fp32", "table2-one-cnn"):
        assert part in how
    for row in ("5 CNNs", "1 CNN*", "7 CNNs*", "SIFT + FVs"):
        assert cells(table, row, "top1_measured") == [None]
    assert cells(table, "5 CNNs", "measured_on") == ["alexzoo reproduce table2-five-cnns --data ILSVRC2012 --gpus 2"]
    assert all(line[2] is None for line in table1(load_paper(), results.results).rows)


@pytest.mark.parametrize(
    "change",
    [
        dict(identity=""),
        dict(identity="ILSVRC-2012 val, 49,000 images, incomplete"),
        dict(images=49_000),
        dict(views=1),
        dict(recipe="digits"),
        dict(precision="int8"),
        dict(identity="ILSVRC-2010 test, 50,000 images, complete"),
    ],
)
def test_nothing_else_fills_a_row_of_the_paper(tmp_path, made, change):
    results = read(tmp_path, made, made.VAL2012 | change)
    assert all(line[2] is None and line[4] is None for line in table2(load_paper(), results.results).rows)
    assert len(runs_table(results).rows) == 1


def test_several_networks_have_a_line_each_and_no_average(tmp_path, made):
    seeds = [(40.1, "a"), (41.1, "b")]
    lines = [made.VAL2012 | made.errors(error, 18.0) | dict(onnx_sha256=sha) for error, sha in seeds]
    lines.append(lines[0] | dict(provider="CUDAExecutionProvider"))  # the same network on another device
    table = table2(load_paper(), read(tmp_path, made, *lines).results)
    assert [figure.value for figure in cells(table, "1 CNN", "top1_measured")] == [40.1, 41.1]


def test_centre_and_ten_crops_of_table1(tmp_path, made):
    ten, one = made.TEST2010 | made.errors(37.6, 17.1), made.TEST2010 | made.errors(39.1, 18.4) | dict(views=1)
    results = read(tmp_path, made, ten, one)
    table = table1(load_paper(), results.results)
    assert cells(table, "CNN", "top5_measured")[0].value == 17.1
    assert cells(table, "CNN, centre crop only (footnote)", "top5_measured")[0].value == 18.4
    effect = cells(claims_table(load_paper(), results), "Ten crops against the centre crop", "measured")
    assert [round(figure.value, 2) for figure in effect] == [-1.5, -1.3]


@pytest.mark.parametrize(
    "without, verdict",
    [(42.1, "reproduced"), (40.8, "not resolved"), (45.7, "same direction"), (38.7, "contradicted")],
)
def test_verdicts(tmp_path, made, without, verdict):
    """The paper: LRN lowers the top-1 error by 1.4."""
    with_lrn = made.VAL2012 | made.errors(40.7, 18.2)
    no_lrn = made.VAL2012 | made.errors(without, 19.4) | dict(recipe="claim-no-lrn", onnx_sha256="b")
    table = claims_table(load_paper(), read(tmp_path, made, with_lrn, no_lrn))
    assert cells(table, "Local response normalisation", "verdict")[0] == verdict


def curve(correct):
    return [
        dict(epoch=n, train_loss=1, eval_loss=1, eval_top1=top1, eval_top5=99, lr=0.01, train_top1=top1)
        for n, top1 in enumerate(correct)
    ]


def test_claims_from_curves_need_the_right_data(tmp_path, made):
    cifar = made.DIGITS | dict(dataset="cifar10", images=10_000, identity="CIFAR-10 test, 10,000 images, complete")
    relu = cifar | dict(recipe="figure1-relu")
    tanh = cifar | dict(recipe="figure1-tanh", onnx_sha256="b")
    runs = [
        made.write_run(tmp_path / "relu", relu, curve=curve([60, 80, 90])),
        made.write_run(tmp_path / "tanh", tanh, curve=curve([30, 40, 50, 55, 60, 65, 70, 74, 75])),
    ]
    claim = "ReLU reaches 25% training error on CIFAR-10 six times faster than tanh"
    table = claims_table(load_paper(), read_sources(runs))
    assert cells(table, claim, "measured")[0].value == 9 / 2
    assert cells(table, claim, "verdict") == ["same direction"]

    for run, line in zip(runs, (relu, tanh), strict=True):
        made.write_results(run / "results.csv", line | dict(identity=""))
    assert cells(claims_table(load_paper(), read_sources(runs)), claim, "measured") == [None]


def test_without_any_run_every_row_says_what_would_measure_it():
    from alexnet_zoo.report.results import Results

    paper, nothing = load_paper(), Results([], [], [])
    for line in claims_table(paper, nothing).rows:
        assert line[5] is None and line[-1].startswith("alexzoo reproduce ")
    for line in table2(paper, []).rows:
        assert line[-1].startswith("alexzoo reproduce ") or line[0] == "SIFT + FVs"


def test_result_is_what_results_csv_holds(made):
    assert [*made.DIGITS] == [name for name in Result.__dataclass_fields__ if name not in ("source", "changed")]
