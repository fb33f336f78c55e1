import tomllib

import pytest
import torch

from alexnet_zoo.declared import folder_of, list_declared
from alexnet_zoo.errors import UserError
from alexnet_zoo.start import is_published, with_network_of_start
from alexnet_zoo.train.network import create_model
from alexnet_zoo.train.optim import make_optimizer
from alexnet_zoo.train.recipe import load_recipe, save_recipe
from alexnet_zoo.train.step import check_crop


def write(folder, name, text):
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", list_declared("reproduce"), ids=lambda path: path.stem)
def test_every_recipe_loads_and_opens_with_a_comment(path):
    assert load_recipe(path.stem).name == path.stem
    head = path.read_text()
    assert head.startswith("# ")
    assert f"alexzoo reproduce {path.stem}" in head or path.stem == "digits"


def test_the_papers_recipe():
    recipe = load_recipe("table2-one-cnn")
    assert (recipe.batch_size, recipe.momentum, recipe.weight_decay, recipe.lr) == (128, 0.9, 0.0005, 0.01)
    assert (recipe.epochs, recipe.schedule, recipe.lr_drops, recipe.lr_factor) == (90, "plateau", 3, 0.1)
    assert (recipe.image_size, recipe.crop_size, recipe.mirror, recipe.colour) == (256, 224, True, "published")
    assert recipe.input_scale == 1.0 and recipe.model == "alexnet_krizhevsky" and recipe.model_args == {}


def test_an_ablation_is_three_lines(tmp_path):
    path = write(tmp_path, "no-lrn", 'base = "table2-one-cnn"\nmodel_args = { lrn = false }\n')
    recipe = load_recipe(path)
    assert recipe.name == "no-lrn" and recipe.model_args == {"lrn": False} and recipe.epochs == 90


def test_base_beside_the_file_and_model_args_add_up(tmp_path):
    write(tmp_path, "below", "epochs = 3\nmodel_args = { lrn = false, drop_rate = 0.1 }\n")
    path = write(tmp_path, "above", 'base = "below"\nmodel_args = { drop_rate = 0.2 }\n')
    recipe = load_recipe(path)
    assert recipe.epochs == 3 and recipe.model_args == {"lrn": False, "drop_rate": 0.2}


def test_overrides(tmp_path):
    overrides = ["epochs=5", "model_args.pool_size=2", "colour=none", "schedule=fixed", "drop_epochs=[1, 2]"]
    recipe = load_recipe("table2-one-cnn", overrides)
    assert recipe.epochs == 5 and recipe.model_args == {"pool_size": 2}
    assert recipe.colour == "none" and recipe.drop_epochs == [1, 2]
    save_recipe(recipe, tmp_path / "recipe.toml")
    assert load_recipe(tmp_path / "recipe.toml") == recipe


@pytest.mark.parametrize(
    "text, says",
    [
        ("epoch = 5", ["epoch: no such field", "did you mean epochs?"]),
        ('epochs = "many"', ["epochs = 'many'", "number"]),
        ("momentum = 1.5", ["momentum = 1.5", "less than 1"]),
        ('colour = "sepia"', ["colour = 'sepia'", "'published', 'as_run' or 'none'"]),
        ("crop_size = 300", ["crop_size 300", "image_size 256"]),
        ("epochs = ", ["not TOML"]),
        ('base = "me"', ["leads back to itself"]),
        ('base = "nowhere"', ["nowhere", "table2-one-cnn"]),
    ],
)
def test_a_wrong_field_is_named_with_what_is_allowed(tmp_path, text, says):
    path = write(tmp_path, "me", text)
    with pytest.raises(UserError) as caught:
        load_recipe(path)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    for part in says:
        assert part in str(caught.value)
    assert "nowhere" in text or str(path) in str(caught.value)


@pytest.mark.parametrize(
    "text, says",
    [
        ("drop_epochs = [3]", r'drop_epochs = \[3.0\] says nothing with schedule = "plateau"; set drop_epochs=\[\]'),
        ('schedule = "fixed"\npatience = 3', r'patience = 3 says nothing with schedule = "fixed"; set patience=5'),
        ('schedule = "fixed"\nlr_drops = 1', "lr_drops = 1 says nothing"),
        ('start_layers = ["conv1"]', "start_layers = .* says nothing with no start_from"),
        ('new_layers = ["fc8"]', "new_layers = .* says nothing with no start_from"),
        ("lr_biases = 2.0", "lr_biases is no field any more; set bias_lr"),
        ("crop_chunk = 2\nmirror = false\nrandom_crop = false", "crop_chunk = 2 says nothing"),
        ('data = "ILSVRC2012"', "data = 'ILSVRC2012'.*'ILSVRC-2012'"),
        ('optimizer = "adam"', "optimizer = 'adam'.*'paper' or 'sgd'"),
    ],
)
def test_a_field_that_another_one_makes_meaningless_is_refused(tmp_path, text, says):
    with pytest.raises(UserError, match=says) as caught:
        load_recipe(write(tmp_path, "me", text))
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2


def test_recipes_of_published_runs_load():
    paths = sorted(folder_of("reports").glob("published/*/recipe.toml"))
    assert paths and {load_recipe(path).name for path in paths} <= {path.stem for path in list_declared("reproduce")}


@pytest.mark.parametrize("override", ["epochs", "=5", "epochs=-1", "nonsense=1"])
def test_wrong_overrides(override):
    with pytest.raises(UserError) as caught:
        load_recipe("digits", [override])
    assert caught.value.exit_code == 2


def test_every_recipe_that_paper_toml_names_is_there():
    paper = tomllib.loads((folder_of("reports") / "paper.toml").read_text())
    named = {recipe for row in paper["row"] for recipe in row.get("measured_by", {}).get("recipes", [])}
    named |= {recipe for claim in paper["claim"] for pair in claim.get("pairs", []) for recipe in pair}
    named |= {net["recipe"] for net in paper["net"] if "recipe" in net}
    assert named <= {path.stem for path in list_declared("reproduce")}


@pytest.mark.parametrize(
    "change, says",
    [
        ("{ lr = 0.1 }", "needs one of after_epochs and after_batches"),
        ("{ after_epochs = 1, after_batches = 3, lr = 0.1 }", "needs one of"),
        ("{ after_epochs = 1 }", "changes nothing"),
        ('{ after_epochs = 1, colour = "sepia" }', "colour"),
        ("{ after_epochs = 1, rate = 0.1 }", "rate: no such field"),
    ],
)
def test_wrong_changes(tmp_path, change, says):
    with pytest.raises(UserError, match=says):
        load_recipe(write(tmp_path, "me", f"changes = [{change}]"))


@pytest.mark.parametrize("path", list_declared("reproduce"), ids=lambda path: path.stem)
def test_every_recipe_builds_its_network(path):
    recipe = with_network_of_start(load_recipe(path))
    with torch.device("meta"):
        model = create_model(recipe, num_classes=10)
    layers = {name for name, _ in model.named_children()}
    assert {*recipe.start_layers, *recipe.new_layers, *recipe.frozen} <= layers
    make_optimizer(model, recipe)  # refuses layers that are not there
    check_crop(recipe, num_classes=10)
    for member in recipe.members:
        load_recipe(member.recipe)
    if recipe.start_from and not is_published(recipe.start_from):
        load_recipe(recipe.start_from)
