"""`benchmark all`: every part is written, a part that fails does not stop the rest; on a card, in ten minutes."""

import json
import time
from itertools import chain

import pytest

from alexnet_zoo.benchmark.everything import BATCHES, measure_all, noise
from alexnet_zoo.benchmark.feeding import STEPS, feeding
from alexnet_zoo.benchmark.measure import Options
from alexnet_zoo.errors import UserError


@pytest.mark.slow
def test_a_part_that_fails_does_not_stop_the_rest(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")  # compiling takes longer than all the rest
    empty = tmp_path / "empty"
    empty.mkdir()
    out, options = tmp_path / "out", Options(photographs=empty, repetitions=1)
    with pytest.raises(UserError, match="1 parts failed; gather-4: .*empty: holds no photographs"):
        measure_all(options, out, {"gather": [4], "lrn": [1], "peaks": [1]})
    rows = json.loads((out / "all.json").read_text())
    parts = [json.loads((out / f"{name}-1" / f"{name}.json").read_text()) for name in ("lrn", "peaks")]
    judged = ("load", "idle")  # of the whole: before a part, the machine was busy with the one before it
    for row, own in zip(rows, sum(parts, []), strict=True):
        assert row == own | {key: row[key] for key in judged}
    assert len({row["load"] for row in rows}) == 1
    assert all(row["tflops"] > 0 for row in rows if row["peer"].startswith("product"))
    printed = capsys.readouterr().out
    assert "product, bfloat16" in printed and "GB/s" in printed


@pytest.mark.slow
def test_the_loader_with_the_step_and_without(tmp_path):
    small = dict(model_args=dict(width_mult=0.125, img_size=64), crop_size=64)
    rows = feeding(Options(photographs=noise(tmp_path, 8), batch_size=32, repetitions=1), **small)
    assert [row["peer"] for row in rows] == ["loader and step", "step alone", "loader alone"]
    assert all(row["samples_per_sec"] > 0 for row in rows)


def test_all_needs_a_folder():
    with pytest.raises(UserError, match="--out"):
        measure_all(Options(), None)


@pytest.mark.cuda
def test_everything_is_measured_on_a_card_in_ten_minutes(tmp_path):
    began = time.monotonic()
    measure_all(Options(device="cuda", seconds=1), tmp_path)
    assert time.monotonic() - began < 600
    rows = json.loads((tmp_path / "all.json").read_text())
    assert {row["benchmark"] for row in rows} == set(BATCHES["cuda"])
    fed = [row["peer"] for row in rows if row["benchmark"] == "feeding"]
    assert fed == [*chain(*((f"loader and {name}", f"{name} alone") for name in STEPS["cuda"])), "loader alone"]
