import os
import resource
import signal

import pytest
import timm
import torch

from alexnet_zoo.errors import UserError
from alexnet_zoo.train.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint

STATE = {"done": {"epoch": 1, "step": 2}}


def tensors(value: float) -> dict[str, torch.Tensor]:
    return {"conv1.weight": torch.full((4, 3), value), "fc8.bias": torch.arange(5.0)}


def test_round_trip_and_only_the_newest_are_kept(tmp_path):
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, tensors(step), tensors(-step), STATE, keep=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-00000002", "step-00000003"]
    weights, optimizer, state = load_checkpoint(list_checkpoints(tmp_path)[-1])
    assert torch.equal(weights["conv1.weight"], tensors(3.0)["conv1.weight"])
    assert torch.equal(optimizer["conv1.weight"], tensors(-3.0)["conv1.weight"])
    assert state == STATE


def test_timm_loads_it(tmp_path):
    args = dict(width_mult=0.125, img_size=64, num_classes=3)
    model = timm.create_model("alexnet_krizhevsky", **args)
    weights = model.state_dict()
    path = save_checkpoint(tmp_path, 1, weights, weights, STATE, keep=1)
    again = timm.create_model("alexnet_krizhevsky", checkpoint_path=str(path / "model.safetensors"), **args)
    assert all(torch.equal(weights[name], tensor) for name, tensor in again.state_dict().items())


def test_damage_at_any_byte_is_found_and_the_one_before_is_offered(tmp_path):
    save_checkpoint(tmp_path, 1, tensors(1), tensors(1), STATE, keep=2)
    path = save_checkpoint(tmp_path, 2, tensors(2), tensors(2), STATE, keep=2)
    for file in path.iterdir():
        good = file.read_bytes()
        for position in range(0, len(good), 7):
            file.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
            if file.name == "state.json" and good[position : position + 1].isspace():
                continue  # white space between JSON's tokens says nothing
            with pytest.raises(UserError, match="damaged.*step-00000001"):
                load_checkpoint(path)
        file.write_bytes(good[: len(good) // 2])
        with pytest.raises(UserError, match="damaged"):
            load_checkpoint(path)
        file.write_bytes(good)
    load_checkpoint(path)


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path):
    first = save_checkpoint(tmp_path, 1, tensors(1), tensors(1), STATE, keep=1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))  # what a write gets that no longer fits
        with pytest.raises(UserError, match="cannot be written.*checkpoint before"):
            big = {"fc6.weight": torch.zeros(1 << 18)}
            save_checkpoint(tmp_path, 2, big, big, STATE, keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert os.listdir(tmp_path) == [first.name]
    load_checkpoint(first)
