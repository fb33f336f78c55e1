import csv
import json

import pytest

from alexnet_zoo.report.claims import claims_table, elsewhere_table
from alexnet_zoo.report.measured import read_sources
from alexnet_zoo.report.paper import load_paper
from alexnet_zoo.report.tables import runs_table, table1, table2
from alexnet_zoo.study.study import load_study
from alexnet_zoo.study.summary import Found


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
    no_lrn = made.by(made.VAL2012, "claim-no-lrn") | made.errors(without, 19.4) | dict(onnx_sha256="b")
    table = claims_table(load_paper(), read(tmp_path, made, with_lrn, no_lrn))
    assert cells(table, "Local response normalisation", "verdict")[0] == verdict


def curve(correct):
    return [
        dict(epoch=n, images_per_s=9, train_loss=1, eval_loss=1, eval_top1=top1, eval_top5=99, lr=0.1, train_top1=top1)
        for n, top1 in enumerate(correct)
    ]


def test_claims_from_curves_need_the_right_data(tmp_path, made):
    cifar = made.DIGITS | dict(dataset="cifar10", images=10_000, identity="CIFAR-10 test, 10,000 images, complete")
    relu = made.by(cifar, "figure1-relu")
    tanh = made.by(cifar, "figure1-tanh") | dict(onnx_sha256="b")
    runs = [
        made.write_run(tmp_path / "relu", relu, curve=curve([60, 80, 90])),
        made.write_run(tmp_path / "tanh", tanh, curve=curve([30, 40, 50, 55, 60, 65, 70, 74, 75])),
    ]
    claim = "ReLU reaches 25% training error on CIFAR-10 six times faster than tanh"
    table = claims_table(load_paper(), read_sources(runs))
    assert cells(table, claim, "measured")[0].value == 9 / 2
    assert cells(table, claim, "verdict") == ["same direction"]

    another = made.by(cifar, "figure1-relu", "seed=1")  # a right network, but not the one that the curves are of
    made.write_results(runs[0] / "results.csv", another)
    assert cells(claims_table(load_paper(), read_sources(runs)), claim, "measured") == [None]
    made.write_results(runs[0] / "results.csv", relu)
    assert cells(claims_table(load_paper(), read_sources(runs)), claim, "measured")[0].value == 9 / 2
    (runs[0] / "model.safetensors").write_text("others than those that the run ended with")
    assert cells(claims_table(load_paper(), read_sources(runs)), claim, "measured") == [None]
    (runs[0] / "model.safetensors").unlink()

    for run, line in zip(runs, (relu, tanh), strict=True):
        made.write_results(run / "results.csv", line | dict(identity=""))
    assert cells(claims_table(load_paper(), read_sources(runs)), claim, "measured") == [None]


def test_on_other_data_a_claim_has_a_table_of_its_own(tmp_path, made):
    jpeg = made.DIGITS | dict(dataset="cifar", images=10_000, identity="CIFAR-10 as JPEG test, 10,000 images, complete")
    relu, tanh = jpeg | dict(recipe="figure1-relu"), jpeg | dict(recipe="figure1-tanh", onnx_sha256="b")
    foreign = tanh | dict(dataset="x", onnx_sha256="c", identity="")
    lines = [("relu", relu, [60, 80]), ("tanh", tanh, [60] * 9 + [80]), ("foreign", foreign, [80])]
    results = read_sources([made.write_run(tmp_path / name, line, curve=curve(top1)) for name, line, top1 in lines])
    (line,) = elsewhere_table(load_paper(), results).rows
    assert line[3].value == 5 and line[4] == "CIFAR-10 as JPEG, runs tanh and relu"
    assert cells(claims_table(load_paper(), results), line[0], "measured") == [None]


