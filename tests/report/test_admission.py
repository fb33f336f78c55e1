"""Right runs fill the rows of the paper, all of them; each wrong run is refused, and told why."""

import tomllib
from dataclasses import replace

import pytest

from alexnet_zoo.declared import list_declared
from alexnet_zoo.pedigree import Pedigree, pedigree_of, record_end, record_start, to_text
from alexnet_zoo.report.admission import refusal
from alexnet_zoo.report.claims import claims_table
from alexnet_zoo.report.measured import Result, read_sources
from alexnet_zoo.report.paper import MeasuredBy, load_paper
from alexnet_zoo.report.recipes import changed, compared, shipped_recipe
from alexnet_zoo.report.tables import refused_table, table2
from alexnet_zoo.train.recipe import Recipe, load_recipe, save_recipe

PAPER = load_paper()
ROWS = {row.id: row.measured_by for row in PAPER.row if row.measured_by}
PLACES = [(place, recipe, row) for place, row in ROWS.items() for recipe in row.recipes]
PLACES += [(claim.id, *arm.recipes, arm) for claim in PAPER.claim for arm in claim.arms()]
SPLITS = {"ILSVRC-2012 val": 50_000, "ILSVRC-2010 test": 150_000, "CIFAR-10 test": 10_000}


def line_of(made, row: MeasuredBy, recipe: str, pedigrees: list[Pedigree | None], **changes) -> Result:
    """A line of results.csv of all images of the row's split."""
    images = SPLITS.get(row.identity, 4_450_000)
    identity = f"{row.identity}, {images:,} images, complete"
    line = made.VAL2012 | dict(recipe=recipe, split=row.split, images=images, identity=identity, views=row.views or 10)
    line |= dict(pedigree=to_text(pedigrees)) | changes
    return Result(**line, pedigrees=pedigrees)


def why(made, row: str, recipe: str, pedigrees=None, **changes) -> str | None:
    pedigrees = made.pedigrees(recipe) if pedigrees is None else pedigrees
    return refusal(ROWS[row], line_of(made, ROWS[row], recipe, pedigrees, **changes))


@pytest.mark.parametrize("path", list_declared("reproduce"), ids=lambda path: path.stem)
def test_every_recipe_is_unchanged_after_writing_and_reading(tmp_path, path):
    save_recipe(load_recipe(path), tmp_path / "recipe.toml")
    assert changed(tomllib.loads((tmp_path / "recipe.toml").read_text())) == ""
    again = load_recipe(tmp_path / "recipe.toml").model_dump(mode="json", exclude_none=True)
    assert compared(Recipe.model_validate(again).model_dump(), shipped_recipe(path.stem)) == {}


@pytest.mark.parametrize("place, recipe, row", PLACES, ids=[f"{place}-{recipe}" for place, recipe, _ in PLACES])
def test_the_right_run_fills_its_place(made, place, recipe, row):
    assert refusal(row, line_of(made, row, recipe, made.pedigrees(recipe))) is None


def test_another_seed_is_right(made):
    assert why(made, "table2-one-cnn", "table2-one-cnn", made.pedigrees("table2-one-cnn", "seed=3")) is None


@pytest.mark.parametrize("recipe", ["table2-one-cnn", "as-run-145"])
def test_a_changed_recipe_is_refused(made, recipe):
    assert why(made, "table2-one-cnn", recipe, made.pedigrees(recipe, "epochs=1")) == "with epochs=1.0"
    slower = made.pedigrees("as-run-145", "changes=[]")
    assert why(made, "table2-one-cnn", "as-run-145", slower) == "with changes=[]"
    assert "trained by table2-one-cnn" in why(made, "table2-one-cnn", "as-run-145", made.pedigrees("table2-one-cnn"))


def test_a_field_younger_than_the_run_counts_as_its_default(made):
    (pedigree,) = made.pedigrees("as-run-145")
    older = {field: value for field, value in pedigree.recipe.items() if field != "bias_lr"}
    reason = why(made, "table2-one-cnn", "as-run-145", [pedigree.model_copy(update={"recipe": older})])
    assert reason.startswith("with bias_lr")


