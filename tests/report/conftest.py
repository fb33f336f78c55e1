import csv
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest

from alexnet_zoo.data.published import ILSVRC_2012, PUBLISHED_SETS
from alexnet_zoo.pedigree import FILE, ImageSet, Pedigree, from_text, pedigree_of, record_end, record_start, to_text
from alexnet_zoo.results import COLUMNS
from alexnet_zoo.train.recipe import Recipe, load_recipe

DIGITS = dict(
    model="alexnet_krizhevsky", img_size=112, top1=95.0, top1_err=5.0, top5=99.5, top5_err=0.5, param_count=3.9,
    crop_pct=0.875, interpolation="bilinear", recipe="digits", dataset="digits", split="test", images=360, views=10,
    provider="CPUExecutionProvider", precision="fp32", onnx_sha256="aa", data_sha256="dd", identity="",
)  # fmt: skip
VAL2012 = DIGITS | dict(
    recipe="table2-one-cnn", dataset="ilsvrc2012", split="val", images=50_000, img_size=224, data_sha256="d12",
    identity="ILSVRC-2012 val, 50,000 images, complete",
)  # fmt: skip
TEST2010 = VAL2012 | dict(
    recipe="table1-cnn", dataset="ilsvrc2010", split="test", images=150_000, data_sha256="d10",
    identity="ILSVRC-2010 test, 150,000 images, complete",
)  # fmt: skip


def errors(top1_err: float, top5_err: float) -> dict:
    return dict(top1_err=top1_err, top1=round(100 - top1_err, 3), top5_err=top5_err, top5=round(100 - top5_err, 3))


def write_results(path: Path, *lines: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(lines)
    return path


def write_run(folder: Path, *lines: dict, curve: list[dict] = (), recipe: str = "") -> Path:
    """A run folder as training leaves it, with made-up figures."""
    folder.mkdir(parents=True)
    if lines:
        write_results(folder / "results.csv", *lines)
        for pedigree in from_text(lines[0].get("pedigree", ""))[:1]:
            (folder / FILE).write_text(pedigree.model_dump_json())
    if curve:
        with open(folder / "summary.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, list(curve[0]))
            writer.writeheader()
            writer.writerows(curve)
    (folder / "recipe.toml").write_text(f'name = "{recipe or (lines[0]["recipe"] if lines else "digits")}"\n')
    return folder


def images_of(recipe: Recipe, split: str) -> ImageSet:
    """All images of a split of a recipe's data set; of a recipe for any photographs, ILSVRC-2012's."""
    data = PUBLISHED_SETS.get(recipe.data, ILSVRC_2012)
    identity = f"{data.name} {split}, {data.images[split]:,} images, complete"
    return ImageSet(identity=identity, split=split, images=data.images[split], data_sha256=f"of {data.name}")


def pretend_run(folder: Path, recipe: Recipe) -> Pedigree:
    """The pedigree that a run leaves which trains by a recipe to its end; the training itself is left out."""
    start = None
    if recipe.start_from:
        start = folder / "start" / "model.safetensors"
        pretend_run(start.parent, load_recipe(recipe.start_from, [f"seed={recipe.start_seed or 0}"]))
    written = recipe.model_dump(mode="json", exclude_none=True)
    folder.mkdir(parents=True, exist_ok=True)
    record_start(folder, written, images_of(recipe, recipe.train_split), images_of(recipe, recipe.eval_split), start, 0)
    text = f"weights of {recipe.name}, seed {recipe.seed}, start {start and start.read_text()}"
    (folder / "model.safetensors").write_text(text)
    record_end(folder, 900, 900, False)
    return pedigree_of(folder / "model.safetensors")


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The helpers above; figures made up, in the format of real ones.

    pedigrees(NAME, OVERRIDES) are those of a recipe's networks; by(LINE, NAME) is a line of that recipe, with them.
    """

    @cache
    def pedigrees(name: str, *overrides: str) -> list[Pedigree]:
        recipe = load_recipe(name, list(overrides))
        members = [load_recipe(one.recipe, one.overrides) for one in recipe.members]
        return [pretend_run(tmp_path_factory.mktemp("run"), one) for one in members or [recipe]]

    def by(line: dict, name: str, *overrides: str) -> dict:
        return line | dict(recipe=name, pedigree=to_text(pedigrees(name, *overrides)))

    lines = dict(DIGITS=DIGITS, VAL2012=by(VAL2012, "table2-one-cnn"), TEST2010=by(TEST2010, "table1-cnn"))
    helpers = dict(errors=errors, write_results=write_results, write_run=write_run, pedigrees=pedigrees, by=by)
    return SimpleNamespace(**lines, **helpers, images_of=images_of, pretend_run=pretend_run)
