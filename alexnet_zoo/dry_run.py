"""Says what `alexzoo reproduce` would do and cost (`--dry-run`), and neither writes nor prepares anything."""

from pathlib import Path

import tomli_w

from alexnet_zoo.data.prepared.dataset import open_prepared
from alexnet_zoo.data.published import PUBLISHED_SETS, PublishedSet
from alexnet_zoo.data.sources.recognise import open_source
from alexnet_zoo.errors import UserError
from alexnet_zoo.plan import Plan
from alexnet_zoo.resolve import cache_of, is_digits, named_data
from alexnet_zoo.train.checkpoint import list_checkpoints
from alexnet_zoo.train.columns import Layout, planned
from alexnet_zoo.train.estimate import estimate
from alexnet_zoo.train.launch import columns_of, describe
from alexnet_zoo.train.recipe import Recipe

DIGITS = PublishedSet("digits", 10, {"train": 1_433, "test": 364})
BACKWARD = 2  # a backward pass costs about two forward passes


def dry_run(plan: Plan) -> str:
    """Says the resolved recipe, the processes, the images, the steps and hours, the memory and disk, a line each.

    Raises UserError where the data lacks a split that the recipe names, or fills no batch.
    """
    recipe = plan.recipe
    size = size_of(recipe, plan.data, plan.folder)
    if lacking := {recipe.train_split, recipe.eval_split, recipe.test_split} - set(size.images):
        raise UserError(f"{size.name}: has no split {', '.join(sorted(lacking))}; it has {', '.join(size.images)}")
    training, batch = size.images[recipe.train_split], recipe.batch_size
    if training < batch:
        fewer = f"--set batch_size={training} or less"
        raise UserError(f"{size.name}: {training} training images do not fill a batch of {batch}; {fewer}")
    layout = planned(plan.gpus, columns_of(recipe), plan.columns, plan.device)
    lines = [tomli_w.dumps(recipe.model_dump(exclude_none=True)), f"# {describe(recipe, layout)}"]
    lines.append(f"# {training:,} training images from {size.name}")
    if not plan.members:
        return "\n".join([*lines, *cost_lines(recipe, size, layout, plan.folder)[0]])
    costs: dict[str, tuple[list[str], float]] = {}
    total = 0.0
    left = [member for member in plan.members if not member.finished]
    for member in left:
        name = member.recipe.name
        if name not in costs:
            costs[name] = cost_lines(member.recipe, size, layout, member.folder)
            lines += [f"# each {name}:", *costs[name][0]]
        total += costs[name][1]
    lines.append(f"# {len(plan.members)} members, of which {len(left)} are left: {duration(total)} in all")
    return "\n".join(lines)


def cost_lines(recipe: Recipe, size: PublishedSet, layout: Layout, run: Path) -> tuple[list[str], float]:
    """Says what one network costs, in lines, and in seconds, evaluation included."""
    cost = estimate(recipe, size.images[recipe.train_split], size.classes, layout)
    steps, seconds = cost["steps"], cost["step_seconds"]
    evaluation = passes_without_steps(recipe, size) * seconds / recipe.batch_size / (1 + BACKWARD)
    lasts = f"{duration(steps * seconds)}, and about {duration(evaluation)} of evaluation"
    lines = [f"# {steps:,} steps of {seconds:.2f} s in one process here: {lasts}"]
    if checkpoints := list_checkpoints(run / "checkpoints"):
        lines.append(f"# of these steps {int(checkpoints[-1].name.rpartition('-')[2]):,} are done")
    memory, checkpoint = cost["memory_bytes"] / 2**30, cost["checkpoint_bytes"] / 2**30
    lines.append(f"# {memory:.2f} GiB of memory a device; {checkpoint:.2f} GiB on disk for a checkpoint")
    return lines, steps * seconds + evaluation


def size_of(recipe: Recipe, data: Path | None, run: Path) -> PublishedSet:
    """Finds how many images a run will have: in its prepared data, by counting photographs, or as published."""
    named = named_data(recipe, data, run)
    if named is None:
        if recipe.data not in PUBLISHED_SETS:
            raise UserError(f"recipe {recipe.name} needs {recipe.data}: name its folder with --data", exit_code=2)
        return PUBLISHED_SETS[recipe.data]
    cache = cache_of(named, recipe.image_size)
    prepared = next((folder for folder in (named, cache) if (folder / "prepared.json").exists()), None)
    if prepared:
        opened, disk = open_prepared(prepared), sum(path.stat().st_size for path in prepared.iterdir()) / 1e9
        images = {split: len(dataset) for split, dataset in opened.splits.items()}
        return PublishedSet(f"{prepared}, {disk:.2f} GB on disk", len(opened.classes), images)
    if is_digits(named):
        return DIGITS
    source = open_source(named)
    images = {split: len(listing.names) for split, listing in source.splits.items()}
    disk = sum(images.values()) * recipe.image_size**2 * 3 / 1e9
    where = f"{named}, to be prepared in {cache}, {disk:.2f} GB on disk"
    return PublishedSet(where, len(source.classes), images)


def passes_without_steps(recipe: Recipe, size: PublishedSet) -> int:
    """Counts views of images that are evaluated: in training one of each for validation, then all of the test split."""
    validations = max(1, int(recipe.epochs // recipe.eval_every))
    return validations * size.images[recipe.eval_split] + sum(recipe.views) * size.images[recipe.test_split]


def duration(seconds: float) -> str:
    """Writes hours, or minutes below one hour."""
    return f"{seconds / 3600:,.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"
