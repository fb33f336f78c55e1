"""Faults, injected into real processes: what a kill, a hang or a second run leaves behind."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from alexnet_zoo.train.recipe import save_recipe

TRAIN = """
import sys, time
from pathlib import Path
from alexnet_zoo.train import loop
from alexnet_zoo.train.launch import run_training
from alexnet_zoo.train.recipe import load_recipe
if __name__ == "__main__":
    run = Path(sys.argv[2])
    run_training(load_recipe(run / "recipe.toml"), Path(sys.argv[1]), run, int(sys.argv[3]), resume=True)
"""


@pytest.fixture
def start(tmp_path, digits):
    """Starts, or resumes, the training of tmp_path/NAME in a process of its own."""
    script = tmp_path / "train.py"
    script.write_text(TRAIN)

    def call(name: str, recipe, gpus: int, **environment: str) -> subprocess.Popen:
        run = tmp_path / name
        run.mkdir(exist_ok=True)
        save_recipe(recipe, run / "recipe.toml")
        command = [sys.executable, str(script), str(digits.folder), str(run), str(gpus)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True)

    return call


def processes_of(leader: int) -> list[int]:
    """The processes of a session that load torch: the leader and the columns."""
    listed = subprocess.run(["ps", "-s", str(leader), "-o", "pid=,stat=,args="], capture_output=True, text=True).stdout
    lines = [line.split(maxsplit=2) for line in listed.splitlines()]
    return [int(pid) for pid, state, command in lines if state[0] != "Z" and "resource_tracker" not in command]


slow = pytest.mark.slow


@slow
@pytest.mark.parametrize("gpus, kills", [(1, 14), (2, 6)])
def test_killed_at_random_steps_and_resumed_ends_with_the_same_bits(tmp_path, start, small_recipe, gpus, kills):
    """Twenty kills, of one process or of all of them."""
    recipe = small_recipe("epochs=4", "checkpoint_minutes=0.001", f"seed={gpus}")
    process = start("whole", recipe, gpus)
    assert process.wait(120) == 0, process.stderr.read()
    dice = random.Random(gpus)
    done = 0
    while done < kills:
        process = start("killed", recipe, gpus)
        seen = checkpoints(tmp_path / "killed")
        while checkpoints(tmp_path / "killed") <= seen and process.poll() is None:
            time.sleep(0.01)
        time.sleep(dice.random() * 0.1)
        if process.poll() is not None:
            break
        every = processes_of(process.pid)
        for pid in every if dice.random() < 0.5 else [every[-1]]:
            os.kill(pid, signal.SIGKILL)
        process.communicate(timeout=90)
        done += 1
    process = start("killed", recipe, gpus)
    assert process.wait(120) == 0, process.stderr.read()
    whole, killed = (load_file(tmp_path / run / "model.safetensors") for run in ("whole", "killed"))
    assert done >= kills // 2
    assert all(torch.equal(whole[name], killed[name]) for name in whole)


def checkpoints(run) -> int:
    """The step of the newest checkpoint."""
    return max((int(path.name[5:]) for path in run.glob("checkpoints/step-*")), default=0)


@slow
def test_a_hanging_column_is_given_up_and_shown(tmp_path, start, small_recipe):
    process = start("hung", small_recipe("epochs=100000"), 2, ALEXZOO_HANG_SECONDS="5")
    while not (tmp_path / "hung" / "metrics.jsonl").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    stopped = processes_of(process.pid)[-1]
    os.kill(stopped, signal.SIGSTOP)
    began = time.monotonic()
    _, err = process.communicate(timeout=90)
    assert process.returncode != 0 and time.monotonic() - began < 60
    assert "UserError: process" in err and "train_batch" in err
    assert not processes_of(process.pid)
