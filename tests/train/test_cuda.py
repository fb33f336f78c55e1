"""Training on a card: run by `pytest -m cuda` where there is one, skipped elsewhere."""

import json

import pytest
import torch
from safetensors.torch import load_file

from alexnet_zoo.benchmark.training import calls_of
from alexnet_zoo.train.columns import Layout
from alexnet_zoo.train.estimate import estimate
from alexnet_zoo.train.launch import run_training
from alexnet_zoo.train.recipe import Recipe
from alexnet_zoo.train.step import make_step

pytestmark = pytest.mark.cuda
WITHOUT_DROPOUT = "model_args.drop_rate=0.0"
CARD = Layout(device=torch.device("cuda"))


def some_steps(recipe: Recipe, layout: Layout, count: int = 3) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Losses, and weights afterwards in float64, of steps on noise that is the same on every device."""
    step, noise = make_step(recipe, 10, layout), torch.Generator().manual_seed(0)
    losses = []
    for _ in range(count):
        pixels = 60 * torch.randn(recipe.batch_size, 3, 64, 64, generator=noise)
        labels = torch.randint(10, (recipe.batch_size,), generator=noise)
        losses.append(step(pixels.to(layout.device), labels.to(layout.device))[0].item() / recipe.batch_size)
    return losses, {name: p.detach().double().cpu() for name, p in step.model.named_parameters()}


@pytest.mark.parametrize("memory_format", ["channels_last=false", "channels_last=true"])
@pytest.mark.parametrize(
    "precision, tolerance",
    [("float64", 1e-9), ("float32", 5e-3), ("bfloat16", 5e-2)],  # float32: convolutions in TF32
)
def test_a_step_is_that_of_the_cpu_in_float64(small_recipe, precision, tolerance, memory_format):
    exact, weights = some_steps(small_recipe(WITHOUT_DROPOUT, "precision=float64"), Layout())
    losses, found = some_steps(small_recipe(WITHOUT_DROPOUT, f"precision={precision}", memory_format), CARD)
    assert losses == pytest.approx(exact, rel=tolerance)
    for name, exact_weight in weights.items():
        assert (found[name] - exact_weight).norm() <= tolerance * exact_weight.norm(), name


@pytest.mark.parametrize("compiled", ["compile=true", "compile=reduce-overhead"])
@pytest.mark.parametrize("precision, tolerance", [("float32", 5e-3), ("bfloat16", 5e-2)])
def test_a_compiled_step_and_a_recorded_one_are_the_eager_one(small_recipe, precision, tolerance, compiled):
    """Six steps: the first is counted, the second compiled, the next recorded, the last ones played back."""
    fields = WITHOUT_DROPOUT, f"precision={precision}", "channels_last=true"
    exact, weights = some_steps(small_recipe(*fields), CARD, 6)
    losses, found = some_steps(small_recipe(*fields, compiled), CARD, 6)
    assert losses == pytest.approx(exact, rel=tolerance)
    for name, weight in weights.items():
        assert (found[name] - weight).norm() <= tolerance * weight.norm(), name


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_host_does_not_wait_for_the_device_in_a_step(small_recipe, precision):
    step = make_step(small_recipe(f"precision={precision}"), 10, CARD)
    pixels, labels = torch.randn(128, 3, 64, 64, device="cuda"), torch.randint(10, (128,), device="cuda")
    step(pixels, labels)  # the first one chooses kernels, and counts what is kept for the backward pass
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(pixels, labels)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert calls_of(lambda: step(pixels, labels))["waits"] == 0  # of any library, which torch's mode does not know


def test_memory_is_what_the_dry_run_says():
    recipe = Recipe(name="paper")
    said = estimate(recipe, 1_281_167, 1000, CARD)["memory_bytes"]
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    make_step(recipe, 1000, CARD).seconds(torch.randn(128, 3, 224, 224, device="cuda"), torch.zeros(128).long().cuda())
    assert said <= torch.cuda.max_memory_allocated() <= 2 * said  # and what the backward pass needs beside


def weights_after(folder, recipe: Recipe, digits, gpus: int, resume: bool = False) -> dict[str, torch.Tensor]:
    run_training(recipe, digits.folder, folder, gpus, resume)
    return load_file(folder / "model.safetensors")


def test_resumed_training_ends_where_the_whole_does(tmp_path, digits, small_recipe):
    """Not to the bit: on CUDA some sums have no fixed order."""
    whole = weights_after(tmp_path / "whole", small_recipe("epochs=2"), digits, 1)
    weights_after(tmp_path / "parts", small_recipe("epochs=1"), digits, 1)
    resumed = weights_after(tmp_path / "parts", small_recipe("epochs=2"), digits, 1, resume=True)
    for name in whole:
        torch.testing.assert_close(resumed[name], whole[name], rtol=1e-3, atol=1e-4, msg=name)


def test_columns_on_cards_of_their_own_or_on_one_they_share(tmp_path, digits, small_recipe):
    """NCCL where there are two cards, gloo on one."""
    recipe = small_recipe(WITHOUT_DROPOUT, "channels_last=true", "epochs=0.5")
    one, two = (weights_after(tmp_path / str(gpus), recipe, digits, gpus) for gpus in (1, 2))
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-2, atol=1e-4, msg=name)
    devices = [record["device"] for record in json.loads((tmp_path / "2" / "devices.json").read_text())]
    assert devices == [f"cuda:{number % torch.cuda.device_count()}" for number in range(2)]
