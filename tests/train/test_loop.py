import csv
import json
import math
import os
import signal
import threading
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from alexnet_zoo.benchmark.training import calls_of
from alexnet_zoo.data.batches.loader import Prefetch
from alexnet_zoo.errors import UserError
from alexnet_zoo.models.timm_model import EXPECTS
from alexnet_zoo.train.checkpoint import list_checkpoints, load_checkpoint, sealed
from alexnet_zoo.train.columns import Layout
from alexnet_zoo.train.inputs import Inputs
from alexnet_zoo.train.loop import Interrupted, Training, stopped_by_signals, train
from alexnet_zoo.train.run import Run


def weights_of(run):
    tensors = load_file(run / "model.safetensors")
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(EXPECTS)}


def test_learns_and_records(tmp_path, digits, small_recipe):
    train(Run(tmp_path, small_recipe("epochs=8", "model_args.init_std=he", "lr=0.004"), digits))
    rows = (tmp_path / "summary.csv").read_text().splitlines()
    assert rows[0].startswith("epoch,train_loss,eval_loss,eval_top1,eval_top5,lr")
    first, last = (dict(zip(rows[0].split(","), map(float, row.split(",")))) for row in (rows[1], rows[-1]))
    assert last["epoch"] == 8 and last["eval_loss"] < first["eval_loss"] and last["eval_top1"] > 50
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps[:10] == list(range(1, 11)) and steps[-1] == 170
    assert len(list_checkpoints(tmp_path / "checkpoints")) == 2


def recorded(run) -> list[tuple[int, float]]:
    """(step, loss) of each line of metrics.jsonl."""
    path = run / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [(line["step"], line["loss"]) for line in lines]


def interrupt_at(step: int, run) -> threading.Thread:
    """Sends SIGINT to this process once `run` has recorded a step."""

    def watch():
        while not any(done >= step for done, _ in recorded(run)):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def test_interrupted_and_resumed_ends_with_the_same_weights(tmp_path, digits, small_recipe):
    recipe = small_recipe("epochs=2")
    train(Run(tmp_path / "whole", recipe, digits))
    parts = tmp_path / "parts"
    for step in (3, 20, 30):
        thread = interrupt_at(step, parts)
        with pytest.raises(Interrupted) as stopped:
            train(Run(parts, recipe, digits), resume=True)
        thread.join()
        assert stopped.value.exit_code == 130
    train(Run(parts, recipe, digits), resume=True)
    whole, resumed = weights_of(tmp_path / "whole"), weights_of(parts)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert recorded(parts) == recorded(tmp_path / "whole")


def test_numbers_that_are_read_a_step_later_are_the_same(tmp_path, digits, small_recipe):
    """As on CUDA, where a step is under way while the next one begins: records, and where Ctrl-C stops."""
    recipe = small_recipe("epochs=2", "checkpoint_minutes=0.001")
    train(Run(tmp_path / "whole", recipe, digits))
    (tmp_path / "late").mkdir()
    late = Training(Run(tmp_path / "late", recipe, digits))
    late.behind = 1
    interrupt_at(12, tmp_path / "late")
    with pytest.raises(Interrupted), stopped_by_signals(late):
        late.fit()
    _, _, state = load_checkpoint(list_checkpoints(tmp_path / "late" / "checkpoints")[-1])
    done = state["done"]
    assert done["step"] * recipe.batch_size == done["images"] and not late.under_way
    late = Training(Run(tmp_path / "late", recipe, digits))
    late.behind = 1
    late.resume()
    late.fit()
    whole, parts = weights_of(tmp_path / "whole"), weights_of(tmp_path / "late")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert recorded(tmp_path / "late") == recorded(tmp_path / "whole")


def test_stops_once_the_training_error_is_low_enough_and_does_not_go_on(tmp_path, digits, small_recipe):
    recipe = small_recipe("epochs=30", "model_args.init_std=he", "lr=0.004", "stop_at_train_err=60", "eval_every=100")
    train(Run(tmp_path, recipe, digits))
    rows = list(csv.DictReader((tmp_path / "summary.csv").open()))
    errors = [100 - float(row["train_top1"]) for row in rows]
    assert errors[-1] <= 60 < min(errors[:-1]) and len(rows) < 30
    assert [bool(row["eval_top1"]) for row in rows] == [False] * (len(rows) - 1) + [True]
    before = weights_of(tmp_path)
    train(Run(tmp_path, recipe, digits), resume=True)
    assert all(torch.equal(before[name], w) for name, w in weights_of(tmp_path).items())


