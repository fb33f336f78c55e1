"""Measures training with the loader that feeds it: whether crops come as fast as steps take them."""

import tempfile
from pathlib import Path

import torch

from alexnet_zoo.benchmark.data import IMAGE, many
from alexnet_zoo.benchmark.measure import Options, begin, facts_of, rows_of, timings
from alexnet_zoo.data.prepared.prepare import prepare
from alexnet_zoo.train.columns import Layout
from alexnet_zoo.train.inputs import Inputs
from alexnet_zoo.train.recipe import Recipe
from alexnet_zoo.train.step import make_step

IMAGES = {"cpu": 64, "cuda": 8192}  # of an epoch


def feeding(options: Options, **fields) -> list[dict]:
    """Measures images/s of the loader, of the step, and of both as training has them; fields are those of its recipe.

    On CUDA in bfloat16, channels_last. Photographs are few, each of them used several times.
    """
    watch, batch_size, on_cuda = begin(options), options.batch_size or 64, options.device == "cuda"
    faster = {"precision": "bfloat16", "channels_last": True} if on_cuda else {}
    recipe = Recipe(name="feeding", model=options.model, lr=1e-5, batch_size=batch_size, **(faster | fields))
    steps, layout = max(IMAGES[options.device] // batch_size, 1), Layout(device=torch.device(options.device))
    with many(options.photographs, steps * batch_size) as (folder, _), tempfile.TemporaryDirectory() as made:
        inputs = Inputs(recipe, prepare(folder, Path(made) / "prepared", IMAGE), layout)
        step = make_step(recipe, 1000, layout)

        def epoch(train):
            for batch in inputs.of_epoch(0, range(steps), lambda epochs: recipe.colour):
                train(*inputs.to_device(batch))

        noise = torch.randn(batch_size, 3, recipe.crop_size, recipe.crop_size, device=layout.device) * 60
        labels = torch.zeros(batch_size, dtype=torch.int64, device=layout.device)
        candidates = {
            "loader and step": lambda: epoch(step),
            "step alone": lambda: [step(noise, labels) for _ in range(steps)],
            "loader alone": lambda: epoch(lambda *batch: None),
        }
        seconds = timings(candidates, options)
    facts = facts_of("feeding", options.model, step.model, batch_size, recipe.crop_size)
    return rows_of(facts, seconds, steps * batch_size, options, watch)
