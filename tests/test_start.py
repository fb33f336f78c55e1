"""A run starts from another run, from a folder as it lies in the Hub, from a published model."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

from alexnet_zoo.data.prepared.dataset import Prepared
from alexnet_zoo.errors import UserError
from alexnet_zoo.start import start_of, with_network_of_start
from alexnet_zoo.train.loop import train
from alexnet_zoo.train.recipe import Recipe, load_recipe
from alexnet_zoo.train.run import Run

SMALL = ["image_size=128", "crop_size=64", "model_args.img_size=64", "model_args.width_mult=0.125", "input_scale=58"]


def weights_of(folder) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.fixture(scope="module")
def first(tmp_path_factory, digits) -> Run:
    """A network that was trained for half an epoch."""
    recipe = load_recipe("digits", [*SMALL, "epochs=0.5"])
    run = Run(tmp_path_factory.mktemp("first"), recipe, digits)
    train(run)
    return run


def tuned(folder, digits: Prepared, *overrides: str) -> Recipe:
    """Trains the recipe `finetune` for two steps; returns it, with the network of its start."""
    few = ["epochs=0.05", "schedule=plateau", "drop_epochs=[]", "train_split=train", "eval_split=test", "colour=none"]
    recipe = with_network_of_start(load_recipe("finetune", [*few, *overrides]))
    train(Run(folder, recipe.model_copy(update={"start_from": str(start_of(recipe))}), digits))
    return recipe


def test_the_network_its_sizes_and_its_scale_are_those_of_the_start(tmp_path, digits, first):
    recipe = tuned(tmp_path / "second", digits, f"start_from={first.folder}", "seed=1")
    for field in ("model", "model_args", "image_size", "crop_size", "input_scale"):
        assert getattr(recipe, field) == getattr(first.recipe, field), field
    before, after = weights_of(first.folder), weights_of(tmp_path / "second")
    weights = [name for name in before if name.endswith(".weight")]
    apart = {name: float((after[name] - before[name]).norm() / before[name].norm()) for name in weights}
    assert apart.pop("fc8.weight") > 1  # drawn anew
    assert all(0 < moved < 0.05 for moved in apart.values()), apart


def test_frozen_layers_stay_and_the_others_learn(tmp_path, digits, first):
    (hub := tmp_path / "hub").mkdir()  # what lies in the Hub: no recipe.toml
    for name in ("config.json", "model.safetensors"):
        shutil.copy(first.folder / name, hub)
    tuned(tmp_path / "second", digits, f"start_from={hub}", 'frozen=["conv1", "conv2"]', "watch_every=1")
    before, after = weights_of(first.folder), weights_of(tmp_path / "second")
    same = {name.partition(".")[0] for name in before if torch.equal(before[name], after[name])}
    assert {"conv1", "conv2"} <= same and not same & {"conv3", "conv4", "conv5", "fc6", "fc7", "fc8"}


def test_a_published_model_says_its_network_before_it_is_fetched():
    recipe = with_network_of_start(load_recipe("finetune", ["model_args.drop_rate=0.2"]))
    assert (recipe.model, recipe.model_args) == ("alexnet_bvlc", {"drop_rate": 0.2})
    assert (recipe.image_size, recipe.crop_size, recipe.input_scale) == (256, 227, 1.0)


@pytest.mark.parametrize(
    "overrides, says",
    [
        (["start_from=hf-hub:nobody/nothing"], "hf-hub:nobody/nothing: its config.json cannot be had"),
        (["start_from=."], "config.json: not there.*--set model"),
        (["start_from="], "new_layers = .* says nothing with no start_from"),
        (["start_from=digits"], "no run; run first: alexzoo reproduce digits"),
        (["frozen=[conv9]"], "frozen"),
        (["crop_size=64"], "crop_size: the network of start_from brings its own"),
    ],
)
def test_what_cannot_be_started_from_is_one_line(tmp_path, monkeypatch, digits, first, overrides, says):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    start = [] if "start_from" in overrides[0] else [f"start_from={first.folder}"]
    with pytest.raises(UserError, match=says) as caught:
        tuned(tmp_path / "second", digits, *start, *[word.replace("[conv9]", '["conv9"]') for word in overrides])
    assert "\n" not in str(caught.value)
