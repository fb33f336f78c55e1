"""Measures training with the loader that feeds it: whether crops come as fast as steps take them."""

import tempfile
from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alexnet_zoo.benchmark.data import IMAGE, many
from alexnet_zoo.benchmark.measure import Options, Step, begin, facts_of, rows_of, those_that_run, timings
from alexnet_zoo.benchmark.training import MODES, WARM_UPS
from alexnet_zoo.data.batches.loader import Prefetch
from alexnet_zoo.data.prepared.prepare import prepare
from alexnet_zoo.train.columns import Layout
from alexnet_zoo.train.inputs import Inputs
from alexnet_zoo.train.recipe import Recipe
from alexnet_zoo.train.step import input_form, make_step

IMAGES = {"cpu": 64, "cuda": 8192}
PASSES = {"cpu": 1, "cuda": 16}  # over them in one go: two seconds of a fast card's work, beside which a start is short
STEPS: dict[str, dict[str, dict[str, Any]]] = {  # how they are taken: fields of their recipe
    "cpu": {"step": {}},
    "cuda": {
        "step": MODES["channels_last"],
        "compiled step": MODES["compiled"],
        "recorded step": MODES["compiled, CUDA graphs"],
    },
}


def feeding(options: Options, **fields) -> list[dict]:
    """Measures images/s of the loader, of each of STEPS, and of both as training has them.

    On CUDA in bfloat16. Photographs are few, each of them used several times. Args: fields, of the steps' recipes.
    """
    watch, batch_size, on_cuda = begin(options), options.batch_size or 64, options.device == "cuda"
    common: dict[str, Any] = dict(name="feeding", model=options.model, lr=1e-5, batch_size=batch_size)
    common |= {"precision": "bfloat16"} if on_cuda else {}
    recipes = {name: Recipe(**(common | own | fields)) for name, own in STEPS[options.device].items()}
    recipe, layout = recipes["step"], Layout(device=torch.device(options.device))
    passes, of_one = PASSES[options.device], max(IMAGES[options.device] // batch_size, 1)
    with many(options.photographs, of_one * batch_size) as (folder, _), tempfile.TemporaryDirectory() as made:
        inputs = Inputs(recipe, prepare(folder, Path(made) / "prepared", IMAGE), layout)

        def fed(train: Callable[[Tensor, Tensor], object]) -> None:
            plans = (inputs.plan(epoch, range(of_one), lambda epochs: recipe.colour) for epoch in range(passes))
            for batch in Prefetch(inputs.train, recipe.crop_size, chain.from_iterable(plans), inputs.cutters):
                train(*inputs.to_device(batch))

        def alone(step: Step) -> None:
            for _ in range(passes * of_one):
                step()

        noise = torch.randn(batch_size, 3, recipe.crop_size, recipe.crop_size, device=layout.device) * 60
        given = noise.to(**input_form(recipe)), torch.zeros(batch_size, dtype=torch.int64, device=layout.device)
        steps = {name: make_step(own, 1000, layout) for name, own in recipes.items()}
        able = those_that_run({name: partial(step, *given) for name, step in steps.items()}, WARM_UPS if on_cuda else 1)
        candidates: dict[str, Step] = {}
        for name, step in able.items():
            candidates |= {f"loader and {name}": partial(fed, steps[name]), f"{name} alone": partial(alone, step)}
        candidates["loader alone"] = partial(fed, lambda *batch: None)
        seconds = timings(candidates, options)
    facts = facts_of("feeding", options.model, steps["step"].model, batch_size, recipe.crop_size)
    return rows_of(facts, seconds, passes * of_one * batch_size, options, watch)
