"""Which figures may stand in a row of the paper, and why the others may not.

A figure stands there only if everything about it is known and right: what was measured on what, by which recipe, on
which images it was trained, that it ended, and from which weights it started, which are judged in the same way.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from alexnet_zoo.data.published import PUBLISHED_SETS
from alexnet_zoo.pedigree import Alteration, ImageSet, Pedigree
from alexnet_zoo.report.measured import Result, identified
from alexnet_zoo.report.paper import MeasuredBy
from alexnet_zoo.report.recipes import IMMATERIAL, compared, shipped_recipe, toml_value
from alexnet_zoo.train.recipe import Member, Recipe, without_retired

FULL_PRECISION = ("fp32", "float32")  # quantised networks are in the table of runs
STARTS = {"start_from", "start_seed"}  # the start is judged by its own pedigree, wherever it lay
RecipeOf = Callable[[str], Recipe | None]


def is_candidate(row: MeasuredBy, line: Result) -> bool:
    """Whether a line of results.csv is by a recipe of the row, and with its views."""
    return line.recipe in row.recipes and row.views in (None, line.views)


def refusal(row: MeasuredBy, line: Result, recipe_of: RecipeOf = shipped_recipe) -> str | None:
    """Why a line of results.csv may not stand in a row of the paper; None where it may.

    Args: recipe_of, the recipe of a name, as it is to be; None where there is none.
    """
    if not is_candidate(row, line):
        return f"by recipe {line.recipe or '-'}, {line.views} views"
    reasons = []
    if line.verified != row.identity or line.split != row.split:
        reasons.append(f"measured on {line.verified or f'{line.dataset} {line.split}'}, not on all of {row.identity}")
    if line.precision not in FULL_PRECISION:
        reasons.append(f"its file is {line.precision}, not float32")
    if not line.onnx_sha256:
        reasons.append("no checksum of its file")
    judge = Judge(recipe_of, row.identity.rpartition(" ")[0])
    recipe = recipe_of(line.recipe)
    if recipe is None or not recipe.members:
        one = line.pedigrees[0] if len(line.pedigrees) == 1 else None
        reasons += judge.of_run(one, line.recipe)
    else:
        reasons += judge.of_members(line.pedigrees, recipe.members)
    return "; ".join(reasons) or None


class Judge:
    """Holds pedigrees against recipes.

    Args: recipe_of, the recipe of a name; images, the set that a recipe for any photographs is to be trained on.
    """

    def __init__(self, recipe_of: RecipeOf, images: str):
        self.recipe_of, self.images = recipe_of, images

    def of_run(self, pedigree: Pedigree | None, name: str) -> list[str]:
        """Why a run is not what the recipe of that name says; none where it is."""
        recipe = self.recipe_of(name)
        if pedigree is None or recipe is None:
            return ["no pedigree: where its weights come from is not known" if recipe else f"there is no recipe {name}"]
        if pedigree.recipe["name"] != name:
            return [f"trained by {pedigree.recipe['name']}, not by {name}"]
        data = PUBLISHED_SETS[recipe.data].name if recipe.data in PUBLISHED_SETS else self.images
        try:
            reasons = _changes(pedigree, recipe)
        except ValidationError:
            return ["its recipe has fields that this version does not know"]
        reasons += _wrong_images("trained on", pedigree.trained_on, f"{data} {recipe.train_split}")
        if recipe.schedule == "plateau":
            reasons += _wrong_images("steered by", pedigree.steered_by, f"{data} {recipe.eval_split}")
        if not pedigree.weights_sha256 or (pedigree.steps != pedigree.planned and not pedigree.stopped_early):
            reasons.append("its training had not ended with these weights")
        if recipe.start_from:
            reasons += [f"{recipe.start_from}: {why}" for why in self.of_run(pedigree.start, recipe.start_from)]
        elif pedigree.start_sha256:
            reasons.append("started from other weights")
        return reasons

    def of_members(self, pedigrees: list[Pedigree | None], members: list[Member]) -> list[str]:
        """Why networks are not the members of an ensemble, each another one."""
        if not pedigrees or not all(pedigrees):
            return ["no pedigree of each of its networks"]
        found = Counter((p.recipe["name"], p.recipe["seed"], p.start and p.start.recipe["seed"]) for p in pedigrees)
        reasons = []
        if found != Counter((Path(member.recipe).stem, member.seed, member.start_seed) for member in members):
            reasons.append("its networks are not the recipe's, by seed and by seed of the pre-training")
        weights = [pedigree.weights_sha256 for pedigree in pedigrees]
        starts = [pedigree.start_sha256 for pedigree in pedigrees if pedigree.start_sha256]
        if len({*weights}) < len(weights) or len({*starts}) < len(starts):
            reasons.append("two of its networks, or of their pre-trainings, are one")
        each = (f"a network of it {why}" for p in pedigrees for why in self.of_run(p, p.recipe["name"]))
        return [*reasons, *dict.fromkeys(each)]


def _changes(pedigree: Pedigree, recipe: Recipe) -> list[str]:
    """What was changed in the recipe when the run began, and on the way."""
    resolved = Recipe.model_validate(without_retired(pedigree.recipe)).model_dump()
    began = [
        f"{field}={toml_value(value)}"
        for field, (_, value) in compared(resolved, recipe).items()
        if field not in STARTS
    ]
    later = [
        f"{altered.field} at step {altered.step}"
        for altered in pedigree.alterations
        if (altered.field == "seed" or altered.field not in IMMATERIAL | STARTS) and not _is_younger(altered)
    ]
    return [f"with {', '.join(began)}"] * bool(began) + [f"on the way changed {', '.join(later)}"] * bool(later)


def _is_younger(altered: Alteration) -> bool:
    """Whether a field was only added by a younger version, with which the run went on: it stands at its default."""
    field = Recipe.model_fields.get(altered.field)
    return field is not None and altered.before is None and altered.after is not None and altered.after == field.default


def _wrong_images(how: str, images: ImageSet, expected: str) -> list[str]:
    if identified(images.identity, images.images) == expected:
        return []
    found = images.identity or f"{images.images:,} images that are not verified"
    return [f"{how} {found}, not all of {expected}"]
