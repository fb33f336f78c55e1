"""One network in one process and in several is the same network: real processes, launched as users launch them."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file

from alexnet_zoo.errors import UserError
from alexnet_zoo.train.columns import Layout, divide, split
from alexnet_zoo.train.launch import run_training

WITHOUT_DROPOUT = "model_args.drop_rate=0.0"


def losses_and_weights(run: Path):
    losses = [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    return torch.tensor(losses), load_file(run / "model.safetensors")


def test_columns_and_replicas_compute_what_one_process_computes(tmp_path, digits, small_recipe):
    recipe = small_recipe(WITHOUT_DROPOUT)
    for gpus in (1, 2, 4):
        run_training(recipe, digits.folder, tmp_path / str(gpus), gpus, resume=False)
    losses, weights = losses_and_weights(tmp_path / "1")
    assert losses[-1] < losses[0]
    for gpus in (2, 4):
        theirs, their_weights = losses_and_weights(tmp_path / str(gpus))
        torch.testing.assert_close(theirs, losses, rtol=1e-4, atol=1e-5)
        assert their_weights.keys() == weights.keys()
        for name in weights:
            torch.testing.assert_close(their_weights[name], weights[name], rtol=1e-4, atol=2e-5, msg=name)


def test_a_checkpoint_of_one_layout_is_resumed_by_another(tmp_path, digits, small_recipe):
    run_training(small_recipe(WITHOUT_DROPOUT, "epochs=2"), digits.folder, tmp_path / "whole", 1, resume=False)
    run_training(small_recipe(WITHOUT_DROPOUT), digits.folder, tmp_path / "parts", 1, resume=False)
    run_training(small_recipe(WITHOUT_DROPOUT, "epochs=2"), digits.folder, tmp_path / "parts", 2, resume=True)
    _, whole = losses_and_weights(tmp_path / "whole")
    _, parts = losses_and_weights(tmp_path / "parts")
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-4, atol=2e-5, msg=name)


def children() -> list[int]:
    """Processes that this one started and that load torch: the columns."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, parent = int(path.parent.name), int(path.read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"spawn_main" in (path.parent / "cmdline").read_bytes():
                found.append(pid)
        except OSError:
            continue
    return found


def test_a_dead_column_stops_the_other_within_a_minute(tmp_path, digits, small_recipe):
    killed = []

    def kill_one_when_training():
        while not (tmp_path / "metrics.jsonl").exists():
            time.sleep(0.1)
        killed.append(time.monotonic())
        os.kill(children()[-1], signal.SIGKILL)

    thread = threading.Thread(target=kill_one_when_training, daemon=True)
    thread.start()
    with pytest.raises(UserError, match="(process|column).*SIGKILL"):
        run_training(small_recipe("epochs=1000"), digits.folder, tmp_path, 2, resume=False)
    assert time.monotonic() - killed[0] < 60
    assert not children()


def test_gpus_that_do_not_divide_into_columns():
    assert divide(1, 2) == (1, 1)
    assert divide(2, 2) == (1, 2)
    assert divide(8, 2) == (4, 2)
    assert divide(3, 1) == (3, 1)
    for gpus in (3, 0, -2):
        with pytest.raises(UserError, match=f"--gpus {gpus}: .*2 columns") as caught:
            divide(gpus, 2)
        assert caught.value.exit_code == 2


def test_a_column_owns_half_of_every_layer_and_all_of_fc8():
    with torch.device("meta"):
        whole = timm.create_model("alexnet_krizhevsky").state_dict()
        half = timm.create_model("alexnet_krizhevsky", local_columns=1).state_dict()
    share = split(whole, Layout(columns=2, column=1))
    assert {name: t.shape for name, t in share.items()} == {name: t.shape for name, t in half.items()}
    assert sum(t.numel() for t in half.values()) == (60_965_224 - 4_097_000) / 2 + 4_097_000
