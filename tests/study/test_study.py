"""Plans: what is wrong with one is said in one line; the committed ones are whole."""

import tomllib

import pytest
import timm
import torch

from alexnet_zoo.declared import list_declared
from alexnet_zoo.errors import UserError
from alexnet_zoo.study.study import FOLDER, load_study, toml

PLAN = """
recipe = "digits"
data = "digits"
seeds = 2
set = { epochs = 1, model_args = { width_mult = 0.125 } }
arms = { base = {}, no-lrn = { set = { model_args = { lrn = false } } } }
[[compare]]
claim = "lrn"
arms = ["base", "no-lrn"]
smallest = 1.0
"""


def written(folder, text):
    path = folder / "plan.toml"
    path.write_text(text)
    return path


def test_a_run_of_an_arm(tmp_path):
    plan = load_study(written(tmp_path, PLAN))
    assert plan.changes("no-lrn", 1) == ["epochs=1", "model_args.width_mult=0.125", "model_args.lrn=false", "seed=1"]
    recipe = plan.resolved("no-lrn", 1)
    assert (recipe.epochs, recipe.seed) == (1, 1)
    assert recipe.model_args | {"width_mult": 0.125, "lrn": False} == recipe.model_args


@pytest.mark.parametrize("before, after, said", [
    ('"no-lrn"]', '"no-lrm"]', "no arm no-lrm; there are base, no-lrn"),
    ('claim = "lrn"', 'claim = "lrm"', "no such claim in paper.toml"),
    ('claim = "lrn"', 'claim = "dropout"', "its measure is epochs_to_best, not test_error"),
    ("{ model_args = { lrn = false } }", "{ epocs = 3 }", "arm no-lrn"),
    ("smallest = 1.0", "smallest = 0", "greater than 0"),
    ("seeds = 2", "seed = 2", "did you mean seeds?"),
    ('arms = ["base", "no-lrn"]', 'arms = ["base", "base"]', "compares an arm with itself"),
    ("smallest = 1.0", "smallest = 1.0\naverage = [2, 1]", "one arm twice"),
    ('smallest = 1.0', 'smallest = 1.0\nmeasure = "colour_apart"', "needs one arm twice"),
    ('arms = ["base", "no-lrn"]', 'arms = ["base", "base"]\naverage = [2, 1]', "needs more seeds of base"),
    ('claim = "lrn"', 'measure = "train_error"', "needs claim, or says"),
    ('claim = "lrn"', 'claim = "dropout"\nmeasure = "epochs_to_best"', "a ratio here: over 1"),
    ('claim = "lrn"', 'claim = "dropout"\nmeasure = "epochs_to_error"', "error is the level of epochs_to_error"),
    ('arms = { base = {}', 'arms = { base = { recipe = "table2-five-cnns" }', "arm base: an ensemble"),
])  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(tmp_path, before, after, said):
    assert before in PLAN
    with pytest.raises(UserError, match="plan.toml") as raised:
        load_study(written(tmp_path, PLAN.replace(before, after)))
    assert said in str(raised.value) and "\n" not in str(raised.value)
    assert raised.value.exit_code == 2


def test_a_plan_builds_on_another_but_has_arms_and_questions_of_its_own(tmp_path):
    written(tmp_path, PLAN)
    (tmp_path / "next.toml").write_text(
        'base = "plan"\nseeds = 3\ncompare = []\narms = { fast = { set = { lr = 0.02 } } }'
    )
    plan = load_study(tmp_path / "next.toml")
    assert (plan.name, plan.recipe, plan.seeds, list(plan.arms), plan.compare) == ("next", "digits", 3, ["fast"], [])


def test_values_as_toml():
    for value in (True, 3, 0.5, "he", [1, 2.5], ["a"], {"conv3": 0.03, "conv4": 0.03}):
        assert tomllib.loads(f"value = {toml(value)}")["value"] == value


@pytest.mark.parametrize("path", list_declared(FOLDER), ids=lambda path: path.stem)
def test_committed_plans_name_networks_that_exist(path):
    plan = load_study(path)
    with torch.device("meta"):
        for arm in plan.arms:
            recipe = plan.resolved(arm, 0)
            assert timm.create_model(recipe.model, num_classes=10, **recipe.model_args)


@pytest.mark.parametrize("name", ["claims-rate", "claims-pooling", "claims-dropout"])
def test_plans_that_build_on_claims_keep_its_networks(name):
    """A table inside a table replaces the base's: whoever sets an image size sets the width again."""
    plan, claims = load_study(name), load_study("claims").resolved("base", 0).model_args
    found = [plan.resolved(arm, 0).model_args for arm in plan.arms]
    assert all({**args, "img_size": 80}.items() >= claims.items() for args in found)
