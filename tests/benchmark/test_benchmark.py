import json
import time

import numpy as np
import pytest
import timm
import torch
from torch import nn

from alexnet_zoo.benchmark.first_run import first_runs
from alexnet_zoo.benchmark.inference import (
    SAME,
    evaluation,
    inference,
    multiply_adds,
    open_peers,
    subject_of,
    torch_steps,
    without_tf32,
)
from alexnet_zoo.benchmark.measure import TURN, Options, Watch, rows_of, those_that_run, timings
from alexnet_zoo.benchmark.show import table, write
from alexnet_zoo.benchmark.training import (
    LRN_PASSES,
    MODES,
    TorchLocalResponseNorm,
    calls_of,
    lrn,
    modes,
    training,
)
from alexnet_zoo.errors import UserError
from alexnet_zoo.models.lrn import LocalResponseNorm
from alexnet_zoo.onnx.lrn_forms import with_lrn
from alexnet_zoo.onnx.preprocessing import crops_of
from alexnet_zoo.train.loop import train
from alexnet_zoo.train.recipe import load_recipe
from alexnet_zoo.train.run import Run, start_run


def test_the_peer_computes_the_same():
    ours = LocalResponseNorm(columns=2)
    x = 60 * torch.randn(2, 16, 5, 5)
    np.testing.assert_allclose(TorchLocalResponseNorm(ours)(x), ours(x), atol=1e-4)


def test_with_lrn_replaces_all_of_a_copy():
    model = timm.create_model("alexnet_krizhevsky", width_mult=0.125, img_size=64, num_classes=10)
    without = with_lrn(model, lambda lrn: nn.Identity())
    assert sum(isinstance(module, LocalResponseNorm) for module in model.modules()) == 2
    assert not any(isinstance(module, LocalResponseNorm) for module in without.modules())


def test_training_compares_three_networks():
    rows = training(Options(batch_size=2, repetitions=2), width_mult=0.125, img_size=64, num_classes=10)
    assert [row["peer"] for row in rows] == ["ours", "torch LRN", "no LRN"]
    for row in rows:
        assert 0 < row["samples_per_sec_min"] <= row["samples_per_sec"] <= row["samples_per_sec_max"]
        assert row["threads"] == torch.get_num_threads() and row["device"]
    assert rows[0]["ratio"] == 1.0
    assert "torch LRN" in table(rows)


@torch._dynamo.config.patch(disable=True)
def test_modes_of_a_step():
    rows = modes(Options(batch_size=2, repetitions=1), width_mult=0.125, img_size=64, num_classes=10)
    assert [row["peer"] for row in rows] == list(MODES)[:3]  # CUDA graphs are the card's
    assert "launches" not in rows[0]  # a CPU has none


@torch._dynamo.config.patch(disable=True)
@pytest.mark.slow
def test_forms_of_lrn_in_bytes_a_second():
    rows = lrn(Options(batch_size=1, repetitions=1))
    assert [row["peer"] for row in rows] == ["ours", "torch LRN", "slices, compiled", "banded"] * 2
    moved = LRN_PASSES * 4 * 96 * 55 * 55
    assert rows[0]["gb_per_s"] == pytest.approx(moved / 1e6 / rows[0]["step_time"], rel=0.01)


def test_a_candidate_that_fails_is_left_out(capsys):
    steps = {"works": lambda: 1, "fails": lambda: 1 / 0}
    assert list(those_that_run(steps)) == ["works"]
    assert "fails: left out: ZeroDivisionError: division by zero" in capsys.readouterr().err


@pytest.mark.slow
def test_a_session_that_is_refused_does_not_end_the_others(exported, tmp_path, capfd):
    refused = tmp_path / "refused.onnx"
    refused.write_text("no network")
    files = {"refused": refused, "ours": exported.path}
    assert list(first_runs(files, np.zeros((1, 3, 8, 8), np.float32), "cpu", 1)) == ["ours"]
    assert list(open_peers(files, Options())) == ["ours"]
    assert capfd.readouterr().err.count(f"refused: left out: {refused}: not an ONNX file") == 2


@pytest.mark.cuda
def test_calls_of_a_step_are_counted():
    x = torch.ones(1000, device="cuda")
    calls = calls_of(lambda: (x + 1).sum())
    assert calls == {"launches": calls["launches"], "waits": 0} and calls["launches"] >= 2
    assert calls_of(lambda: (x + 1).sum().item())["waits"] >= 1


def test_ratios_are_taken_turn_by_turn():
    """The machine slows down, the ratio does not."""
    ours, torchs = [[1.0], [2.0], [4.0]], [[2.0], [4.0], [12.0, 11.0, 30.0]]
    watch = Watch()
    watch.load = 3.0
    facts = {"benchmark": "lrn", "model": "net", "batch_size": 8}
    rows = rows_of(facts, {"ours": ours, "torch LRN": torchs}, 8, Options(), watch)
    assert [row["samples_per_sec"] for row in rows] == [4.0, 2.0]
    assert (rows[1]["ratio"], rows[1]["ratio_min"], rows[1]["ratio_max"]) == (2.0, 2.0, 3.0)
    assert not rows[0]["idle"] and "not idle (load average 3.0" in table(rows)


def test_single_runs_are_kept_and_counted_in_percentiles():
    turns = [[n / 1000 for n in range(1, 51)], [n / 1000 for n in range(51, 102)]]
    (row,) = rows_of({}, {"ours": turns}, 1, Options(), Watch())
    assert (row["p50"], row["p90"], row["p99"]) == (51, 91, 100) and row["step_times"] == list(range(1, 102))
    assert (row["repetitions"], row["runs"]) == (2, 101)


