"""Cards, claims that were tried, and the plot of all runs."""

import csv
import json

import numpy as np
import pytest

from alexnet_zoo.report import write_report
from alexnet_zoo.report.curves import HEIGHT, WIDTH, error_plot
from alexnet_zoo.report.measured import read_sources
from alexnet_zoo.report.opening import cards, claims_tried
from alexnet_zoo.report.paper import load_paper
from alexnet_zoo.report.report import make_tables
from alexnet_zoo.study.runner import Jobs
from alexnet_zoo.study.study import load_study
from alexnet_zoo.train.recipe import save_recipe


def test_a_card_is_the_lowest_error_on_a_data_set(tmp_path, made):
    lines = {
        "worse": [made.VAL2012 | made.errors(42.0, 19.0)],
        "best": [made.VAL2012 | made.errors(41.0, 18.0) | dict(views=n, onnx_sha256="bb") for n in (1, 10)],
        "int8": [made.VAL2012 | made.errors(39.0, 18.0) | dict(precision="int8", onnx_sha256="cc")],
        "digits": [made.DIGITS | made.errors(5.0, 1.0)],
        "guesses": [made.DIGITS | made.errors(89.0, 50.0) | dict(dataset="letters", onnx_sha256="dd")],
    }
    curve = [dict(epoch=1, images_per_s=64.0), dict(epoch=2, images_per_s=128.0)]
    for name, own in lines.items():
        run = made.write_run(tmp_path / name, *own, curve=curve)
        (run / "metrics.jsonl").write_text('{"step": 3000}\n')
        (run / "environment.json").write_text('{"device": "AMD EPYC", "cores": 2}')
        (run / "data.json").write_text(json.dumps({"classes": list("0123456789")}))
    first, second = cards(read_sources([tmp_path]))
    assert (first.data, first.run.name, first.networks) == ("ILSVRC-2012 val", "best", 2)
    assert str(first.error) == "41.00 [40.57, 41.43]"  # by hand: 41 +- 1.96 * sqrt(.41 * .59 / 50000)
    assert (first.result.views, [other.views for other in first.others]) == (10, [1])
    assert (second.data, second.time, second.hardware) == ("digits test", "75 minutes", "AMD EPYC, 2 cores")


def test_claims_tried_on_the_papers_data_on_other_data_and_in_studies(tmp_path, made):
    results = read_sources([made.write_run(tmp_path / "one", made.DIGITS)])
    tables = make_tables(results)
    assert claims_tried(load_paper(), tables, []) == "0 of 21 claims tried"
    assert claims_tried(load_paper(), tables, ["lrn", "", "lrn"]) == "1 of 21 claims tried"


def test_the_plot_places_every_run(tmp_path, made):
    curve = [dict(epoch=n, train_top1=100 - 40 * n, eval_top1="" if n == 1 else 30) for n in (1, 2)]
    for name in ("a", "b"):
        made.write_run(tmp_path / name, made.DIGITS | dict(onnx_sha256=name), curve=curve)
    plot = error_plot(read_sources([tmp_path]).runs, {"b"})
    assert [(run.run, run.shown) for run in plot.runs] == [("b", True), ("a", False)]
    training, held_out = plot.runs[0].lines
    assert training.points == [(1, 40), (2, 80)] and held_out.points == [(2, 70)]
    assert training.places[1] == pytest.approx((2 / plot.per_epoch, HEIGHT - 80 / plot.per_error), abs=0.1)
    assert plot.across[-1][1] == WIDTH and plot.up[-1] == ("80", 0) and "b,validation,2.0,70" in plot.data
    assert error_plot([], set()) is None


def test_a_study_opens_the_report(tmp_path, made):
    """With one run of each arm only the images' part of the interval is known; that is drawn."""
    made.write_run(tmp_path / "all" / "digits", made.DIGITS)
    jobs = Jobs(load_study("cifar-lrn"), tmp_path / "all" / "studies" / "cifar-lrn")
    for (arm, seed), job in jobs.runs.items():
        if seed == 0:
            job.folder.mkdir(parents=True)
            save_recipe(job.recipe, job.folder / "recipe.toml")
            with (job.folder / "results.csv").open("w", newline="") as file:
                csv.writer(file).writerows([["top1_err", "views", "data_sha256"], [10, 1, "abc"]])
            wrong = np.arange(100) < (10 if arm == "lrn" else 13)
            kept = dict(labels=np.zeros(100, np.uint8), first=wrong.astype(np.uint8))
            kept |= dict(confidence=np.full(100, 5000, np.uint16), parts=np.zeros((100, 0), np.uint16))
            np.savez(job.folder / "predictions-1.npz", **kept)
    written = {str(path.relative_to(tmp_path / "out")) for path in write_report([tmp_path / "all"], tmp_path / "out")}
    assert {"study-cifar-lrn.csv", "study-cifar-lrn.tex", "figures/forest-cifar-lrn.svg"} <= written
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.index("What the study cifar-lrn found") < page.index("1 of 21 claims tried") < page.index("−3.00 <span")