def test_what_a_study_found_stands_apart_from_the_papers_setting(tmp_path, made):
    plan = load_study("claims")
    comparison = next(each for each in plan.compare if each.claim == "lrn")
    found = [Found(comparison, [20.0], [21.0], -1.2, -2.0, -0.4, verdict="reproduced")]
    results = read(tmp_path, made, made.DIGITS)
    table = claims_table(load_paper(), results, [(plan, found)])
    assert cells(table, "Local response normalisation", "measured") == [None, None]
    told = "−1.20 [−2.00, −0.40], reproduced (claims)"
    assert cells(table, "Local response normalisation", "study") == [told, None]  # of top-1, and nothing of top-5
    assert any("Imagenette" in note and "width_mult" in note for note in table.notes)
    assert "study" not in [column.key for column in claims_table(load_paper(), results).columns]


def test_the_test_servers_score_needs_its_source(tmp_path, made):
    seven = made.by(made.VAL2012, "table2-seven-cnns") | made.errors(36.7, 15.4)
    scored = seven | dict(top5_test_err=15.3, top5_test_source="image-net.org, 2026-11-01")
    path = tmp_path / "results.csv"
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(scored))
        writer.writeheader()
        writer.writerows([scored, scored | dict(onnx_sha256="b", top5_test_source="")])
    results = read_sources([path])
    assert any("top5_test_source" in problem for problem in results.problems)
    table = table2(load_paper(), results.results)
    assert [figure.value for figure in cells(table, "7 CNNs*", "top5_test_measured")] == [15.3]
    assert "image-net.org" in cells(table, "7 CNNs*", "measured_on")[0]
    unscored = table2(load_paper(), read(tmp_path / "b", made, seven).results)
    assert cells(unscored, "7 CNNs*", "top5_test_measured") == [None]
    (line,) = [row for row in claims_table(load_paper(), results).rows if row[0].startswith("Validation and test")]
    assert line[5].value == 0.1 and line[6] == "reproduced"


@pytest.mark.parametrize(
    "devices, measured", [(("cuda:0", "cuda:1"), 1.0), (("cuda:0", "cuda:0"), None), (("cpu", "cpu"), None)]
)
def test_time_compares_two_devices_with_one(tmp_path, made, devices, measured):
    two = made.write_run(tmp_path / "two", made.TEST2010, curve=curve([1, 2]))
    one = made.write_run(
        tmp_path / "one", made.by(made.TEST2010, "claim-one-gpu") | dict(onnx_sha256="b"), curve=curve([1, 2])
    )
    for run, names in ((two, devices), (one, devices[:1])):
        (run / "devices.json").write_text(json.dumps([dict(column=n, device=name) for n, name in enumerate(names)]))
        (run / "environment.json").write_text('{"device": "one kind"}')
    claim = "Two columns take slightly less time than the one-GPU net"
    (cell,) = cells(claims_table(load_paper(), read_sources([two, one])), claim, "measured")
    assert (cell.value if cell else None) == measured

    replicas = [dict(column=0, device=name) for name in devices]  # the whole network on each device
    (two / "devices.json").write_text(json.dumps(replicas))
    assert cells(claims_table(load_paper(), read_sources([two, one])), claim, "measured") == [None]


def test_overfitting_is_that_of_the_trained_network(tmp_path, made):
    """Not of the curve, whose training error has dropout and distorted images in it."""
    pair = [made.VAL2012, made.by(made.VAL2012, "claim-no-crops") | dict(onnx_sha256="b")]
    runs = []
    for line, training in zip(pair, (40, 5), strict=True):
        rows = [row | dict(train_top1=50, eval_top1=55) for row in curve([1, 2])]
        line |= dict(views=1, top1=55.0, top1_err=45.0)
        runs.append(made.write_run(tmp_path / line["recipe"], line, curve=rows))
        (runs[-1] / "train.csv").write_text(f"views,top1_err\n1,{training}\n")
    (line,) = [row for row in claims_table(load_paper(), read_sources(runs)).rows if "Without crops" in row[0]]
    assert line[5].value == (45 - 40) - (45 - 5) and line[6] == "same direction"


def test_without_any_run_every_row_says_what_would_measure_it():
    from alexnet_zoo.report.measured import Results

    paper, nothing = load_paper(), Results([], [], [])
    for line in claims_table(paper, nothing).rows:
        assert line[5] is None and line[-1].startswith("alexzoo ")
    for line in table2(paper, []).rows:
        assert line[-1].startswith("alexzoo reproduce ") or line[0] == "SIFT + FVs"
