import json
import math
import os
import signal
import threading

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from alexnet_zoo.data.loader import Prefetch
from alexnet_zoo.errors import UserError
from alexnet_zoo.train.checkpoint import list_checkpoints
from alexnet_zoo.train.columns import Layout
from alexnet_zoo.train.loop import Interrupted, Training, train


def weights_of(run):
    return load_file(run / "model.safetensors")


def test_learns_and_records(tmp_path, digits, small_recipe):
    train(small_recipe("epochs=8", "model_args.init_std=he", "lr=0.004"), digits, tmp_path, Layout())
    rows = (tmp_path / "summary.csv").read_text().splitlines()
    assert rows[0].startswith("epoch,train_loss,eval_loss,eval_top1,eval_top5,lr")
    first, last = (dict(zip(rows[0].split(","), map(float, row.split(",")))) for row in (rows[1], rows[-1]))
    assert last["epoch"] == 8 and last["eval_loss"] < first["eval_loss"] and last["eval_top1"] > 50
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps[:10] == list(range(1, 11)) and steps[-1] == 170
    assert len(list_checkpoints(tmp_path / "checkpoints")) == 2


def test_interrupted_and_resumed_ends_with_the_same_weights(tmp_path, digits, small_recipe):
    recipe = small_recipe("epochs=2")
    train(recipe, digits, tmp_path / "whole", Layout())
    parts, stops = tmp_path / "parts", 0
    for _ in range(9):
        timer = threading.Timer(0.9, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        try:
            train(recipe, digits, parts, Layout(), resume=True)
            break
        except Interrupted as stopped:
            assert stopped.exit_code == 130
            stops += 1
        finally:
            timer.cancel()
            timer.join()
    assert stops >= 1
    whole, resumed = weights_of(tmp_path / "whole"), weights_of(parts)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)

    def recorded(run):
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        return [(line["step"], line["loss"]) for line in lines]

    assert recorded(parts) == recorded(tmp_path / "whole")


def test_a_loss_that_is_not_finite_stops_at_its_step_and_keeps_the_checkpoint(tmp_path, digits, small_recipe):
    train(small_recipe(), digits, tmp_path, Layout())
    before = list_checkpoints(tmp_path / "checkpoints")
    with pytest.raises(UserError, match=r"the loss is (nan|inf) at step \d+") as caught:
        train(small_recipe("epochs=3", "lr=1e9"), digits, tmp_path, Layout(), resume=True)
    assert "lower the rate" in str(caught.value)
    assert list_checkpoints(tmp_path / "checkpoints") == before


def test_batches_of_any_layout_are_parts_of_one_plan(digits, small_recipe, tmp_path):
    recipe = small_recipe("batch_size=12")
    whole = list(Training(recipe, digits, tmp_path, Layout()).plan_epoch())
    assert len(whole) == len(digits.split("train")) // 12
    order = np.concatenate([indices for indices, _ in whole])
    assert len(set(order.tolist())) == len(order)
    parts = []
    for replica in range(3):
        training = Training(recipe, digits, tmp_path, Layout())
        training.layout = Layout(replicas=3, replica=replica)
        parts.append(list(training.plan_epoch()))
    for (indices, crops), *shares in zip(whole, *parts):
        assert sorted(indices) == sorted(np.concatenate([share[0] for share in shares]))
        assert sorted(crops.tops.tolist()) == sorted(sum((share[1].tops.tolist() for share in shares), []))


def test_an_error_in_the_background_reaches_the_consumer(digits, small_recipe, tmp_path):
    training = Training(small_recipe(), digits, tmp_path, Layout())
    (indices, crops), *_ = training.plan_epoch()
    with pytest.raises(IndexError):
        list(Prefetch(training.train_split, 64, iter([(indices + 10**6, crops)])))


def test_what_the_data_does_not_fit(digits, small_recipe, tmp_path):
    for override, says in (
        ("image_size=128", "images of 72 pixels"),
        ("batch_size=5000", "do not fill a batch"),
        ("eval_split=dev", "no split 'dev'"),
        ("model=alexnet_krizhevski", "alexnet_krizhevski"),
        ("model_args.columns=3.5", "model alexnet_krizhevsky with"),
    ):
        with pytest.raises(UserError, match=says):
            train(small_recipe(override), digits, tmp_path, Layout())


def test_initial_loss_is_that_of_guessing(tmp_path, digits, small_recipe):
    train(small_recipe("lr=1e-9", "model_args.init_std=0.001"), digits, tmp_path, Layout())
    first = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    assert first["loss"] == pytest.approx(math.log(10), rel=0.05)
