"""Real runs of a small network: one that cannot learn is told of, once; one that learns is not."""

import pytest

from alexnet_zoo.train import plateau
from alexnet_zoo.train.loop import train
from alexnet_zoo.train.run import Run


@pytest.mark.parametrize("overrides, lines", [
    (["model_args.init_std=0.01", "weight_decay=0.5"], 1),  # which shrinks the weights, and the gradients with them
    (["model_args.init_std=he", "lr=0.004"], 0),
])  # fmt: skip
def test_a_run_that_is_stuck_is_told_of_once(tmp_path, digits, small_recipe, monkeypatch, capfd, overrides, lines):
    monkeypatch.setattr(plateau, "LONG", 60)
    train(Run(tmp_path, small_recipe("epochs=4", *overrides), digits))
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("stuck: ")]
    assert len(said) == lines
    assert all("ln 10 = 2.30" in line and "init-as-run" in line for line in said)
