"""Runs that are really made, rightly and wrongly: what their pedigree says of them in the end, and who refuses them."""

import os
import shutil
from pathlib import Path

import pytest

from alexnet_zoo import pipeline
from alexnet_zoo.errors import UserError
from alexnet_zoo.files import sha256_of
from alexnet_zoo.onnx.evaluate import evaluate
from alexnet_zoo.pedigree import FILE, Pedigree
from alexnet_zoo.plan import make_plan
from alexnet_zoo.report.admission import refusal
from alexnet_zoo.report.measured import read_results
from alexnet_zoo.report.paper import MeasuredBy
from alexnet_zoo.resolve import find_data, open_network
from alexnet_zoo.results import append_results
from alexnet_zoo.start import start_of
from alexnet_zoo.train.recipe import Recipe, load_recipe, save_recipe

SMALL = """
base = "digits"
image_size = 72
crop_size = 64
model_args = { img_size = 64, width_mult = 0.125 }
epochs = 0.2
views = [1]
"""
PAIR = '{ recipe = "small.toml", seed = 3 }, { recipe = "small.toml", seed = 4 }'
RECIPES = {
    "small": SMALL,
    "tuned": f'{SMALL}start_from = "small"\n',
    "pair": f"{SMALL}members = [{PAIR}]\n",
}
# A part of no published set: nothing else may be wrong with a run that is right.
DATA = "measured on digits test, not on all of paper test"
IMAGES = "trained on 1,433 images that are not verified, not all of paper train"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def recipes(tmp_path, cache, monkeypatch):
    """The folder of a test: recipes, and the runs that it makes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALEXZOO_CACHE", str(cache))
    for name, text in RECIPES.items():
        Path(f"{name}.toml").write_text(text)


def reproduce(name: str | None, out: str, *overrides: str, **options) -> None:
    pipeline.reproduce(make_plan(name and f"{name}.toml", None, out=Path(out), overrides=list(overrides), **options))


def recipe_of(name: str) -> Recipe:
    return load_recipe(f"{name}.toml")


def evaluate_elsewhere(file: Path, out: Path) -> Path:
    """Measures an ONNX file as `alexzoo evaluate --out` does; no recipe lies beside what it writes."""
    split = find_data(recipe_of("small"), None, Path("none")).split("test")
    append_results(out, [evaluate([file], split, 1)])
    return out


def why(results: Path) -> list[str]:
    """What is wrong with the only line of a results.csv, by recipes that are to be trained on all of a set `paper`."""
    (line,) = read_results(results, [])
    row = MeasuredBy(identity="paper test", split="test", views=1, recipes=[line.recipe])
    return refusal(row, line, recipe_of).split("; ")


def pedigree(run: str) -> Pedigree:
    return Pedigree.model_validate_json((Path(run) / FILE).read_text())


@pytest.mark.slow
def test_a_right_run_and_one_whose_results_lie_elsewhere():
    reproduce("small", "right", "seed=5", "checkpoint_minutes=1")
    found = pedigree("right")
    assert (found.steps, found.planned, found.recipe["seed"], found.alterations) == (4, 4, 5, [])
    assert found.weights_sha256 == sha256_of(Path("right/model.safetensors"))
    assert why(Path("right/results.csv")) == [DATA, IMAGES]
    assert why(evaluate_elsewhere(Path("right/model.onnx"), Path("a/results.csv"))) == [DATA, IMAGES]

    reproduce("small", "short", "epochs=0.1")
    assert why(evaluate_elsewhere(Path("short/model.onnx"), Path("b/results.csv"))) == [DATA, "with epochs=0.1", IMAGES]

    shutil.copy("short/model.safetensors", "right/best.safetensors")  # any weights but those that the run ended with
    pipeline.export(open_network("right/best.safetensors", None, None), out=Path("other.onnx"))
    ended = "its training had not ended with these weights"
    assert why(evaluate_elsewhere(Path("other.onnx"), Path("c/results.csv"))) == [DATA, IMAGES, ended]


@pytest.mark.slow
def test_a_run_that_was_begun_by_a_version_that_kept_no_pedigree_gets_none():
    reproduce("small", "right")
    (Path("right") / FILE).unlink()
    reproduce(None, "right", resume=True)
    assert why(Path("right/results.csv")) == [DATA, "no pedigree: where its weights come from is not known"]


@pytest.mark.slow
def test_a_rate_that_was_changed_and_changed_back_leaves_its_trace():
    """Each time the run is killed after its first epoch: the checkpoint of the second and what came later are gone."""
    Path("small.toml").write_text(SMALL.replace("epochs = 0.2", "epochs = 2"))
    reproduce("small", "run")
    for overrides in (["lr=0.1"], ["lr=0.01"]):
        shutil.rmtree(max(Path("run/checkpoints").iterdir()))
        reproduce(None, "run", *overrides, resume=True)
    assert load_recipe("run/recipe.toml") == recipe_of("small")
    assert [(one.field, one.step, one.after) for one in pedigree("run").alterations] == [
        ("lr", 22, 0.1),
        ("lr", 22, 0.01),
    ]
    assert why(Path("run/results.csv")) == [DATA, "on the way changed lr at step 22, lr at step 22", IMAGES]


@pytest.mark.slow
def test_the_start_has_its_own_pedigree():
    reproduce("small", "runs/small")
    reproduce("tuned", "right")
    assert pedigree("right").start == pedigree("runs/small")
    assert why(Path("right/results.csv")) == [DATA, IMAGES, f"small: {IMAGES}"]

    reproduce("small", "short", "epochs=0.1", "seed=1")
    reproduce("tuned", "wrong", "start_from=short")
    assert why(Path("wrong/results.csv")) == [DATA, IMAGES, "small: with epochs=0.1", f"small: {IMAGES}"]

    shutil.copy("short/model.safetensors", "foreign.safetensors")
    reproduce("tuned", "foreign", "start_from=foreign.safetensors")
    assert why(Path("foreign/results.csv"))[-1].startswith("small: no pedigree")
    reproduce("small", "from-foreign", "start_from=foreign.safetensors")
    assert why(Path("from-foreign/results.csv")) == [DATA, IMAGES, "started from other weights"]

    with pytest.raises(UserError, match="run first: alexzoo reproduce small --set seed=2"):
        reproduce("tuned", "no-such-seed", "start_seed=2")


def test_a_number_behind_a_recipes_name_may_be_another_recipes():
    for name in ("as-run-145", "as-run-145-2010"):
        (run := Path("runs") / name).mkdir(parents=True)
        save_recipe(load_recipe(name), run / "recipe.toml")
    os.utime("runs/as-run-145", (1, 1))  # the other was written to last
    assert start_of(load_recipe("as-run-146-2009")) == Path("runs/as-run-145/model.safetensors")
    assert make_plan("as-run-145", None, resume=True).folder == Path("runs/as-run-145")


@pytest.mark.slow
def test_members_are_what_they_are_wherever_they_come_from():
    """A member that is finished is taken as it is: what made it is in its pedigree."""
    reproduce("pair", "right")
    assert [one.recipe["seed"] for one in map(pedigree, ("right/member-1", "right/member-2"))] == [3, 4]
    assert why(Path("right/results.csv")) == [DATA, f"a network of it {IMAGES}"]

    reproduce("small", "wrong/member-1", "epochs=0.1", "seed=3")
    shutil.copytree("right/member-2", "wrong/member-2")
    reproduce("pair", "wrong")
    assert why(Path("wrong/results.csv")) == [DATA, "a network of it with epochs=0.1", f"a network of it {IMAGES}"]

    for number in (1, 2):
        shutil.copytree("right/member-2", f"twice/member-{number}")
    reproduce("pair", "twice")
    seeds, one = "its networks are not the recipe's, by seed and by seed of the pre-training", "two of its networks"
    assert why(Path("twice/results.csv"))[1] == seeds and why(Path("twice/results.csv"))[2].startswith(one)