def test_a_recipe_of_another_version_is_refused_in_words(made):
    (pedigree,) = made.pedigrees("table2-one-cnn")
    newer = pedigree.model_copy(update={"recipe": {**pedigree.recipe, "field_of_tomorrow": 1}})
    reason = why(made, "table2-one-cnn", "table2-one-cnn", [newer])
    assert reason == "its recipe has fields that this version does not know"


def went_on(made, tmp_path, *overrides: list[str], **images) -> Pedigree:
    """A run of table2-one-cnn that goes on from the steps 500, 1000, ... with other fields or images."""
    recipe = load_recipe("table2-one-cnn")
    splits = [made.images_of(recipe, split) for split in ("train", "val")]
    made.pretend_run(tmp_path, recipe)
    for number, fields in enumerate(overrides, start=1):
        written = load_recipe("table2-one-cnn", fields).model_dump(mode="json", exclude_none=True)
        train, val = splits[0].model_copy(update=images), splits[1]
        record_start(tmp_path, written, train, val, None, 500 * number)
    record_end(tmp_path, 900, 900, False)
    return pedigree_of(tmp_path / "model.safetensors")


def test_what_was_changed_on_the_way_leaves_its_trace(made, tmp_path):
    pedigree = went_on(made, tmp_path / "a", ["lr=0.1"], ["lr=0.01"], [])
    assert [(one.step, one.before, one.after) for one in pedigree.alterations] == [(500, 0.01, 0.1), (1000, 0.1, 0.01)]
    reason = why(made, "table2-one-cnn", "table2-one-cnn", [pedigree])
    assert reason == "on the way changed lr at step 500, lr at step 1000"
    plain = went_on(made, tmp_path / "b", [], ["checkpoint_minutes=1"])
    assert why(made, "table2-one-cnn", "table2-one-cnn", [plain]) is None
    other = went_on(made, tmp_path / "c", [], data_sha256="other")
    assert why(made, "table2-one-cnn", "table2-one-cnn", [other]) == "on the way changed trained_on at step 500"


def test_a_run_may_go_on_by_a_younger_version(made):
    (pedigree,) = made.pedigrees("table2-one-cnn")
    now, images = pedigree.recipe, (pedigree.trained_on, pedigree.steered_by)
    begun = pedigree.model_copy(update={"recipe": {name: now[name] for name in now if name != "mean_place"}})
    for recipe, reason in ((now, None), (now | {"mean_place": "centre"}, "on the way changed mean_place at step 500")):
        went_on = begun.continued(500, recipe, *images).model_copy(update={"weights_sha256": "of the end"})
        assert why(made, "table2-one-cnn", "table2-one-cnn", [went_on]) == reason


@pytest.mark.parametrize(
    "images, reason",
    [
        (dict(identity="", images=128_000), "trained on 128,000 images that are not verified, not all of"),
        (dict(images=128_000), "not all of ILSVRC-2012 train"),
        (dict(identity="ILSVRC-2010 train, 1,281,167 images, complete"), "trained on ILSVRC-2010 train"),
    ],
)
def test_a_part_of_the_training_images_is_refused(made, images, reason):
    (pedigree,) = made.pedigrees("table2-one-cnn")
    part = pedigree.model_copy(update={"trained_on": pedigree.trained_on.model_copy(update=images)})
    assert reason in why(made, "table2-one-cnn", "table2-one-cnn", [part])


def test_a_few_unreadable_images_are_shown(made):
    (pedigree,) = made.pedigrees("fall2009")
    known = "ImageNet Fall 2009 train, 4,399,999 images, complete but for 1 unreadable"
    images = pedigree.trained_on.model_copy(update=dict(identity=known, images=4_399_999))
    tested = dict(identity="ImageNet Fall 2009 test, 4,449,998 images, complete but for 2 unreadable", images=4_449_998)
    line = line_of(made, ROWS["fall2009"], "fall2009", [pedigree.model_copy(update={"trained_on": images})], **tested)
    assert refusal(ROWS["fall2009"], line) is None
    assert "4,449,998 images but for 2 unreadable" in line.how and known in line.how


def test_what_steers_the_rate_is_the_split_that_the_recipe_names(made):
    (pedigree,) = made.pedigrees("fall2009")
    test = made.images_of(load_recipe("fall2009"), "test")
    steered = pedigree.model_copy(update={"steered_by": test})
    assert "steered by ImageNet Fall 2009 test" in why(made, "fall2009", "fall2009", [steered])
    assert all(load_recipe(name).eval_split == "val" for name in ("fall2009", "as-run-146-2009"))


