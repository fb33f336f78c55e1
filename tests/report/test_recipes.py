import shlex

from alexnet_zoo.report.recipes import changed, command, differences
from alexnet_zoo.train.recipe import load_recipe

OVERRIDES = ["seed=3", "epochs=5", "model_args.pool_size=2", "drop_epochs=[1, 2]", "colour=as_run"]


def test_a_run_by_the_book_differs_in_nothing():
    recipe = load_recipe("table2-one-cnn", ["seed=7"]).model_dump()
    assert changed(recipe) == "" and differences(recipe, "table2-one-cnn") == {}


def test_what_was_overridden_and_how_to_run_it_again():
    recipe = load_recipe("digits", OVERRIDES).model_dump()
    assert differences(recipe, "digits")["epochs"] == (load_recipe("digits").epochs, 5)
    words = shlex.split(command(recipe, {"processes": 2}, "digits"))
    assert words[:5] == ["alexzoo", "reproduce", "digits", "--gpus", "2"]
    again = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    assert load_recipe("digits", again).model_dump() == recipe


def test_the_recorded_command_is_the_one_shown():
    recipe = load_recipe("init-published", ["seed=1"]).model_dump()
    recorded = "alexzoo reproduce init-published --data imagenette-1000 --out init-published-1000 --set seed=1"
    assert command(recipe, {"command": recorded}, "x") == recorded
    resumed = {"command": "alexzoo reproduce --resume --out a", "processes": 2}  # repeats nothing from its start
    again = "alexzoo reproduce init-published --data imagenette --gpus 2 --set seed=1"
    assert command(recipe, resumed, "imagenette") == again


def test_a_recipe_of_the_users_own(tmp_path):
    assert changed({"name": "mine", "epochs": 3}) == ""
