import json
from dataclasses import replace

import pytest

from alexnet_zoo.intervals import wilson
from alexnet_zoo.report.measured import read_sources
from alexnet_zoo.report.tradeoff import errors_of, latencies_of, said_of, tradeoff


def row(peer: str, speed: float) -> dict:
    speeds = dict(samples_per_sec=speed, samples_per_sec_min=speed / 2, samples_per_sec_max=2 * speed)
    return dict(peer=peer, gmacs=0.25, **speeds)


ROWS = [row("plain", 100), row("native LRN", 50), row("default export", 60), row("torchvision alexnet", 125)]


def test_time_and_error_of_each_target_that_has_both(tmp_path, made):
    lines = [made.DIGITS | made.errors(error, 1.0) | dict(views=1, target=target, onnx_sha256=target)
             for target, error in (("plain", 20.0), ("lrn", 20.5), ("int8", 21.0))]  # fmt: skip
    folder = made.write_run(tmp_path / "run", *lines, made.DIGITS)
    (folder / "inference.json").write_text(json.dumps(ROWS))
    (run,) = read_sources([folder]).runs
    figure = tradeoff(latencies_of(run), errors_of(run))
    axes = figure.axes[0]
    points = [container.lines[0] for container in axes.containers]
    assert [(*line.get_xdata(), *line.get_ydata()) for line in points] == [(10, 20.0), (20, 20.5)]
    (times, errors) = (bars.get_segments()[0] for bars in axes.containers[0].lines[2])
    assert times[:, 0] == pytest.approx([5, 20]) and errors[:, 1] == pytest.approx(wilson(20.0, 360))
    assert axes.lines[-1].get_xdata()[0] == 8  # torchvision's: no error is known
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert sorted(names)[:2] == ["lrn", "plain"]
    assert sorted(names)[2] == "torchvision's, latency alone"
    assert tradeoff(latencies_of(run), {}) is None and latencies_of(replace(run, folder=tmp_path)) == []
    facts = dict(batch_size=1, device="a CPU", threads=1, idle=False, cpu_time=True)
    said = said_of([row | facts for row in ROWS])
    assert "CPU time, batches of 1" in said and "the machine was busy" in said
    assert "torchvision's does 0.25 billion multiply-adds an image" in said