@pytest.mark.parametrize("update", [dict(weights_sha256=""), dict(steps=899)])
def test_a_run_that_has_not_ended_is_refused(made, update):
    (pedigree,) = made.pedigrees("table2-one-cnn")
    reason = why(made, "table2-one-cnn", "table2-one-cnn", [pedigree.model_copy(update=update)])
    assert reason == "its training had not ended with these weights"


@pytest.mark.parametrize("pedigrees", [[], [None]])
def test_without_a_pedigree_nothing_stands(made, pedigrees):
    assert why(made, "table2-one-cnn", "table2-one-cnn", pedigrees).startswith("no pedigree")
    assert why(made, "table2-five-cnns", "table2-five-cnns", pedigrees).startswith("no pedigree")


@pytest.mark.parametrize(
    "change, reason",
    [
        (dict(images=49_000), "measured on ilsvrc2012 val, not on all of ILSVRC-2012 val"),
        (dict(identity=""), "measured on ilsvrc2012 val, not on all of"),
        (dict(split="test"), "not on all of ILSVRC-2012 val"),
        (dict(precision="int8"), "its file is int8"),
        (dict(onnx_sha256=""), "no checksum"),
        (dict(views=1), "1 views"),
    ],
)
def test_what_was_measured_is_judged_too(made, change, reason):
    assert reason in why(made, "table2-one-cnn", "table2-one-cnn", **change)


def test_the_pre_training_is_judged_like_the_run(made):
    name = "table2-one-cnn-pretrained"
    (pedigree,) = made.pedigrees(name)
    (short,) = made.pedigrees("pretrain-fall2011", "epochs=1")
    (other,) = made.pedigrees("table2-one-cnn")
    for start, reason in [
        (short, "pretrain-fall2011: with epochs=1"),
        (other, "pretrain-fall2011: trained by table2-one-cnn, not by pretrain-fall2011"),
        (None, "pretrain-fall2011: no pedigree"),
    ]:
        assert why(made, name, name, [pedigree.model_copy(update={"start": start})]).startswith(reason)
    started = other.model_copy(update={"start_sha256": "x"})
    assert why(made, "table2-one-cnn", "table2-one-cnn", [started]) == "started from other weights"


def test_an_ensemble_is_its_recipes_members_each_another_network(made):
    name = "table2-seven-cnns"
    *five, sixth, seventh = made.pedigrees(name)
    assert [one.start.recipe["seed"] for one in (sixth, seventh)] == [0, 1]
    one_start = seventh.model_copy(update={"start": sixth.start, "start_sha256": sixth.start_sha256})
    for members, reason in [
        ([*five, sixth], "by seed and by seed of the pre-training"),
        ([*five, sixth, sixth], "two of its networks, or of their pre-trainings, are one"),
        ([*five, sixth, one_start], "two of its networks, or of their pre-trainings, are one"),
        ([*five[:4], *made.pedigrees("table2-one-cnn", "seed=4", "epochs=1"), sixth, seventh], "with epochs=1.0"),
        ([*five, sixth, None], "no pedigree of each of its networks"),
    ]:
        assert reason in why(made, name, name, members)


def test_the_report_shows_what_was_refused_and_why(made, tmp_path):
    short = made.by(made.VAL2012, "table2-one-cnn", "epochs=1")
    results = read_sources([made.write_results(tmp_path / "elsewhere.csv", short)])  # no recipe.toml beside it
    (line,) = results.results
    assert line.changed == "epochs=1.0"
    assert all(row[2] is None for row in table2(PAPER, results.results).rows)
    assert all(row[5] is None for row in claims_table(PAPER, results).rows)
    (refused,) = refused_table(PAPER, results.results).rows
    assert refused[0] == "table2-one-cnn" and refused[1].value == 1 and refused[3] == "with epochs=1.0"
    assert refused[2].startswith("1 CNN; claim ")
    assert refused_table(PAPER, [replace(line, pedigrees=made.pedigrees("table2-one-cnn"))]).rows == []
