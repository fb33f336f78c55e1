"""Gradients that are added up during the backward pass are those that are added up after it, in real processes."""

import json
import os
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist

from alexnet_zoo.train import replicas
from alexnet_zoo.train.columns import Layout, is_whole
from alexnet_zoo.train.launch import joined
from alexnet_zoo.train.recipe import Recipe, load_recipe, save_recipe
from alexnet_zoo.train.step import TrainStep, make_step


def gradients(step: TrainStep, inputs: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
    torch.nn.functional.cross_entropy(step.logits_of(inputs), labels, reduction="sum").backward()
    step.gradient_sum.finish()
    return {name: parameter.grad.clone() for name, parameter in step.model.named_parameters()}


def differences(recipe: Recipe, columns: int) -> dict:
    """Relative differences from sums that are made afterwards, of each parameter; and how many buckets there were."""
    replicas.BUCKET_BYTES = 1e5
    with joined(recipe, columns) as layout:
        noise = torch.Generator().manual_seed(layout.replica)
        inputs = 60 * torch.randn(8, 3, 64, 64, generator=noise)
        labels = torch.randint(10, (8,), generator=noise)
        step = make_step(recipe, 10, layout)
        alone = Layout(layout.columns, 1, layout.column, column_group=layout.column_group)
        expected = gradients(make_step(recipe, 10, alone), inputs, labels)
        found = {}
        for _ in range(2):  # the second turn uses the buckets again
            summed = gradients(step, inputs, labels)
            step.optimizer.zero_grad()
        for name, own in expected.items():
            if layout.columns > 1 and is_whole(name, own, step.model.held_whole):
                dist.all_reduce(own, group=layout.everyone)
                own /= layout.columns
            else:
                dist.all_reduce(own, group=layout.data_group)
            found[name] = ((summed[name] - own).norm() / own.norm()).item()
            same = [torch.empty_like(own) for _ in range(layout.replicas)]
            dist.all_gather(same, summed[name].contiguous(), group=layout.data_group)
            assert all(torch.equal(other, same[0]) for other in same), name
        return {"differences": found, "buckets": len(step.gradient_sum.buckets)}


@pytest.mark.slow
@pytest.mark.parametrize("processes, columns", [(2, 1), (3, 1), (6, 2)])
def test_sums_made_meanwhile_are_those_made_afterwards(tmp_path, small_recipe, processes, columns):
    recipe = small_recipe("precision=float64", "model_args.drop_rate=0.0", "channels_last=true", "batch_size=24")
    save_recipe(recipe, tmp_path / "small.toml")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [*torchrun, __file__, str(tmp_path / "small.toml"), str(columns)]
    run = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["buckets"] > 3
    assert max(found["differences"].values()) < 1e-12, found


if __name__ == "__main__":
    result = differences(load_recipe(sys.argv[1]), int(sys.argv[2]))
    if os.environ["RANK"] == "0":
        print(json.dumps(result))
