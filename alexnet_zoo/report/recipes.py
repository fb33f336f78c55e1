"""How a run's recipe differs from another: from the one of its name, and from the paper's."""

import shlex
from functools import cache

import tomli_w

from alexnet_zoo.declared import folder_of, list_declared
from alexnet_zoo.train.recipe import Recipe, load_recipe, without_retired

PAPERS_OWN = "table2-one-cnn"  # the recipe of the paper's text: sections 3 to 5
# These change neither what is trained nor how; a seed is what runs of one recipe are expected to differ in.
IMMATERIAL = {
    "name", "reproduces", "seed", "start_seed", "checkpoint_minutes", "keep_checkpoints", "watch_every", "views",
    "channels_last", "compile",
}  # fmt: skip


def papers_recipe() -> Recipe:
    return load_recipe(folder_of("reproduce") / f"{PAPERS_OWN}.toml")


def differences(recipe: dict, other: str) -> dict[str, tuple]:
    """Fields in which a run's resolved recipe differs from the shipped recipe `other`: (shipped, the run's).

    A field inside a table is named as --set names it: "model_args.pool_size". None stands for one that is not there.
    Fields younger than the run, which its recipe.toml lacks, count as equal. Empty where no recipe has that name.
    """
    shipped = shipped_recipe(other)
    return compared(recipe, shipped) if shipped else {}


def compared(recipe: dict, shipped: Recipe) -> dict[str, tuple]:
    """The `differences` from a recipe that is given itself."""
    theirs, own = flat(shipped.model_dump()), flat(without_retired(recipe))
    known = {**own, **{field: None for field in theirs if field.partition(".")[0] in recipe}}
    return {
        field: (theirs.get(field), own.get(field))
        for field in known
        if field not in IMMATERIAL and theirs.get(field) != own.get(field)
    }


@cache
def shipped_recipe(name: str) -> Recipe | None:
    """A shipped recipe; None where there is none of that name."""
    if name not in {path.stem for path in list_declared("reproduce")}:
        return None
    return load_recipe(folder_of("reproduce") / f"{name}.toml")


def flat(recipe: dict) -> dict:
    """Tables by "table.key"; what is None is left out, also within lists, as it is where a recipe is written."""
    fields: dict[str, object] = {}
    for field, value in _without_none(recipe).items():
        if isinstance(value, dict):
            fields |= {f"{field}.{key}": inner for key, inner in value.items()}
        else:
            fields[field] = value
    return fields


def _without_none(value):
    if isinstance(value, dict):
        return {key: _without_none(inner) for key, inner in value.items() if inner is not None}
    return [_without_none(inner) for inner in value] if isinstance(value, list) else value


def changed(recipe: dict) -> str:
    """What was overridden in a run of a shipped recipe, e.g. "epochs=5"; "" for a run exactly by the recipe."""
    found = differences(recipe, recipe.get("name", ""))
    return ", ".join(f"{field}={toml_value(value)}" for field, (_, value) in found.items())


def command(recipe: dict, environment: dict, dataset: str) -> str:
    """What trains this network again: the recorded command; of a resumed run, one made from its recipe.

    Args: recipe, resolved; environment, that of environment.json; dataset, the name of the images.
    """
    recorded = environment.get("command", "")
    if " reproduce" in recorded and "--resume" not in recorded:
        return recorded
    words = ["alexzoo", "reproduce", recipe.get("name", "")]
    if recipe.get("data") != "digits":
        words += ["--data", dataset or "DATA"]
    if environment.get("processes"):
        words += ["--gpus", str(environment["processes"])]
    if recipe.get("seed"):
        words += ["--set", f"seed={recipe['seed']}"]
    for field, (_, value) in differences(recipe, recipe.get("name", "")).items():
        words += ["--set", f"{field}={toml_value(value)}"]
    return shlex.join(words)


def toml_value(value) -> str:
    """A value as one writes it behind --set; a string without its quotes, as there."""
    if value is None or isinstance(value, str):
        return value or ""
    line = " ".join(tomli_w.dumps({"v": value}).removeprefix("v = ").split())  # of a list it writes a line an entry
    return line.replace("[ ", "[").replace(", ]", "]")
