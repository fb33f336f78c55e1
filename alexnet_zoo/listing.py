"""What `alexzoo recipes` prints: the recipes and the studies in groups, each with its data and its rough time."""

import re
import shutil
import textwrap
from pathlib import Path

from alexnet_zoo.data.published import ILSVRC_2012, PUBLISHED_SETS
from alexnet_zoo.declared import list_declared, notes_of
from alexnet_zoo.study.study import FOLDER, load_study
from alexnet_zoo.train.recipe import Recipe, load_recipe

GROUPS = {  # by how names begin; what is in none is our own
    "Table 1": ("table1-",),
    "Table 2, and Fall 2009 (section 6)": ("table2-", "pretrain-", "fall2009"),
    "The paper's other claims": ("claim-", "figure1-", "cifar10-"),
    "Studies, several seeds of each arm: alexzoo study NAME": (),
    "The runs that the authors really made": ("as-run-",),
    "Our own": ("",),
}
IMAGES_AN_HOUR = 90 * ILSVRC_2012.images["train"] / 132  # 90 cycles took the authors five to six days (section 5)
INDENT = " " * 6
ON_A_CPU = re.compile(r"\S+ (minutes?|hours?) on \w+ CPU cores?")


def list_recipes() -> str:
    """Writes each recipe and study on two lines: name, data and time; what it reproduces."""
    groups: dict[str, list[str]] = {group: [] for group in GROUPS}
    for path in sorted(list_declared("reproduce"), key=lambda path: path.stem):
        recipe = load_recipe(path)
        group = next(group for group, begins in GROUPS.items() if recipe.name.startswith(begins))
        groups[group].append(entry(path, recipe.data, rough_time(recipe)))
    studies = next(group for group, begins in GROUPS.items() if not begins)
    groups[studies] = [entry(path, re.split("[:,']", load_study(path).data)[0]) for path in list_declared(FOLDER)]
    texts = ["\n".join([group, *entries]) for group, entries in groups.items()]
    return "\n\n".join([*texts, "alexzoo recipes NAME: the fields of one; alexzoo reproduce NAME: run it."])


def entry(path: Path, data: str, time: str = "") -> str:
    """Writes one of them, at most as wide as the terminal; the time is the file's own, where it was measured."""
    notes = notes_of(path)
    measured = ON_A_CPU.search(notes.get("Cost", ""))
    head = f"  {path.stem:25} {data:18} {measured[0] if measured else time}".rstrip()
    lines = textwrap.wrap(notes["title"], min(shutil.get_terminal_size().columns, 120) - len(INDENT))
    return "\n".join([head, *(INDENT + line for line in lines)])


def rough_time(recipe: Recipe) -> str:
    """Estimates a full-size network's time on the authors' two GTX 580, where the number of images is known."""
    hours = sum(hours_of(load_recipe(member.recipe)) for member in recipe.members) or hours_of(recipe)
    return f"{float(f'{hours:.2g}'):,.0f} hours on two GTX 580" if hours else f"{recipe.epochs:g} cycles over yours"


def hours_of(recipe: Recipe) -> float:
    """Gives the hours of one network; 0 where the number of images is not known."""
    published = PUBLISHED_SETS.get(recipe.data)
    return recipe.epochs * published.images["train"] / IMAGES_AN_HOUR if published else 0.0
