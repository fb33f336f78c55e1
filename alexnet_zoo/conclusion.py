"""What `alexzoo reproduce` says at its end: whether an error was expected, and where everything is."""

import re
from pathlib import Path

from alexnet_zoo.declared import folder_of, notes_of
from alexnet_zoo.train.recipe import Recipe, load_recipe

EXPECT = re.compile(r"([\d.]+) to ([\d.]+)% ten-crop top-1 error on the ([\d,]+) ")  # in the comment of a recipe
MIRRORED = (
    "ten crops are worse than one here, since five of them are mirror images, and this network was trained on none: "
    "mirror = false"
)


def conclusion(recipe: Recipe, rows: list[dict], run: Path) -> str:
    """Says why ten crops are worse than one, where they are and that is known, and where weights and the rest lie."""
    errors = {row["views"]: float(row["top1_err"]) for row in rows}
    lines = [MIRRORED] if not recipe.mirror and errors.get(10, 0) > errors.get(1, 100) else []
    each = run / "member-*" if recipe.members else run
    places = {"weights": each / "model.safetensors", "ONNX": each / "model.onnx"}
    places |= {"numbers": run / "results.csv", "report": run / "report" / "report.html"}
    return "\n".join([*lines, *(f"{what:8} {place}" for what, place in places.items())])


def expected(recipe: Recipe, row: dict) -> str:
    """Says whether an error is what the recipe's file expects; "" where it does not say, or the run differs from it."""
    file = folder_of("reproduce") / f"{recipe.name}.toml"
    if row["views"] != 10 or not file.exists() or load_recipe(file, [f"seed={recipe.seed}"]) != recipe:
        return ""
    found = EXPECT.match(notes_of(file).get("Expect", ""))
    if not found or int(found[3].replace(",", "")) != row["images"]:
        return ""
    within = float(found[1]) <= float(row["top1_err"]) <= float(found[2])
    return f"; {'as expected' if within else 'expected were'}: {found[1]} to {found[2]}%"
