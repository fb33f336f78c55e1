"""The list of what the run did otherwise than the text, held against the recipes and the networks."""

import pytest
import timm
import torch

from alexnet_zoo.data.batches.augment import draw_crops
from alexnet_zoo.models.alexnet import PAPER
from alexnet_zoo.models.layers import BOTH, Drop, Weighted
from alexnet_zoo.models.net import Net
from alexnet_zoo.models.variants import NET145, NET146
from alexnet_zoo.train.differences import DIFFERENCES
from alexnet_zoo.train.recipe import explain_recipe, load_recipe

SHARED = {  # what every recipe here does as run
    "places of the crops": lambda: (
        draw_crops(torch.Generator().manual_seed(0), 9999, 256, 224, colour="none").tops.max() == 32
    ),
    "padding of the image": lambda: PAPER.padding == NET145.padding == (0, 3, 0, 3),  # left, right, top, bottom
    "dropout": lambda: not any(layer.inverted for layer in NET145.layers if isinstance(layer, Drop)),
    "conv6": lambda: (
        [(conv6.width, conv6.kernel, conv6.padding, conv6.reads) for conv6 in named(NET146, "conv6")]
        == [(256, 3, 1, BOTH)]
    ),
    "fc8": lambda: NET145.held_whole == ("fc8",) and named(NET145, "fc8")[0].reads == BOTH,
}


def named(net: Net, name: str) -> list:
    return [layer for layer in net.layers if layer.name == name]


def placed(net: Net) -> dict:
    """Each layer by its name, with its place after the last one that has weights."""
    found, place = {}, 0
    for layer in net.layers:
        place = 0 if isinstance(layer, Weighted) else place + 1
        found[layer.name] = (place, layer)
    return found


def test_the_list_names_every_field_that_differs():
    text, run = (load_recipe(name).model_dump() for name in ("table2-one-cnn", "as-run-145"))
    differ = {field for field in run if run[field] != text[field]} - {"name", "reproduces", "model"}
    assert {field for difference in DIFFERENCES for field in difference.fields} == differ


def test_the_list_names_every_layer_that_differs():
    text, run = placed(PAPER), placed(NET145)
    differ = {name for name in {*text, *run} if text.get(name) != run.get(name)}
    assert {layer for difference in DIFFERENCES for layer in difference.layers} == differ
    assert (NET145.columns, NET145.image) == (PAPER.columns, PAPER.image)


def test_what_the_list_names_nowhere_is_done_by_all():
    assert {d.aspect for d in DIFFERENCES if not d.fields and not d.layers} == set(SHARED)
    assert all(check() for check in SHARED.values())


@pytest.mark.parametrize("name, shown", [("as-run-145", True), ("as-run-146-2011", True), ("table2-one-cnn", False)])
def test_the_list_is_shown_with_the_recipes_as_run(name, shown):
    assert all((str(difference) in explain_recipe(name)) == shown for difference in DIFFERENCES)


@pytest.mark.parametrize("name", ["145", "145-continued", "146-2009", "146-2011", "147", "148", "150"])
def test_each_recipe_names_its_own_network(name):
    net = name.split("-")[0] + ("_2011" if name == "146-2011" else "")
    recipe = load_recipe(f"as-run-{name}")
    assert recipe.model == f"alexnet_krizhevsky_net{net}" and timm.is_model(recipe.model)
    assert recipe.model_args == {} and recipe.mean_place == "centre"
