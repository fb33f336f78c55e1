import json

import numpy as np
import pytest
import timm
import torch
from torch import nn

from alexnet_zoo.benchmark.inference import evaluation, inference, multiply_adds, torch_steps, without_tf32
from alexnet_zoo.benchmark.measure import Options, Watch, rows_of, table, timings, write
from alexnet_zoo.benchmark.training import TorchLocalResponseNorm, training
from alexnet_zoo.errors import UserError
from alexnet_zoo.models.lrn import LocalResponseNorm
from alexnet_zoo.onnx.lrn_forms import with_lrn


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


def test_ratios_are_taken_turn_by_turn():
    seconds = {"ours": [1.0, 2.0, 4.0], "torch LRN": [2.0, 4.0, 12.0]}  # the machine slows down, the ratio does not
    watch = Watch()
    watch.load = 3.0
    rows = rows_of({"model": "net", "batch_size": 8}, seconds, 8, "cpu", watch)
    assert [row["samples_per_sec"] for row in rows] == [4.0, 2.0]
    assert (rows[1]["ratio"], rows[1]["ratio_min"], rows[1]["ratio_max"]) == (2.0, 2.0, 3.0)
    assert not rows[0]["idle"] and "not idle (load average 3.0" in table(rows)


def test_steps_take_turns_and_the_first_is_warm_up():
    order = []
    seconds = timings({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2, "cpu")
    assert order == ["a", "b"] * 3
    assert [len(own) for own in seconds.values()] == [2, 2]


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
    csv_file, json_file = write(rows, tmp_path, "inference")
    assert len(csv_file.read_text().splitlines()) == len(rows) + 1
    assert json.loads(json_file.read_text()) == rows
    assert "Matrix peak measured here" in table(rows)


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
    "wrong", [dict(batch_size=0), dict(threads=0), dict(repetitions=-1), dict(model="alexnot"), dict(cpu_time=True)]
)
def test_wrong_options(wrong):
    with pytest.raises(UserError) as error:
        Options(**wrong)
    assert error.value.exit_code == 2