def test_channels_last_is_the_same_computation(tmp_path, digits, small_recipe):
    for layout in ("true", "false"):
        recipe = small_recipe("precision=float64", "epochs=0.2", f"channels_last={layout}")
        train(Run(tmp_path / layout, recipe, digits))
    first, second = weights_of(tmp_path / "true"), weights_of(tmp_path / "false")
    assert all(torch.allclose(first[name], second[name], rtol=1e-6) for name in first)


def test_watch_finds_gradients_and_silent_units(tmp_path, digits, small_recipe):
    """A layer whose biases hold it below zero is silent, and nothing before it has a gradient."""
    recipe = small_recipe("watch_every=2", "epochs=0.3", "decay_biases=false")
    training = Training(Run(tmp_path, recipe, digits))
    with torch.no_grad():
        training.train_step.model.fc6.bias.fill_(-1e6)
        training.train_step.model.fc7.bias[:100].fill_(-1e6)
    training.fit()
    rows = [json.loads(line) for line in (tmp_path / "layers.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 3, 5, 7]
    for row in rows:
        assert row["silent"]["relu6"] == 1 and row["silent"]["relu7"] >= 100 / 512
        assert row["gradient_norm"]["conv1"] == row["gradient_norm"]["fc6"] == 0 < row["gradient_norm"]["fc8"]
    weights = weights_of(tmp_path)
    assert rows[0]["weight_norm"]["conv1"] == pytest.approx(float(weights["conv1.weight"].norm()), rel=1e-3)


def test_a_loss_that_is_not_finite_stops_at_its_step_and_keeps_the_checkpoint(tmp_path, digits, small_recipe):
    train(Run(tmp_path, small_recipe(), digits))
    before = list_checkpoints(tmp_path / "checkpoints")
    with pytest.raises(UserError, match=r"the loss is (nan|inf) at step \d+") as caught:
        train(Run(tmp_path, small_recipe("epochs=3", "lr=1e9"), digits), resume=True)
    assert "lower the rate" in str(caught.value)
    assert list_checkpoints(tmp_path / "checkpoints") == before
    assert f"step {json.loads((tmp_path / 'diverged.json').read_text())['step']};" in str(caught.value)
    train(Run(tmp_path, small_recipe("epochs=3"), digits), resume=True)
    assert not (tmp_path / "diverged.json").exists()


def planned(recipe, digits, layout=None, steps: int = 22) -> list:
    """What a replica reads in the first epoch: (indices, crops) of each step."""
    return list(Inputs(recipe, digits, layout or Layout()).plan(0, range(steps), lambda epochs: recipe.colour))


def test_batches_of_any_layout_are_parts_of_one_plan(digits, small_recipe):
    recipe, steps = small_recipe("batch_size=12"), len(digits.split("train")) // 12
    assert Inputs(recipe, digits, Layout()).steps == steps
    whole = planned(recipe, digits, steps=steps)
    order = np.concatenate([indices for indices, _ in whole])
    assert len(set(order.tolist())) == len(order) == 12 * steps
    parts = [planned(recipe, digits, Layout(replicas=3, replica=replica), steps) for replica in range(3)]
    for (indices, crops), *shares in zip(whole, *parts, strict=True):
        assert sorted(indices) == sorted(np.concatenate([share[0] for share in shares]))
        assert sorted(crops.tops.tolist()) == sorted(sum((share[1].tops.tolist() for share in shares), []))


@pytest.mark.parametrize("place", ["crop", "centre"])
def test_what_a_step_sees_has_lost_the_mean_where_the_recipe_says(digits, small_recipe, place):
    inputs = Inputs(small_recipe("mirror=true", f"mean_place={place}"), digits, Layout())
    batch = next(iter(inputs.of_epoch(0, range(1), lambda epochs: "none")))
    found, _ = inputs.to_device(batch)
    crops = batch.crops
    assert 0 < crops.mirror.sum() < len(found) and len(set(crops.lefts.tolist())) > 2
    for number, (top, left) in enumerate(zip(crops.tops.tolist(), crops.lefts.tolist(), strict=True)):
        turned = slice(None, None, -1 if crops.mirror[number] else 1)
        under = (
            digits.mean[4:68, 4:68] if place == "centre" else digits.mean[top : top + 64, left : left + 64][:, turned]
        )
        expected = batch.pixels[number].numpy()[:, turned] - under
        np.testing.assert_allclose(found[number].numpy(), expected.transpose(2, 0, 1), atol=1e-4)


def test_an_error_in_the_background_reaches_the_consumer(digits, small_recipe):
    ((indices, crops),) = planned(small_recipe(), digits, steps=1)
    with pytest.raises(IndexError):
        list(Prefetch(digits.split("train"), 64, iter([(indices + 10**6, crops)])))


def test_what_the_data_does_not_fit(digits, small_recipe, tmp_path):
    for override, says in (
        ("image_size=128", "images of 72 pixels"),
        ("batch_size=5000", "do not fill a batch"),
        ("eval_split=dev", "no split 'dev'"),
        ("model=alexnet_krizhevski", "alexnet_krizhevski"),
        ("model_args.columns=3.5", "model alexnet_krizhevsky with"),
        ("crop_size=60", "does not take crops of 60 pixels"),
        ("lr_layers.conv9=0.1", "name conv9; alexnet_krizhevsky has conv1, conv2"),
        ("changes=[{after_epochs=1, lr=0.1, layers=['fc66']}]", "name fc66"),
    ):
        with pytest.raises(UserError, match=says):
            train(Run(tmp_path, small_recipe(override), digits))


def test_initial_loss_is_that_of_guessing(tmp_path, digits, small_recipe):
    train(Run(tmp_path, small_recipe("lr=1e-9", "model_args.init_std=0.001"), digits))
    first = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    assert first["loss"] == pytest.approx(math.log(10), rel=0.05)


def test_epochs_may_end_in_the_middle_of_one(tmp_path, digits, small_recipe):
    train(Run(tmp_path, small_recipe("epochs=1.5"), digits))
    rows = (tmp_path / "summary.csv").read_text().splitlines()
    assert len(rows) == 3
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps[-1] == 30  # of 22 an epoch: 33 in all


def test_fine_tuning_starts_from_the_layers_listed(tmp_path, digits, small_recipe):
    train(Run(tmp_path / "first", small_recipe(), digits))
    weights = tmp_path / "first" / "model.safetensors"
    start = [f"start_from={weights}", 'start_layers=["conv1", "fc6"]', "seed=1", "lr=1e-12"]
    train(Run(tmp_path / "second", small_recipe(*start), digits))
    first, second = weights_of(tmp_path / "first"), weights_of(tmp_path / "second")
    kept = {name for name in first if torch.allclose(first[name], second[name], atol=1e-9)}
    assert {"conv1.weight", "fc6.weight", "fc6.bias"} <= kept
    assert not kept & {"conv2.weight", "fc7.weight", "fc8.weight"}
    for wrong in ('start_layers=["conv9"]', "model_args.width_mult=0.25"):
        with pytest.raises(UserError, match="start_layers"):
            train(Run(tmp_path / "third", small_recipe(*start, wrong), digits))


def test_chunks_share_a_crop(digits, small_recipe):
    ((_, crops),) = planned(small_recipe("crop_chunk=32"), digits, steps=1)
    assert len(set(zip(crops.tops.tolist()[:32], crops.lefts.tolist()[:32]))) == 1
    assert len(set(zip(crops.tops.tolist(), crops.lefts.tolist()))) == 2


def test_precisions(digits, small_recipe, tmp_path):
    losses = {}
    for precision in ("float64", "float32", "bfloat16"):
        recipe = small_recipe(f"precision={precision}", "model_args.drop_rate=0.0", "epochs=0.5")
        train(Run(tmp_path / precision, recipe, digits))
        lines = (tmp_path / precision / "metrics.jsonl").read_text().splitlines()
        losses[precision] = [json.loads(line)["loss"] for line in lines]
        assert all(tensor.dtype == torch.float32 for tensor in weights_of(tmp_path / precision).values())
    assert losses["float32"] == pytest.approx(losses["float64"], rel=1e-4)
    assert losses["float32"] != losses["float64"]
    assert losses["bfloat16"] == pytest.approx(losses["float64"], rel=0.05)


def test_as_run_divides_the_noisy_image_and_no_other(digits, small_recipe, tmp_path):
    recipe = small_recipe("colour=as_run", "changes=[{after_epochs=1, colour='none'}]")
    training = Training(Run(tmp_path, recipe, digits))
    (batch,) = training.inputs.of_epoch(0, range(1), training.schedule.colour)
    plain = training.inputs.to_device(batch)[0].clone()  # the next call writes to the same memory
    noisy = training.inputs.to_device(batch, noisy=True)[0]
    torch.testing.assert_close(noisy * 1.1, plain)
    assert [training.schedule.colour(epoch) for epoch in (0.5, 1.5)] == ["as_run", "none"]


def test_a_checkpoint_holds_what_torchs_sgd_keeps_and_another_optimiser_does_not_resume_it(
    tmp_path, digits, small_recipe
):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(Run(whole, small_recipe("optimizer=sgd", "epochs=2"), digits))
    train(Run(parts, small_recipe("optimizer=sgd"), digits))
    (checkpoint,) = list_checkpoints(parts / "checkpoints")
    assert "conv1.weight.momentum_buffer" in load_checkpoint(checkpoint)[1]
    with pytest.raises(UserError, match="written by optimizer=sgd"):
        train(Run(parts, small_recipe("epochs=2"), digits), resume=True)
    train(Run(parts, small_recipe("optimizer=sgd", "epochs=2"), digits), resume=True)
    first, second = weights_of(whole), weights_of(parts)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_that_kept_its_velocities_by_their_parameters_names_resumes(tmp_path, digits, small_recipe):
    """As checkpoints were before: velocity.safetensors in place of optimizer.safetensors."""
    train(Run(tmp_path / "whole", small_recipe("epochs=2"), digits))
    train(Run(tmp_path / "old", small_recipe(), digits))
    (path,) = list_checkpoints(tmp_path / "old" / "checkpoints")
    tensors = load_file(path / "optimizer.safetensors")
    (path / "optimizer.safetensors").unlink()
    old = {name.removesuffix(".velocity"): tensor for name, tensor in tensors.items()}
    save_file(old, path / "velocity.safetensors", metadata={"format": "pt"})
    state = json.loads((path / "state.json").read_text())["state"]
    del state["optimizer"]
    (path / "state.json").write_text(json.dumps(sealed(state, path)))
    train(Run(tmp_path / "old", small_recipe("epochs=2"), digits), resume=True)
    whole, resumed = weights_of(tmp_path / "whole"), weights_of(tmp_path / "old")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.cuda
@pytest.mark.parametrize("loader", ["processes", "a thread"])
def test_on_a_card_a_step_waits_for_nothing_from_the_loader_to_its_numbers(tmp_path, digits, small_recipe, loader):
    """And sees what it would see on a CPU."""
    recipe, card = small_recipe("colour=published", "mirror=true"), Layout(device=torch.device("cuda"))
    training, on_cpu = Training(Run(tmp_path, recipe, digits, card)), Inputs(recipe, digits, Layout())
    cutters = training.inputs.cutters
    if loader == "a thread":  # as where files cannot be handed to processes
        training.inputs.cutters = None
    batches = [inputs.of_epoch(0, range(8), training.schedule.colour) for inputs in (training.inputs, on_cpu)]
    try:
        for number, (batch, other) in enumerate(zip(*batches, strict=True)):
            expected, _ = on_cpu.to_device(other)
            assert torch.equal(training.inputs.to_device(batch)[0].cpu(), expected)
            torch.cuda.set_sync_debug_mode("error" if number > 1 else "default")  # the first chooses kernels
            found = training.train_batch(batch)
            torch.cuda.set_sync_debug_mode("default")
            assert math.isfinite(found.read()[0])
        assert calls_of(lambda: training.train_batch(batch))["waits"] == 0  # of any library
    finally:
        torch.cuda.set_sync_debug_mode("default")
        cutters.close()
