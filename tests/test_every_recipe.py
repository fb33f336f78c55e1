"""Every recipe of reproduce/ from archives to tables: two steps and an evaluation, in the layout of its data set.

The archives are fabricated, with a few plain photographs each; networks have a sixteenth of their width, and batches
four images. Sizes of images and crops, splits, networks, starts, rates and views are the recipe's own.
"""

import csv
import json
from dataclasses import replace
from functools import cache

import numpy as np
import onnx
import pytest

from alexnet_zoo import pipeline
from alexnet_zoo.data.prepared.digits import prepare_digits
from alexnet_zoo.data.prepared.prepare import prepare
from alexnet_zoo.data.published import PublishedSet
from alexnet_zoo.data.sources.cifar10 import cifar10
from alexnet_zoo.data.sources.fall import RELEASES, fall
from alexnet_zoo.data.sources.ilsvrc import ILSVRC2010, ILSVRC2012, ilsvrc
from alexnet_zoo.data.sources.source import image_folder
from alexnet_zoo.declared import list_declared
from alexnet_zoo.plan import make_plan
from alexnet_zoo.report.admission import is_candidate, refusal
from alexnet_zoo.report.measured import read_results
from alexnet_zoo.report.paper import load_paper
from alexnet_zoo.start import with_network_of_start
from alexnet_zoo.train.recipe import load_recipe

ROWS = [row for row in load_paper().row if row.measured_by]
NAMES = [path.stem for path in list_declared("reproduce")]
WNIDS = [f"n{number:08d}" for number in range(10, 14)]
IDS = {"val": [3, 1, 4, 2, 2, 1], "test": [4, 4, 3, 1, 2, 2]}
BATCH, STEPS = 4, 2
FALL = {"ImageNet Fall 2009": {"train": 12, "val": 8, "test": 20}, "ImageNet Fall 2011": {"train": 30, "val": 10}}


@pytest.fixture(scope="module")
def sources(tmp_path_factory, fabricate):
    """sources(data): the photographs of the data set that a recipe names."""
    folder = tmp_path_factory.mktemp("archives")

    def year(year):
        small = replace(year, published=PublishedSet(year.name, 4, {"train": 16, "val": 6, "test": 6}))
        return ilsvrc(fabricate.ilsvrc(folder / year.stem, small, dict.fromkeys(WNIDS, 4), IDS), small)

    def release(release):
        (archives := folder / release.published.name.replace(" ", "-")).mkdir()
        for wnid in WNIDS:
            photographs = {f"{wnid}_{n}.JPEG": fabricate.photograph(n) for n in range(10)}
            (archives / f"{wnid}.tar").write_bytes(fabricate.tar(photographs))
        small = replace(release.published, classes=4, images=FALL[release.published.name])
        return fall(archives, releases=(replace(release, published=small),))

    def cifar():
        pixels = np.random.default_rng(0).integers(0, 256, (6, BATCH, 3072), dtype=np.uint8)
        stems = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
        files = {f"cifar-10-batches-py/{s}": fabricate.python2_batch(p, [0, 3, 7, 9]) for s, p in zip(stems, pixels)}
        (folder / "cifar-10-python.tar.gz").write_bytes(fabricate.tar(files, "w:gz"))
        return cifar10(folder / "cifar-10-python.tar.gz", BATCH)

    def tree():
        for split in ("train", "val"):
            for wnid in WNIDS:
                (folder / "tree" / split / wnid).mkdir(parents=True)
                for n in range(4):
                    (folder / "tree" / split / wnid / f"{n}.JPEG").write_bytes(fabricate.photograph(n))
        return image_folder(folder / "tree")

    makers = {"CIFAR-10": cifar, "photographs": tree}
    makers |= {"ILSVRC-2010": lambda: year(ILSVRC2010), "ILSVRC-2012": lambda: year(ILSVRC2012)}
    makers |= {each.published.name.replace(" ", "-"): (lambda each=each: release(each)) for each in RELEASES}
    return cache(lambda data: makers[data]())


@pytest.fixture(scope="module")
def reproduce(tmp_path_factory, sources):
    """reproduce(name): the rows of a recipe's run, made once, after the runs that it starts from."""
    folder = tmp_path_factory.mktemp("every")

    @cache
    def prepared(data, image_size):
        out = folder / f"{data}-{image_size}"
        return prepare_digits(out, image_size) if data == "digits" else prepare(sources(data), out, image_size, 1)

    @cache
    def reproduce(name, seed=0):
        start = []
        if not load_recipe(name).model:  # of whatever network it starts from: here of one that was just trained
            reproduce("imagenette-quick")
            start = ["start_from=runs/imagenette-quick"]
        recipe = with_network_of_start(load_recipe(name, [f"seed={seed}", *start]))
        for one in [load_recipe(member.recipe, member.overrides) for member in recipe.members] or [recipe]:
            if one.start_from and not start:
                reproduce(one.start_from, one.start_seed or 0)
        data = prepared(recipe.data, recipe.image_size)
        steps = len(data.split(recipe.train_split)) // BATCH
        changes = [*start, f"seed={seed}", f"batch_size={BATCH}", f"epochs={STEPS / steps}"]
        changes += ["model_args.width_mult=0.0625"] * (recipe.model.startswith("alexnet_") and not start)
        return pipeline.reproduce(make_plan(name, data.folder, overrides=changes)), data

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # of runs/
        yield reproduce


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_two_steps_and_an_evaluation(name, reproduce):
    rows, data = reproduce(name)
    run = data.folder.parent / "runs" / name
    recipe = load_recipe(name) if load_recipe(name).model else load_recipe(run / "recipe.toml")
    split = data.split(recipe.test_split)
    assert [row["views"] for row in rows] == recipe.views
    assert {(row["recipe"], row["split"], row["images"]) for row in rows} == {(name, split.name, len(split))}
    assert list(csv.DictReader((run / "results.csv").open()))[0]["recipe"] == name
    for line in read_results(run / "results.csv", []):
        refused = [refusal(row.measured_by, line) for row in ROWS if is_candidate(row.measured_by, line)]
        assert all(f"batch_size={BATCH}" in why and "not all of" in why for why in refused)
        assert len(line.pedigrees) == max(len(recipe.members), 1) and all(line.pedigrees)
    for trained in [run] if not recipe.members else [run / f"member-{n + 1}" for n in range(len(recipe.members))]:
        steps = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in steps] == [1, 2] and all(np.isfinite(line["loss"]) for line in steps)
        metadata = {fact.key: fact.value for fact in onnx.load(trained / "model.onnx").metadata_props}
        assert (metadata["crop_size"], metadata["mean_place"]) == (str(recipe.crop_size), recipe.mean_place)
