"""Counts the paper's numbers that need no training: of the network, the recipe, the data as distributed."""

from collections.abc import Callable, Mapping
from functools import cache

from alexnet_zoo.data.published import FALL_2011, ILSVRC_2010
from alexnet_zoo.report.formats import Cell, Code, Column, Figure, Table
from alexnet_zoo.report.networks import DrawnLayer, layers_of, network_of
from alexnet_zoo.report.paper import Count, Paper
from alexnet_zoo.report.recipes import papers_recipe

ROUNDED = 0.02  # a published number that is no further off than this is the counted one, rounded
NOTE = (
    f"holds: the counted number is the published one within {ROUNDED:.0%}, or within the published bound; else the "
    "verdict says where and by how much the two differ. A dash: only the data itself can tell."
)


@cache
def _layers() -> dict[str, DrawnLayer]:
    return {layer.name: layer for layer in layers_of(network_of(), 224)}


def parameters() -> dict[str, float]:
    return {"": sum(layer.parameters for layer in _layers().values())}


def neurons_by_layer() -> dict[str, float]:
    """Counts the outputs of the image and of each layer before pooling, in all columns."""
    size = papers_recipe().crop_size
    return {"image": 3 * size**2, **{name: layer.neurons for name, layer in _layers().items()}}


def neurons() -> dict[str, float]:
    """Counts all neurons; the image is no layer of neurons."""
    return {"": sum(neurons_by_layer().values()) - neurons_by_layer()["image"]}


def convolutional_shares() -> dict[str, float]:
    """Computes each convolutional layer's percentage of all parameters."""
    convolutions = {name: layer.parameters for name, layer in _layers().items() if name.startswith("conv")}
    return {name: 100 * own / parameters()[""] for name, own in convolutions.items()}


def augmentation() -> dict[str, float]:
    """Counts the places of the crop, each mirrored or not. The text's 2,048 is 32 x 32 x 2."""
    recipe = papers_recipe()
    return {"": 2 * (recipe.image_size - recipe.crop_size + 1) ** 2}


COUNTED: dict[str, Callable[[], Mapping[str, float]]] = {
    "parameters": parameters,
    "neurons": neurons,
    "neurons_by_layer": neurons_by_layer,
    "convolutional_shares": convolutional_shares,
    "augmentation": augmentation,
    "cycles": lambda: {"": papers_recipe().epochs},
    "ilsvrc2010": lambda: ILSVRC_2010.images,
    "categories": lambda: {"": FALL_2011.classes},
}


def counts_table(paper: Paper) -> Table:
    """Sets the published numbers beside the counted ones."""
    columns = [
        Column("claim", "Claim"),
        Column("section", "Section"),
        Column("published", "Published", numeric=True),
        Column("counted", "Counted", numeric=True),
        Column("verdict", "Verdict"),
        Column("command", "The command that counts it", aside=True),
    ]
    rows = []
    for count in paper.count:
        counted = COUNTED[count.id]() if count.id in COUNTED else {}
        published = dict(zip([""] if count.at_most or not counted else counted, count.published, strict=True))
        shown = [_figure(count, published, "at most " * count.at_most), _figure(count, counted) if counted else None]
        verdict = verdict_of_count(count, counted) if counted else None
        rows.append([count.claim, count.section, *shown, verdict, Code(count.command)])
    return Table("counts", "The paper's numbers that can be counted", columns, rows, [NOTE], ["counted"])


def _figure(count: Count, numbers: Mapping[str, float], before: str = "") -> Cell:
    """Writes one number, or one for each layer; the CSV file holds the largest."""
    words = ", ".join(f"{name} {number:,.{count.decimals}f}".strip() for name, number in numbers.items())
    return Figure(max(numbers.values()), count.decimals, words=before + words)


def verdict_of_count(count: Count, counted: Mapping[str, float]) -> str:
    """Says whether the counted numbers are the published ones, and if not, which differ."""
    if count.at_most:
        over = [name for name, number in counted.items() if number > count.published[0]]
        return f"contradicted by count: {', '.join(over)}" if over else "holds by count"
    off = {name: number / said - 1 for (name, number), said in zip(counted.items(), count.published, strict=True)}
    wrong = [f"{name} {share:+.1%}".strip() for name, share in off.items() if abs(share) > ROUNDED]
    return f"differs by count: {', '.join(wrong)}" if wrong else "holds by count"