def test_steps_take_turns_after_warming_up():
    order = []

    def step(name: str, seconds: float):
        return lambda: (order.append(name), time.sleep(seconds))

    slow, quick = 1.5 * TURN, 0.3 * TURN
    seconds = timings({"slow": step("slow", slow), "quick": step("quick", quick)}, Options(repetitions=2), warm_ups=2)
    assert order[:5] == ["slow"] * 2 + ["quick"] * 2 + ["slow"]
    assert [len(turn) for turn in seconds["slow"]] == [1, 1]
    assert len(seconds["quick"]) == 2 and all(len(turn) > 1 for turn in seconds["quick"])


def test_measuring_lasts_as_long_as_it_is_asked_to():
    seconds = timings({"a": lambda: time.sleep(TURN), "b": lambda: time.sleep(TURN)}, Options(seconds=0.8))
    assert 0.6 <= sum(map(sum, seconds["a"])) <= 1.0 and len(seconds["a"]) == len(seconds["b"]) > 5


@torch._dynamo.config.patch(disable=True)  # compiling takes longer than all the rest
@pytest.mark.slow
def test_inference_compares_the_peers_and_writes_the_figures(tmp_path, exported):
    options = Options(batch_size=2, repetitions=1, threads=1, against=(exported.path,))
    small = dict(width_mult=0.125, img_size=64, num_classes=10)
    rows = inference(options, **small)
    peers = [row["peer"] for row in rows]
    assert peers[:6] == ["plain", "default export", "native LRN", "no LRN", "torchvision alexnet", "int8"]
    assert str(exported.path) in peers and "torch eager" in peers
    assert all(row["peak_gflops"] > 0 and row["gmacs"] > 0 and row["threads"] == 1 for row in rows)
    assert all(row["scenario"] == "offline" and row["p50"] <= row["p90"] <= row["p99"] for row in rows)
    opened = [row for row in rows if not row["peer"].startswith("torch ")]
    assert all(row["load_s"] > 0 and row["first_ms"] > 0 and row["memory_mb"] > 1 for row in opened)
    others = {row["peer"]: row["disagreement"] for row in rows if "disagreement" in row}
    assert others["plain"] == 0 and others["native LRN"] < 5 and set(others) == set(SAME)
    csv_file, json_file = write(rows, tmp_path, "inference")
    head, *lines = csv_file.read_text().splitlines()
    assert len(lines) == len(rows) and "step_times" not in head
    timms = "infer_samples_per_sec infer_step_time infer_batch_size infer_img_size infer_gmacs param_count"  # his names
    assert set(timms.split()) <= set(head.split(","))
    assert json.loads(json_file.read_text()) == rows and all(len(row["step_times"]) == row["runs"] for row in rows)
    assert "Matrix peak measured here" in table(rows)


def test_a_run_is_measured_on_its_own_images_and_calibrated_on_those_it_learned_from(tmp_path, digits):
    recipe = load_recipe("digits", ["epochs=0.1", "model_args.width_mult=0.125"])
    run = Run(tmp_path / "run", recipe, digits)
    start_run(run, recipe, None)
    train(run)
    subject = subject_of(Options(run=run.folder), {})
    assert "weights of" in subject.what and subject.model.num_classes == 10
    for given, split in ((subject.images, "test"), (subject.calibration, "train")):
        images = crops_of(digits.split(split), slice(0, 1), 1, recipe.crop_size, torch.from_numpy(digits.mean))
        np.testing.assert_allclose(given(3)[:1], images, atol=1e-4)


@torch._dynamo.config.patch(disable=True)
def test_every_peer_takes_images_from_the_host_and_gives_logits_back_there_in_float32():
    model = timm.create_model("alexnet_krizhevsky", width_mult=0.125, img_size=64, num_classes=10).eval()
    images = 60 * np.random.default_rng(0).normal(size=(2, 3, 64, 64)).astype(np.float32)
    with without_tf32(), torch.no_grad():
        assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
        for step in torch_steps(model, images, "cpu").values():
            np.testing.assert_array_equal(step(), model(torch.from_numpy(images)))
    assert torch.backends.cudnn.allow_tf32


def test_evaluation_against_its_session_alone():
    options = Options(batch_size=20, repetitions=1, threads=1)
    rows = evaluation(options, width_mult=0.125, img_size=64, num_classes=10)
    assert [row["peer"] for row in rows] == ["evaluation", "its session alone"]


def test_multiply_adds_of_the_published_network():
    # conv1 55^2 * 96 * 363, conv2 27^2 * 256 * 1200, conv3 13^2 * 384 * 2304, conv4, conv5 13^2 * (384 + 256) * 1728
    convs = 105_415_200 + 223_948_800 + 149_520_384 + 186_900_480
    model = timm.create_model("alexnet_krizhevsky")
    assert multiply_adds(model, 224) == convs + 9216 * 4096 + 4096 * 4096 + 4096 * 1000


@pytest.mark.parametrize(
    "wrong",
    [
        dict(batch_size=0),
        dict(threads=0),
        dict(repetitions=-1),
        dict(model="alexnot"),
        dict(cpu_time=True),
        dict(device="auto"),
    ],
)
def test_wrong_options(wrong):
    with pytest.raises(UserError) as error:
        Options(**wrong)
    assert error.value.exit_code == 2
